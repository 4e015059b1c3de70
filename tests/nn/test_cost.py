from dataclasses import replace
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from residua.errors import UsageError
from residua.nn.arch import Arch, Classic
from residua.nn.blocks import Zero
from residua.nn.classics import AtLeast
from residua.nn.cost import blueprint, cost, cost_of, layers, own_side
from residua.nn.resnet import units
from residua.nn.zoo import find, names

#: Parameters: He et al. 2015 (options A and B), torchvision's counts, He et al. 2016; exact.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet18_A": 11_515_688,
    "resnet34_A": 21_623_848,
    "plain34": 21_623_848,
    "resnext50_32x4d": 25_028_904,
    "wide_resnet101_2": 126_886_696,
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_plain56": 853_018,
    "cifar_resnet110": 1_727_962,
    "cifar_resnet1202": 19_421_274,
    "cifar_preact164": 1_703_258,
    "cifar_preact1001": 10_327_706,
}
#: Rounded as their papers and torchvision's pages print them, in millions.
MILLIONS = {
    "alexnet": (61.1, 1),
    "vgg16": (138.4, 1),
    "vgg19": (143.7, 1),
    "googlenet": (6.6, 1),
    "wide_resnet50_2": (68.9, 1),
    "wrn28_10": (36.5, 1),
    "resnext29_8x64d": (34.4, 1),
    "resnext29_16x64d": (68.16, 2),  # the paper cuts it to 68.1
}
#: Multiply-adds in units of 1e9: torchvision's counts ("v1.5"), the paper's form ("v1"), the CIFAR nets.
GMACS = {
    "resnet18": (1.814, 3),
    "resnet34": (3.664, 3),
    "resnet50": (4.089, 3),
    "resnet101": (7.801, 3),
    "resnet152": (11.514, 3),
    "resnet50_v1": (3.858, 3),
    "resnet101_v1": (7.570, 3),
    "resnet152_v1": (11.282, 3),
    "alexnet": (0.714, 3),
    "vgg16": (15.47, 2),
    "vgg19": (19.63, 2),
    "googlenet": (1.498, 3),
    "resnext50_32x4d": (4.23, 2),
    "wide_resnet50_2": (11.4, 1),
    "cifar_resnet20": (0.04055, 5),
    "cifar_resnet32": (0.06886, 5),
    "cifar_resnet44": (0.09717, 5),
    "cifar_resnet56": (0.1255, 4),
    "cifar_resnet110": (0.2529, 4),
    "cifar_resnet1202": (2.829, 3),
}
TORCHVISION = [n for n in torchvision.models.list_models(torchvision.models) if n in names()]
VARIED = [
    *("resnet18:1-1-1-1", "resnet50_v1:1-1-1-1", "resnext50_32x4d:1-1-1-1", "plain18:1-1-1-1", "resnet18_C:1-1-1-1"),
    *("preact_resnet18:2-1-1-1", "preact_resnet50:1-1-1-1", "cifar_resnet14", "cifar_preact14", "cifar_plain14"),
    *("wrn10_2", "resnext29_8x64d:1-1-1", "plain_preact_resnet18:1-1-1-1", "vgg11_bn", "alexnet", "googlenet"),
]
published = cache(lambda name: cost(find(name)))  # several tests ask for the same large nets


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name):
    assert published(name).params == PARAMETERS[name]


@pytest.mark.parametrize("name", MILLIONS)
def test_parameter_counts_round_to_the_published_ones(name):
    millions, digits = MILLIONS[name]
    assert round(published(name).params / 1e6, digits) == millions


@pytest.mark.parametrize("name", GMACS)
def test_multiply_adds_are_the_published_ones(name):
    billions, digits = GMACS[name]
    assert round(published(name).macs / 1e9, digits) == billions


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_and_multiply_adds_are_those_on_torchvision_s_pages(name):
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    found = published(name)
    assert found.params == meta["num_params"]
    assert round(found.macs / 1e9, 3) == meta["_ops"]


