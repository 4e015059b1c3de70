"""Laws of listings: a million files in some tens of bytes each, and every name comes back as the file system has it."""

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acceptance import picture, save
from residua.data import inspection, table
from residua.data.compact import Coding, FileNames, GrowingNames, Texts, joined, taken
from residua.data.dataset import Skipped
from residua.data.decode import EXTENSIONS
from residua.data.inspection import looked_at
from residua.data.listing import Files, GrowingFiles, Record, Skips
from residua.data.sources import listed, open_data

Photos = Callable[..., Path]

#: Names that people, cameras and archives give, some of which are no UTF-8.
ODD = (
    *(
        b"plain.jpg",
        b"LOUD.JPG",
        b"two words.png",
        b"quote'\"s.png",
        b"new\nline.png",
        b"tab\t.gif",
        b"comma,semi;.png",
    ),
    *(
        "gr\u00fc\u00dfe.png".encode(),
        "gru\u0308\u00dfe.png".encode(),
        "\u5199\u771f.webp".encode(),
        "\U0001f41c.png".encode(),
    ),
    *(
        b"\xff\xfe.png",
        b"latin-\xe9.jpg",
        b"half-\xc3.png",
        b"=1+1.png",
        b"-rf.png",
        b"<script>.png",
        b"a.jpg.png",
        b"0.png",
    ),
)
#: Names that are no pictures by their ending, or are nobody's.
OTHERS = (b"notes.txt", b"png", b"video.mp4", b"no ending \xff", b".hidden.png", b"Thumbs.db")


def make(root: Path, names: list[bytes]) -> None:
    """Empty files of these names: a listing opens none of them."""
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def all_names() -> list[bytes]:
    below = [os.path.join(a, b) for a in (b"train", b"val") for b in (b"ants", b"bees \xe9", b"ants/deep/er")]
    return [os.path.join(folder, name) for folder in below for name in (*ODD, *OTHERS)]


def walked(root: Path) -> set[tuple[str, str, str, str]]:
    """Name, path, label and split of every picture, by a plain walk."""
    found = set()
    for above, _, files in os.walk(root):
        for file in files:
            path = os.path.join(above, file)
            name = os.path.relpath(path, root)
            split, label, *_ = name.split("/")
            if file.lower().endswith(EXTENSIONS) and not file.startswith("."):
                found.add((name, path, label, split))
    return found


def records(files: Files) -> set[tuple[str, str, str, str]]:
    return {(r.name, r.path, r.label, r.split) for r in files}


# -- folders --------------------------------------------------------------------------------------------------------


def test_a_listing_is_what_a_plain_walk_finds_in_any_order_with_any_names(tmp_path: Path) -> None:
    names = all_names()
    first, second = tmp_path / "first", tmp_path / "second"
    make(first, names)
    make(second, [names[i] for i in np.random.default_rng(0).permutation(len(names))])
    listing = listed(str(first))
    assert records(listing.files) == walked(first)
    assert len(listing.files) == len(walked(first)) == 6 * len(ODD)
    assert [r.name for r in listing.files] == [r.name for r in listed(str(second)).files]
    assert {r.split for r in listing.files} == {"train", "val"}
    assert {r.label for r in listing.files} == {"ants", os.fsdecode(b"bees \xe9")}
    assert not any(r.group for r in listing.files)
    assert all(os.path.exists(path) for path in listing.files.paths)


def test_what_is_no_picture_is_named_and_what_is_nobodys_is_not(tmp_path: Path) -> None:
    make(tmp_path, all_names())
    skipped = [s.path for s in listed(str(tmp_path)).skipped]
    assert len(skipped) == len(set(skipped)) == 6 * 4
    assert {os.path.basename(s) for s in skipped} == {os.fsdecode(n) for n in OTHERS[:4]}
    assert all(s.reason.startswith("not an image by its ending") for s in listed(str(tmp_path)).skipped)


def test_a_listing_opens_no_file(tmp_path: Path) -> None:
    make(tmp_path, [b"ants/1.png"])
    os.mkfifo(tmp_path / "ants" / "2.png")  # opened, it would wait for ever
    assert [r.name for r in listed(str(tmp_path)).files] == ["ants/1.png", "ants/2.png"]


# -- files as a sequence --------------------------------------------------------------------------------------------


@pytest.fixture
def files() -> Files:
    growing = GrowingFiles()
    for i in range(5000):  # more than are made into objects at a time
        growing.add(
            f"c{i % 7}/{os.fsdecode(ODD[i % len(ODD)])}", f"c{i % 7}", ("train", "val")[i % 3 == 0], "g" * (i % 4)
        )
    return growing.done("/root of all")


