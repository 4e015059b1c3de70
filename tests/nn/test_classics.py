from dataclasses import replace

import pytest
import torch
import torchvision

from residua.errors import UsageError
from residua.nn.arch import Classic
from residua.nn.classics import classic, min_side
from residua.nn.cost import blueprint
from residua.nn.zoo import build, find

VGG = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
FAST = ("vgg11", "vgg13_bn")
SMALL = {"alexnet": (67, 71), "googlenet": (33, 47), "vgg": (33, 45)}


@pytest.mark.parametrize(
    "name", [*(n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in VGG), "alexnet"]
)
def test_vgg_and_alexnet_equal_torchvision_bit_for_bit(name, twins, same):
    row = find(name)
    same(*twins(row, getattr(torchvision.models, name)), size=SMALL[row.family])


def test_googlenet_equals_torchvision_bit_for_bit_auxiliary_heads_included(twins, same):
    mine, theirs = twins(find("googlenet"), lambda: torchvision.models.googlenet(init_weights=False))
    same(mine, theirs, size=SMALL["googlenet"])
    x = torch.randn(2, 3, 33, 47)
    assert len(mine.train()(x)) == 3  # logits, aux2, aux1
    assert isinstance(mine.eval()(x), torch.Tensor)


def test_auxiliary_heads_are_not_computed_in_evaluation():
    net = blueprint(find("googlenet")).eval()
    net.aux1 = net.aux2 = None
    assert net(torch.empty(1, 3, 17, 15, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("name", ["vgg11_bn", "alexnet", "googlenet"])
def test_classes_and_channels_are_the_rows(name):
    row = replace(find(name), classes=4, channels=2)
    assert blueprint(row).eval()(torch.empty(2, 2, *SMALL[row.family], device="meta")).shape == (2, 4)


def test_a_fresh_classic_net_gives_finite_logits_of_its_own_size():
    for name in ("alexnet", "googlenet"):
        y = build(replace(find(name), classes=4)).eval()(torch.randn(2, 3, *SMALL[find(name).family]))
        assert y.isfinite().all() and 0 < float(y.detach().std()) < 10


def test_features_are_every_stage_finest_first_before_its_pool():
    def shapes(name, height, width):
        image = torch.empty(1, 3, height, width, device="meta")
        return [tuple(f.shape[1:]) for f in blueprint(find(name)).features(image)]

    assert shapes("vgg11", 32, 48) == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    assert shapes("googlenet", 32, 48) == [(480, 4, 6), (832, 2, 3), (1024, 1, 2)]
    assert shapes("alexnet", 63, 79) == [(64, 15, 19), (192, 7, 9), (256, 3, 4)]


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "googlenet"])
def test_the_smallest_image_works_and_a_smaller_one_says_what_is_needed(name):
    side = min_side(find(name))
    net = blueprint(find(name)).eval()
    assert net(torch.empty(1, 3, side, side, device="meta")).shape == (1, 1000)
    with pytest.raises(UsageError, match=rf"^{name} needs images of at least {side} px, got {side}x{side - 1}: .+$"):
        net(torch.empty(1, 3, side, side - 1, device="meta"))


def test_residual_nets_take_any_image():
    assert min_side(find("resnet50")) == 1


def test_a_row_that_makes_no_classic_net_is_refused():
    with pytest.raises(UsageError, match="did you mean vgg"):
        classic(Classic(name="x", source="", family="vggg", widths=((8,),), layers=1))
    with pytest.raises(UsageError, match="2, 5 and 2 modules"):
        classic(Classic(name="x", source="", family="googlenet", widths=((8,),), layers=1))
    with pytest.raises(UsageError, match="1, 1 and 3 convolutions"):
        classic(Classic(name="x", source="", family="alexnet", widths=((8,),), layers=1))


def test_no_module_stands_in_two_places():
    for name in ("vgg11_bn", "alexnet", "googlenet"):
        net = blueprint(find(name))
        assert len(list(net.named_modules())) == len(list(net.named_modules(remove_duplicate=False)))
