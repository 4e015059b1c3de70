"""Model files with norms that have seen something, and two ways to look at what was exported."""

from collections.abc import Callable
from pathlib import Path

import pytest

Model = Callable[..., Path]


def shaken(net):
    """The net, its norms as after a training: statistics and scales that are nobody's start."""
    import torch

    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 2)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.2)
    return net.eval()


def saved(path: Path, name: str, *, side: int = 16, classes: int = 4, channels: int = 3, **words) -> Path:
    """A model file of a net with random weights, the same every time."""
    from dataclasses import replace

    import torch

    from residua.nn.zoo import build, find

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = shaken(build(name, classes=classes, channels=channels))
    return written(path, net, replace(find(name), classes=classes, channels=channels), side, **words)


def written(path: Path, net, row, side: int, **words) -> Path:
    """A model file of a net and its row, with a view of this side."""
    from residua.nn import modelfile

    classes, channels = row.classes, row.channels
    view = {
        "side_px": side, "fit": "crop", "resize_px": side + 2, "mode": "RGB" if channels == 3 else "L",
        "mean": [0.4, 0.5, 0.6][:channels], "std": [0.2, 0.3, 0.25][:channels], "interpolation": "bilinear",
    } | words.pop("view", {})  # fmt: skip
    names = tuple(words.pop("names", [f"class {i}" for i in range(classes)]))
    header = modelfile.Header(row=row, classes=names, view=view, **words)
    modelfile.save(path, net, header)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual net of eight layers, shortcut A, with a temperature."""
    return saved(tmp_path_factory.mktemp("small") / "small.safetensors", "cifar_resnet8", temperature=0.6)
