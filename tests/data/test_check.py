"""Laws of a check: everything that is wrong is found and named, nothing that is right; and it agrees with training."""

import csv
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acceptance import Acceptance, picture, save
from residua.data import scan as scanning
from residua.data.check import Check, examine, material
from residua.data.facts import hidden, hidden_by_crop, imbalance, sizes
from residua.data.findings import MUST, NOTE, SHOULD, Finding
from residua.data.scan import KILLED, ends_blank, scan
from residua.data.shapes import series
from residua.data.sources import open_data
from residua.data.view import View
from residua.errors import DataError, UsageError

Photos = Callable[..., Path]


def checked(spec: Path | str) -> Check:
    return examine(material(str(spec)))


def found(check: Check, kind: str) -> Finding:
    """The one finding of a kind."""
    (one,) = [f for f in check.findings if f.kind == kind]
    return one


def kinds(check: Check) -> set[str]:
    return {f.kind for f in check.findings}


def named(check: Check, finding: Finding) -> list[list[str]]:
    return [[check.seen.of.names[i] for i in g] for g in finding.groups]


def photo(seed: int, side: int = 64) -> Image.Image:
    """A smooth picture unlike any of another seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two classes of twenty-five different square pictures each, in train, and five each in val: nothing is wrong."""
    root, seed = tmp_path / "sound", 0
    for split, n in (("train", 25), ("val", 5)):
        for label in ("ants", "bees"):
            (root / split / label).mkdir(parents=True)
            for i in range(n):
                photo(seed).save(root / split / label / f"{chr(97 + i)}.png")
                seed += 1
    return root


# -- the acceptance folder ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def accepted(acceptance: Acceptance) -> Check:
    return checked(acceptance.root)


def test_every_bad_file_is_named_with_its_reason_and_no_good_one_is(accepted: Check, acceptance: Acceptance):
    told = {s["path"]: s["reason"] for s in accepted.to_json()["skipped"]}
    assert set(told) == set(acceptance.bad)
    assert all(word in told[path] for path, word in acceptance.bad.items())
    assert {accepted.seen.of.names[i] for i in np.flatnonzero(accepted.seen.good)} == acceptance.good


def test_what_a_check_can_use_is_what_training_uses(accepted: Check, acceptance: Acceptance):
    dataset = open_data(str(acceptance.root))
    trained = sorted(n for split in dataset.splits.values() for n in split.names)
    usable = sorted(accepted.seen.of.names[i] for i in np.flatnonzero(accepted.seen.good))
    assert set(usable) <= set(trained)  # training opens headers first, and meets what is cut short when it decodes
    assert accepted.classes == dataset.classes


def test_the_accidents_of_the_acceptance_folder_are_found(accepted: Check):
    assert named(accepted, found(accepted, "leak")) == [["train/bees/0.png", "val/bees/twin.png"]]
    assert "wasps" in found(accepted, "missing-class").sentence
    assert found(accepted, "turned").count == 7
    assert named(accepted, found(accepted, "gif")) == [["train/ants/moving.gif"]]
    assert {n for g in named(accepted, found(accepted, "grey")) for n in g} == {
        "train/ants/grey.png", "train/ants/sixteen.png"
    }  # fmt: skip
    assert {path for path, _ in found(accepted, "hidden").files} == {"train/.ipynb_checkpoints", "train/ants/Thumbs.db"}
    read = found(accepted, "read").sentence
    assert all(word in read for word in ("1 of CMYK", "1 of 16 bits", "transparent", "1 moving"))
    assert "train/ants/panorama.png" in named(accepted, found(accepted, "crop"))[0]


def test_findings_come_worst_first_and_every_one_says_something(accepted: Check):
    order = [(MUST, SHOULD, NOTE).index(f.severity) for f in accepted.findings]
    assert order == sorted(order)
    assert all(f.sentence.endswith(".") and f.count > 0 for f in accepted.findings)


def test_processes_find_what_one_finds(acceptance: Acceptance, accepted: Check):
    other = examine(material(str(acceptance.root)), workers=2)
    assert (other.seen.looks == accepted.seen.looks).all() and other.seen.reasons == accepted.seen.reasons


