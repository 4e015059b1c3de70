"""Our parameter names and other people's: one ordered rename table per layout, and strict loading.

The only place that knows torchvision's, timm's, Hugging Face's or anyone's names. A table holds (regex, replacement)
pairs that turn *our* names into theirs, applied in order; the way back is the same table, inverted over a net's keys.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import DataError, UsageError
from residua.nn.arch import Arch, Row
from residua.nn.checkpoint import read_checkpoint as read_checkpoint
from residua.nn.cost import blueprint, own_side
from residua.nn.zoo import build

State = dict[str, Tensor]
Table = tuple[tuple[str, str], ...]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of ImageNet's RGB, as all of these use it
HALF = ((0.5,) * 3, (0.5,) * 3)  # RGB to [-1, 1], as Inception's weights expect it


# -- the tables: our name -> theirs ---------------------------------------------------------------------------------


def torchvision(row: Row) -> Table | None:
    """``conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc`` (timm's ResNets too); VGG, AlexNet, GoogLeNet."""
    if not isinstance(row, Arch):
        return inception(row) if row.family == "googlenet" else numbered(row)
    if row.unit != "post_act" or row.norm == "none":
        return None
    return (
        *((rf"^stages\.{s}\.", f"layer{s + 1}.") for s in range(len(row.widths))),
        (r"\.branch\.", "."),
        (r"\.shortcut\.conv\.", ".downsample.0."),
        (r"\.shortcut\.bn\.", ".downsample.1."),
        (r"^(stem|head)\.", ""),
    )


def numbered(row: Row) -> Table:
    """``features.0, features.3, classifier.0``: VGG's and AlexNet's layers under their places in a sequence."""
    net = blueprint(row)
    maps = [f"stages.{s}.{k}" for s, stage in enumerate(net.stages) for k, _ in stage.named_children()]
    rest = [f"head.{k}" for k, _ in net.head.named_children() if k not in ("pool", "mean", "flatten")]
    return (
        *((rf"^{re.escape(name)}\.", f"features.{i}.") for i, name in enumerate(maps)),
        *((rf"^{re.escape(name)}\.", f"classifier.{i}.") for i, name in enumerate(rest)),
    )


def inception(row: Row) -> Table:
    """``conv1.conv, inception3a.branch2.0.conv, aux1.conv.bn, fc``: GoogLeNet."""
    return (
        *((rf"^stages\.{s}\.([a-e])\.", rf"inception{s + 3}\1.") for s in range(3)),
        (r"\.path1\.(conv|bn)1\.", r".branch1.\1."),
        (r"\.path([23])\.(conv|bn)1\.", r".branch\1.0.\2."),
        (r"\.path([234])\.(conv|bn)[12]\.", r".branch\1.1.\2."),
        (r"^(aux\d)\.(conv|bn)1\.", r"\1.conv.\2."),
        (r"^stem\.(conv|bn)(\d)\.", r"conv\2.\1."),
        (r"^head\.", ""),
    )


def timm(row: Row) -> Table | None:
    """``stem.conv, stages.0.blocks.0.norm1, head.fc``: timm's pre-activation nets (resnetv2) and its VGG."""
    if not isinstance(row, Arch):
        linear = ((r"^head\.fc([12])\.", r"pre_logits.fc\1."), (r"^head\.fc3\.", "head.fc."))
        return (*linear, *numbered(row)) if row.family == "vgg" else None
    if row.unit != "pre_act":
        return None
    return (
        (r"^stem\.conv1\.", "stem.conv."),
        (r"^head\.bn1\.", "norm."),
        (r"^stages\.(\d+)\.(\d+)\.(pre\.|unit\.)?(branch\.)?", r"stages.\1.blocks.\2."),
        (r"\.bn(\d)\.", r".norm\1."),
        (r"\.shortcut\.", ".downsample."),
    )


def huggingface(row: Row) -> Table | None:
    """``resnet.encoder.stages.0.layers.0.layer.0.convolution``: transformers' ResNetForImageClassification.

    Its ``downsample_in_bottleneck`` leaves no trace in the names: such weights belong to a row with ``_v1``.
    """
    if not isinstance(row, Arch) or row.unit != "post_act":
        return None
    return (
        (r"^stem\.(conv|bn)1\.", r"resnet.embedder.embedder.\1."),
        (r"^stages\.(\d+)\.(\d+)\.", r"resnet.encoder.stages.\1.layers.\2."),
        *((rf"\.branch\.(conv|bn){i}\.", rf".layer.{i - 1}.\1.") for i in (1, 2, 3)),
        (r"\.conv\.", ".convolution."),
        (r"\.bn\.", ".normalization."),
        (r"^head\.fc\.", "classifier.1."),
    )


def akamaster(row: Row) -> Table | None:
    """``conv1, bn1, layer1.0.conv1, layer1.0.shortcut.0, linear``: the usual CIFAR code (akamaster's, kuangliu's)."""
    table = torchvision(row) if isinstance(row, Arch) else None
    return (*table, (r"\.downsample\.", ".shortcut."), (r"^fc\.", "linear.")) if table else None


def residua(row: Row) -> Table:
    """Our own names."""
    return ()


@dataclass(frozen=True)
class Layout:
    """Names and the preparation of images that weights under these names were trained with, as far as it is one."""

    table: Callable[[Row], Table | None]  # None: this layout has no such nets
    crop: float = 0.875  # cropped side over resized side
    interpolation: str = "bilinear"


LAYOUTS: dict[str, Layout] = {
    "torchvision": Layout(torchvision),
    "timm": Layout(timm, crop=0.95, interpolation="bicubic"),  # resnetv2_50.a1h_in1k's
    "huggingface": Layout(huggingface, interpolation="bicubic"),  # microsoft/resnet-50's
    "akamaster": Layout(akamaster),
    "residua": Layout(residua),
}


def view(layout: str, row: Row) -> dict[str, Any]:
    """How images are prepared for weights of a layout, in the view's JSON form.

    One answer for a layout's nets; a single set of weights may have been trained otherwise. timm's pre-activation nets
    and torchvision's GoogLeNet (whose published weights come with ``transform_input``) expect RGB in [-1, 1].
    Raises UsageError for weights that take no pictures.
    """
    half = row.family == "googlenet" or (layout == "timm" and isinstance(row, Arch))
    mean, std = (list(m) for m in (HALF if half else IMAGENET))
    if row.channels == 1:
        mean, std = ([sum(m) / 3] for m in (mean, std))
    elif row.channels != 3:
        raise UsageError(f"pictures have 1 or 3 channels, these weights of {row.name} take {row.channels}")
    side, kind = own_side(row), LAYOUTS[layout]
    return {
        "side_px": side,
        "fit": "crop",
        "resize_px": side if side < 224 else round(side / kind.crop),
        "mode": "L" if row.channels == 1 else "RGB",
        "mean": mean,
        "std": std,
        "interpolation": kind.interpolation,
    }


# -- renaming -------------------------------------------------------------------------------------------------------


def rename(key: str, table: Table) -> str:
    """Their name for one of ours."""
    for pattern, replacement in table:
        key = re.sub(pattern, replacement, key)
    return key


def theirs(row: Row, layout: str) -> dict[str, str] | None:
    """Our names of a row's net -> theirs, in the net's order; None if the layout has no such nets."""
    table = LAYOUTS[layout].table(row)
    return None if table is None else {key: rename(key, table) for key in _keys(row)}


@lru_cache(maxsize=8)
def _keys(row: Row) -> tuple[str, ...]:
    return tuple(blueprint(row).state_dict())


def detect(state: Mapping[str, Tensor], row: Row, source: str = "these weights") -> str:
    """The name of the layout in which the state names all of the row's parameters and nothing else.

    Batch counters and auxiliary heads may be missing. Raises DataError with the first missing and unexpected names.
    """
    best: tuple[int, str, list[str], list[str]] | None = None
    for layout in LAYOUTS:
        if (names := theirs(row, layout)) is None:
            continue
        missing = [t for key, t in names.items() if t not in state and not optional(key)]
        known = set(names.values())
        unexpected = [k for k in state if k not in known]
        if not missing and not unexpected:
            return layout
        if best is None or len(missing) + len(unexpected) < best[0]:
            best = (len(missing) + len(unexpected), layout, missing, unexpected)
    assert best is not None
    _, layout, missing, unexpected = best
    raise DataError(
        f"{source} do not fit {row.name}: in {layout}'s names, the nearest layout, "
        f"{_first(missing, 'missing')} and {_first(unexpected, 'unexpected')}: is it another net?"
    )


def optional(key: str) -> bool:
    """Whether weights may lack this one of our names: batch counters, and heads that only training uses."""
    return key.endswith("num_batches_tracked") or key.startswith("aux")


def _first(keys: list[str], what: str) -> str:
    return f"{len(keys)} {what}, first {keys[0]}" if keys else f"none {what}"


def adopt(state: Mapping[str, Tensor], row: Row, source: str = "these weights") -> tuple[State, Row, str]:
    """Someone's weights under our names, the row with the file's classes and channels, and the layout's name.

    Numbers become float32. Missing batch counters become 0; GoogLeNet's auxiliary heads, which most files lack, are
    fresh then. Raises DataError for names or shapes that do not fit.
    """
    layout = detect(state, row, source)
    names = theirs(row, layout) or {}
    head, stem = state[names[f"{classifiers(row)[-1]}.weight"]], state[names[stem_conv(row)]]
    if head.ndim >= 2 and stem.ndim == 4 and min(head.shape[0], stem.shape[1]) > 0:
        row = replace(row, classes=head.shape[0], channels=stem.shape[1])
    needed = blueprint(row).state_dict()
    fresh: Mapping[str, Tensor] = {}
    if any(names[key] not in state and key.startswith("aux") for key in names):
        fresh = build(row).state_dict()
    adopted: State = {}
    misfits = []
    for key, name in names.items():
        if name not in state:
            adopted[key] = fresh[key] if key in fresh else torch.zeros((), dtype=torch.int64)
            continue
        adopted[key] = _flat(state[name], needed[key])
        if adopted[key].shape != needed[key].shape or adopted[key].dtype != needed[key].dtype:
            misfits.append((key, name))
    if misfits:
        raise DataError(_misfit(misfits, state, needed, row, source))
    return adopted, row, layout


def _flat(tensor: Tensor, needed: Tensor) -> Tensor:
    """A linear layer that was saved as a convolution, flat; any float as float32."""
    if needed.ndim == 2 and tensor.ndim == 4 and tensor.numel() == needed.numel():
        tensor = tensor.flatten(1)
    return tensor.float() if tensor.is_floating_point() else tensor


def _misfit(misfits: list[tuple[str, str]], state: Mapping[str, Tensor], needed: State, row: Row, source: str) -> str:
    key, name = misfits[0]
    has, needs = state[name], needed[key]
    line = f"{source} do not fit {row.name}: {name} is {_form(has)}, the net needs {_form(needs)}"
    if len(misfits) > 1:
        line += f" (and {len(misfits) - 1} more)"
    if key == stem_conv(row) and has.shape[-1] in (3, 5, 7) and isinstance(row, Arch):
        line += f": take --stem {has.shape[-1]}x{has.shape[-1]}"
    return line


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def to_torchvision(state: Mapping[str, Tensor], row: Row) -> State:
    """The weights of a row's net under torchvision's names, in torchvision's order.

    Raises UsageError for nets that torchvision would compute differently or does not have.
    """
    names = theirs(row, "torchvision")
    if names is None:
        raise UsageError(f"torchvision has no pre-activation nets and none without norms, such as {row.name}")
    if isinstance(row, Arch) and row.stride_at != "3x3":
        raise UsageError(f"torchvision's nets stride in the 3x3, {row.name} in the 1x1: its outputs would differ")
    return {name: state[key] for key, name in names.items()}


# -- other classes, other channels ----------------------------------------------------------------------------------


def classifiers(row: Row) -> tuple[str, ...]:
    """The names of the linear layers that end in classes, the main one last."""
    if isinstance(row, Arch):
        return ("head.fc",)
    return ("aux1.fc2", "aux2.fc2", "head.fc") if row.family == "googlenet" else ("head.fc3",)


def stem_conv(row: Row) -> str:
    """The name of the first convolution's weight."""
    return "stem.conv1.weight" if isinstance(row, Arch) or row.family == "googlenet" else "stages.0.conv1.weight"


def adapt(state: Mapping[str, Tensor], row: Row) -> State:
    """Weights under our names for the row's classes and channels; everything else is left as it is.

    Where the classes differ the classifier is fresh, where the channels differ the stem is adapted.
    """
    adapted = dict(state)
    adapted[stem_conv(row)] = adapt_channels(state[stem_conv(row)], row.channels)
    for name in classifiers(row):
        classes, features = state[f"{name}.weight"].shape
        if classes != row.classes:
            fresh = nn.Linear(features, row.classes)
            adapted[f"{name}.weight"], adapted[f"{name}.bias"] = fresh.weight.detach(), fresh.bias.detach()
    return adapted


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A stem's weight (O, c_in, K, K) for another number of channels: summed for one, else repeated and scaled.

    The scale keeps the size of what leaves the stem. Source: timm's ``adapt_input_conv``.
    """
    c_in = weight.shape[1]
    if channels == c_in:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, -(-channels // c_in), 1, 1)[:, :channels] * (c_in / channels)
