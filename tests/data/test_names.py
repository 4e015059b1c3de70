import subprocess
import sys
from pathlib import Path

import pytest

from residua.data.names import AUGMENTATIONS, KNOWN, check_spec, check_words, shown
from residua.errors import DataError, UsageError


@pytest.mark.parametrize("name", KNOWN)
def test_known_sets_need_no_files(name: str) -> None:
    check_spec(name)


def test_folders_and_tables_are_data(tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    (tmp_path / "table.CSV").touch()
    check_spec(str(tmp_path))
    check_spec(f"{tmp_path}/")
    check_spec(str(tmp_path / "table.CSV"))


def test_a_misspelt_set_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'cifar01'.*cifar10"):
        check_spec("cifar01")


@pytest.mark.parametrize("spec", ["", " ", "\n"])
def test_nothing_is_no_data_set(spec: str) -> None:
    with pytest.raises(UsageError, match="unknown data set"):
        check_spec(spec)


def test_a_missing_path_is_a_problem_with_the_data_and_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"photo: no such folder or table: did you mean .*photos"):
        check_spec(str(tmp_path / "photo"))
    with pytest.raises(DataError, match="does not exist either"):
        check_spec(str(tmp_path / "nowhere" / "photos"))
    with pytest.raises(DataError, match="no such folder or table"):
        check_spec("labels.csv")


def test_an_empty_folder_is_refused_even_with_litter_in_it(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    with pytest.raises(DataError, match="an empty folder"):
        check_spec(str(tmp_path))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").touch()
    with pytest.raises(DataError, match=r"photos\.zip: give a folder, a table"):
        check_spec(str(tmp_path / "photos.zip"))


def test_every_message_is_one_line(tmp_path: Path) -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown("Größe 蜂") == "Größe 蜂"
    with pytest.raises(DataError) as e:
        check_spec(str(tmp_path / "new\nline"))
    assert "\n" not in str(e.value)


def test_words_come_in_the_order_they_are_done_with_defaults_filled_in() -> None:
    assert list(check_words(["mixup", "flip", "pad-crop:2"]).items()) == [
        ("pad-crop", (2.0,)),
        ("flip", ()),
        ("mixup", (0.2,)),
    ]
    assert check_words(["short-side:300"]) == {"short-side": (300.0, 480.0)}
    assert check_words([]) == {}


def test_every_word_stands_on_its_own_defaults() -> None:
    for name, numbers in AUGMENTATIONS.items():
        assert check_words([name]) == {name: tuple(n.default for n in numbers)}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("flipp", "unknown augmentation 'flipp': did you mean flip"),
        ("flip:1", "it takes no number"),
        ("pad-crop:4:5", "it takes pixels of padding"),
        ("pad-crop:many", "must be a number, got 'many'"),
        ("pad-crop:1.5", "must be a whole number"),
        ("pad-crop:0", r"must be a whole number in \[1, 1024\]"),
        ("erase:nan", "probability must be"),
        ("erase:1.5", r"in \[0, 1\]"),
        ("mixup:", "must be a number"),
        ("short-side:480:256", "the smaller side comes first"),
    ],
)
def test_wrong_words_are_named(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_words([word])


def test_words_that_answer_the_same_question_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="'pad-crop' and 'short-side' exclude each other"):
        check_words(["short-side", "pad-crop"])
    with pytest.raises(UsageError, match="given twice"):
        check_words(["flip", "flip"])


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys, residua.data, residua.data.names; sys.exit(bool({'torch', 'numpy', 'PIL'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
