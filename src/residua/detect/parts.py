"""The parts of a detector that are residual nets: a pyramid of stages, or conv1 to conv4 and conv5 for each region."""

from collections import OrderedDict
from collections.abc import Callable
from math import gcd

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from residua.nn.resnet import Net
from residua.ranks import together

Maps = dict[str, Tensor]


class Trunk(nn.Module):
    """The stem and the first stages of a net: (N, C, H, W) -> the maps of some `stages`, by their numbers from 0."""

    def __init__(self, net: Net, stages: tuple[int, ...]) -> None:
        """Take the parts of a net, up to the last of the stages."""
        super().__init__()
        self.stem = net.stem
        self.stages = nn.Sequential(*list(net.stages)[: max(stages) + 1])
        self.shown = stages

    def forward(self, x: Tensor) -> Maps:
        """The maps, finest first, by the names "0", "1" and so on."""
        maps: Maps = OrderedDict()
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.shown:
                maps[str(len(maps))] = x
        return maps


class Pyramid(nn.Module):
    """A trunk with a feature pyramid: maps of `out_channels` channels, and one more, half as fine ("pool")."""

    def __init__(self, net: Net, stages: tuple[int, ...], widths: tuple[int, ...], out_channels: int) -> None:
        """Of some stages of a net, which have these widths."""
        super().__init__()
        self.body = Trunk(net, stages)
        self.fpn = FeaturePyramidNetwork(list(widths), out_channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Maps:
        """The maps, finest first."""
        maps: Maps = self.fpn(self.body(x))
        return maps


class Shared(nn.Module):
    """conv1 to conv4: what all regions share in the paper's form."""

    def __init__(self, net: Net, stage: int, width: int) -> None:
        """Up to stage `stage`, which has this width."""
        super().__init__()
        self.body = Trunk(net, (stage,))
        self.out_channels = width

    def forward(self, x: Tensor) -> Maps:
        """The one map."""
        maps: Maps = self.body(x)
        return maps


class Conv5(nn.Module):
    """The last stage of a net for each region: (R, C, 14, 14) -> (R, width), averaged (He et al. 2015, appendix A)."""

    def __init__(self, net: Net) -> None:
        """Take the net's last stage."""
        super().__init__()
        self.stage = net.stages[-1]

    def forward(self, x: Tensor) -> Tensor:
        """What is said of each region."""
        maps: Tensor = self.stage(x)
        return maps.mean((2, 3))


class ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's, with answers in fp32: boxes are made of them."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box numbers of every map."""
        objectness, numbers = super().forward(x)
        return [o.float() for o in objectness], [n.float() for n in numbers]


class Predictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, in fp32: boxes and probabilities are made of its answers."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, K + 1), background first, and box numbers (R, 4 (K + 1))."""
        with torch.autocast(x.device.type, enabled=False):
            logits, numbers = super().forward(x.float())
        return logits, numbers


# -- norms ----------------------------------------------------------------------------------------------------------


def with_norms(module: nn.Module, norm: str) -> nn.Module:
    """The module with other norms in place of its batch norms, in place; "batch" leaves it."""
    if norm == "batch":
        return module
    make = NORMS[norm]
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, make(child))
        else:
            with_norms(child, norm)
    return module


def frozen(norm: nn.BatchNorm2d) -> nn.Module:
    """Its scale, shift and statistics as constants."""
    made: nn.Module = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    made.load_state_dict({k: v for k, v in norm.state_dict().items() if k != "num_batches_tracked"})
    return made


def grouped(norm: nn.BatchNorm2d) -> nn.Module:
    """Over groups of channels of each picture, as many as 32 or fewer divide them (Wu & He 2018); the same scale."""
    made = nn.GroupNorm(gcd(32, norm.num_features), norm.num_features, eps=norm.eps)
    with torch.no_grad():
        made.weight.copy_(norm.weight)
        made.bias.copy_(norm.bias)
    return made


NORMS: dict[str, Callable[[nn.BatchNorm2d], nn.Module]] = {"frozen": frozen, "group": grouped, "sync": together}