def test_the_1001_layer_net_has_10_2_million_parameters_without_those_of_norms():
    convolutions = [r.params for r in published("cifar_preact1001").layers if r.kind != "norm"]
    assert sum(convolutions) == 10_178_490  # He 2016, table 4: 10.2M


def test_resnet34_needs_18_percent_of_vgg19():  # He 2015, sec. 3.3
    assert round(cost(find("resnet34")).macs / cost(find("vgg19")).macs, 2) == 0.19  # with option B; A: 0.18
    assert 0.18 <= cost(find("resnet34_A")).macs / cost(find("vgg19")).macs < 0.19


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "cifar_resnet56", "preact_resnet34"])
def test_a_plain_net_has_the_parameters_of_its_residual_twin_with_option_a(name):
    plain, residual = cost(find(f"plain_{name}")), blueprint(replace(find(name), shortcut="A"))
    assert plain.params == sum(p.numel() for p in residual.parameters())


@pytest.mark.parametrize("name", names())
def test_weighted_layers_on_the_longest_path_are_the_row_s(name):
    row = find(name)
    longest = layers(blueprint(row))
    if row.family == "wrn":  # counts its three projections, which stand beside the path, and not the classifier
        longest += 3 - 1
    assert longest == row.layers


@pytest.mark.parametrize("name", VARIED)
def test_the_table_has_the_shapes_parameters_and_multiply_adds_of_a_real_pass(name):
    row = replace(find(name), classes=4, channels=2)
    side = 67 if isinstance(row, Classic) else 37
    net = blueprint(row).eval()
    seen = {}
    for key, module in net.named_modules():
        module.register_forward_hook(lambda m, _, y, key=key: seen.update({key: tuple(y.shape[1:])}))
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 2, side, side, device="meta"))
    found = cost(row, side)
    assert found.side_px == side
    # a unit's row is its sum, whose shape is what leaves the unit
    assert {r.name: r.out_shape for r in found.layers} == {r.name: seen[r.name] for r in found.layers}
    weighted = {k for k, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and not k.startswith("aux")}
    assert {r.name for r in found.layers if r.macs} == weighted
    assert found.params == sum(p.numel() for k, p in net.named_parameters() if not k.startswith("aux"))
    assert found.macs == counter.get_total_flops() // 2


class Copy(nn.Module):
    def forward(self, x):
        return x * 1.0


@pytest.mark.parametrize("name", VARIED)
def test_activation_bytes_are_the_maps_that_autograd_saves(name, filled):
    row = replace(find(name), classes=4)
    if isinstance(row, Classic) and row.family == "vgg":
        row = replace(row, widths=tuple((8,) * len(w) for w in row.widths))
    side = 64 if isinstance(row, Classic) else 37
    net = filled(row).train()
    own = {p.data_ptr() for p in net.state_dict(keep_vars=True).values()}
    saved = {}

    def pack(x):
        if x.data_ptr() not in own and x.ndim > 1 and x.dtype == torch.float32:
            saved[x.data_ptr()] = (x.numel() * 4, x)  # holding x keeps its address from being used again
        return x

    for parent in list(net.modules()):
        for key, m in list(parent.named_children()):
            if isinstance(m, nn.Dropout):
                parent.add_module(key, Copy())  # a dropout's mask is not a map
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        body = nn.Sequential(net.stem, net.stages, net.head)  # without auxiliary heads
        body(torch.randn(3, 3, side, side))
    assert sum(size for size, _ in saved.values()) == 3 * cost(row, side).activation_bytes


