"""Laws of annotations: every format says the same, and what is wrong is named and left out."""

import json
import os
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from boxes.conftest import PICTURES, coco, coco_document, photo, table, voc, xml, yolo
from residua.boxes.dataset import CUT, NO_AREA, OUTSIDE, TWICE, dataset_of, framed, sound, uprighted
from residua.boxes.sources import listed, open_boxes, recognised
from residua.errors import DataError


def found(source):
    """Name of the picture -> sorted boxes with their classes, of all splits."""
    data = dataset_of(listed(str(source)))
    said = {}
    for split in data.splits.values():
        for name, target in zip(split.names, split.targets, strict=True):
            stem = name.rpartition("/")[2].partition(".")[0]
            rows = zip(target.labels.tolist(), target.boxes.tolist(), strict=True)
            said[stem] = sorted((data.classes[c], *np.round(box, 3).tolist()) for c, box in rows)
    return said


def test_every_format_says_the_same(source):
    assert found(source) == {name: sorted(boxes) for name, (_, boxes) in PICTURES.items()}
    assert recognised(str(source))


def test_splits_are_those_of_the_data(source):
    data = dataset_of(listed(str(source)))
    assert data.classes == ("cat", "dog") and [len(s) for s in data.splits.values()] == [2, 2]
    assert data.splits["train"].sizes.tolist() == [[48, 64], [64, 48]]


def test_a_set_that_counts_from_0_is_taken_as_it_is(tmp_path):
    assert found(voc(tmp_path / "data", one=0))["a"] == sorted(PICTURES["a"][1])


