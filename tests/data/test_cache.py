"""Laws of the cache: it changes how long pictures take, never what they are, whatever happens to it."""

import errno
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from acceptance import picture, save
from residua.data import cache as cache_module
from residua.data import prepare
from residua.data.batches import Batch, Batches, in_order
from residua.data.cache import Cache, Decoding, home, kept, kind_of, opened, suitable
from residua.data.dataset import FileImages, Split
from residua.data.decode import BadPicture
from residua.data.prepare import Preparation
from residua.data.view import View

N = 20
VIEW = View(side_px=8, fit="crop", resize_px=9, mode="RGB", mean=(0.4,) * 3, std=(0.3,) * 3)
CROPS = ("random-resized-crop:0.3", "flip", "rand-augment:1:5", "erase:0.5")
PREPARED = Preparation(VIEW, 12)
LARGE = 2**30

Open = Callable[..., Cache]


@pytest.fixture
def files(tmp_path: Path) -> Split:
    """Pictures of a few sizes, JPEG and PNG."""
    names = [f"photos/{i}.{'jpg' if i % 2 else 'png'}" for i in range(N)]
    for i, name in enumerate(names):
        save(tmp_path / name, picture(30 + i % 5, 41, seed=i))
    return Split(FileImages(tuple(str(tmp_path / name) for name in names)), np.arange(N) % 3, tuple(names))


@pytest.fixture
def cache(tmp_path: Path) -> Open:
    """Open a cache of this test's own."""

    def make(limit: int | None = LARGE) -> Cache:
        made = opened(limit, str(tmp_path / "cache"))
        assert isinstance(made, Cache)
        return made

    return make


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough to rely on their times at once."""
    monkeypatch.setattr(cache_module, "SETTLED", -LARGE)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is decoded in this process, as it happens."""
    seen: list[object] = []
    true = prepare.reduced

    def counted(source: object, *words: object) -> object:
        seen.append(source)
        return true(source, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "reduced", counted)
    return seen


def batches(split: Split, cache: Decoding, augment: tuple[str, ...] = CROPS) -> Batches:
    return Batches(split, VIEW, batch_size=8, seed=0, classes=3, augment=augment, cache=cache)


