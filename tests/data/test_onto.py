"""Laws of batches finished on a device: they are the CPU's, bit for bit, whatever is done to the pictures."""

import numpy as np
import pytest
import torch

from residua.data.augment import Augment, parse
from residua.data.batches import Batches, InOrder
from residua.data.dataset import ArrayImages, Split
from residua.data.onto import SHARE, Onto, onto, room
from residua.data.view import View

WORDS = [
    (), ("pad-crop:2",), ("flip",), ("alternate-flip",), ("pad-crop:1", "flip"),
    ("pad-crop:8", "alternate-flip", "erase:0.5"),
    ("flip", "mixup:0.8"), ("pad-crop:2", "flip", "mixup:0.8", "cutmix:1"), ("color:0.4", "erase:0.9"),
    ("random-resized-crop:0.25", "alternate-flip", "rand-augment:2:9"),
]  # fmt: skip


def both(words, *, channels=3, n=61, side=8):
    rng = np.random.default_rng(1)
    mode = {1: "L", 3: "RGB"}[channels]
    mean, std = (0.48, 0.41, 0.37)[:channels], (0.21, 0.26, 0.3)[:channels]
    view = View(side_px=side, fit="crop", resize_px=side, mode=mode, mean=mean, std=std)
    pixels = torch.from_numpy(rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8))
    split = Split(ArrayImages(pixels), rng.integers(0, 10, n), range(n))
    here, there = (Batches(split, view, batch_size=10, seed=7, classes=10, augment=words) for _ in range(2))
    there.onto = onto(there.augment, split.images, "cpu")
    return here, there


@pytest.mark.parametrize("words", WORDS, ids=",".join)
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_finished_on_a_device_are_those_of_the_cpu(words, channels):
    if channels == 1 and "rand-augment:2:9" in words:
        pytest.skip("colours of a grey picture")
    here, there = both(words, channels=channels)
    assert (there.onto.held is not None) == there.augment.is_quick(there.split.images)
    for ours, theirs in zip(there.stream(0, 13), here.stream(0, 13), strict=True):  # two epochs and a little
        assert torch.equal(ours.images, theirs.images) and ours.images.dtype == torch.float32
        assert torch.equal(ours.targets, theirs.targets) and (ours.index == theirs.index).all()


def test_every_value_of_a_pixel_is_normalised_alike():
    here, there = both(())
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    draw = here.draw(0)
    assert torch.equal(there.onto.finished(pixels, draw), here.augment.finished(pixels, draw))


def test_a_batch_at_a_step_is_on_the_cpu():
    here, there = both(("pad-crop:2",))
    assert torch.equal(there.at(4).images, here.at(4).images)
    assert torch.equal(there.pictures(4), here.pictures(4))


def test_a_set_too_large_for_the_device_stays_where_it_is(monkeypatch):
    here, _ = both(())
    images = here.split.images
    monkeypatch.setattr("residua.data.onto.room", lambda device: images.array.nbytes / SHARE - 1)
    assert onto(here.augment, images, "cpu").held is None
    monkeypatch.setattr("residua.data.onto.room", lambda device: images.array.nbytes / SHARE)
    assert onto(here.augment, images, "cpu").held is not None
    assert room("cpu") == float("inf")


def test_pictures_that_are_cropped_at_random_are_not_held(tmp_path):
    here, _ = both(())
    augment = parse(("random-resized-crop:0.25",), here.view)
    assert isinstance(augment, Augment) and onto(augment, here.split.images, "cpu").held is None


def test_pictures_in_order_are_finished_on_a_device_too():
    here, _ = both(())
    plain = parse((), here.view)
    there, alike = InOrder(here.split, plain, 10, Onto(plain, "cpu")), InOrder(here.split, plain, 10)
    for start in (0, 30, 60):
        ours, theirs = (m.finished(start, m.pixels(start)) for m in (there, alike))
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.targets, theirs.targets)
