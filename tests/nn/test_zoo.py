import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from residua.errors import UsageError
from residua.nn.arch import Arch
from residua.nn.cost import blueprint
from residua.nn.zoo import build, find, names, stem_for, with_depths


@pytest.mark.parametrize("name", names())
def test_every_listed_name_makes_a_net_of_that_name(name):
    row = find(name)
    assert row.name == name and row.source
    if "1202" not in name and "1001" not in name:  # built by the tests of cost
        assert len(list(blueprint(row).parameters())) > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "unknown net 'resnet51': did you mean resnet50"),
        ("resnext50_32x4", "did you mean resnext50_32x4d"),
        ("vgg16bn", "did you mean vgg16_bn"),
        ("ResNet-18", "did you mean resnet18"),
        ("cifar_resnet21", r"depth must be 6n\+2 .*got 21: the nearest is 20 or 26"),
        ("cifar_plain57", r"depth must be 6n\+2 .*got 57: the nearest is 56 or 62"),
        ("cifar_resnet2", "got 2: the nearest is 8"),
        ("cifar_preact165", r"depth must be 9n\+2 .*got 165: the nearest is 164 or 173"),
        ("wrn27_10", r"depth must be 6n\+4 .*got 27: the nearest is 22 or 28"),
        ("wrn28_0", "widening factor"),
        ("resnet50:3-4-6", "4 stages: give 4 depths"),
        ("resnet50:3-4-x-3", "whole numbers such as 3-4-6-3"),
        ("resnet50:3-4-0-3", "at least one unit"),
        ("vgg16:1-2", "vgg16 has no units"),
        ("vgg16_A", "no form _A"),
        ("resnet18_v1", "no form _v1"),
        ("plain_vgg16", "vgg16 has no shortcuts"),
        ("plain34_B", "a plain net has no shortcuts"),
        ("", "unknown net ''"),
    ],
)
def test_a_wrong_name_or_depth_names_the_nearest_valid_ones_in_one_line(name, message):
    with pytest.raises(UsageError, match=message) as refused:
        find(name)
    assert "\n" not in str(refused.value)


def test_suffixes_choose_shortcuts_strides_and_depths():
    row = find("resnet50_C_v1:3-5-3-1")
    assert isinstance(row, Arch)
    assert (row.shortcut, row.stride_at, row.depths) == ("C", "1x1", (3, 5, 3, 1))
    assert find("plain34") == replace(find("resnet34"), shortcut="none", family="plain", name="plain34")
    assert replace(find("plain_cifar_resnet20"), name="") == replace(find("cifar_plain20"), name="")


def test_depths_are_any_numbers_and_the_name_says_so():
    row = with_depths(find("resnet18"), (3, 5, 3, 1))
    assert row.name == "resnet18:3-5-3-1" and find(row.name) == row
    assert with_depths(row, ["1", "1", "1", "1"]).name == "resnet18:1-1-1-1"


@pytest.mark.parametrize(
    ("depth", "branch", "units"),
    [(56, "basic", 9), (110, "basic", 18), (164, "bottleneck", 18), (1001, "bottleneck", 111)],
)
def test_preactivation_cifar_nets_have_bottlenecks_from_164_layers_on(depth, branch, units):
    row = find(f"cifar_preact{depth}")
    assert (row.branch, row.depths, row.layers) == (branch, (units,) * 3, depth)


def test_shortcuts_c_project_everywhere_and_a_nowhere():
    projections = {
        s: sum(k.endswith("shortcut.conv.weight") for k in blueprint(find(f"resnet18_{s}")).state_dict()) for s in "ABC"
    }
    assert projections == {"A": 0, "B": 3, "C": 8}


def test_v1_strides_in_the_first_1x1():
    strides = {n: blueprint(find(n)).stages[1][0].branch for n in ("resnet50", "resnet50_v1")}
    assert [b.conv1.stride[0] for b in strides.values()] == [1, 2]
    assert [b.conv2.stride[0] for b in strides.values()] == [2, 1]


def test_classes_and_channels_are_the_caller_s():
    assert build("cifar_resnet8", classes=4, channels=1).eval()(torch.randn(2, 1, 5, 7)).shape == (2, 4)
    assert build(replace(find("cifar_preact8"), classes=3)).eval()(torch.randn(2, 3, 5, 7)).shape == (2, 3)


def test_small_images_get_the_small_stem():
    assert [stem_for(side) for side in (8, 32, 56, 57, 112, 113, 224)] == ["3x3"] * 3 + ["5x5"] * 2 + ["7x7"] * 2
    net = build(replace(find("resnet18:1-1-1-1"), stem=stem_for(8))).eval()
    assert net.stem(torch.randn(2, 3, 8, 9)).shape == (2, 64, 8, 9)
    middling = build(replace(find("resnet18:1-1-1-1"), stem="5x5")).eval()
    assert middling.stem(torch.randn(2, 3, 64, 57)).shape == (2, 64, 32, 29)


@pytest.mark.parametrize("side", [56, 112, 224])
def test_the_last_stage_of_an_imagenet_net_sees_seven_pixels_behind_the_stem_that_suits(side):
    net = build(replace(find("resnet18:1-1-1-1"), stem=stem_for(side))).eval()
    assert net.stages(net.stem(torch.zeros(1, 3, side, side))).shape[2:] == (7, 7)


def test_a_wrong_name_fails_before_torch_is_imported():
    code = (
        "import sys\nfrom residua.errors import UsageError\nfrom residua.nn import arch, zoo\n"
        "try: zoo.find('resnet51')\nexcept UsageError: pass\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