@pytest.mark.parametrize(
    ("name", "stage", "side"),
    [
        *(("resnet18:1-1-1-1", s, 255) for s in range(3)),
        *(("resnet50:1-1-1-1", s, 255) for s in range(3)),
        *(("cifar_resnet8", s, 64) for s in range(3)),
        *(("cifar_preact14", s, 96) for s in range(3)),
        *(("vgg11", s, 128) for s in range(3)),
        *(("alexnet", s, 223) for s in range(3)),
        *(("googlenet", s, 255) for s in range(1)),
    ],
)
def test_receptive_fields_are_the_pixels_that_have_a_gradient(name, stage, side):
    row = replace(find(name), channels=1)
    if isinstance(row, Classic) and row.family == "vgg":
        row = replace(row, widths=tuple((2,) * len(w) for w in row.widths))
    net = blueprint(row).eval()
    net.head = nn.Identity()
    net.to_empty(device="cpu")
    for p in net.parameters():
        nn.init.constant_(p, 1e-2)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.reset_running_stats()
    for parent in list(net.modules()):
        for key, m in list(parent.named_children()):
            if isinstance(m, nn.MaxPool2d):  # a maximum hides all pixels but one
                mean = nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode, count_include_pad=False)
                parent.add_module(key, mean)
    x = torch.ones(1, 1, side, side, requires_grad=True)
    y = net.features(x)[stage]
    middle = y.shape[2] // 2
    y[0, :, middle, middle].double().log().sum().backward()
    touched = x.grad[0, 0].abs().sum(0).nonzero().flatten()
    extent = int(touched[-1] - touched[0]) + 1
    assert touched[0] > 0 and touched[-1] < side - 1, "the image is too small for this test"
    last = [r for r in cost(row, side).layers if r.name.startswith(f"stages.{stage}.")][-1]
    assert last.receptive_field == extent


@pytest.mark.parametrize(("name", "field_px"), [("alexnet", 195), ("vgg16", 212)])
def test_receptive_fields_are_the_published_ones(name, field_px):  # Araujo et al. 2019, distill.pub, table 1
    (row,) = (r for r in published(name).layers if r.name == "head.pool")
    assert row.receptive_field == field_px


def test_the_head_sees_what_all_positions_of_the_last_map_see():
    rows = {r.name: r for r in cost(find("cifar_resnet8")).layers}
    last, head = rows["stages.2.0.act"], rows["head.fc"]
    assert head.receptive_field == last.receptive_field + (8 - 1) * 4


def test_an_edited_net_has_its_own_cost():
    net = blueprint(find("resnet18"))
    whole = cost_of(net, 3, 224)
    last = units(net)[-1]
    removed = sum(p.numel() for p in last.branch.parameters())
    last.branch = Zero()
    edited = cost_of(net, 3, 224)
    assert edited.params == whole.params - removed
    assert layers(net) == 16


def test_stochastic_depth_costs_nothing():
    row = find("cifar_resnet20")
    assert cost(replace(row, drop_depth=0.5)) == cost(row)


def test_the_default_side_is_the_one_the_row_was_made_for():
    assert own_side(find("cifar_resnet20")) == cost(find("cifar_resnet20")).side_px == 32
    assert own_side(find("resnet18")) == own_side(find("vgg11")) == 224
    assert own_side(replace(find("resnet18"), stem="3x3")) == 32


@pytest.mark.parametrize(("name", "side"), [("alexnet", 32), ("vgg11", 31), ("googlenet", 8)])
def test_an_image_too_small_is_refused_in_one_line(name, side):
    with pytest.raises(UsageError, match=rf"^{name} needs images of at least \d+ px, got {side}x{side}: .+$"):
        cost(find(name), side)


def test_an_unknown_layer_is_refused_by_its_kind():
    with pytest.raises(TypeError, match=r"1: no rule for the cost of GELU"):
        cost_of(nn.Sequential(AtLeast(1, "x"), nn.GELU()), 3, 5)
    with pytest.raises(TypeError, match="square"):
        cost_of(nn.Sequential(nn.Conv2d(3, 4, (3, 5))), 3, 7)


def test_costs_are_for_one_image_of_any_channels():
    row = find("cifar_resnet8")
    assert isinstance(row, Arch)
    grey, colour = cost(replace(row, channels=1), 16), cost(row, 16)
    assert colour.macs - grey.macs == 2 * 9 * 16 * 16 * 16
    x = torch.randn(1, 1, 16, 16)
    assert functional.conv2d(x, torch.randn(16, 1, 3, 3), padding=1).shape[1:] == colour.layers[0].out_shape
