import os
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

import webserver
from residua.data.batches import Batches, in_order
from residua.data.dataset import Dataset
from residua.data.shards import remote, store
from residua.data.sources import open_data
from residua.data.view import View
from residua.errors import DataError, UsageError

VIEW = View(side_px=32, fit="crop", resize_px=36, mode="RGB", mean=(0.4,) * 3, std=(0.3,) * 3)


def same(a: Dataset, b: Dataset) -> bool:
    """Whether two sets are the same, pictures included."""
    if a.fingerprint != b.fingerprint or a.classes != b.classes or a.splits.keys() != b.splits.keys():
        return False
    return all(
        s.names == b.splits[k].names
        and np.array_equal(s.labels, b.splits[k].labels)
        and all(torch.equal(s.images[i], b.splits[k].images[i]) for i in range(len(s)))
        for k, s in a.splits.items()
    )


@pytest.mark.parametrize("room", ["off", "20M"])
@pytest.mark.parametrize("spec", ["", "/train-{000000..000004}.tar"])
def test_far_away_is_the_same_as_here(
    shards: Path, server: webserver.Server, monkeypatch: pytest.MonkeyPatch, room: str, spec: str
) -> None:
    monkeypatch.setenv("RESIDUA_SHARDS", room)
    assert same(open_data(str(shards) + spec), open_data(server.url + spec))
    parts = [a for a in server.asked if "bytes=" in a]
    assert bool(parts) == (room == "off")


def test_opening_by_the_index_asks_for_the_index_alone(server: webserver.Server) -> None:
    open_data(server.url)
    assert [a for a in server.asked if ".tar" in a] == []


def test_each_shard_is_fetched_once_and_kept_for_the_next_time(server: webserver.Server) -> None:
    for _ in range(2):
        for split in open_data(server.url).splits.values():
            for i in range(len(split)):
                split.images[i]
    fetched = [a for a in server.asked if ".tar" in a]
    assert len(fetched) == len(set(fetched)) == len(list(server.root.glob("*.tar")))


def test_what_is_kept_never_takes_more_than_its_room(
    server: webserver.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store, "ROOM", "OURS")
    monkeypatch.setenv("OURS", "1M")
    dataset = open_data(server.url)
    kept = store.store()
    kept.limit = 130_000  # two shards and a bit
    for split in dataset.splits.values():
        for i in range(len(split)):
            split.images[i]
            assert sum(p.stat().st_size for p in kept.folder.glob("*.tar")) <= kept.limit


def test_errors_that_pass_are_waited_for(server: webserver.Server, shards: Path) -> None:
    server.errors, server.drops = [500, 503], 1
    assert same(open_data(str(shards)), open_data(server.url))


@pytest.mark.parametrize("room", ["off", "20M"])
def test_a_connection_that_is_dropped_is_taken_up_again(
    server: webserver.Server, shards: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    monkeypatch.setenv("RESIDUA_SHARDS", room)
    server.drops = 2
    assert same(open_data(str(shards)), open_data(server.url))


@pytest.mark.parametrize("room", ["off", "20M"])
@pytest.mark.parametrize(
    ("status", "says", "tries"),
    [(403, "forbidden", 1), (404, "no such file there", 1), (500, "its server answers 500", 4), (429, "429", 4)],
)
def test_errors_that_stay_are_one_line_that_names_the_shard(
    server: webserver.Server, monkeypatch: pytest.MonkeyPatch, room: str, status: int, says: str, tries: int
) -> None:
    monkeypatch.setenv("RESIDUA_SHARDS", room)
    split = open_data(server.url).splits["train"] if room == "20M" else None
    if split is None:
        monkeypatch.setattr("residua.data.sources.in_memory", lambda dataset: dataset)
        split = open_data(server.url).splits["train"]
    server.errors = [status] * 50
    with pytest.raises(DataError, match=rf"{server.url}/train-00000\d\.tar: .*{says}") as caught:
        split.images[0]
    assert "\n" not in str(caught.value) and 50 - len(server.errors) == tries


def test_a_server_that_gives_no_parts_is_read_whole_or_says_what_helps(
    server: webserver.Server, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ranges = False
    assert same(open_data(str(shards)), open_data(server.url))
    monkeypatch.setenv("RESIDUA_SHARDS", "off")
    with pytest.raises(DataError, match=r"gives no parts of files: .*RESIDUA_SHARDS=20G"):
        split = open_data(server.url).splits["train"]
        for i in range(len(split)):
            split.images[i]


def test_a_shard_that_became_shorter_is_named(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.01,))
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes()[: 600 if path.suffix == ".tar" else None])
    with webserver.serving(copy) as server:
        for room, says in (
            ("20M", "600 bytes came instead of"),
            ("off", "(came instead of|shorter than its index says)"),
        ):
            monkeypatch.setenv("RESIDUA_SHARDS", room)
            split = open_data(server.url).splits["train"]
            with pytest.raises(DataError, match=says):
                for i in range(len(split)):
                    split.images[i]


