"""Recipes: frozen values with units and a source, by name, from files and from words. No torch.

The schedule's drops and turns are fractions of the whole run, so that a shorter run keeps the recipe's shape.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from residua.data.names import check_words
from residua.errors import DataError, UsageError
from residua.files import contents
from residua.words import unknown

#: The words that a recipe may use, by field.
WORDS: Mapping[str, tuple[str, ...]] = {
    "optimiser": ("sgd", "adamw", "lamb"),
    "schedule": ("one-cycle", "step", "cosine", "plateau", "constant"),
    "warmup": ("linear", "constant"),
    "lr_with_batch": ("none", "linear", "sqrt"),
    "loss": ("cross-entropy", "bce"),
    "balance": ("none", "loss", "sampler"),
    "on_nan": ("stop", "skip"),
    "best_by": ("error", "loss", "macro-f1", "balanced-accuracy"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Exactly one of `epochs` and `steps` says how long.

    Raises UsageError, in one line that names the field, for a value that makes no training.
    """

    name: str = "custom"
    source: str = ""
    epochs: float | None = None
    steps: int | None = None
    batch_size: int  # images to one step of the optimiser
    min_epoch_steps: int = 0  # batch_size is halved until an epoch has so many steps, as far as it makes sense
    lr_with_batch: str = "none"  # what lr does then: falls in proportion (linear), with the square root, or not at all
    accumulate: int = 1  # slices that a batch is cut into to fit in memory; norms see one slice
    val_fraction: float = 0.1  # of the training images, set aside to choose the best epoch
    # optimiser
    optimiser: str = "sgd"
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_norms: bool = False  # decay norms and biases too
    clip_norm: float | None = None
    ema: float | None = None  # decay of the averaged weights, per step
    # schedule
    schedule: str = "cosine"
    peak_at: float = 0.3  # one-cycle: the fraction of the run at which lr is reached
    start_factor: float = 0.04  # one-cycle: the first learning rate over lr
    final_factor: float = 0.0  # one-cycle and cosine: the last learning rate over lr
    drops: tuple[float, ...] = ()  # step: fractions of the run at which lr is multiplied by drop_factor
    drop_factor: float = 0.1  # step and plateau
    patience_epochs: int = 5  # plateau: epochs without a better validation error before a drop
    warmup: str = "linear"  # from warmup_lr to lr, or "constant": warmup_lr until it ends
    warmup_steps: int = 0
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    warmup_until_error: float | None = None  # warmup_lr until the training error is below this fraction
    warmup_from_layers: int = 0  # ... which only nets of this many weighted layers need
    # what is learned from
    loss: str = "cross-entropy"
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ("auto",)  # words of data/augment; "auto": what suits the images
    balance: str = "none"  # rare classes: "loss" weights their images, "sampler" shows them more often
    on_nan: str = "stop"  # a loss or gradient without an end: "skip" leaves the step out
    # which epoch is kept, and when nothing more is to be hoped for
    best_by: str = "error"  # of the held-out images
    early_stop_epochs: int | None = None  # epochs without a better one, after which training ends
    # from trained weights
    freeze: tuple[str, ...] = ()  # parts whose parameters and statistics stay as they are: stem, stages.0, ...
    head_epochs: float = 0.0  # first the head alone is trained, for at most a third of the run
    lr_decay: float = 1.0  # learning rate of each stage over that of the one behind it
    # the net
    drop_depth: float = 0.0
    zero_init: bool = False
    zero_init_from_layers: int | None = None  # zero_init for residual nets of this many weighted layers

    def __post_init__(self) -> None:
        """Fit every value to its type and check it."""
        for f in fields(self):
            object.__setattr__(self, f.name, _fitted(f.name, f.type, getattr(self, f.name)))
        for field, words in WORDS.items():
            if getattr(self, field) not in words:
                raise unknown(field, getattr(self, field), words)
        for field, (says, holds) in CHECKS.items():
            value = getattr(self, field)
            if value is not None and not holds(value):
                raise UsageError(f"recipe {self.name}: {field} must be {says}, got {_shown(value)}")
        self._check_together()
        check_words([w for w in self.augment if w != "auto"])

    def _check_together(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UsageError(f"recipe {self.name}: give either epochs or steps")
        if self.batch_size // self.accumulate < 2:
            size = f"batch_size {self.batch_size} in {self.accumulate} slices"
            raise UsageError(f"recipe {self.name}: {size} leaves fewer than 2 images each")
        if self.nesterov and (self.optimiser != "sgd" or self.momentum == 0):
            raise UsageError(f"recipe {self.name}: nesterov needs the optimiser sgd and a momentum")
        if self.warmup_until_error is not None and self.warmup_lr == 0:
            raise UsageError(f"recipe {self.name}: warmup_until_error needs a warmup_lr to train with")
        if self.head_epochs and (self.warmup_until_error is not None or self.schedule == "plateau"):
            raise UsageError(f"recipe {self.name}: head_epochs goes with one-cycle, cosine, step or constant")
        if self.warmup_steps and self.warmup_epochs:
            raise UsageError(f"recipe {self.name}: give either warmup_steps or warmup_epochs")


def _fraction(x: float) -> bool:
    return 0 <= x < 1


#: What must hold for a field, said and tested. NaN and infinity never hold.
CHECKS: Mapping[str, tuple[str, Any]] = {
    "epochs": ("positive", lambda x: 0 < x < math.inf),
    "steps": ("at least 1", lambda x: x >= 1),
    "batch_size": ("at least 2", lambda x: x >= 2),
    "min_epoch_steps": ("0 or more", lambda x: x >= 0),
    "accumulate": ("at least 1", lambda x: x >= 1),
    "val_fraction": ("in [0, 1)", _fraction),
    "lr": ("positive", lambda x: 0 < x < math.inf),
    "momentum": ("in [0, 1)", _fraction),
    "betas": ("two numbers in [0, 1)", lambda x: len(x) == 2 and all(map(_fraction, x))),
    "eps": ("positive", lambda x: 0 < x < math.inf),
    "weight_decay": ("0 or more", lambda x: 0 <= x < math.inf),
    "clip_norm": ("positive", lambda x: 0 < x < math.inf),
    "ema": ("in (0, 1)", lambda x: 0 < x < 1),
    "peak_at": ("in (0, 1)", lambda x: 0 < x < 1),
    "start_factor": ("in [0, 1]", lambda x: 0 <= x <= 1),
    "final_factor": ("in [0, 1]", lambda x: 0 <= x <= 1),
    "drops": ("rising fractions of the run, in (0, 1)", lambda x: all(a < b for a, b in pairwise((0, *x, 1)))),
    "drop_factor": ("in (0, 1)", lambda x: 0 < x < 1),
    "patience_epochs": ("at least 1", lambda x: x >= 1),
    "warmup_steps": ("0 or more", lambda x: x >= 0),
    "warmup_epochs": ("0 or more", lambda x: 0 <= x < math.inf),
    "warmup_lr": ("0 or more", lambda x: 0 <= x < math.inf),
    "warmup_until_error": ("in (0, 1]", lambda x: 0 < x <= 1),
    "label_smoothing": ("in [0, 1)", _fraction),
    "early_stop_epochs": ("at least 1", lambda x: x >= 1),
    "head_epochs": ("0 or more", lambda x: 0 <= x < math.inf),
    "lr_decay": ("in (0, 1]", lambda x: 0 < x <= 1),
    "drop_depth": ("in [0, 1)", _fraction),
    "zero_init_from_layers": ("at least 1", lambda x: x >= 1),
}  # fmt: skip


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fitted(field: str, kind: Any, value: Any) -> Any:
    """The value in the field's type: a whole number is also a float, a list a tuple. Raises UsageError."""
    first = _options(kind)[0]
    if value is None and NoneType in _options(kind):
        return None
    if get_origin(first) is tuple and isinstance(value, list | tuple):
        return tuple(_fitted(field, get_args(first)[0], v) for v in value)
    if first is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if first in (int, float, bool, str) and type(value) is first:
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    raise UsageError(f"recipe field {field} must be {names.get(first, 'a list')}, got {value!r}")


HE2015 = "He et al. 2015, arXiv:1512.03385"
CIFAR = ("pad-crop:4", "flip")

RECIPES: Mapping[str, Recipe] = {
    r.name: r
    for r in (
        Recipe(
            name="quick",
            source="one-cycle SGD after Smith & Topin 2017, arXiv:1708.07120; values tuned on digits and CIFAR-10",
            epochs=15,
            batch_size=64,
            min_epoch_steps=8,
            lr_with_batch="sqrt",
            lr=0.1,
            nesterov=True,
            weight_decay=8e-4,
            schedule="one-cycle",
            peak_at=0.15,
            start_factor=0.1,
            label_smoothing=0.05,
            zero_init_from_layers=110,  # as the paper's warm-up: deeper nets would not get going at this rate
        ),
        Recipe(
            name="he2015-cifar",
            source=f"{HE2015}, sec. 4.2",
            steps=64_000,
            batch_size=128,
            val_fraction=0,
            lr=0.1,
            weight_decay=1e-4,
            decay_norms=True,
            schedule="step",
            drops=(0.5, 0.75),  # 32k and 48k of 64k
            warmup_lr=0.01,
            warmup_until_error=0.8,
            warmup_from_layers=110,
            augment=CIFAR,
        ),
        Recipe(
            name="he2015-imagenet",
            source=f"{HE2015}, sec. 3.4",
            steps=600_000,
            batch_size=256,
            lr=0.1,
            weight_decay=1e-4,
            decay_norms=True,
            schedule="plateau",
            augment=("short-side:256:480", "flip", "color:0.4"),
        ),
        Recipe(
            name="he2016-preact",
            source="He et al. 2016, arXiv:1603.05027, appendix",
            steps=64_000,
            batch_size=128,
            val_fraction=0,
            lr=0.1,
            weight_decay=1e-4,
            decay_norms=True,
            schedule="step",
            drops=(0.5, 0.75),
            warmup="constant",
            warmup_steps=400,
            warmup_lr=0.01,
            augment=CIFAR,
        ),
        Recipe(
            name="goyal2017",
            source="Goyal et al. 2017, arXiv:1706.02677, sec. 5.1",
            epochs=90,
            batch_size=8192,
            accumulate=256,  # norms over 32 images, as on each of the paper's 256 workers
            lr=3.2,  # 0.1 for every 256 images
            nesterov=True,
            weight_decay=1e-4,
            schedule="step",
            drops=(30 / 90, 60 / 90, 80 / 90),
            warmup_epochs=5,
            warmup_lr=0.1,
            augment=("random-resized-crop:0.08", "flip"),
            zero_init=True,
        ),
        Recipe(
            name="wightman2021-a3",
            source="Wightman et al. 2021, arXiv:2110.00476, table 2 (A3)",
            epochs=100,
            batch_size=2048,
            accumulate=8,
            optimiser="lamb",
            lr=8e-3,
            eps=1e-6,
            weight_decay=0.02,
            clip_norm=1.0,
            schedule="cosine",
            final_factor=1.25e-4,  # timm's min_lr 1e-6
            warmup_epochs=5,
            warmup_lr=1e-4,
            loss="bce",
            # magnitude 6 of timm's 10 is 18 of torchvision's 30
            augment=("random-resized-crop:0.08", "flip", "rand-augment:2:18", "mixup:0.1", "cutmix:1.0"),
            zero_init=True,
        ),
        Recipe(
            name="finetune",
            source="head first, then one cycle with slower early stages: Howard & Gugger 2020, arXiv:2002.04688",
            epochs=20,
            batch_size=32,
            min_epoch_steps=8,
            lr_with_batch="sqrt",
            lr=0.02,
            nesterov=True,
            weight_decay=1e-4,
            schedule="one-cycle",
            start_factor=0.2,
            label_smoothing=0.1,
            head_epochs=1,
            lr_decay=0.6,
        ),
    )
}  # fmt: skip


# -- from names, files and words ------------------------------------------------------------------------------------


def recipe(
    name_or_path: str, sets: Sequence[str] = (), *, known: Mapping[str, Recipe] = RECIPES, **changes: Any
) -> Recipe:  # fmt: skip
    """The recipe of a name or a TOML file, changed by ``field=value`` words and by `changes` (None: no change).

    A file may start from another recipe (``base = "quick"``) and may keep its fields in a table ``[recipe]``, as the
    config.toml of a run does. Raises UsageError for an unknown name or field, naming the nearest, or a wrong value.
    """
    if name_or_path.endswith(".toml"):
        start, values = _from_file(Path(name_or_path), known)
    elif name_or_path in known:
        start, values = known[name_or_path], {}
    else:
        raise unknown("recipe", name_or_path, known, "or give a FILE.toml")
    values |= set_words(sets)
    values |= {k: v for k, v in changes.items() if v is not None}
    return from_json(values, start)


def set_words(sets: Sequence[str]) -> dict[str, Any]:
    """The fields that words such as ``lr=0.2`` set. Raises UsageError."""
    values: dict[str, Any] = {}
    for word in sets:
        field, is_set, text = word.partition("=")
        if not is_set:
            raise UsageError(f"--set {word}: write field=value, such as lr=0.2")
        values[field.strip()] = _read(field.strip(), text.strip())
    return values


def from_json(values: Mapping[str, Any], start: Recipe | None = None) -> Recipe:
    """The recipe with these fields, the others as in `start` or at their defaults. Raises UsageError.

    A `batch_size` that is given is meant, and so is a `lr`: neither then follows the number of pictures.
    """
    for field in values:
        if field not in FIELDS:
            raise unknown("field of a recipe", field, FIELDS)
    values = dict(values)
    if start is not None:
        if (values.get("epochs") is None) != (
            values.get("steps") is None
        ):  # one way to say how long replaces the other
            values = {"epochs": None, "steps": None} | values
        meant: dict[str, dict[str, Any]] = {"batch_size": {"min_epoch_steps": 0}, "lr": {"lr_with_batch": "none"}}
        values = {k: v for said, off in meant.items() if said in values for k, v in off.items()} | values
        return replace(start, **values)
    if absent := [f for f in ("batch_size", "lr") if f not in values]:
        raise UsageError(
            f'recipe {values.get("name", "")}: no {absent[0]}; give one, or start from another: base = "quick"'
        )
    return Recipe(**values)


def to_json(r: Recipe) -> dict[str, Any]:
    """The fields as plain words, numbers and lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(r).items()}


FIELDS: Mapping[str, Any] = {f.name: f.type for f in fields(Recipe)}


def _from_file(
    path: Path, known: Mapping[str, Recipe], above: tuple[Path, ...] = ()
) -> tuple[Recipe | None, dict[str, Any]]:  # fmt: skip
    """The recipe that a file starts from and its own fields; `above` are those that start from it."""
    try:
        values = tomllib.loads(contents(path).decode())
    except OSError as e:
        raise DataError(f"cannot read the recipe {path}: {e.strerror}") from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{path} is not TOML: {e}") from e
    if isinstance(values.get("recipe"), dict):
        values = values["recipe"]
    values = {"name": path.stem} | values
    base = values.pop("base", None)
    if not str(base).endswith(".toml"):
        return (recipe(str(base), known=known) if base is not None else None), values
    above = (*above, path.resolve())
    if Path(str(base)).resolve() in above:
        raise UsageError(f"{path}: recipes begin with one another without an end: base = {base!r}")
    start, own = _from_file(Path(str(base)), known, above)
    return from_json(own, start), values


def _read(field: str, text: str) -> Any:
    """The value that `text` means for this field; commas part the entries of a list. Raises UsageError."""
    if field not in FIELDS:
        raise unknown("field of a recipe", field, FIELDS)
    kinds = _options(FIELDS[field])
    if text.lower() == "none" and NoneType in kinds:
        return None
    if get_origin(kinds[0]) is tuple:
        inner = get_args(kinds[0])[0]
        return tuple(_word(field, inner, t.strip()) for t in text.strip("[]()").split(",") if t.strip(" '\""))
    return _word(field, kinds[0], text)


def _word(field: str, kind: Any, text: str) -> Any:
    switch = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    try:
        return switch[text.lower()] if kind is bool else text.strip("'\"") if kind is str else kind(text)
    except (ValueError, KeyError) as e:
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UsageError(f"--set {field}={text}: {field} must be {names[kind]}") from e
