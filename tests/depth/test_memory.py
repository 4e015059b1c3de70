"""Laws of memory: what is counted is what autograd keeps, and what is planned fits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from residua.depth import memory
from residua.depth.memory import Demand, Maps, fit, maps, plain, recomputed, segments
from residua.engine import decide, facts
from residua.nn.recompute import chained
from residua.nn.zoo import build, find
from residua.training.recipe import recipe

N, GIGA = 4, 2**30
ENGINE = decide(device="cpu", precision="fp32", threads=1, side_px=32, in_memory=True)
NETS = [
    ("cifar_resnet14", 32), ("cifar_resnet14_B", 20), ("cifar_plain14", 32), ("cifar_preact14", 32),
    ("cifar_preact164:2-2-2", 32), ("wrn16_2", 32), ("resnet18", 64), ("resnet18_C:1-1-1-1", 64),
    ("preact_resnet18", 64), ("resnet50:1-1-1-1", 64), ("resnext50_32x4d:1-1-1-1", 64)
]  # fmt: skip


def kept(name, side, precision="fp32", sizes=()):
    """Bytes that autograd keeps of a forward pass of N pictures, parameters aside; each storage once."""
    net = build(name, classes=10)
    net.segments = sizes
    engine = replace(ENGINE, precision=precision)
    own = {p.untyped_storage().data_ptr() for p in net.state_dict().values()}
    seen: dict[int, tuple[int, Tensor]] = {}  # the tensors too, so that no storage is used twice

    def pack(t: Tensor) -> Tensor:
        if t.is_floating_point() and t.ndim in (2, 4) and len(t) == N and t.untyped_storage().data_ptr() not in own:
            seen[t.untyped_storage().data_ptr()] = (t.untyped_storage().nbytes(), t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), engine.autocast():
        net(torch.randn(N, 3, side, side))
    return sum(n for n, _ in seen.values())


@pytest.mark.parametrize(("name", "side"), NETS)
def test_the_maps_counted_are_those_that_autograd_keeps(name, side):
    row = replace(find(name), classes=10)
    assert N * maps(row, side).total == pytest.approx(kept(name, side), rel=0.01)


@pytest.mark.skipif(not facts().cpu_bf16, reason="needs bf16 arithmetic")
@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14"])
def test_under_autocast_they_take_two_bytes(name):
    row = find(name)
    assert N * maps(row, 32, "bf16").total == pytest.approx(kept(name, 32, "bf16"), rel=0.03)
    assert maps(row, 32, "bf16").total == pytest.approx(maps(row, 32).total / 2, rel=0.01)


def test_nets_without_units_keep_all_their_maps_outside():
    m = maps(find("vgg11_bn"), 32)
    assert m.inside == () and m.outside == m.total > 0 and segments(m, 0) == plain(m)


@pytest.fixture(scope="module")
def deep():
    return maps(find("cifar_resnet110"), 32)


@pytest.mark.parametrize("share", [1.0, 0.9, 0.6, 0.4, 0.25, 0.2])
def test_recomputing_fits_where_it_can_and_recomputes_no_more_than_it_must(deep, share):
    found = segments(deep, share * deep.total)
    assert found.bytes <= share * deep.total
    count = sum(found.sizes)
    assert found.again == count / len(deep.inside)
    assert all(recomputed(deep, c).bytes > share * deep.total for c in range(count))


def test_nothing_is_recomputed_where_everything_fits(deep):
    assert segments(deep, deep.total) == plain(deep) and plain(deep).sizes == ()


def test_where_nothing_fits_the_thriftiest_is_found(deep):
    least = segments(deep, 0)
    assert least.bytes == min(recomputed(deep, c).bytes for c in range(len(deep.inside) + 1)) < deep.total / 5
    assert 4 < len(least.sizes) < 30


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_the_forward_pass_keeps_what_the_plan_says(share):
    row = find("cifar_resnet56")
    m = maps(row, 16)
    found = segments(m, share * m.total)
    assert sum(found.sizes) <= len(chained(build(row)))
    inputs = found.bytes * N
    assert kept("cifar_resnet56", 16, sizes=found.sizes) <= 1.02 * inputs


def demand(name="cifar_resnet110", words=(), before=0):
    return Demand(find(name), 32, recipe("quick", words), ENGINE, before)


@pytest.mark.parametrize("name", ["cifar_resnet110", "cifar_resnet302"])
def test_less_memory_means_more_recomputing_then_smaller_slices_then_a_refusal(name):
    found = [fit(demand(name), limit * GIGA) for limit in (64, 8, 4, 2, 1, 0.6, 0.3, 0.01)]
    assert found[0] is not None and found[0].segments.sizes == () and found[0].accumulate == 1 and found[-1] is None
    seen = [(f.accumulate, f.segments.again) for f in found if f is not None]
    assert [a for a, _ in seen] == sorted(a for a, _ in seen)
    whole = [again for a, again in seen if a == 1]
    assert whole == sorted(whole)
    limits = (64, 8, 4, 2, 1, 0.6, 0.3, 0.01)
    assert all(f.bytes <= limit * GIGA for f, limit in zip(found, limits, strict=True) if f is not None)


def test_slices_are_never_smaller_than_their_least_and_only_cut_where_they_may():
    small = fit(demand(), 0.24 * GIGA)
    assert small is not None and small.accumulate > 1
    assert 64 // small.accumulate >= memory.SMALLEST_SLICE
    assert fit(demand(), 0.24 * GIGA, slices=False) is None


def test_a_compiled_net_is_not_recomputed():
    compiled = replace(demand(), engine=replace(ENGINE, compile=True))
    found = fit(compiled, 0.6 * GIGA)
    assert found is None or found.segments.sizes == ()


def test_what_the_process_holds_and_averages_cost_is_counted():
    base, averaged = demand(), demand(words=["ema=0.99"])
    assert averaged.weights - base.weights == 4 * memory.parameters(base.row)
    assert demand(before=GIGA).weights == base.weights + GIGA


def test_the_machine_s_free_memory_is_within_the_container_s(tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert memory._free_of_container(tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_of_container(tmp_path) > 2**50
    assert 0 < memory.free(ENGINE) < 2**50 and memory.held() > 10 * 2**20


def test_maps_add_up():
    assert Maps(1, (2, 3), (4, 5), 5).total == 15