def test_damage_in_what_was_kept_is_mended_by_fetching_again(server: webserver.Server, shards: Path) -> None:
    first = open_data(server.url)
    images = first.splits["train"].images
    images[0]
    for kept in store.store().folder.glob("*.tar"):
        kept.write_bytes(bytes(kept.stat().st_size))
    assert torch.equal(images[0], open_data(str(shards)).splits["train"].images[0])


def test_shards_of_the_memory_file_system_are_read_as_those_of_any_store(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    for path in shards.iterdir():
        memory.pipe(f"/photos/{path.name}", path.read_bytes())
        if path.suffix == ".tar":
            memory.pipe(f"/bare/{path.name}", path.read_bytes())
    try:
        here = open_data(str(shards))
        assert same(here, open_data("memory://photos"))
        assert same(here, open_data("memory://bare/train-{000000..000004}.tar"))
        monkeypatch.setenv("RESIDUA_SHARDS", "off")
        assert same(here, open_data("memory://photos"))
    finally:
        memory.store.clear()


def test_what_is_not_there_is_one_line(server: webserver.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"nothing/shards\.npz: no such index: name the shards"):
        open_data(f"{server.url}/nothing")
    with pytest.raises(DataError, match=r"val-000007\.tar: no such file there: check the address"):
        open_data(f"{server.url}/val-{{000007..000008}}.tar")
    with pytest.raises(UsageError, match="'gopher://' is not known"):
        open_data("gopher://host/a.tar")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match="s3:// needs one more library: Install s3fs"):
        open_data("s3://bucket/a.tar")


def test_without_the_library_one_line_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UsageError, match=r"https:// needs aiohttp: pip install 'residua\[shards\]'"):
        open_data("https://example.invalid/a.tar")


def test_secrets_of_an_address_are_not_told() -> None:
    from residua.data.shards.shard import told

    assert told("https://me:secret@host/a.tar?Signature=abc") == "https://...@host/a.tar?..."


# -- order ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def far(server: webserver.Server, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The set far away, gone through two shards at a time."""
    from residua.data.shards import members

    monkeypatch.setattr(members, "WINDOW_BYTES", 100_000)
    return open_data(server.url)


def batches(dataset: Dataset, **words: object) -> Batches:
    options: dict[str, object] = {"batch_size": 4, "seed": 3, "classes": 3, "augment": ("random-resized-crop", "flip")}
    return Batches(dataset.splits["train"], VIEW, **(options | words))  # type: ignore[arg-type]


