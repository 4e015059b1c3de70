"""Weights that a training starts from: of our model file, of someone's checkpoint, or published under a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from residua.data.view import View
from residua.engine import Decision
from residua.errors import DataError, UsageError
from residua.job.options import TrainOptions
from residua.nn import hub, modelfile, names
from residua.nn.arch import Arch, Row
from residua.nn.zoo import find, stem_for


@dataclass(frozen=True)
class Trained:
    """Weights from a file: the row they fit, and how pictures were prepared for them."""

    state: Mapping[str, Tensor]
    row: Row
    view: Mapping[str, Any]
    lineage: list[Any]
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    ours: bool = False  # from a file that says exactly what it was trained on


def read_weights(options: TrainOptions) -> Trained:
    """The weights to start from: of our model file or run folder, or of someone's checkpoint for `options.arch`."""
    assert options.weights
    made_to_order = [f"--{k}" for k in ("shortcut", "depths") if getattr(options, k)]
    if made_to_order:
        raise UsageError(f"--weights brings its own net: leave {' and '.join(made_to_order)} out, or name it by --arch")
    if hub.published(options.weights):
        fetched = hub.fetch(options.weights, options.arch)
        return adopted(fetched.path, fetched.row, options, fetched.source)
    path = Path(options.weights)
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        net, header = modelfile.load(path)
    except DataError:
        if options.arch == "auto" or not path.is_file():
            raise  # it says what the file is
        return adopted(path, find(options.arch), options)
    if options.arch not in ("auto", header.row.name):
        raise UsageError(f"{path} is a {header.row.name}, not a {options.arch}: leave --arch out")
    lineage = [*header.lineage, {"from": path.name, "data": dict(header.data)}]
    return Trained(net.state_dict(), header.row, header.view, lineage, modelfile.carried(path), ours=True)


def adopted(path: Path, row: Row, options: TrainOptions, source: str | None = None) -> Trained:
    """Someone's checkpoint under our names."""
    if isinstance(row, Arch) and options.stem != "auto":
        row = replace(row, stem=options.stem)
    state, row, layout = names.adopt(names.read_checkpoint(path), row, str(path))
    if layout == "residua" and path.suffix == ".safetensors":
        raise DataError(f"{path} is a damaged Residua model file: copy or train it again")
    return Trained(state, row, names.view(layout, row), [{"from": source or path.name, "layout": layout}])


def view_of(trained: Trained, view: View, options: TrainOptions) -> tuple[View, tuple[Decision, ...]]:
    """The view with the mean and deviation that the weights were trained with, where the channels agree, and with the
    size that our own file names, unless another is asked for.
    """  # fmt: skip
    theirs, told = View.from_json(trained.view), []
    if trained.ours and options.image_size is None and theirs.side_px != view.side_px:
        same = theirs.fit == view.fit
        view = replace(view, side_px=theirs.side_px, resize_px=theirs.resize_px if same else theirs.side_px)
        told.append(Decision("image_size", str(view.side_px), "what the weights were trained on", "--image-size"))
    row = trained.row
    if isinstance(row, Arch) and row.stem == "7x7" and stem_for(view.side_px) != row.stem:
        why = f"the weights' {row.stem} stem leaves little of it; larger is slower and mostly better"
        told.append(Decision("image_size", str(view.side_px), why, "--image-size 128"))
    if theirs.mode != view.mode:
        why = "the images have other channels than the weights; the stem is adapted"
        return view, (*told, Decision("normalise", view.mode, why, ""))
    shown = ", ".join(f"{m:.3g}" for m in theirs.mean)
    told.append(Decision("normalise", f"mean {shown}", "as the weights were trained", ""))
    return replace(view, mean=theirs.mean, std=theirs.std), tuple(told)
