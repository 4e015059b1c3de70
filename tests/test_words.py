import pytest

from residua.nn.zoo import names
from residua.words import nearest, unknown


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("resnet51", ["resnet50", "resnet34", "resnet18"]),
        ("ResNet150", ["resnet152", "resnet101", "resnet200"]),
        ("resnext50", ["resnext50_32x4d"]),
        ("googlenett", ["googlenet"]),
        ("vgg", ["vgg11", "vgg13", "vgg16"]),
        ("wrn28", ["wrn28_10"]),
    ],
)
def test_the_nearest_words_come_first(word, first):
    assert nearest(word, names())[: len(first)] == first


def test_a_word_like_no_other_gets_the_whole_short_list_or_a_place_to_look():
    assert str(unknown("fit", "zzzz", ["crop", "pad"])) == "unknown fit 'zzzz': known: crop, pad"
    assert str(unknown("net", "?", names(), "see there")) == "unknown net '?': see there"