# -- classes --------------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_sound_set(sound: Path):
    check = checked(sound)
    assert not check.findings and check.pictures == 60
    assert check.to_json()["splits"] == {"train": {"ants": 25, "bees": 25}, "val": {"ants": 5, "bees": 5}}


def test_one_class_is_none_to_tell_from_others(sound: Path):
    for split in ("train", "val"):
        shutil.rmtree(sound / split / "bees")
    assert found(checked(sound), "one-class").severity == MUST


def test_a_class_that_only_val_has_must_be_mended_and_one_that_val_lacks_need_not(sound: Path):
    (sound / "val" / "bees").rename(sound / "val" / "Bees")
    check = checked(sound)
    assert [f.kind for f in check.to_mend] == ["unknown-class"]
    assert "'Bees' (in val)" in check.to_mend[0].sentence
    assert found(check, "missing-class").severity == SHOULD


def test_a_class_of_which_no_picture_can_be_used_must_be_mended(sound: Path):
    for path in (sound / "train" / "ants").iterdir():
        path.write_bytes(b"")
    check = checked(sound)
    assert "lost-class" in {f.kind for f in check.to_mend} and found(check, "unusable").count == 25


def test_a_split_of_which_no_picture_can_be_used_is_told(sound: Path):
    for path in (sound / "val").rglob("*.png"):
        path.write_bytes(b"")
    check = checked(sound)
    assert found(check, "lost-split").severity == SHOULD and "missing-class" not in kinds(check)


def test_an_empty_class_folder_is_told(sound: Path):
    (sound / "train" / "moths").mkdir()
    check = checked(sound)
    assert "moths" in found(check, "empty-class").sentence and not check.to_mend


def test_unequal_classes_are_told_by_their_ratio(sound: Path):
    for i in range(20):
        (sound / "train" / "ants" / f"{chr(97 + i)}.png").unlink()
    check = checked(sound)
    assert "5 times" in found(check, "imbalance").sentence and "ants (5)" in found(check, "few").sentence
    assert check.to_json()["imbalance"]["ratio"] == 5


@pytest.mark.parametrize("spec, error", [("nowhere-at-all", UsageError), ("", UsageError)])
def test_a_word_that_names_nothing_is_an_error(spec: str, error: type[Exception]):
    with pytest.raises((error, DataError)):
        material(spec)


def test_an_empty_folder_is_no_data(tmp_path: Path):
    with pytest.raises(DataError, match="empty folder"):
        material(str(tmp_path))


# -- copies ---------------------------------------------------------------------------------------------------------


def test_the_same_file_under_two_labels_must_be_mended(sound: Path):
    shutil.copy(sound / "train" / "ants" / "a.png", sound / "train" / "bees" / "z.png")
    check = checked(sound)
    assert [f.kind for f in check.to_mend] == ["two-labels"]
    assert named(check, check.to_mend[0]) == [["train/ants/a.png", "train/bees/z.png"]]


def test_the_same_file_in_two_splits_must_be_mended_from_one_per_cent_on(sound: Path):
    shutil.copy(sound / "train" / "ants" / "a.png", sound / "val" / "ants" / "z.png")
    check = checked(sound)
    assert [f.kind for f in check.to_mend] == ["leak"] and "9.1 % of it" in check.to_mend[0].sentence


def test_a_split_that_is_in_train_as_a_whole_is_told_as_100_per_cent(sound: Path):
    shutil.rmtree(sound / "val")
    shutil.copytree(sound / "train", sound / "val")
    check = checked(sound)
    leak = found(check, "leak")
    assert leak.count == 50 and "50 pictures of val (100 % of it)" in leak.sentence and len(leak.groups) == 50


def test_the_same_file_twice_in_one_class_is_a_note(sound: Path):
    shutil.copy(sound / "train" / "ants" / "a.png", sound / "train" / "ants" / "z.png")
    check = checked(sound)
    assert found(check, "copies").severity == NOTE and kinds(check) == {"copies"}


@pytest.mark.parametrize(
    "to, kind, severity",
    [
        ("train/ants/z.jpg", "alike", NOTE), ("train/bees/z.jpg", "alike-two-labels", SHOULD),
        ("val/ants/z.jpg", "alike-leak", SHOULD),
    ],
)  # fmt: skip
def test_a_smaller_jpeg_of_a_picture_is_found_wherever_it_lies(sound: Path, to: str, kind: str, severity: str):
    with Image.open(sound / "train" / "ants" / "a.png") as image:
        image.resize((48, 48)).save(sound / to, quality=60)
    check = checked(sound)
    assert found(check, kind).severity == severity and not check.to_mend
    assert named(check, found(check, kind)) == [["train/ants/a.png", to]]


