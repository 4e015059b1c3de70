"""Nets of every family with lively norms, and images of odd sizes."""

import pytest
import torch
from torch import Tensor, nn

from residua.engine import Engine
from residua.nn.resnet import Net
from residua.nn.zoo import build

CPU = Engine("cpu")

#: Every kind of unit and shortcut: A, B, C, pre-activation, bottleneck, ResNeXt, wide, dropped by chance.
RESIDUAL = (
    "cifar_resnet14", "cifar_resnet14_B", "cifar_resnet14_C", "cifar_preact14", "cifar_preact14_B",
    "cifar_preact164:1-2-1", "resnext29_2x4d:1-2-1", "wrn16_1", "resnet50:1-1-2-1",
)  # fmt: skip
CLASSICS = ("vgg11_bn", "vgg11", "alexnet", "googlenet")


@pytest.fixture(autouse=True)
def narrow_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residua.nn.classics.HIDDEN", 16)


def net_of(name: str, classes: int = 4) -> Net:
    torch.manual_seed(1)
    net = build(name, classes=classes).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.weight, 0.2, 1.2)
            nn.init.normal_(m.bias, std=0.2)
    return net


def images(n: int = 3, height: int = 17, width: int = 19) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(3))


def images_for(name: str, n: int = 3) -> Tensor:
    return images(n, 67, 63) if name == "alexnet" else images(n, 33, 35) if name in CLASSICS else images(n)
