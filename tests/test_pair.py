"""A model and a data set brought together: the classes agree, or it is said which one does not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from residua.data.sources import open_data
from residua.data.view import view_for
from residua.errors import DataError
from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.pair import pair

DIGITS = open_data("digits").classes


@pytest.fixture
def model(tmp_path):
    """A function that writes a net that was never trained, with the classes given and the view of the digits."""

    def make(*classes):
        row = replace(find("cifar_resnet20:1-1-1"), classes=len(classes), channels=1)
        view = view_for(open_data("digits"), image_size=None, fit="crop")
        path = tmp_path / f"{''.join(classes)}.safetensors"
        modelfile.save(path, build(row), modelfile.Header(row=row, classes=classes, view=view.to_json()))
        return path

    return make


def test_labels_count_in_the_models_classes_wherever_they_stand(model):
    given = pair(model(*DIGITS), "digits")
    turned = pair(model(*reversed(DIGITS)), "digits")
    np.testing.assert_array_equal(turned.splits[0].labels, 9 - given.splits[0].labels)
    assert turned.classes == DIGITS[::-1]


def test_batches_show_every_picture_once_in_order(model):
    both = pair(model(*DIGITS), "digits", split="all")
    index = np.concatenate([b.index for b in both.batches(500)])
    np.testing.assert_array_equal(index, np.arange(both.n))
    assert len(both.names) == both.n == 1797


def test_the_limit_takes_the_first_pictures(model):
    path = model(*DIGITS)
    few, all_of_them = pair(path, "digits", limit=7), pair(path, "digits")
    assert few.names == all_of_them.names[:7]


def test_a_class_that_the_model_lacks_is_named(model):
    with pytest.raises(DataError, match="'9' of digits is none of the model's 9 classes"):
        pair(model(*DIGITS[:9]), "digits")


def test_a_split_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(DataError, match="has no val split: it has train, test"):
        path = model(*DIGITS)
        net, header = modelfile.load(path)
        modelfile.save(path, net, replace(header, recipe={"val_fraction": 0.0}), overwrite=True)
        pair(path, "digits", split="val")


def test_numbers_are_names_where_the_model_was_trained_on_them(model, tmp_path):
    """A net of the digits is no net of ten other classes; converted weights may be of any ten."""
    path = model(*DIGITS)
    folder = tmp_path / "photos"
    for name in "abcdefghij":
        (folder / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / name / "1.png")
        Image.new("L", (8, 8), 99).save(folder / name / "2.png")
    assert "by position" in pair(path, str(folder), split="all").notes[-1]
    net, header = modelfile.load(path)
    modelfile.save(path, net, replace(header, data={"name": "digits"}), overwrite=True)
    with pytest.raises(DataError, match="class 'a' of photos is none of the model's 10 classes"):
        pair(path, str(folder), split="all")