def test_an_epoch_shows_every_sample_once_and_few_shards_at_a_time(far: Dataset) -> None:
    made = batches(far)
    paths = far.splits["train"].images.paths  # type: ignore[attr-defined]
    for epoch in range(3):
        samples, _ = made.samples(epoch)
        assert sorted(samples.tolist()) == list(range(len(samples)))
        runs = [paths[int(i)].shard.name for i in samples]
        last = {name: max(i for i, n in enumerate(runs) if n == name) for name in runs}
        open_at_once = max(len({n for n in runs[: i + 1] if last[n] >= i}) for i in range(len(runs)))
        assert open_at_once == 2 < len(last)
    assert not np.array_equal(made.samples(0)[0], made.samples(1)[0])
    assert not np.array_equal(made.samples(0)[0], batches(far, seed=4).samples(0)[0])


def test_a_balanced_epoch_goes_through_windows_too(far: Dataset) -> None:
    samples, keys = batches(far, balanced=True).samples(0)
    counts = np.bincount(far.splits["train"].labels[samples])
    assert counts.max() - counts.min() <= 1 and keys is not None
    paths = far.splits["train"].images.paths  # type: ignore[attr-defined]
    assert len({paths[int(i)].shard.name for i in samples[: len(samples) // 3]}) <= 4


def test_shards_here_are_gone_through_in_the_order_of_a_folder(shards: Path) -> None:
    from residua.data.order import order

    made = batches(open_data(str(shards)))
    assert np.array_equal(made.samples(2)[0], order(3, 2, len(made.split)))


def test_processes_of_a_training_get_slices_of_the_very_same_batches(far: Dataset) -> None:
    whole, ranks = batches(far), [batches(far, rank=r, world=2) for r in range(2)]
    for step in (0, 3, whole.steps_per_epoch, whole.steps_per_epoch * 2 + 1):
        together = [r.at(step) for r in ranks]
        assert np.array_equal(whole.at(step).index, np.concatenate([b.index for b in together]))
        assert torch.equal(whole.at(step).images, torch.cat([b.images for b in together]))


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_batches_from_far_away_do_not_depend_on_the_workers(far: Dataset) -> None:
    made = batches(far)
    alone = list(made.stream(0, 12))
    for a, b in zip(alone, made.stream(0, 12, workers=2), strict=True):
        assert torch.equal(a.images, b.images) and np.array_equal(a.index, b.index)


def test_evaluation_goes_through_the_shards_one_after_the_other(far: Dataset, shards: Path) -> None:
    here = open_data(str(shards))
    for a, b in zip(
        in_order(here.splits["train"], VIEW, 8), in_order(far.splits["train"], VIEW, 8, workers=1), strict=True
    ):
        assert torch.equal(a.images, b.images)
    codes = far.splits["train"].images.paths.codes  # type: ignore[attr-defined]
    assert (np.diff(codes) >= 0).all()


def test_shards_that_come_next_are_fetched_beside_the_work(far: Dataset) -> None:
    made = batches(far)
    made.at(0)
    waiting = store.store().fetching
    assert waiting is not None
    waiting.join(10)
    assert len(list(store.store().folder.glob("*.tar"))) >= 2


def test_pictures_to_be_answered_may_lie_in_shards_with_or_without_labels(
    shards: Path, server: webserver.Server, tmp_path: Path
) -> None:
    from residua.predict.inputs import pictures
    from residua.predict.result import Failure

    here = list(pictures([str(shards / "train-000001.tar"), str(shards)]))
    there = list(pictures([f"{server.url}/train-000001.tar", server.url]))
    assert [i.source.read() for i in here] == [i.source.read() for i in there] and len(here) > 60
    assert here[0].name == f"{shards}/train-000001.tar:{here[0].source.name}"
    torn = tmp_path / "torn.tar"
    torn.write_bytes((shards / "train-000001.tar").read_bytes()[:30_000])
    last = list(pictures(str(torn)))[-1]
    assert isinstance(last.source, Failure) and "not a whole tar file" in last.source.reason


def test_only_regular_files_are_opened_as_shards(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train-0.tar")
    with pytest.raises(DataError, match="not a regular file"):
        open_data(str(tmp_path))
