import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from acceptance import picture, save
from residua.data.batches import Batch, Batches, in_order
from residua.data.dataset import ArrayImages, FileImages, Split
from residua.data.order import balanced
from residua.data.view import View
from residua.errors import DataError, UsageError

VIEW = View(side_px=8, fit="crop", resize_px=8, mode="L", mean=(0.4,), std=(0.3,))
PHOTO = View(side_px=8, fit="crop", resize_px=9, mode="RGB", mean=(0.4,) * 3, std=(0.3,) * 3)
FILE_WORDS = ("random-resized-crop:0.3", "flip", "rand-augment:1:5", "erase:0.5", "mixup:0.4", "cutmix:1")


def array_split(n: int = 50, side: int = 8) -> Split:
    pixels = torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(ArrayImages(pixels), np.arange(n) % 4, tuple(map(str, range(n))))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = tmp_path_factory.mktemp("files")
    for i in range(22):
        save(root / f"{i}.png", picture(10 + i % 5, 12, seed=i))
    return Split(FileImages(tuple(str(root / f"{i}.png") for i in range(22))), np.arange(22) % 3, tuple("x" * 22))


def of(split: Split, augment: tuple[str, ...] = (), batch_size: int = 8, **options: int) -> Batches:
    view = VIEW if isinstance(split.images, ArrayImages) else PHOTO
    return Batches(
        split, view, batch_size=batch_size, seed=options.pop("seed", 0), classes=4, augment=augment, **options
    )


def equal(a: Batch, b: Batch) -> bool:
    same = torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
    return same and np.array_equal(a.index, b.index)