def test_voc_is_read_as_torchvision_reads_it(tmp_path):
    root = voc(tmp_path / "VOCdevkit" / "VOC2012")
    theirs = VOCDetection(str(tmp_path), year="2012", image_set="train")
    ours = dataset_of(listed(str(root))).splits["train"]
    for i in range(len(theirs)):
        _, said = theirs[i]
        boxes = [
            [float(b["bndbox"][k]) for k in ("xmin", "ymin", "xmax", "ymax")] for b in said["annotation"]["object"]
        ]
        assert (ours.targets[i].boxes == np.array(boxes) - [1, 1, 0, 0]).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_of_the_stored_frame_turn_with_their_picture(tmp_path, turn):
    """A white patch in a black picture, and the box around it, as Pillow turns them."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:20, 30:55] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    root = tmp_path / "data"
    (root / "Annotations").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    Image.fromarray(pixels).save(root / "JPEGImages" / "x.png", exif=exif)
    (root / "Annotations" / "x.xml").write_text(xml((60, 40), [("a", 30, 5, 55, 20)], one=1))
    data = dataset_of(listed(str(root)))
    (target,) = data.splits["train"].targets
    image = data.splits["train"].images[0]
    left, top, right, bottom = target.boxes[0].astype(int)
    expected = np.zeros(image.shape[1:], bool)
    if turn in (2, 3, 4):  # the sides do not tell which frame was meant: the picture as it is seen
        expected = None
    else:
        expected[top:bottom, left:right] = True
        assert ((image[0].numpy() > 128) == expected).all()
    box = uprighted(np.array([[30.0, 5, 55, 20]]), (60, 40), turn)[0].astype(int)
    seen = np.zeros(image.shape[1:], bool)
    seen[box[1] : box[3], box[0] : box[2]] = True
    assert ((image[0].numpy() > 128) == seen).all()


def flawed(tmp_path, boxes, size=(64, 48)):
    root = tmp_path / "data"
    (root / "Annotations").mkdir(parents=True)
    for i, name in enumerate("xy"):
        photo(root / "JPEGImages" / f"{name}.jpg", size, i)
    (root / "Annotations" / "x.xml").write_text(xml(size, boxes))
    (root / "Annotations" / "y.xml").write_text(xml(size, [("cat", 0, 0, 10, 10)]))
    return root


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 5, 5, 9), NO_AREA), ((9, 5, 5, 9), NO_AREA), ((70, 50, 90, 60), OUTSIDE), ((4, 4, 20, 20), TWICE),
        ((40, 20, 90, 30), CUT), ((-30, 5, 20, 30), CUT),
    ],
)  # fmt: skip
def test_boxes_with_a_flaw_are_named(tmp_path, box, reason):
    made = framed(listed(str(flawed(tmp_path, [("cat", 4, 4, 20, 20), ("cat", *box)]))))
    good = sound(made)
    told = [*good.bad, *good.cut]
    assert [(b.picture, b.number, b.reason) for b in told] == [("JPEGImages/x.jpg", 2, reason)]
    assert good.keep.sum() == (3 if reason == CUT else 2)
    assert (good.boxes[good.keep] >= 0).all() and (good.boxes[good.keep] <= [64, 48, 64, 48]).all()


def test_an_edge_that_is_off_by_one_is_cut_without_a_word(tmp_path):
    good = sound(framed(listed(str(flawed(tmp_path, [("cat", 0, 0, 65, 49)])))))
    assert not good.bad and not good.cut and good.boxes[0].tolist() == [0, 0, 64, 48]


def test_annotations_without_pictures_and_pictures_without_annotations_are_named(tmp_path):
    root = voc(tmp_path / "data")
    (root / "JPEGImages" / "b.jpg").unlink()
    photo(root / "JPEGImages" / "z.jpg", (20, 20))
    (root / "Annotations" / "d.xml").write_text("<annotation><object>")
    told = {s.path: s.reason for s in listed(str(root)).skipped}
    assert "is not in JPEGImages/" in told["Annotations/b.xml"] and told["JPEGImages/z.jpg"] == "no annotation"
    assert "no readable annotation" in told["Annotations/d.xml"]


def test_broken_pictures_are_left_out_and_named(tmp_path):
    root = voc(tmp_path / "data")
    (root / "JPEGImages" / "c.jpg").write_bytes(b"")
    data = dataset_of(listed(str(root)))
    assert len(data.splits["test"]) == 1
    assert [(s.path, s.reason) for s in data.skipped] == [("JPEGImages/c.jpg", "an empty file (0 bytes)")]


def test_a_class_that_train_lacks_is_one_line(tmp_path):
    root = voc(tmp_path / "data")
    (root / "Annotations" / "d.xml").write_text(xml((80, 60), [("cow", 2, 2, 20, 20)]))
    with pytest.raises(DataError, match="'cow' has boxes, but none in train"):
        dataset_of(listed(str(root)))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("5 0.5 0.5 0.1 0.1", "unknown class 5"), ("0 0.5 0.5 0.1", "a class and four numbers"),
        ("cat 0.5 0.5 0.1 0.1", "not numbers"),
    ],
)  # fmt: skip
def test_rows_of_yolo_that_cannot_be_read_are_named(tmp_path, rows, words):
    root = yolo(tmp_path / "data")
    (root / "train" / "labels" / "a.txt").write_text(rows)
    assert [words in s.reason for s in listed(str(root)).skipped] == [True]


def test_outlines_of_yolo_count_as_the_boxes_around_them(tmp_path):
    root = yolo(tmp_path / "data")
    (root / "train" / "labels" / "b.txt").write_text("1 0.25 0.25 0.75 0.25 0.5 0.75\n")
    assert found(root)["b"] == [("dog", 12, 16, 36, 48)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("annotations", {"image_id": 99, "category_id": 3, "bbox": [0, 0, 1, 1]}), "is not listed"),
        (("annotations", {"image_id": 10, "category_id": 5, "bbox": [0, 0, 9, 9]}), "unknown category 5"),
        (("annotations", {"image_id": 10, "category_id": [3], "bbox": [0, 0, 9, 9]}), "unknown category"),
        (("annotations", {"image_id": 10, "category_id": 3, "bbox": "no"}), "not four numbers"),
        (("images", {"id": 10, "file_name": "a.jpg"}), "twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_coco_is_named(tmp_path, change, words):
    root = coco(tmp_path / "data")
    document = coco_document("ab")
    document[change[0]].append(change[1])
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    assert any(words in s.reason for s in listed(str(root)).skipped)


def test_a_coco_file_alone_finds_its_pictures(tmp_path):
    root = coco(tmp_path / "data")
    data = dataset_of(listed(str(root / "annotations" / "instances_val.json")))
    assert len(data.splits["train"]) == 2 and data.ids == (3, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "no COCO file"),
        ("{", "cannot be read"),
        ('{"images": [], "annotations": [], "categories": [1]}', "no COCO"),
    ],
)
def test_json_that_is_no_coco_is_one_line(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=words):
        listed(str(tmp_path / "x.json"))


def test_tables_of_other_words_are_read(tmp_path):
    made = table(tmp_path)
    text = made.read_text().replace("path,class,xmin,ymin,xmax,ymax", "filename,label,x1,y1,x2,y2")
    made.write_text(text)
    assert found(made)["a"] == sorted(PICTURES["a"][1])
    made.write_text(text.replace("x2,y2", "width,height"))
    with pytest.raises(DataError, match="no column for the left"):
        listed(str(made))
    assert not recognised(str(made))


def test_rows_of_a_table_that_cannot_be_used_are_named(tmp_path):
    made = table(tmp_path)
    with open(made, "a") as file:
        file.write(
            "photos/a.jpg,cat,1,x,3,4,train\n,cat,1,2,3,4,train\nphotos/a.jpg,cat,1,2,3,4,test\nq.jpg,cat,1,2,3,4,new\n"
        )
    told = [s.reason for s in listed(str(made)).skipped]
    assert len(told) == 4 and any("no numbers" in t for t in told) and any("is in train already" in t for t in told)


def test_what_holds_no_boxes_says_what_is_read(tmp_path):
    photo(tmp_path / "photos" / "a.jpg", (9, 9))
    with pytest.raises(DataError, match="Pascal VOC XML, COCO JSON"):
        listed(str(tmp_path / "photos"))
    with pytest.raises(DataError, match="no such folder"):
        listed(str(tmp_path / "nowhere"))
    assert not recognised(str(tmp_path / "photos")) and not recognised("digits")


def test_what_is_held_out_shows_rare_classes_and_depends_on_the_seed_alone(tmp_path):
    root = tmp_path / "data"
    (root / "Annotations").mkdir(parents=True)
    for i in range(40):
        photo(root / "JPEGImages" / f"{i:02}.png", (16, 16), i)
        (root / "Annotations" / f"{i:02}.xml").write_text(xml((16, 16), [("rare" if i < 10 else "usual", 1, 1, 9, 9)]))
    data = open_boxes(str(root), seed=3)
    again = open_boxes(str(root), seed=3)
    assert [len(s) for s in data.splits.values()] == [29, 3, 8]
    assert all(s.counts(2).min() >= 1 for s in (data.splits["train"], data.splits["test"]))
    assert [s.names for s in data.splits.values()] == [s.names for s in again.splits.values()]
    assert [s.names for s in open_boxes(str(root), seed=4).splits.values()] != [s.names for s in data.splits.values()]
    assert data.fingerprint == again.fingerprint


@pytest.mark.data
def test_blood_cells_have_the_boxes_that_are_told_of_them(real_data):
    data = dataset_of(listed(str(real_data / "bccd")))
    assert [len(s) for s in data.splits.values()] == [205, 87, 72]
    assert sum(s.boxes for s in data.splits.values()) == 4886
    assert [b.picture for b in data.bad] == ["JPEGImages/BloodImage_00338.jpg", "JPEGImages/BloodImage_00343.jpg"]


@pytest.mark.data
def test_tiny_imagenet_has_one_box_a_picture(real_data):
    data = dataset_of(listed(str(real_data / "tiny-imagenet-10")))
    assert [(len(s), s.boxes) for s in data.splits.values()] == [(5000, 5000), (500, 500)]


LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>', "entities"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "entities"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "encoding"),
        ("<annotation>" * 20_000, "no element found"),
    ],
    ids=["laughs", "external", "encoding", "deep"],
)  # fmt: skip
def test_xml_that_would_grow_or_reach_elsewhere_is_named_and_left_out(tmp_path, text, words):
    root = voc(tmp_path / "data")
    (root / "Annotations" / "d.xml").write_text(text)
    told = {s.path: s.reason for s in listed(str(root)).skipped}
    assert words in told["Annotations/d.xml"] and "\n" not in told["Annotations/d.xml"]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n",
        "names: " + "[" * 3000,
        "names: [2020-99-99]\n",
        "names: {[a]: b}\n",
        "names: [[a, b], c]\n",
        "names: {cat: dog}\n",
        "names: !!python/object/apply:os.getcwd []\n",
    ],
    ids=["aliases", "nest", "date", "keys", "lists", "numbers", "code"],
)
def test_yaml_that_would_grow_or_run_is_one_line(tmp_path, text):
    root = yolo(tmp_path / "data")
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml") as error:
        listed(str(root))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        ("images", {"id": 50, "file_name": "x" * 5000}),
        ("images", {"id": 50, "file_name": "\ud800.png"}),
        ("images", {"id": 50, "file_name": "\0.png", "width": float("inf"), "height": 10**400}),
        ("annotations", {"image_id": 10, "category_id": 3, "bbox": [0, 0, float("nan"), 5]}),
        ("annotations", {"image_id": 10, "category_id": 3, "bbox": [0, 0, 10**400, 5]}),
        ("categories", {"id": 10**30, "name": "\ud800"}),
    ],
    ids=["long", "half a sign", "zero", "nan", "size", "category"],
)  # fmt: skip
def test_coco_with_odd_numbers_and_names_is_read_without_them(tmp_path, change):
    root = coco(tmp_path / "data")
    document = coco_document("ab")
    document[change[0]].append(change[1])
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    made = dataset_of(listed(str(root)))
    assert len(made.splits["train"]) == 2 and made.fingerprint


@pytest.mark.parametrize("row", ["0 inf 0.5 0.1 0.1", "1e999 0.5 0.5 0.1 0.1", "0 0.5 nan 0.1 0.1"])
def test_yolo_numbers_without_an_end_are_no_numbers(tmp_path, row):
    root = yolo(tmp_path / "data")
    (root / "train" / "labels" / "a.txt").write_text(row)
    assert ["not numbers" in s.reason for s in listed(str(root)).skipped] == [True]


@pytest.mark.parametrize("name", ["Annotations/d.xml", "labels/a.txt", "data.yaml", "boxes.csv"])
def test_a_pipe_among_annotations_does_not_hang(tmp_path, name):
    kind = {"Annotations/d.xml": voc, "boxes.csv": table}.get(name, yolo)
    root = kind(tmp_path / "data" if kind is not table else tmp_path)
    place = root / "train" / name if name == "labels/a.txt" else root if kind is table else root / name
    place.unlink()
    os.mkfifo(place)
    with suppress(DataError):
        assert any("not a regular file" in s.reason for s in listed(str(root)).skipped)