def test_files_are_a_sequence_of_records(files: Files) -> None:
    everything = list(files)
    assert len(files) == len(everything) == 5000
    assert everything[17] == files[17] == files[17 - 5000]
    assert files[17] == Record(
        f"c3/{os.fsdecode(ODD[17])}", f"/root of all/c3/{os.fsdecode(ODD[17])}", "c3", "train", "g"
    )
    assert files == tuple(everything)
    assert files != tuple(everything[:-1])
    for part in (slice(3, 40), slice(None, None, -7), slice(4990, 6000), slice(5, 5)):
        assert files[part] == tuple(everything[part])
    rows = np.random.default_rng(0).integers(0, 5000, 300)
    assert list(files.take(rows)) == [everything[i] for i in rows]
    assert list(files.take(rows).take([5, 5, 0])) == [everything[rows[5]]] * 2 + [everything[rows[0]]]
    for wrong in (5000, -5001):
        with pytest.raises(IndexError):
            files[wrong]


def test_a_part_is_sent_to_workers_as_a_part(files: Files) -> None:
    part = files.names.take(range(10))
    sent = pickle.dumps(part)
    assert pickle.loads(sent) == tuple(part)
    assert len(sent) < len(pickle.dumps(files.names)) / 10
    assert pickle.loads(pickle.dumps(files.names)) == files.names


def test_splits_of_one_listing_are_joined_without_a_copy_of_the_texts(files: Files) -> None:
    even, odd = files.names.take(range(0, 5000, 2)), files.names.take(range(1, 5000, 2))
    both = joined(even, odd)
    assert isinstance(both, FileNames) and both.ends.blob is files.names.ends.blob
    assert list(both) == [*even, *odd]
    assert list(joined(even, ("x", "y"))) == [*even, "x", "y"]
    assert joined(("a",), ("b",)) == ("a", "b")
    assert taken(("a", "b"), np.array([1, 1])) == ("b", "b")


def test_texts_come_back_whatever_they_are() -> None:
    rng = np.random.default_rng(0)
    texts = [os.fsdecode(bytes(rng.integers(1, 256, rng.integers(0, 30)).astype(np.uint8))) for _ in range(9000)]
    assert list(Texts.of(texts)) == texts
    names, coding, few = GrowingNames(), Coding(), Coding(most=5)
    for text in texts:
        names.append(text)
        coding.append(text[:1])
        few.append(text[:1])
    assert list(names.done()) == texts
    assert list(coding.done()) == list(few.done()) == [text[:1] for text in texts]
    words = list(coding.done().words)
    assert len(words) == len(set(words)) == len({text[:1] for text in texts})
    counts = dict(zip(words, coding.done().counts().tolist(), strict=True))
    assert counts == {word: sum(text[:1] == word for text in texts) for word in words}


def test_endings_are_found_in_any_case() -> None:
    texts = ["a.gif", "b.GIF", "c.Gif", "gif", ".gif", "d.gif.png", "", "x.GI", "\u0130.gif", "e.gıf"]
    assert Texts.of(texts).ends_with(".gif").tolist() == [t.lower().endswith(".gif") for t in texts]


def test_a_million_files_take_some_tens_of_bytes_each() -> None:
    n = 100_000
    growing = GrowingFiles()
    tracemalloc.start()
    try:
        for i in range(n):
            growing.add(
                f"train/class-{i % 1000:04}/IMG_{i:08}.jpg", f"class-{i % 1000:04}", "train", f"patient-{i // 9}"
            )
        made = growing.done("/data")
        held = tracemalloc.get_traced_memory()[0]
        del growing
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(len(r.path) for r in made[:20_000]) > 0  # going through them makes few at a time
        seen = tracemalloc.get_traced_memory()[1] - after
    finally:
        tracemalloc.stop()
    name = len("IMG_00000000.jpg")
    assert after < n * (name + 40)  # 28 bytes of numbers, and what the names of the groups take
    assert held < 2.5 * after
    assert seen < 8 * 2**20


# -- tables ---------------------------------------------------------------------------------------------------------


def csv(root: Path, text: str) -> str:
    (root / "table.csv").write_text(text, encoding="utf-8")
    return str(root / "table.csv")


ROWS = [("a.png", "ant", "train", "p1"), ("b.png", "bee", "train", "p2"), ("c.png", "ant", "train", "p1"),
        ("d.png", "bee", "val", ""), ("e.png", "ant", "test", "p3"), ("f.png", "bee", "test", "")]  # fmt: skip


def test_a_column_of_groups_is_carried_to_the_splits(photos: Photos) -> None:
    root = photos(*(row[0] for row in ROWS))
    spec = csv(root, "path,label,split,group\n" + "".join(",".join(row) + "\n" for row in ROWS))
    assert [(r.name, r.label, r.split, r.group) for r in listed(spec).files] == ROWS
    splits = open_data(spec).splits
    codes = {name: split.groups.tolist() for name, split in splits.items() if split.groups is not None}
    a, b, c = codes["train"]
    d, (e, f) = codes["val"][0], codes["test"]
    assert a == c
    assert len({a, b, d, e, f}) == 5, "a picture without a group is a group of its own"
    taken_again = splits["train"].take([2, 1]).groups
    assert taken_again is not None and taken_again.tolist() == [c, b]


