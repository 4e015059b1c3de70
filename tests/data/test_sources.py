import ast
import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import residua.data
from acceptance import Acceptance
from residua.data.sources import open_data, write_split
from residua.errors import DataError, UsageError

Photos = Callable[..., Path]


def test_a_wrong_name_fails_as_usage_and_a_wrong_path_as_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean digits"):
        open_data("digit")
    with pytest.raises(DataError, match="no such folder"):
        open_data(str(tmp_path / "nowhere"))


def test_a_limit_keeps_every_class_of_a_folder(photos: Photos) -> None:
    root = photos(*(f"{c}/{i}.png" for c in ("ants", "bees", "wasps") for i in range(9)))
    dataset = open_data(str(root), limit=3)
    assert {s: sorted(v.labels.tolist()) for s, v in dataset.splits.items()} == {
        "train": [0, 1, 2],
        "val": [0, 1, 2],
        "test": [0, 1, 2],
    }


def test_a_limit_takes_the_first_of_a_known_set() -> None:
    whole, few = open_data("digits"), open_data("digits", limit=5)
    assert {s: v.names for s, v in few.splits.items()} == {s: v.names[:5] for s, v in whole.splits.items()}


def test_the_written_split_says_where_every_picture_went(acceptance: Acceptance, tmp_path: Path) -> None:
    dataset = open_data(str(acceptance.root), seed=3)
    write_split(dataset, tmp_path / "split.csv")
    with open(tmp_path / "split.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [
        {"name": name, "label": dataset.classes[label], "split": split_name}
        for split_name, split in dataset.splits.items()
        for name, label in zip(split.names, split.labels, strict=True)
    ]
    assert rows == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "split.csv"]


def test_splits_are_the_same_on_every_run_and_machine(photos: Photos) -> None:
    root = photos(*(f"{c}/{i}.png" for c in ("ants", "bees") for i in range(8)))
    splits = open_data(str(root), seed=5).splits
    assert {s: [n.replace(".png", "") for n in v.names] for s, v in splits.items() if s != "train"} == {
        "val": ["ants/3", "bees/6"],
        "test": ["ants/1", "ants/6", "bees/5"],
    }


def test_importing_the_room_imports_nothing_that_only_some_data_need() -> None:
    some = {"torchvision", "sklearn", "pyarrow", "scipy"}
    for path in Path(residua.data.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert not {n.partition(".")[0] for n in names} & some, path
