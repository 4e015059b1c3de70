import re
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from timm.models import adapt_input_conv

from residua.data.view import View
from residua.errors import DataError, UsageError
from residua.nn.cost import blueprint
from residua.nn.names import (
    LAYOUTS,
    adapt,
    adapt_channels,
    adopt,
    classifiers,
    detect,
    read_checkpoint,
    stem_conv,
    theirs,
    to_torchvision,
    view,
)
from residua.nn.zoo import build, find, names

SMALL = find("resnet18:1-1-1-1")


def state_of(row, layout="torchvision"):
    """Freshly drawn weights of a row under a layout's names."""
    mine = build(row).state_dict()
    return {name: mine[key] for key, name in theirs(row, layout).items()}


@pytest.mark.parametrize("name", [*(n for n in names() if not re.search("101|1202|1001|152|200", n)), "resnet18_C"])
def test_renaming_is_one_to_one_in_every_layout(name):
    row = find(name)
    keys = list(blueprint(row).state_dict())
    for layout in LAYOUTS:
        mapped = theirs(row, layout)
        if mapped is not None:
            assert list(mapped) == keys
            assert len(set(mapped.values())) == len(mapped)


@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        ("resnet18:1-1-1-1", ["torchvision", "huggingface", "akamaster", "residua"]),
        ("preact_resnet18:1-1-1-1", ["timm", "residua"]),
        ("cifar_resnet8", ["torchvision", "akamaster", "residua"]),
        ("googlenet", ["torchvision", "residua"]),
        ("alexnet", ["torchvision", "residua"]),
        ("vgg11_bn", ["torchvision", "timm", "residua"]),
    ],
)
def test_the_layout_is_found_by_its_names(name, layouts):
    row = find(name)
    mine = blueprint(row).state_dict()
    for layout in layouts:
        assert detect({name: mine[key] for key, name in theirs(row, layout).items()}, row) == layout