def test_without_groups_there_are_none(photos: Photos) -> None:
    root = photos(*(row[0] for row in ROWS))
    for text in (
        "path,label,group\n" + "".join(f"{r[0]},{r[1]},\n" for r in ROWS),
        "path,label\na.png,ant\nb.png,bee\n",
    ):
        listing = listed(csv(root, text))
        assert listing.files.group_codes() is None
        assert open_data(str(root / "table.csv")).splits["train"].groups is None


def test_missing_files_and_repeated_rows_are_told_in_one_line_each(photos: Photos) -> None:
    root = photos("a.png", "b.png", "c.png", "d.png")
    rows = [
        *(
            "a.png,ant,train,p1",
            "b.png,bee,train,",
            "a.png,ant,train,p1",
            "./a.png,ant,train,p1",
            "gone.png,ant,train,",
        ),
        *('"new\nline.png",bee,train,', "b.png,bee,test,", "c.png,ant,train,p1", "c.png,bee,train,p1", ",ant,train,"),
        *("d.png,bee,train,p4", "d.png,bee,train,p5", "d.png,bee,trian,", "e.png,,train,"),
    ]
    dataset = open_data(csv(root, "path,label,split,group\n" + "".join(row + "\n" for row in rows)), val_fraction=0)
    said = {s.path: s.reason for s in dataset.skipped}
    assert said == {
        "gone.png": "no such file (or a link to nothing)",
        "new\nline.png": "no such file (or a link to nothing)",
        "b.png": "row 8: already in train by row 3",
        "c.png": "two labels: 'ant' (row 9) and 'bee' (row 10)",
        "row 11": "no path",
        "d.png": "row 13: already in group 'p4' by row 12",
        "row 14": "unknown split 'trian': did you mean train?",
        "row 15": "no label",
    }
    assert len(dataset.skipped) == len(said)
    assert "2 repeated rows count once" in dataset.notes
    assert not any("\n" in reason for reason in (*said.values(), *dataset.notes))
    left = [name for split in dataset.splits.values() for name in split.names]
    assert sorted(left) == ["a.png", "b.png", "d.png"]


def test_names_whose_hashes_are_equal_are_still_different_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "path,label\n" + "".join(f"{i % 40}.png,{'ab'[i % 40 % 2]}\n" for i in range(60))
    plain = listed(csv(tmp_path, text))
    monkeypatch.setattr(table, "hash", lambda text: 7, raising=False)
    crowded = listed(csv(tmp_path, text))
    assert plain.files == crowded.files and len(plain.files) == 40
    assert plain.notes == crowded.notes == ("20 repeated rows count once",)


def test_skipped_rows_are_kept_compactly_and_come_back() -> None:
    rows = [Skipped(f"a/{i}.png", f"reason {i % 3}") for i in range(50)]
    assert Skips.of(rows) == tuple(rows)
    assert list(Skips.of(rows).take([4, 4])) == [rows[4]] * 2


# -- looking into the files -----------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Files:
    """Good pictures, bad ones and missing ones."""
    growing = GrowingFiles()
    for i in range(30):
        growing.add(f"{i}.png", "ab"[i % 2], "train")
        if i % 5 == 1:
            (tmp_path / f"{i}.png").write_bytes(b"no picture")
        elif i % 5 != 2:
            save(tmp_path / f"{i}.png", picture(20 + i, 24, seed=i))
    return growing.done(str(tmp_path))


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "CHUNK", 4)


@pytest.mark.usefixtures("few_at_a_time")
@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_processes_sees_the_same(mixed: Files, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, bad = looked_at(mixed)
    assert len(alone.rows) == 18 and len(bad) == 12
    assert alone.facts["height"].tolist() == [20 + i for i in alone.rows]
    monkeypatch.setattr(inspection, "processes", lambda n: workers)
    shared, told = looked_at(mixed)
    assert np.array_equal(shared.rows, alone.rows) and np.array_equal(shared.facts, alone.facts)
    assert told == bad


@pytest.mark.usefixtures("few_at_a_time")
def test_where_a_process_dies_this_one_does_the_rest(mixed: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, bad = looked_at(mixed)
    here, true = os.getpid(), inspection.look

    def dying(paths: object, first: int) -> object:
        if os.getpid() != here and first >= 12:
            os._exit(9)
        return true(paths, first)  # type: ignore[arg-type]

    monkeypatch.setattr(inspection, "look", dying)
    monkeypatch.setattr(inspection, "processes", lambda n: 2)
    shared, told = looked_at(mixed)
    assert np.array_equal(shared.facts, alone.facts)
    assert told == bad
