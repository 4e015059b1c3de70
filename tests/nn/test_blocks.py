import pytest
import torch
from torch import nn

from residua.nn import blocks
from residua.nn.blocks import DropBranch, Pad, Residual, Zero, basic, bottleneck, named, post_act, pre_act

N, H, W = 2, 5, 7


def image(channels=4):
    return torch.randn(N, channels, H, W)


def test_the_unit_is_the_sum_and_leaves_x_as_it_is():
    x = image()
    before = x.clone()
    branch, shortcut = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    y = Residual(branch, shortcut, nn.ReLU(inplace=True))(x)
    assert torch.equal(y, (branch(x) + shortcut(x)).relu())
    assert torch.equal(x, before)


def test_a_unit_whose_branch_is_zero_is_the_identity():
    x = image()
    assert torch.equal(Residual(Zero())(x), x)


def test_zero_is_the_zero_of_any_shape_and_kind():
    for dtype in (torch.float32, torch.bfloat16):
        zero = Zero()(image().to(dtype))
        assert zero.shape == () and zero.dtype == dtype and zero == 0


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(4, 8, 2), (4, 7, 1), (3, 3, 2), (4, 4, 1)])
def test_pad_subsamples_and_centres_the_channels_among_zeros(c_in, c_out, stride):
    x = image(c_in)
    y = Pad(c_in, c_out, stride)(x)
    front = (c_out - c_in) // 2
    assert y.shape == (N, c_out, -(-H // stride), -(-W // stride))
    assert torch.equal(y[:, front : front + c_in], x[:, :, ::stride, ::stride])
    assert not y[:, :front].any() and not y[:, front + c_in :].any()
    assert list(Pad(c_in, c_out, stride).parameters()) == []


def test_pad_cannot_drop_channels():
    with pytest.raises(ValueError, match="from 8 to 4"):
        Pad(8, 4, 1)


@pytest.mark.parametrize("unit", [post_act, pre_act])
@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(4, 4, 1), (4, 8, 1), (4, 4, 2), (8, 4, 2)])
def test_the_shortcut_is_the_identity_wherever_shapes_allow(unit, c_in, c_out, stride):
    branch = blocks.basic if unit is post_act else blocks.pre_basic
    made = unit(c_in, c_out, stride, branch=branch)
    (residual,) = (m for m in made.modules() if isinstance(m, Residual))
    assert isinstance(residual.shortcut, nn.Identity) == (c_in == c_out and stride == 1)
    assert made.eval()(image(c_in)).shape == (N, c_out, -(-H // stride), -(-W // stride))


def test_a_changing_preactivation_unit_projects_the_activated_x():
    unit = pre_act(4, 8, 2, branch=blocks.pre_basic).eval()
    x = image()
    activated = unit.pre.bn1(x).relu()
    assert torch.equal(unit(x), unit.unit.shortcut.conv(activated) + unit.unit.branch(activated))


def test_every_branch_maps_its_channels_and_stride():
    for branch in (basic, blocks.pre_basic):
        assert branch(4, 8, 2)(image()).shape == (N, 8, 3, 4)
    for branch in (bottleneck, blocks.pre_bottleneck):
        for stride_at in ("3x3", "1x1"):
            made = branch(4, 8, 2, ratio=1 / 2, groups=2, stride_at=stride_at)
            assert made(image()).shape == (N, 8, 3, 4)
            assert made.conv2.weight.shape == (4, 2, 3, 3)


def test_a_dropped_branch_keeps_the_names_of_its_layers():
    branch = basic(4, 4, 1)
    assert list(DropBranch(branch, 0.5).state_dict()) == list(branch.state_dict())


def test_a_dropping_branch_is_itself_in_evaluation_and_at_zero():
    branch = basic(4, 4, 1)
    x = image()
    assert torch.equal(DropBranch(branch, 0.5).eval()(x), branch.eval()(x))
    assert torch.equal(DropBranch(branch, 0.0).train()(x), branch.train()(x))


def test_a_branch_survives_with_its_probability_and_keeps_its_mean():
    scale = named(one=nn.Identity())
    dropping = DropBranch(scale, 0.3).train()
    x = torch.ones(1, 1, 1, 1)
    kept = [float(dropping(x)) for _ in range(4000)]
    assert sorted(set(kept)) == pytest.approx([0.0, 1 / 0.7])
    # 4000 draws: the standard error of the rate is 0.007
    assert sum(k > 0 for k in kept) / len(kept) == pytest.approx(0.7, abs=0.03)
    assert sum(kept) / len(kept) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_a_probability_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match="probability"):
        DropBranch(basic(4, 4, 1), p)


def test_a_unit_prints_its_numbers():
    assert "stride=2, front=2, back=2" in repr(Pad(4, 8, 2))
    assert "p=0.25" in repr(DropBranch(basic(4, 4, 1), 0.25))