# -- files ----------------------------------------------------------------------------------------------------------


def write_table(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return path


def test_a_table_tells_missing_files_repeated_rows_and_two_labels(photos: Photos):
    root = photos(*(f"{i}.png" for i in range(8)))
    rows = [(f"{i}.png", ("<script>", "new\nline")[i % 2]) for i in range(8)]
    rows += [("gone.png", "<script>"), ("0.png", "<script>"), ("1.png", "<script>")]
    check = checked(write_table(root / "labels.csv", rows))
    (torn,) = check.to_mend
    assert torn.kind == "torn" and [path for path, _ in torn.files] == ["1.png"]
    assert {s["path"] for s in check.to_json()["skipped"]} == {"1.png", "gone.png"}
    assert any("repeated" in n for n in check.seen.of.notes)
    assert check.pictures == 7


def test_a_picture_with_a_tail_of_one_colour_is_told(tmp_path: Path):
    whole = np.asarray(photo(0, 128)).copy()
    assert not ends_blank(whole)
    whole[90:] = 128
    assert ends_blank(whole)
    whole[90:] = 255  # a white background is no damage
    assert not ends_blank(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes do not inherit what a test replaces")
def test_a_file_that_kills_its_process_is_named_and_the_others_are_looked_at(
    sound: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = sorted(str(p) for p in (sound / "train").rglob("*.png"))
    deadly, look = paths[37], scanning.look

    def fatal(path: str, into: object) -> object:
        if path == deadly:
            os._exit(1)
        return look(path, into)  # type: ignore[arg-type]

    monkeypatch.setattr(scanning, "look", fatal)
    parts = list(scan(paths, 2))
    assert {i: r for p in parts for i, r in p.reasons.items()} == {37: KILLED}
    assert [p.first for p in parts] == [0, 32] and sum((p.looks["width"] == 64).sum() for p in parts) == 49


def test_a_class_told_by_its_format_is_told(tmp_path: Path):
    for i in range(6):
        (tmp_path / "set" / "a").mkdir(parents=True, exist_ok=True)
        photo(i).save(tmp_path / "set" / "a" / f"{i}.jpg")
        save(tmp_path / "set" / "b" / f"{i}.png", np.asarray(photo(i + 50)))
    told = [f.sentence for f in checked(tmp_path / "set").findings if f.kind == "gives-away"]
    assert ["a are JPEG files" in told[0], "b are PNG files" in told[1]] == [True, True]


# -- numbers --------------------------------------------------------------------------------------------------------


def test_what_a_crop_hides_is_what_is_left_of_the_resized_picture():
    view = View(224, "crop", 256, "RGB", (0.5,) * 3, (0.5,) * 3)
    shares = hidden(view, np.array([400, 256, 300]), np.array([300, 256, 600]))
    resized = np.array([(256 * 400 / 300) * 256, 256 * 256, 256 * 512])
    assert shares == pytest.approx(1 - 224**2 / resized)


def test_only_a_view_that_crops_hides_anything():
    sides, labels = (np.array([400, 100, 100]), np.array([100, 100, 400])), np.array([0, 0, 2])
    views = {fit: View(90, fit, 100, "L", (0.5,), (0.5,)) for fit in ("crop", "pad", "squash")}
    told = {fit: hidden_by_crop(view, sides, labels, classes=("a", "b", "c")) for fit, view in views.items()}
    assert told["pad"] == told["squash"] == {}
    shares = [1 - 0.81 / 4, 1 - 0.81, 1 - 0.81 / 4]
    assert told["crop"]["mean"] == pytest.approx(np.mean(shares)) and told["crop"]["over_40"] == 2
    assert told["crop"]["classes"] == {
        "a": {"mean": pytest.approx(np.mean(shares[:2])), "over_40": 1, "pictures": 2},
        "c": {"mean": pytest.approx(shares[2]), "over_40": 1, "pictures": 1},
    }


def test_a_class_that_a_crop_hides_more_of_is_named_and_none_that_is_like_all(tmp_path: Path):
    for i in range(4):
        for label, side in (("long", 160), ("longer", 160)):
            save(tmp_path / label / f"{i}.png", np.asarray(photo(i + side, side))[:80])
    assert "loses most" not in found(checked(tmp_path), "crop").sentence
    for path in (tmp_path / "longer").iterdir():
        save(path, np.asarray(photo(7, 160))[:40])
    assert "'longer' loses most, 75 % on average" in found(checked(tmp_path), "crop").sentence


def test_formats_go_by_their_whole_names(tmp_path: Path):
    for i, ending in enumerate(("jp2", "webp")):
        save(tmp_path / ending / f"1.{ending}", np.asarray(photo(i)))
    assert checked(tmp_path).to_json()["formats"] == {"JPEG2000": 1, "WEBP": 1}


def test_sizes_and_imbalance_in_numbers():
    assert sizes(np.array([30, 10, 20]), np.array([15, 50, 25])) == {
        "width": {"min": 10, "median": 20, "max": 30},
        "height": {"min": 15, "median": 25, "max": 50},
        "short_side": {"min": 10, "median": 15, "max": 20},
    }
    assert imbalance({"a": 8, "b": 0, "c": 2})["ratio"] == 4 and imbalance({"a": 0}) == {}


def test_a_picture_stored_turned_is_measured_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a/1.jpg", "b/1.jpg"):
        save(tmp_path / name, picture(30, 50), exif=exif)
    check = checked(tmp_path)
    assert check.to_json()["sizes"]["width"] == {"min": 30, "median": 30, "max": 30}


@pytest.mark.parametrize(
    "names, n",
    [
        ([f"patient{p:02}_{i}.png" for p in range(4) for i in range(3)], 12),
        ([f"IMG_{i}.jpg" for i in range(12)], 0), ([], 0),
    ],
)  # fmt: skip
def test_series_are_known_by_a_number_before_the_counter(names: list[str], n: int):
    assert series(names)[0] == n


# -- real and known data --------------------------------------------------------------------------------------------


def test_a_known_set_is_looked_at_in_memory_and_nothing_of_it_must_be_mended():
    check = checked("digits")
    assert check.pictures == 1797 and not check.to_mend and len(check.classes) == 10


@pytest.fixture(scope="module")
def hymenoptera(real_data: Path) -> Iterator[Check]:
    yield examine(material(str(real_data / "hymenoptera_data")), workers=2)


@pytest.mark.data
def test_hymenoptera_holds_a_placeholder_and_no_copies(hymenoptera: Check):
    assert hymenoptera.pictures == 398 and not hymenoptera.to_mend
    assert named(hymenoptera, found(hymenoptera, "gif")) == [["train/ants/imageNotFound.gif"]]
    assert not kinds(hymenoptera) & {"copies", "leak", "two-labels", "alike", "alike-leak", "alike-two-labels"}
    assert hymenoptera.to_json()["hidden_by_crop"]["classes"]["ants"]["mean"] == pytest.approx(0.43, abs=0.02)


@pytest.mark.data
def test_a_photo_saved_anew_is_found_among_hundreds(real_data: Path, tmp_path: Path):
    root = tmp_path / "set"
    for label in ("ants", "bees"):
        (root / label).mkdir(parents=True)
        for path in sorted((real_data / "hymenoptera_data" / "train" / label).glob("*.jpg"))[:25]:
            (root / label / path.name).symlink_to(path)
    first = sorted((root / "ants").iterdir())[0]
    with Image.open(first) as image:
        image.reduce(2).save(root / "bees" / "stolen.jpg", quality=50)
    check = checked(root)
    assert named(check, found(check, "alike-two-labels")) == [[f"ants/{first.name}", "bees/stolen.jpg"]]


@pytest.mark.data
@pytest.mark.slow
def test_near_copies_of_cifar10_are_about_as_many_as_people_found(real_data: Path):
    """Of its test pictures 3.3 % have a copy in train by eye (Barz & Denzler 2020, arXiv:1902.00423)."""
    check = examine(material("cifar10", root=str(real_data)))
    assert found(check, "alike-leak").count / 10_000 == pytest.approx(0.033, abs=0.006)
    assert found(check, "alike-two-labels").count < 20