@pytest.mark.slow
def test_timm_s_vgg_gives_torchvision_s_logits(twins):
    row = find("vgg11")
    mine, foreign = twins(row, lambda: timm.create_model("vgg11"), layout="timm")
    x = torch.randn(2, 3, 224, 224)  # timm convolves where torchvision pools to 7x7
    with torch.no_grad():
        torch.testing.assert_close(mine.eval()(x), foreign.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18:1-1-1-1", "googlenet", "preact_resnet18:1-1-1-1"])
def test_classes_and_channels_are_read_from_the_file(name):
    row = replace(find(name), classes=7, channels=2)
    layout = "timm" if row.family == "preact" else "torchvision"
    adopted, found, _ = adopt(state_of(row, layout), find(name))
    assert found == row
    build(found).load_state_dict(adopted)


def test_weights_come_back_from_torchvision_s_names_as_they_were():
    for name in ("resnet50:1-1-1-1", "googlenet", "resnet18_A:1-1-1-1"):
        row = find(name)
        net = build(row)
        there = to_torchvision(net.state_dict(), row)
        back, _, layout = adopt(there, row)
        assert layout == "torchvision"
        assert all(torch.equal(a, b) for a, b in zip(back.values(), net.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "alexnet", "googlenet"])
def test_torchvision_loads_what_goes_back_to_it_strictly(name):
    row = find(name)
    with torch.device("meta"):
        foreign = getattr(torchvision.models, name)(**({"init_weights": False} if name == "googlenet" else {}))
    foreign.load_state_dict(to_torchvision(blueprint(row).state_dict(), row), assign=True)


@pytest.mark.parametrize("name", ["preact_resnet18:1-1-1-1", "resnet50_v1:1-1-1-1"])
def test_nets_that_torchvision_would_not_compute_are_not_given_to_it(name):
    row = find(name)
    with pytest.raises(UsageError, match="torchvision"):
        to_torchvision(blueprint(row).state_dict(), row)


def test_missing_batch_counters_become_zero():
    state = {k: v for k, v in state_of(SMALL).items() if not k.endswith("num_batches_tracked")}
    adopted, _, _ = adopt(state, SMALL)
    build(SMALL).load_state_dict(adopted)
    assert all(v == 0 for k, v in adopted.items() if k.endswith("num_batches_tracked"))


def test_googlenet_s_auxiliary_heads_may_be_missing():
    row = find("googlenet")
    state = {k: v for k, v in state_of(row).items() if not k.startswith("aux")}
    adopted, _, _ = adopt(state, row)
    build(row).load_state_dict(adopted)


def test_half_precision_becomes_float32():
    state = {k: v.half() if v.is_floating_point() else v for k, v in state_of(SMALL).items()}
    adopted, _, _ = adopt(state, SMALL)
    assert {v.dtype for v in adopted.values()} == {torch.float32, torch.int64}


def test_another_net_s_weights_are_refused_with_the_first_missing_and_unexpected_names():
    with pytest.raises(
        DataError,
        match=r"^x\.pth do not fit resnet50:1-1-1-1: in torchvision's names, the nearest layout, "
        r"25 missing, first layer1\.0\.conv3\.weight and none unexpected: is it another net\?$",
    ):
        adopt(state_of(SMALL), find("resnet50:1-1-1-1"), "x.pth")
    state = state_of(SMALL)
    state["layer1.7.conv1.weight"] = torch.zeros(1)
    del state["fc.bias"]
    with pytest.raises(DataError, match=r"1 missing, first fc\.bias and 1 unexpected, first layer1\.7\.conv1\.weight"):
        adopt(state, SMALL)
    with pytest.raises(DataError, match="huggingface's names"):
        adopt(state_of(SMALL, "huggingface") | {"extra": torch.zeros(1)}, SMALL)


def test_a_shape_that_does_not_fit_is_named_with_both_shapes():
    state = state_of(SMALL)
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    with pytest.raises(
        DataError,
        match=r"layer2\.0\.conv1\.weight is float32 \(128, 64, 1, 1\), the net needs float32 \(128, 64, 3, 3\)$",
    ):
        adopt(state, SMALL)
    state["fc.bias"] = torch.zeros(3)
    with pytest.raises(DataError, match=r"\(and 1 more\)"):
        adopt(state, SMALL)
    with pytest.raises(DataError, match="take --stem 7x7"):
        adopt(state_of(SMALL), replace(SMALL, stem="3x3"))
    with pytest.raises(DataError, match=r"int8"):
        adopt({k: v.to(torch.int8) if k == "conv1.weight" else v for k, v in state_of(SMALL).items()}, SMALL)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_stems_are_adapted_to_channels_as_timm_does(channels):
    weight = torch.randn(5, 3, 7, 7)
    assert torch.equal(adapt_channels(weight, channels), adapt_input_conv(channels, weight))


def test_a_grey_stem_in_colour_answers_grey_pictures_alike():
    weight, x = torch.randn(5, 1, 3, 3), torch.randn(2, 1, 5, 7)
    grey = torch.nn.functional.conv2d(x, weight)
    colour = torch.nn.functional.conv2d(x.expand(2, 3, 5, 7), adapt_channels(weight, 3))
    torch.testing.assert_close(grey, colour, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18:1-1-1-1", "googlenet", "cifar_preact8"])
def test_weights_are_adapted_to_other_classes_and_channels_and_the_rest_is_kept(name):
    row = find(name)
    state = build(row).state_dict()
    wanted = replace(row, classes=4, channels=1)
    adapted = adapt(state, wanted)
    build(wanted).load_state_dict(adapted)
    changed = {k for k in state if adapted[k] is not state[k]}
    heads = {f"{c}.{p}" for c in classifiers(row) for p in ("weight", "bias")}
    assert changed == heads | {stem_conv(row)}
    assert all(v is state[k] for k, v in adapt(state, row).items())


def test_the_view_is_the_layout_s():
    imagenet = view("torchvision", find("resnet50"))
    assert (imagenet["side_px"], imagenet["resize_px"], imagenet["mode"]) == (224, 256, "RGB")
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert (imagenet["mean"], imagenet["std"]) == (weights.mean, weights.std)
    assert (imagenet["side_px"], imagenet["resize_px"]) == (weights.crop_size[0], weights.resize_size[0])
    cifar = view("akamaster", find("cifar_resnet20"))
    assert (cifar["side_px"], cifar["resize_px"]) == (32, 32)
    assert view("torchvision", find("googlenet"))["mean"] == [0.5] * 3
    preact = timm.get_pretrained_cfg("resnetv2_50.a1h_in1k")
    found = view("timm", find("preact_resnet50"))
    assert (found["mean"], found["interpolation"]) == (list(preact.mean), preact.interpolation)
    assert found["resize_px"] == int(224 / preact.crop_pct + 0.5)
    grey = view("torchvision", replace(find("resnet18"), channels=1))
    assert grey["mode"] == "L" and len(grey["mean"]) == len(grey["std"]) == 1
    with pytest.raises(UsageError, match="1 or 3 channels"):
        view("torchvision", replace(find("resnet18"), channels=2))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_layout_s_view_is_one(layout, channels):
    for name in ("resnet18", "cifar_resnet20", "preact_resnet18", "googlenet"):
        prepared = view(layout, replace(find(name), channels=channels))
        assert View.from_json(prepared).to_json() == prepared


def test_googlenet_s_view_is_its_transform_input():
    from torchvision.models import GoogLeNet

    pixels = torch.rand(2, 3, 5, 7)
    mean, std = (torch.tensor(m).view(3, 1, 1) for m in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.device("meta"):
        net = GoogLeNet(transform_input=True, init_weights=False)
    seen = net._transform_input((pixels - mean) / std)
    ours = view("torchvision", find("googlenet"))
    torch.testing.assert_close(seen, (pixels - ours["mean"][0]) / ours["std"][0], rtol=1e-5, atol=1e-5)


@pytest.mark.data
def test_trained_cifar_weights_are_wrong_on_exactly_the_known_number_of_test_images(real_data):
    file, name, wrong = "resnet20-12fca82f.th", "cifar_resnet20", 827  # ResNet-56's: tests/cli/test_eval.py
    row = find(name)
    adopted, found, layout = adopt(read_checkpoint(f"{real_data}/akamaster/{file}"), row)
    assert layout == "akamaster" and found == row
    net = build(row)
    net.load_state_dict(adopted)
    net.eval()
    prepared = view(layout, row)
    mean, std = (torch.tensor(prepared[k]).view(3, 1, 1) for k in ("mean", "std"))
    test = torchvision.datasets.CIFAR10(real_data, train=False)
    images = torch.from_numpy(test.data).permute(0, 3, 1, 2)
    labels = torch.tensor(test.targets)
    mistakes = 0
    with torch.inference_mode():
        for x, y in zip(images.split(500), labels.split(500), strict=True):
            mistakes += int((net((x / 255 - mean) / std).argmax(1) != y).sum())
    assert (mistakes, len(labels)) == (wrong, 10_000)
