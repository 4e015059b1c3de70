import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from residua.data.sources import open_data
from residua.data.table import open_table
from residua.errors import DataError, UsageError

Photos = Callable[..., Path]


def pictures(photos: Photos) -> Path:
    return photos(*(f"pics/{i}.png" for i in range(6)), "pics/with, comma.png")


def table(root: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> str:
    (root / name).write_text(text, encoding=encoding, newline="")
    return str(root / name)


PLAIN = "path,label\npics/0.png,ant\npics/1.png,bee\npics/2.png,ant\n"


def test_paths_are_relative_to_the_table(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pictures(photos)
    monkeypatch.chdir("/")
    split = open_table(table(root, PLAIN)).splits["train"]
    assert split.names == ("pics/0.png", "pics/1.png", "pics/2.png")
    assert split.labels.tolist() == [0, 1, 0]
    assert split.images[1].shape == (3, 21, 24)
    absolute = f'file,target\n{root}/pics/0.png,ant\n"{root}/pics/with, comma.png",bee\n'
    assert open_table(table(root, absolute)).splits["train"].names == ("pics/0.png", "pics/with, comma.png")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("path", ["path", "File", " filename", "IMAGE"])
@pytest.mark.parametrize("label", ["label", "Class", "target"])
def test_columns_are_found_by_name_in_any_usual_csv(photos: Photos, separator: str, path: str, label: str) -> None:
    text = f"id,{label},{path}\r\n7,ant,pics/0.png\r\n8,bee,pics/1.png\r\n".replace(",", separator)
    dataset = open_table(table(pictures(photos), text, encoding="utf-8-sig"))
    assert dataset.classes == ("ant", "bee")
    assert "columns not used: id" in dataset.notes


def test_a_split_column_is_obeyed(photos: Photos) -> None:
    text = (
        "path,label,split\npics/0.png,ant,train\npics/1.png,bee,Training\npics/2.png,ant,valid\npics/3.png,bee,test\n"
    )
    dataset = open_data(table(pictures(photos), text))
    assert {s: v.names for s, v in dataset.splits.items()} == {
        "train": ("pics/0.png", "pics/1.png"),
        "val": ("pics/2.png",),
        "test": ("pics/3.png",),
    }


def test_a_missing_column_lists_what_there_is(photos: Photos) -> None:
    root = pictures(photos)
    with pytest.raises(DataError, match=r"no column for the path \(named path or file or .*it has: picture, label"):
        open_table(table(root, "picture,label\na.png,ant\n"))
    with pytest.raises(DataError, match=r"no column for the label .*it has: path, kind"):
        open_table(table(root, "path,kind\na.png,ant\n"))
    with pytest.raises(DataError, match="it has: none"):
        open_table(table(root, ""))


def test_two_columns_for_one_thing_are_an_error(photos: Photos) -> None:
    with pytest.raises(DataError, match="which column is the label: class, target"):
        open_table(table(pictures(photos), "path,class,target\npics/0.png,ant,0\n"))


def test_rows_that_cannot_be_used_are_skipped_with_the_reason(photos: Photos) -> None:
    text = PLAIN + "pics/gone.png,ant\n,ant\npics/3.png,\npics/4.png\n"
    dataset = open_table(table(pictures(photos), text))
    assert len(dataset.splits["train"]) == 3
    assert {(s.path, s.reason) for s in dataset.skipped} == {
        ("row 6", "no path"),
        ("row 7", "no label"),
        ("row 8", "no label"),
        ("pics/gone.png", "no such file (or a link to nothing)"),
    }


def test_a_table_of_missing_files_is_an_error_that_names_the_first(photos: Photos) -> None:
    with pytest.raises(DataError, match=r"no usable image; the first of 2 skipped: a\.png: no such file"):
        open_table(table(pictures(photos), "path,label\na.png,ant\nb.png,bee\n"))


def test_a_repeated_row_counts_once(photos: Photos) -> None:
    dataset = open_table(table(pictures(photos), PLAIN + "pics/0.png,ant\npics/../pics/0.png,ant\n"))
    assert len(dataset.splits["train"]) == 3
    assert "2 repeated rows count once" in dataset.notes


def test_a_file_with_two_labels_has_none(photos: Photos) -> None:
    dataset = open_table(table(pictures(photos), PLAIN + "pics/3.png,bee\npics/0.png,bee\n"))
    assert dataset.splits["train"].names == ("pics/1.png", "pics/2.png", "pics/3.png")
    assert [(s.path, s.reason) for s in dataset.skipped] == [
        ("pics/0.png", "two labels: 'ant' (row 2) and 'bee' (row 6)")
    ]


def test_a_file_in_two_splits_stays_in_the_first(photos: Photos) -> None:
    text = "path,label,split\npics/0.png,ant,train\npics/1.png,bee,train\npics/0.png,ant,test\npics/2.png,ant,test\n"
    dataset = open_table(table(pictures(photos), text))
    assert dataset.splits["test"].names == ("pics/2.png",)
    assert [(s.path, s.reason) for s in dataset.skipped] == [("pics/0.png", "row 4: already in train by row 2")]


def test_an_unknown_split_names_the_nearest(photos: Photos) -> None:
    text = "path,label,split\npics/0.png,ant,train\npics/1.png,bee,train\npics/2.png,bee,tets\n"
    skipped = open_table(table(pictures(photos), text)).skipped
    assert [(s.path, s.reason) for s in skipped] == [("row 4", "unknown split 'tets': did you mean test?")]


@pytest.mark.parametrize("content", [b"path,label\n\xff\xfe,ant\n", b"\x00" * 40, b'path,label\n"' + b"x" * 200_000])
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    (tmp_path / "t.parquet").write_bytes(content)
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(DataError) as e:
            open_data(str(tmp_path / name))
        assert "\n" not in str(e.value)


def test_parquet_says_the_same_as_csv(photos: Photos) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root = pictures(photos)
    columns = {
        "path": ["pics/0.png", "pics/1.png", "pics/2.png", None],
        "label": [7.0, 8.0, None, 8.0],
        "extra": [b""] * 4,
    }
    parquet.write_table(pa.table(columns), root / "t.parquet")
    dataset = open_table(str(root / "t.parquet"))
    same = open_table(table(root, "path,label,extra\npics/0.png,7,\npics/1.png,8,\npics/2.png,,\n,8,\n"))
    assert dataset.classes == same.classes == ("7", "8")
    assert dataset.splits["train"].names == same.splits["train"].names
    assert (dataset.skipped, dataset.notes, dataset.fingerprint) == (same.skipped, same.notes, same.fingerprint)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'residua\[parquet\]'"):
        open_table(str(tmp_path / "t.parquet"))
