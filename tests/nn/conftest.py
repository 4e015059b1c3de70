"""Nets beside other people's nets: the same random weights in both, nothing initialised twice."""

from collections.abc import Callable
from math import prod

import pytest
import torch
from torch import Tensor, nn

from residua.nn.arch import Row
from residua.nn.cost import blueprint
from residua.nn.names import adopt, theirs
from residua.nn.resnet import Net

N, H, W = 2, 33, 47


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test draws the same numbers whenever it runs."""
    torch.manual_seed(0)


def plausible(shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Random numbers of the right size for every name: activations neither vanish nor explode."""
    numbers = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
    state = {}
    for i, (key, like) in enumerate(shapes.items()):
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.int64)
            continue
        size = like.numel()
        value = numbers.roll(97 * i)[:size] if size < len(numbers) else numbers.repeat(-(-size // len(numbers)))[:size]
        if like.ndim > 1:
            value = value * (2 / prod(like.shape[1:])) ** 0.5
        elif key.endswith("running_var"):
            value = value.abs() + 0.5
        else:
            value = value * 0.1 + float(key.endswith("weight"))
        state[key] = value.reshape(like.shape).clone()
    return state


@pytest.fixture(scope="session")
def filled() -> Callable[[Row], Net]:
    """(row) -> its net with plausible weights: much faster than initialising hundreds of megabytes."""

    def make(row: Row) -> Net:
        net = blueprint(row)
        net.load_state_dict(plausible(net.state_dict()), assign=True)
        return net

    return make


@pytest.fixture(scope="session")
def twins() -> Callable[..., tuple[Net, nn.Module]]:
    """(row, function that makes the other net, layout) -> our net and theirs, holding the same weights."""

    def make(row: Row, other: Callable[[], nn.Module], layout: str = "torchvision") -> tuple[Net, nn.Module]:
        with torch.device("meta"):
            foreign = other()
        names = theirs(row, layout)
        assert names is not None
        expected = list(foreign.state_dict())
        if layout == "torchvision":
            assert list(names.values()) == expected  # one to one, and in the same order
        assert sorted(names.values()) == sorted(expected)
        state = plausible(foreign.state_dict())
        own = {k: v.clone() if v.ndim < 2 else v for k, v in state.items()}  # norms count for themselves
        foreign.load_state_dict(own, assign=True)
        mine = blueprint(row)
        adopted, _, found = adopt(state, row)
        assert found == layout
        mine.load_state_dict(adopted, assign=True)
        return mine, foreign

    return make


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """(our net, theirs, image size): outputs agree to the last bit in both modes, and running statistics do too."""

    def check(
        mine: nn.Module, foreign: nn.Module, size: tuple[int, int] = (H, W), names: dict[str, str] | None = None
    ) -> None:
        x = torch.randn(N, 3, *size, generator=torch.Generator().manual_seed(1))
        for mode in (False, True):
            outputs = []
            for net in (mine, foreign):
                net.train(mode)
                torch.manual_seed(2)  # dropout
                with torch.no_grad():
                    y = net(x)
                y = getattr(y, "logits", y) if not isinstance(y, tuple) else y
                outputs.append(tuple(y) if isinstance(y, tuple) else (y,))
            assert all(bool(y.isfinite().all()) and float(y.std()) > 1e-3 for y in outputs[0])
            assert len(outputs[0]) == len(outputs[1])
            assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
        moved = {k: v for k, v in foreign.state_dict().items() if "running" in k}
        ours = {k: v for k, v in mine.state_dict().items() if "running" in k}
        if names is None:
            assert all(torch.equal(a, b) for a, b in zip(ours.values(), moved.values(), strict=True))
        else:
            assert all(torch.equal(v, moved[names[k]]) for k, v in ours.items())

    return check