def two_epochs(split: Split, cache: Decoding, workers: int = 0, augment: tuple[str, ...] = CROPS) -> list[Batch]:
    return list(batches(split, cache, augment).stream(0, 2 * (N // 8), workers))


def equal(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and np.array_equal(a.index, b.index)
        for a, b in zip(some, others, strict=True)
    )


def pictures(split: Split, cache: Decoding) -> list[Tensor]:
    assert isinstance(split.images, FileImages)
    return [cache.picture(path, "RGB", PREPARED) for path in split.images.paths]


def same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def sizes(cache: Cache) -> list[int]:
    return [one.size for one in kept(cache.folder)]


def counted(cache: Cache) -> int:
    return int((cache.folder / "size").read_text())


def age(cache: Cache) -> None:
    """Make all that is kept an hour old, as if another run had kept it."""
    for path in content(cache):
        os.utime(path, (time.time() - 3600,) * 2)


def content(cache: Cache) -> set[Path]:
    """The kept pictures, by the names that their content gives them."""
    return set(cache.folder.glob("*/content/*/*"))


# -- the same pictures, sooner --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [(), ("pad-crop:1", "color:0.3"), CROPS, ("short-side:9:20",)])
def test_batches_with_and_without_a_cache_are_the_same_bits(
    files: Split, cache: Open, workers: int, augment: tuple[str, ...]
) -> None:
    plain = two_epochs(files, Decoding(), 0, augment)
    for made in (cache(), cache()):  # empty, then filled by an earlier run
        assert equal(two_epochs(files, made, workers, augment), plain)
        assert equal(list(in_order(files, VIEW, 6, workers, made)), list(in_order(files, VIEW, 6)))
        assert made.told == {}
    assert content(made)


def test_what_was_decoded_once_is_not_decoded_again(files: Split, cache: Open, decoded: list[object]) -> None:
    two_epochs(files, cache())
    seen = len(decoded)
    assert 0 < seen <= N
    two_epochs(files, cache())
    list(in_order(files, VIEW, 6, 0, cache()))
    list(in_order(files, VIEW, 5, 0, cache()))
    assert len(decoded) == seen + N  # the evaluation's view is another picture of the same file


@pytest.mark.usefixtures("settled")
def test_files_are_not_even_read_again(files: Split, cache: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pictures(files, cache())
    monkeypatch.setattr(cache_module, "contents", None)
    assert same(pictures(files, cache()), first)


def test_a_copied_folder_finds_its_pictures(files: Split, cache: Open, decoded: list[object], tmp_path: Path) -> None:
    first = pictures(files, cache())
    decoded.clear()
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    moved = tuple(str(tmp_path / name.replace("photos", "copy")) for name in files.names)
    assert same(pictures(replace(files, images=FileImages(moved)), cache()), first)
    assert decoded == []


def test_whatever_changes_a_picture_has_a_place_of_its_own() -> None:
    others = (
        Preparation(VIEW),
        Preparation(VIEW, 13),
        Preparation(replace(VIEW, interpolation="bicubic"), 12),
        Preparation(replace(VIEW, fit="pad")),
        Preparation(replace(VIEW, resize_px=10)),
        Preparation(replace(VIEW, fit="pad", mean=(0.5,) * 3)),
        Preparation(replace(VIEW, mode="L", mean=(0.4,), std=(0.3,))),
    )
    kinds = [kind_of(p, mode) for p in (PREPARED, *others) for mode in ("RGB", "L")]
    assert len(set(kinds)) == len(kinds)
    assert kind_of(Preparation(replace(VIEW, std=(0.2,) * 3), 12), "RGB") == kinds[0]


def test_another_decoder_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "decoders", lambda: ("another",))
    assert kind_of.__wrapped__(PREPARED, "RGB") != kind_of(PREPARED, "RGB")


# -- files that change ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
def test_a_changed_file_is_decoded_anew_whatever_its_size_and_time_say(tmp_path: Path, cache: Open) -> None:
    path = tmp_path / "1.ppm"
    save(path, picture(30, 41, seed=1))
    before, about = cache().picture(str(path), "RGB", PREPARED), path.stat()
    time.sleep(0.05)  # another tick of the file system's clock
    save(path, picture(30, 41, seed=2))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    after = cache().picture(str(path), "RGB", PREPARED)
    assert torch.equal(after, PREPARED(str(path), "RGB"))
    assert not torch.equal(after, before)


def test_a_file_that_changes_within_a_tick_of_the_clock_is_decoded_anew(tmp_path: Path, cache: Open) -> None:
    path = tmp_path / "1.ppm"
    for seed in range(5):
        save(path, picture(30, 41, seed=seed))
        assert torch.equal(cache().picture(str(path), "RGB", PREPARED), PREPARED(str(path), "RGB"))


@pytest.mark.usefixtures("settled")
def test_a_file_that_breaks_or_vanishes_is_named(files: Split, cache: Open) -> None:
    made = cache()
    pictures(files, made)
    assert isinstance(files.images, FileImages)
    broken, gone = files.images.paths[3], files.images.paths[4]
    Path(broken).write_bytes(b"no picture")
    Path(gone).unlink()
    for path, reason in ((broken, "not an image"), (gone, "no such file")):
        with pytest.raises(BadPicture, match=reason) as error:
            made.picture(path, "RGB", PREPARED)
        assert error.value.args[0] == path


# -- a cache that is damaged ----------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "longer by a byte": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "only a header": lambda data: data[: cache_module.START],
    "a flipped bit of a pixel": lambda data: flipped(data, len(data) - 7),
    "a flipped bit of the first pixel": lambda data: flipped(data, cache_module.START),
    "a flipped bit of a side": lambda data: flipped(data, 12),
    "a flipped bit of the key": lambda data: flipped(data, 30),
    "another version": lambda data: flipped(data, 8),
    "another program's": lambda data: b"\x89PNG\r\n\x1a\n" + data[8:],
    "zeros": lambda data: bytes(len(data)),
    "swapped rows": lambda data: data[: cache_module.START] + data[cache_module.START :][::-1],
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_cache_is_made_again(files: Split, cache: Open, what: str) -> None:
    plain = pictures(files, Decoding())
    first = cache()
    assert same(pictures(files, first), plain)
    whole = {path: path.read_bytes() for path in content(first)}
    assert len(whole) == N
    for path, data in whole.items():
        path.write_bytes(DAMAGES[what](data))  # and with it what has its second name
    again = cache()
    assert same(pictures(files, again), plain)
    assert again.told == {"damaged": "some kept pictures were cut off, damaged or of another version"}
    assert {path: path.read_bytes() for path in content(again)} == whole
    healed = cache()
    assert same(pictures(files, healed), plain)
    assert healed.told == {}


@pytest.mark.usefixtures("settled")
def test_a_picture_that_lies_where_another_should_is_not_taken(files: Split, cache: Open) -> None:
    plain = pictures(files, Decoding())
    made = cache()
    pictures(files, made)
    first, *others = sorted(content(made))
    for path in others:
        shutil.copy(first, path)
    for names in made.folder.glob("*/files"):
        shutil.rmtree(names)
    assert same(pictures(files, cache()), plain)


@pytest.mark.parametrize("text", ["", "no number", "-5", "0", "9" * 30, "\0" * 21])
def test_a_damaged_count_of_the_sizes_is_made_again(files: Split, cache: Open, text: str) -> None:
    made = cache()
    pictures(files, made)
    (made.folder / "size").write_text(text)
    assert counted(cache()) == sum(sizes(made))
    (made.folder / "size").write_text(text)
    shutil.rmtree(next(made.folder.glob("*/content")))
    assert same(pictures(files, made), pictures(files, Decoding()))
    assert sum(sizes(made)) <= made.limit


# -- room -----------------------------------------------------------------------------------------------------------


def test_the_count_is_the_sum_of_the_sizes(files: Split, cache: Open) -> None:
    made = cache()
    two_epochs(files, made, 2)
    list(in_order(files, VIEW, 6, 2, made))
    assert counted(made) == sum(sizes(made)) > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_the_limit_is_kept_and_the_same_part_stays(files: Split, cache: Open, workers: int) -> None:
    plain = two_epochs(files, Decoding())
    assert equal(two_epochs(files, cache(), workers), plain)
    limit = sum(sizes(cache())) * 2 // 5
    shutil.rmtree(cache().folder)
    made = cache(limit)
    assert equal(two_epochs(files, made, workers), plain)
    assert 0.6 * limit < sum(sizes(made)) <= limit
    assert "the same part of them is kept" in made.told["full"]
    part = content(made)
    assert equal(two_epochs(files, made, workers), plain)
    assert content(made) == part


def test_what_was_not_used_for_longest_makes_room(files: Split, cache: Open) -> None:
    halves = files.take(np.arange(10)), files.take(np.arange(10, 20))
    for part in halves:
        pictures(part, cache())
    age(cache())
    new = cache()
    used = pictures(halves[0], new)
    before = content(new)
    smaller = cache(sum(sizes(new)) * 3 // 5)
    assert smaller.limit * 0.8 < sum(sizes(smaller)) <= smaller.limit
    assert same(pictures(halves[0], smaller), used)
    assert content(smaller) < before
    assert smaller.told == {}, "what was used last is still there"


def test_a_new_run_pushes_out_what_an_older_one_kept(files: Split, cache: Open) -> None:
    halves = files.take(np.arange(10)), files.take(np.arange(10, 20))
    pictures(halves[0], cache())
    age(cache())
    old, room = content(cache()), sum(sizes(cache())) + 1000
    later = cache(room)
    pictures(halves[1], later)
    assert sum(sizes(later)) <= room
    assert len(content(later) - old) == 10
    assert later.told == {}


def test_what_an_interrupted_writer_left_goes_first(files: Split, cache: Open) -> None:
    made = cache()
    pictures(files, made)
    left = next(iter(content(made))).with_suffix(".pixels.1.tmp")
    left.write_bytes(b"x" * 10_000)
    os.utime(left, (1, 1))
    cache(sum(sizes(made)) - 5_000)
    assert not left.exists()


def test_only_the_caches_own_files_are_removed(files: Split, cache: Open) -> None:
    made = cache()
    pictures(files, made)
    (made.folder / "notes.txt").write_text("mine")
    age(made)
    cache(1)
    assert content(made) == set()
    assert (made.folder / "notes.txt").read_text() == "mine"


# -- many runs at once ----------------------------------------------------------------------------------------------


def in_another_process(split: Split, folder: str, limit: int) -> list[bytes]:
    """The bytes of two epochs and of an evaluation, from the shared cache."""
    torch.set_num_threads(1)
    shared = opened(limit, folder)
    shown = [*two_epochs(split, shared), *in_order(split, VIEW, 6, 0, shared)]
    return [batch.images.numpy().tobytes() for batch in shown]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_runs_share_a_cache(files: Split, cache: Open, share: float) -> None:
    plain = [b.images.numpy().tobytes() for b in [*two_epochs(files, cache()), *in_order(files, VIEW, 6, 0, cache())]]
    folder, limit = cache().folder, int(share * sum(sizes(cache())))
    shutil.rmtree(folder)
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        asked = [pool.submit(in_another_process, files, str(folder), limit) for _ in range(4)]
        assert all(one.result() == plain for one in asked)
    left = cache(limit)
    assert sum(sizes(left)) <= limit
    assert not list(folder.rglob("*.tmp"))
    assert counted(left) == sum(sizes(left))


# -- a disk that will not -------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 64 bytes: the system refuses to write more, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_time_only(files: Split, cache: Open, full_disk: None) -> None:
    made = opened(LARGE, str(cache().folder))
    assert equal(two_epochs(files, made), two_epochs(files, Decoding()))
    assert made.told == {"unwritable": f"nothing more is kept in {cache().folder}: {os.strerror(errno.EFBIG).lower()}"}
    assert content(cache()) == set()
    assert not list(cache().folder.rglob("*.tmp"))


@pytest.mark.parametrize("place", ["file/cache", "file", "/proc/cache"])
def test_a_folder_that_cannot_be_made_costs_time_only(files: Split, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    made = opened(None, str(tmp_path / place))
    assert equal(two_epochs(files, made), two_epochs(files, Decoding()))
    assert made.told["unwritable"].startswith("nothing more is kept in ")
    assert "\n" not in made.told["unwritable"]
    assert (tmp_path / "file").read_text() == "mine"


def test_what_workers_have_to_say_arrives(files: Split, tmp_path: Path) -> None:
    made = opened(LARGE, str(tmp_path / "cache"))
    assert isinstance(made, Cache)
    made.limit = 5
    two_epochs(files, made, 2)
    assert "full" in made.told


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_that_is_removed_under_a_run_costs_time_only(files: Split, cache: Open, workers: int) -> None:
    plain = two_epochs(files, Decoding())
    made = cache()
    stream = batches(files, made).stream(0, 4, workers)
    seen = [next(stream)]
    shutil.rmtree(made.folder, ignore_errors=True)  # beside workers that write there
    assert equal([*seen, *stream], plain)


# -- where it lies, and how much ------------------------------------------------------------------------------------


def test_no_room_is_no_cache(tmp_path: Path) -> None:
    assert type(opened(0, str(tmp_path / "cache"))) is Decoding
    assert not (tmp_path / "cache").exists()


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RESIDUA_CACHE", "~/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert home() == tmp_path / "own" / "pictures"
    monkeypatch.delenv("RESIDUA_CACHE")
    assert home() == Path("/elsewhere/residua/pictures")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert home() == tmp_path / ".cache/residua/pictures"


def test_it_is_the_users_alone_and_no_backups(cache: Open) -> None:
    made = cache()
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert (made.folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


@pytest.mark.parametrize(
    ("free", "taken", "room"),
    [(2**50, 0, 10 * 2**30), (20 * 2**30, 0, 5 * 2**30), (10 * 2**30, 10 * 2**30, 5 * 2**30), (0, 0, 1)],
)
def test_unasked_it_takes_ten_gigabytes_or_a_quarter_of_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, taken: int, room: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**60, 0, free))  # type: ignore[attr-defined]
    assert suitable(tmp_path, taken) == room
