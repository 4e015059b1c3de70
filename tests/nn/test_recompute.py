"""Laws of activation checkpointing: the same numbers, bit for bit, in less memory."""

import pytest
import torch
from torch import nn

from residua.engine import decide, facts
from residua.nn.blocks import DropBranch
from residua.nn.recompute import chained, settled
from residua.nn.resnet import Net
from residua.nn.zoo import build, find
from residua.training.recipe import recipe
from residua.training.state import begin
from residua.training.step import take_step

N, SIDE, STEPS = 4, 10, 3
NETS = ["cifar_resnet8:2-2-2", "cifar_resnet14_B", "cifar_preact14", "cifar_preact164:1-1-1", "cifar_plain14"]


def trained(name, segments, *, sets=(), precision="fp32", accumulate=1):
    """The state after a few steps of a net that recomputes `segments`."""
    torch.manual_seed(0)
    r = recipe("quick", [f"batch_size={N}", f"accumulate={accumulate}", *sets])
    row = find(name)
    if r.drop_depth:
        from dataclasses import replace

        row = replace(row, drop_depth=r.drop_depth)
    net = build(row)
    net.segments = segments
    engine = decide(device="cpu", precision=precision, threads=1, side_px=SIDE, in_memory=True)
    state = begin(engine.place(net), r, engine)
    state.net.train()
    for step in range(STEPS):
        torch.manual_seed(step)
        images, targets = torch.randn(N, 3, SIDE, SIDE), torch.randint(0, 10, (N,))
        take_step(state, engine.move(images), targets, 0.1, r, engine)
    return state


def same(a, b):
    """Whether two nets hold the same bits."""
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    return all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("segments", [(6,), (2, 2), (1, 3)])
def test_recomputing_changes_no_bit_of_weights_and_statistics(name, segments):
    plain = trained(name, ())
    count = len(chained(plain.net))
    segments = tuple(min(s, count) for s in segments) if sum(segments) <= count else (count,)
    assert same(trained(name, segments).net, plain.net)


@pytest.mark.parametrize("name", ["cifar_resnet8:2-2-2", "cifar_preact14"])
def test_stochastic_depth_averages_and_slices_see_the_same_random_numbers(name):
    words = {"sets": ("drop_depth=0.6", "ema=0.9"), "accumulate": 2}
    plain, thrifty = trained(name, (), **words), trained(name, (2, 2, 1), **words)
    assert any(isinstance(m, DropBranch) for m in plain.net.modules())
    assert same(thrifty.net, plain.net) and same(thrifty.ema.net, plain.ema.net)
    other = trained(name, (), sets=("drop_depth=0.59",), accumulate=2)
    assert not same(other.net, plain.net)


@pytest.mark.skipif(not facts().cpu_bf16, reason="needs bf16 arithmetic")
@pytest.mark.parametrize("name", ["cifar_resnet8:2-2-2", "cifar_preact14"])
def test_recomputing_changes_no_bit_under_autocast(name):
    sets = ("drop_depth=0.3",)
    assert same(
        trained(name, (3, 2), sets=sets, precision="bf16").net, trained(name, (), sets=sets, precision="bf16").net
    )


def test_the_norms_count_every_batch_once():
    net = trained("cifar_resnet8:2-2-2", (6,)).net
    counts = {int(m.num_batches_tracked) for m in net.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counts == {STEPS}
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_settled_norms_are_put_back_after_an_error():
    norm = nn.BatchNorm2d(3)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    with pytest.raises(RuntimeError), settled(norm):
        norm(torch.randn(2, 3, 4, 5))
        raise RuntimeError
    assert norm.momentum == 0.1 and all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())


def test_parameter_names_are_those_of_the_plain_net():
    net = build("cifar_resnet14")
    names = list(net.state_dict())
    net.segments = (3, 3)
    assert list(net.state_dict()) == names


def kept(net: Net) -> int:
    """Bytes that autograd keeps of one forward pass, parameters aside; each storage once."""
    own = {p.untyped_storage().data_ptr() for p in net.state_dict().values()}
    seen: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = net(torch.randn(N, 3, SIDE, SIDE))
    assert out.requires_grad
    return sum(seen.values())


def test_recomputing_keeps_less_and_evaluation_is_left_alone():
    net = build("cifar_resnet14:6-6-6")
    plain = kept(net)
    net.segments = (3,) * 6
    assert kept(net) < plain / 4
    net.eval()
    x = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        out = net(x)
    net.segments = ()
    with torch.no_grad():
        assert torch.equal(out, net(x))
