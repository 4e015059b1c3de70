"""Laws of answering on a cluster, on one that is made of this process: order, bounds, and workers that die."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from residua.errors import DataError, UsageError
from residua.predict import Failure, Result
from residua.predict.inputs import Item
from residua.predict.spread import AHEAD, LONGEST, TRIES, Crew, Spread, parts
from residua.predict.worker import Answered, Part, Task, Worker


class TaskError(Exception):
    cause: Exception


class Gone(Exception):
    pass


class Here:
    """As much of Ray as a crew uses: calls are kept, and one at random is over when they are waited for."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, RayError=Gone)

    def __init__(self, seed: int) -> None:
        self.random, self.outcomes, self.killed = random.Random(seed), dict[object, Any](), list[Any]()

    def is_initialized(self) -> bool:
        return True

    def call(self, outcome: Any) -> object:
        ref = object()
        self.outcomes[ref] = outcome
        return ref

    def wait(self, refs: list[object], num_returns: int) -> tuple[list[object], list[object]]:
        return [self.random.choice(refs)], []

    def get(self, ref: object) -> Any:
        outcome = self.outcomes.pop(ref)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def kill(self, worker: Any) -> None:
        self.killed.append(worker)


def crew_of(ray: Here, size: int, answer: Callable[[Part], Any]) -> Crew:
    """A crew whose workers answer by a function."""

    def hire() -> Any:
        return Hand(
            load=SimpleNamespace(remote=lambda: ray.call(None)),
            answers=SimpleNamespace(remote=lambda part: ray.call(answer(part))),
        )

    return Crew(ray, hire, size)


class Hand(SimpleNamespace):
    __hash__ = object.__hash__


def echo(part: Part) -> Answered:
    return Answered(tuple(Failure(i.name, "seen") for i in part.items), "here")


def items(n: int) -> Iterator[Item]:
    return (Item(f"{i}", f"/nowhere/{i}") for i in range(n))


def names(results: Iterator[Result]) -> list[str]:
    return [r.path for r in results]


def test_parts_are_whole_batches_that_hold_every_picture_once() -> None:
    made = list(parts(items(2345), 7, 2))
    assert [i.name for p in made for i in p.items] == [str(i) for i in range(2345)]
    assert all(len(p.items) % 7 == 0 for p in made[:-1])
    lengths = [len(p.items) // 7 for p in made]
    assert lengths[: AHEAD * 2] == [1] * AHEAD * 2 and max(lengths) == LONGEST


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("size", [1, 3])
def test_results_come_in_the_order_of_the_pictures_whoever_is_first(seed: int, size: int) -> None:
    assert names(crew_of(Here(seed), size, echo).results(parts(items(300), 4, size))) == [str(i) for i in range(300)]


@pytest.mark.parametrize("seed", range(10))
def test_parts_of_workers_that_die_are_answered_again(seed: int) -> None:
    ray, fate = Here(seed), random.Random(seed)
    crew = crew_of(ray, 3, lambda part: Gone("killed") if fate.random() < 0.05 else echo(part))
    assert names(crew.results(parts(items(300), 4, 3))) == [str(i) for i in range(300)]
    crew.dismiss()
    assert len(set(ray.killed)) == len(ray.killed) >= 3


def test_a_part_that_ends_every_worker_is_named() -> None:
    crew = crew_of(Here(0), 2, lambda part: Gone("a line\nkilled") if part.items[0].name == "8" else echo(part))
    with pytest.raises(DataError, match=r"^workers of the cluster die with 8: killed$"):
        names(crew.results(parts(items(40), 4, 2)))
    assert crew.deaths[2] == TRIES


def test_an_error_of_a_worker_is_the_commands_own() -> None:
    error = TaskError("a long story")
    error.cause = DataError("m.safetensors is another file on b than here")
    with pytest.raises(DataError, match="another file on b"):
        names(crew_of(Here(0), 2, lambda part: error).results(parts(items(40), 4, 2)))


def test_however_many_pictures_there_are_few_parts_are_held() -> None:
    taken, given, most = 0, 0, 0

    def counting() -> Iterator[Item]:
        nonlocal taken
        for item in items(20_000):
            taken += 1
            yield item

    for _ in crew_of(Here(0), 2, echo).results(parts(counting(), 2, 2)):
        given += 1
        most = max(most, taken - given)
    assert given == 20_000 and most <= (AHEAD * 2 + 1) * LONGEST * 2


def test_few_pictures_ask_for_few_workers() -> None:
    ray = Here(0)
    crew = crew_of(ray, 50, echo)
    assert len(names(crew.results(parts(items(9), 4, 50)))) == 9 and len(crew.workers) == 3


def test_a_picture_that_only_this_machine_sees_is_an_error_not_a_failure(tmp_path: Any) -> None:
    path = tmp_path / "here.png"
    path.write_bytes(b"")
    missing = Answered((Failure("here.png", "no such file (or a link to nothing)"),), "far")
    crew = crew_of(Here(0), 1, lambda part: missing)
    with pytest.raises(DataError, match=r"^far does not see here\.png: all machines"):
        names(crew.results(iter([Part((Item("here.png", str(path)),))])))


def test_more_threads_than_a_machine_has_are_refused() -> None:
    from residua.cluster import Cluster

    cluster = Cluster(Here(0), [{"CPU": 4}, {"CPU": 8}], 0, ours=False)
    assert (cluster.cores, cluster.cores_of_one, cluster.slots(3)) == (12, 8, 3)
    with pytest.raises(UsageError, match="--threads 9: the largest machine of the cluster has 8 cores"):
        next(Spread(cluster, (), (), ("a",), threads=9).answered(items(1)))


def test_with_gpus_a_worker_is_one_of_them_and_its_share_of_the_cores() -> None:
    from residua.cluster import Cluster

    cluster = Cluster(Here(0), [{"CPU": 64}, {"CPU": 16, "GPU": 4}, {"CPU": 32, "GPU": 2}], 6, ours=False)
    assert cluster.slots(1) == 6 and cluster.cores_of_one == 4


def test_a_worker_refuses_a_model_that_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    task = Task((path,), ("0",), "cpu", "fp32", 1, 1, 5, 64)
    with pytest.raises(DataError, match=r"m\.safetensors cannot be read on .*: all machines of the cluster must see"):
        Worker(task).load()
    path.write_bytes(b"another")
    with pytest.raises(DataError, match=r"m\.safetensors is another file on "):
        Worker(task).load()


def test_without_an_address_a_cluster_is_started_whatever_else_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from residua.cluster import joined

    asked = dict[str, Any]()
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **words: asked.update(words),
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 8.0}}],
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = joined(None)
    assert asked["address"] == "local" and cluster.ours and cluster.where == "a Ray cluster of 2 cores"
