"""Laws of pictures that show things of one class, of the square view, and of the shapes that anchors are fitted to."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from boxes.conftest import MAKERS, voc
from residua.boxes.anchors import overlaps, shapes
from residua.boxes.dataset import dataset_of
from residua.boxes.one_class import labels, mean_boxes, one_class
from residua.boxes.sources import listed, open_boxes
from residua.boxes.view import BoxView, square_view
from residua.errors import DataError, UsageError


def test_pictures_of_several_classes_and_of_none_are_left_out_and_counted(source):
    whole = dataset_of(listed(str(source)))
    alone = one_class(whole, train=False)
    assert [len(s) for s in alone.splits.values()] == [1, 1]  # of a, b, c and d: b, and d
    assert labels(alone.splits["train"]).tolist() == [alone.classes.index("dog")]
    said = " ".join(alone.notes)
    assert "1 pictures show several classes" in said and "1 pictures without a box are left out" in said


def test_a_class_that_train_lacks_then_is_one_line(tmp_path):
    """Only d shows cats alone, and it is no picture to train on."""
    with pytest.raises(DataError, match="no picture of train shows cat alone"):
        one_class(dataset_of(listed(str(MAKERS["coco"](tmp_path / "data")))))
    assert one_class(dataset_of(listed(str(tmp_path / "data"))), train=False).splits


def test_pictures_that_all_show_several_classes_are_for_detection(tmp_path):
    root = voc(tmp_path / "data")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"no picture of train shows things of one class alone.*`residua detect`"):
        open_boxes(str(root), alone=True)


def test_a_crowd_is_no_box_of_its_class(tmp_path):
    data = dataset_of(listed(str(MAKERS["coco"](tmp_path / "data"))))
    test = data.splits["test"] if "test" in data.splits else data.splits["val"]
    crowded = replace(test, targets=tuple(replace(t, crowd=np.arange(len(t.labels)) == 0) for t in test.targets))
    (split,) = one_class(replace(data, splits={"test": crowded}), train=False).splits.values()
    assert [len(t.labels) for t in split.targets] == [1]


def test_mean_boxes_are_shares_and_the_largest_box_counts(tmp_path):
    data = one_class(dataset_of(listed(str(MAKERS["yolo"](tmp_path / "data")))), train=False)
    cat, dog = (data.classes.index(c) for c in ("cat", "dog"))
    (of_train, of_test) = (mean_boxes(s, 3) for s in data.splits.values())
    assert np.allclose(of_train[dog], [10 / 48, 10 / 64, 40 / 48, 60 / 64], atol=1e-5)
    assert np.allclose(of_test[cat], [0, 0, 1, 1]) and of_train[2].tolist() == [0, 0, 1, 1]


def test_a_square_view_is_torchvisions_resize_and_boxes_come_back():
    view = BoxView(64, 64, "RGB", (0.5,) * 3, (0.25,) * 3, "squash")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 120, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    wanted = tv.resize(tv.pil_to_tensor(image), [64, 64], antialias=True)
    assert (view.picture(image, (50, 120)).int() - wanted.int()).abs().max() <= 1
    assert view.scaled(50, 120) == (64, 64) and BoxView.from_json(view.to_json()) == view
    with pytest.raises(UsageError, match="equal sides"):
        replace(view, long_px=65)
    with pytest.raises(UsageError, match="fit of a view of boxes"):
        replace(view, fit="crop")


def test_a_view_that_was_written_before_views_were_squares_scales():
    view = BoxView(64, 96, "L", (0.5,), (0.25,))
    words = view.to_json()
    words.pop("fit")
    assert BoxView.from_json(words) == view


def test_small_pictures_keep_their_side_and_photos_get_224(tmp_path):
    data = dataset_of(listed(str(voc(tmp_path / "data"))))
    assert square_view(data).short_px == 48
    split = data.splits["train"]
    large = replace(data, splits={"train": replace(split, sizes=split.sizes * 10)})
    assert square_view(large).short_px == 224 and square_view(data, side_px=96).short_px == 96


def test_shapes_are_found_again():
    rng = np.random.default_rng(0)
    middles = np.array([[60.0, 50], [20, 40], [15, 10]])
    sides = np.concatenate([m * rng.uniform(0.95, 1.05, (50, 2)) for m in middles])
    assert np.allclose(shapes(sides, 3), middles, rtol=0.05)
    assert shapes(sides[:1], 1).tolist() == sides[:1].tolist()
    assert overlaps(np.array([[10.0, 10]]), np.array([[10.0, 10], [10, 5], [20, 20]])).tolist() == [[1, 0.5, 0.25]]
