"""Laws of looking: ten crops are torchvision's, full convolution is the reference net at other sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms.v2 import functional as tv

from residua.data.batches import in_order
from residua.data.dataset import ArrayImages, Split
from residua.data.view import View
from residua.engine import Engine
from residua.errors import UsageError
from residua.evaluate import answers
from residua.evaluate.looks import at_scale, check_scales, default_scales, fully, roomy, scaled, ten_crop, ten_crops
from residua.nn.cost import blueprint
from residua.nn.names import adopt
from residua.nn.zoo import build, find

CPU = Engine(device="cpu")
VIEW = View(side_px=32, fit="crop", resize_px=32, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


class Sizes:
    """Pictures of several sizes in memory."""

    def __init__(self, *pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.pictures[i]


def split(*sizes, seed=0):
    g = torch.Generator().manual_seed(seed)
    pictures = [torch.randint(0, 256, (3, h, w), generator=g, dtype=torch.uint8) for h, w in sizes]
    return Split(Sizes(*pictures), np.zeros(len(sizes), np.int64), [str(i) for i in range(len(sizes))])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build("cifar_resnet8", classes=4).eval()


def test_ten_crops_are_torchvisions_bit_for_bit():
    images = torch.rand(2, 3, 17, 22)
    for side in (10, 11, 17):
        for ours, theirs in zip(ten_crops(images, side), tv.ten_crop(images, [side, side]), strict=True):
            assert torch.equal(ours, theirs)


def test_ten_crop_testing_is_the_mean_of_the_probabilities(net):
    data = split((40, 40), (37, 50), (64, 33))
    room = roomy(VIEW)
    assert room.side_px == 37
    found = list(answers(net, in_order(data, room, 2), 4, CPU, look=ten_crop(32)))
    pictures = torch.stack([room.tensor(data.images[i]) for i in range(3)])
    with torch.no_grad():
        expected = torch.stack([net(c).softmax(1) for c in tv.ten_crop(pictures, [32, 32])]).mean(0)
    torch.testing.assert_close(torch.cat([a.scores for a in found]).softmax(1), expected, rtol=1e-5, atol=1e-6)


def test_one_scale_of_a_square_at_the_views_size_is_the_plain_view(net):
    data = Split(ArrayImages(torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)), np.zeros(5, np.int64), "abcde")
    plain = list(answers(net, in_order(data, VIEW, 8), 4, CPU))
    whole = list(answers(net, scaled(data, VIEW, (32,), 8), 4, CPU, look=fully(False)))
    assert torch.equal(plain[0].scores, whole[0].scores)


def test_full_convolution_is_torchvisions_net_at_every_size():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=5).eval()
    ours = build("resnet18", classes=5)
    ours.load_state_dict(adopt(reference.state_dict(), find("resnet18"))[0])
    ours.eval()
    data, scales = split((70, 90), (64, 64), (120, 65), seed=1), (64, 73, 110)
    found = list(
        answers(ours, scaled(data, replace(VIEW, side_px=64, resize_px=64), scales, 4), 5, CPU, look=fully(True))
    )
    mean = []
    with torch.no_grad():
        for i in range(3):
            looks = []
            for s in scales:
                picture = tv.resize(data.images[i], [s], antialias=True)
                x = tv.normalize(picture.float() / 255, VIEW.mean, VIEW.std)[None]
                looks += [reference(x).softmax(1), reference(x.flip(-1)).softmax(1)]
            mean.append(torch.stack(looks).mean(0))
    torch.testing.assert_close(torch.cat([a.scores for a in found]).softmax(1), torch.cat(mean), rtol=1e-4, atol=1e-5)


def test_the_papers_scales_follow_the_views_side():
    assert default_scales(replace(VIEW, side_px=224, resize_px=256)) == (224, 256, 384, 480, 640)
    assert default_scales(VIEW) == (32, 37, 55, 69, 91)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_short_side_is_the_scale_and_a_strip_is_cut(fit):
    shape = at_scale(replace(VIEW, fit=fit), torch.zeros(3, 20, 8000, dtype=torch.uint8), 32).shape
    assert tuple(shape) == ((3, 32, 128) if fit == "crop" else (3, 32, 32))


def test_memory_is_bounded_by_the_pixels_of_a_batch():
    data = split(*[(32, 32)] * 9)
    sizes = [len(s.index) for s in scaled(data, VIEW, (32, 64), 10)]
    assert sizes == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("name", ["vgg11", "alexnet"])
def test_nets_that_see_one_size_only_say_so(name):

    with pytest.raises(UsageError, match=f"{name} ends in linear layers.*take --views ten-crop"):
        check_scales(blueprint(find(name)), name)


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "cifar_preact20", "plain18"])
def test_nets_that_pool_globally_take_any_size(name):

    check_scales(blueprint(find(name)), name)