# -- which samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, k", [(100, 3), (50, 50), (61, 7)])
def test_a_balanced_epoch_shows_every_class_alike_and_each_sample_of_a_class_alike(n: int, k: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate(
        [np.arange(k), rng.choice(k, n - k, p=1 / np.arange(1, k + 1) / (1 / np.arange(1, k + 1)).sum())]
    )
    split = Split(ArrayImages(torch.zeros(n, 1, 4, 4, dtype=torch.uint8)), labels, tuple(map(str, range(n))))
    for epoch in range(3):
        samples, keys = balanced(0, epoch, split)
        assert len(samples) == n
        of_class = np.bincount(labels[samples], minlength=k)
        assert of_class.max() - of_class.min() <= 1
        for c in range(k):
            shown = np.bincount(samples, minlength=n)[labels == c]
            assert shown.max() - shown.min() <= 1
        assert len(set(keys.tolist())) == n, "repeats have keys of their own"
        assert (keys % n == samples).all()
    assert not np.array_equal(balanced(0, 0, split)[0], balanced(0, 1, split)[0])


def test_repeats_of_a_rare_sample_are_augmented_differently() -> None:
    split = Split(array_split(40).images, np.arange(40) // 39, tuple(map(str, range(40))))
    batches = of(split, ("pad-crop:2",), batch_size=40, balanced=True)
    batch = batches.at(0)
    rare = batch.images[torch.from_numpy(batch.index == 39)]
    assert len(rare) == 20
    assert len(torch.unique(rare.flatten(1), dim=0)) > 10
    assert equal(batch, of(split, ("pad-crop:2",), batch_size=40, balanced=True).at(0))


# -- a pure function of (seed, step) --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("start", [0, 3])
def test_file_batches_do_not_depend_on_workers_or_start(files: Split, workers: int, start: int) -> None:
    batches = of(files, FILE_WORDS)
    streamed = list(batches.stream(start, 6, workers))
    assert len(streamed) == 6 - start
    assert all(equal(batch, batches.at(step)) for step, batch in enumerate(streamed, start))


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("augment", [("pad-crop:1", "flip", "erase:0.5", "mixup:0.4"), ("color:0.4",)])
def test_batches_in_memory_do_not_depend_on_workers_or_start(workers: int, augment: tuple[str, ...]) -> None:
    split = array_split()
    first = [of(split, augment).at(step) for step in range(14)]
    for start in (0, 5, 13, 14):
        streamed = list(of(split, augment).stream(start, 14, workers))
        assert len(streamed) == 14 - start
        assert all(equal(a, b) for a, b in zip(streamed, first[start:], strict=True))


def test_streaming_leaves_the_global_generators_alone(files: Split) -> None:
    before = torch.get_rng_state()
    for split, workers in ((files, 0), (files, 1), (array_split(), 0)):
        list(of(split, ("flip",)).stream(0, 3, workers))
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("augment", [("pad-crop:1", "flip", "erase:0.5"), ("mixup:0.4", "cutmix:1")])
@pytest.mark.parametrize("world", [2, 4])
def test_the_slices_of_the_ranks_are_the_whole_batch(augment: tuple[str, ...], world: int) -> None:
    split = array_split()
    for step in (0, 4, 9):
        whole = of(split, augment, 16).at(step)
        parts = [of(split, augment, 16, rank=r, world=world).at(step) for r in range(world)]
        assert torch.equal(torch.cat([p.images for p in parts]), whole.images)
        assert torch.equal(torch.cat([p.targets for p in parts]), whole.targets)
        assert np.array_equal(np.concatenate([p.index for p in parts]), whole.index)


def test_an_epoch_is_a_permutation_and_leaves_out_others_each_time() -> None:
    batches = of(array_split(50))
    assert batches.steps_per_epoch == 6
    left_out = []
    for epoch in range(4):
        seen = np.concatenate([batches.at(6 * epoch + i).index for i in range(6)])
        assert len(np.unique(seen)) == len(seen) == 48
        left_out.append(frozenset(range(50)) - frozenset(seen.tolist()))
    assert len(set(left_out)) > 1


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    split = array_split()
    orders = [of(split, seed=s).at(6 * e).index.tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


def test_pictures_and_labels_are_those_of_the_index() -> None:
    split = array_split()
    batch = of(split).at(2)
    assert torch.equal(batch.images, VIEW.normalise(split.images.array[batch.index]))
    assert batch.images.dtype == torch.float32
    assert batch.targets.dtype == torch.int64
    assert batch.targets.tolist() == split.labels[batch.index].tolist()


def test_mixed_targets_are_probabilities() -> None:
    batch = of(array_split(), ("mixup:1",)).at(0)
    assert batch.targets.shape == (8, 4)
    assert batch.targets.dtype == torch.float32
    assert torch.allclose(batch.targets.sum(1), torch.ones(8))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_set_smaller_than_the_batch_is_one_batch_of_all(n: int) -> None:
    batches = of(array_split(n), ("mixup:1",))
    assert batches.steps_per_epoch == 1
    assert sorted(batches.at(5).index.tolist()) == list(range(n))


@pytest.mark.parametrize("n", range(2, 40))
def test_there_is_never_a_batch_of_one(n: int) -> None:
    batches = of(array_split(n), batch_size=8)
    assert {len(batches.at(step).index) for step in range(2 * batches.steps_per_epoch)} == {min(n, 8)}


def test_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="at least two pictures"):
        of(array_split(), batch_size=1)
    with pytest.raises(UsageError, match="cannot be divided evenly among 3"):
        of(array_split(), world=3)
    with pytest.raises(UsageError, match="pairs"):
        of(array_split(), ("mixup",), batch_size=6, world=2)
    with pytest.raises(DataError, match="1 training pictures are too few"):
        of(array_split(1))
    with pytest.raises(DataError, match="3 training pictures are too few: each of 2"):
        of(array_split(3), world=2)
    with pytest.raises(DataError, match="0 training pictures"):
        of(array_split(0))


def test_the_pictures_for_people_are_the_batch() -> None:
    split = array_split()
    batches = of(split)
    assert torch.equal(batches.pictures(3), split.images.array[batches.at(3).index])


# -- evaluation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 5), (0, 22), (0, 100), (1, 5), (4, 5)])
def test_evaluation_sees_every_sample_once_in_order(files: Split, workers: int, batch_size: int) -> None:
    seen = list(in_order(files, PHOTO, batch_size, workers))
    assert np.concatenate([b.index for b in seen]).tolist() == list(range(22))
    assert torch.equal(torch.cat([b.targets for b in seen]), torch.from_numpy(files.labels))
    images = torch.cat([b.images for b in seen])
    assert all(torch.equal(images[i], PHOTO.tensor(files.images[i])) for i in range(22))


def test_evaluation_in_memory_is_the_view_bit_for_bit() -> None:
    for side in (8, 11):  # gathered at once, and one after the other
        split = array_split(9, side)
        images = torch.cat([b.images for b in in_order(split, VIEW, 4)])
        assert all(torch.equal(images[i], VIEW.tensor(split.images[i])) for i in range(9))


def test_nothing_to_evaluate_is_no_batch() -> None:
    assert list(in_order(array_split(0), VIEW, 4)) == []


# -- ahead of time, and the ways it ends ----------------------------------------------------------------------------


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if "residua" in t.name}


def children() -> set[str]:
    """The process ids of our children."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_the_thread_ends_with_the_iterator() -> None:
    stream = of(array_split()).stream(0, 10_000)
    next(stream)
    assert threads()
    stream.close()
    assert not threads()
    list(of(array_split()).stream(0, 5))
    assert not threads()


def test_the_thread_is_only_a_few_batches_ahead() -> None:
    made = []

    batches = of(array_split())
    pixels = batches.pixels

    def counted(step: int) -> torch.Tensor:
        made.append(step)
        return pixels(step)

    batches.pixels = counted  # type: ignore[method-assign]
    stream = batches.stream(0, 1000)
    next(stream)
    time.sleep(0.2)
    assert len(made) <= 4
    stream.close()


def test_an_exception_in_the_thread_reaches_the_caller() -> None:
    split = array_split()
    bad = Split(split.images, np.full(50, 9), split.names)  # a label beyond the classes
    stream = of(bad, ("mixup",)).stream(0, 5)
    with pytest.raises(IndexError):
        next(stream)
    assert not threads()


def test_workers_end_with_the_iterator(files: Split) -> None:
    before = children()
    stream = of(files).stream(0, 1000, 2)
    next(stream)
    assert len(children() - before) == 2
    stream.close()
    for _ in range(50):
        if not children() - before:
            break
        time.sleep(0.1)
    assert not children() - before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_breaks_in_the_middle_of_training_is_named(tmp_path: Path, workers: int) -> None:
    for i in range(8):
        save(tmp_path / f"{i}.png", picture(10, 12, seed=i))
    split = Split(FileImages(tuple(str(tmp_path / f"{i}.png") for i in range(8))), np.arange(8) % 2, tuple("x" * 8))
    stream = of(split).stream(0, 50, workers)
    next(stream)
    (tmp_path / "5.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"5\.png: an empty file \(0 bytes\)$"):
        list(stream)


def test_a_worker_that_dies_is_one_line(files: Split) -> None:
    before = children()
    stream = of(files).stream(0, 1000, 1)
    next(stream)
    for pid in children() - before:
        os.kill(int(pid), signal.SIGKILL)
    with pytest.raises(DataError, match="a data worker died"):
        list(stream)


#: A program that streams with two workers, says who they are after the first batch, and is told to stop.
STREAMING = """
import os, pickle, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
try:
    for _ in pickle.loads(Path(sys.argv[1]).read_bytes()).stream(0, 10**6, 2):
        workers = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        os.write(1, workers.encode() + b"\\n")
        time.sleep(60)
except KeyboardInterrupt:
    os.write(2, b"interrupted")
"""


@contextmanager
def in_a_process(split: Split, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """A process, head of its own group, that streams with two workers, and their ids; none outlives the block."""
    pickled = log.with_suffix(".pickle")
    pickled.write_bytes(pickle.dumps(of(split)))
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", STREAMING, str(pickled)],
            stdout=subprocess.PIPE, stderr=file, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        with process.stdout as told:
            workers = [int(pid) for pid in told.readline().split()]
        assert len(workers) == 2
        yield process, workers
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def gone(pids: Iterable[int], seconds: float = 60) -> bool:
    """Whether the processes end within some seconds (one that is dead but not yet waited for has ended)."""
    for _ in range(int(10 * seconds)):
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        if not [s for s in states if s.exists() and s.read_text().rpartition(")")[2].split()[0] != "Z"]:
            return True
        time.sleep(0.1)
    return False


def test_an_interrupt_prints_nothing_from_the_workers(files: Split, tmp_path: Path) -> None:
    with in_a_process(files, tmp_path / "log") as (process, workers):
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: to the parent and its workers alike
        assert gone([process.pid, *workers])
        assert process.wait() == 0
    assert (tmp_path / "log").read_text() == "interrupted"


def test_workers_do_not_outlive_a_parent_that_was_killed(files: Split, tmp_path: Path) -> None:
    with in_a_process(files, tmp_path / "log") as (process, workers):
        process.kill()
        assert gone([process.pid, *workers])


def test_more_epochs_than_one_come_from_one_stream() -> None:
    batches = of(array_split(20))
    epochs: dict[int, list[int]] = {}
    for step, batch in enumerate(batches.stream(0, 6)):
        epochs.setdefault(step // batches.steps_per_epoch, []).extend(batch.index.tolist())
    assert [len(set(e)) for e in epochs.values()] == [16, 16, 16]
