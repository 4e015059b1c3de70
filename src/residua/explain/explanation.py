"""A net's answers with their reasons: where it looked, which depth decided, and what the answer was on the way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from residua.data.decode import BadPicture, Size
from residua.data.view import View
from residua.engine import Engine
from residua.evaluate import evaluating, tempered
from residua.explain import overlay
from residua.explain.maps import RULES, fitted, logits_of, stage_maps, stage_of
from residua.explain.pixels import PIXELS, captum, pixel_maps, smoothed
from residua.explain.scores import Judge, Scores, likeness
from residua.explain.units import MOST, TOGETHER_BYTES, added, contributions, paths, why_not
from residua.nn.resnet import Net
from residua.words import unknown

METHODS = (*RULES, *PIXELS)
TOP = 5
#: A map with so few places a side tells a user little.
FEW = 3


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture: for people upright uint8 (1 or 3, H, W), and as the net sees it, float32 (C, S, S)."""

    name: str
    pixels: Tensor
    seen: Tensor


#: A picture of a file in a mode, whole or as a view with this `least_px` needs it (`data.decode.reduced`).
Decoder = Callable[[str, int | None], tuple[Tensor, Size | None]]


def photo(name: str, decoded: Decoder, view: View) -> Photo:
    """The photo that `decoded` gives: whole and in colour for people, and bit for bit what `predict` shows the net."""
    pixels, _ = decoded("RGB", None)
    return Photo(name, pixels, view.tensor(*decoded(view.mode, view.least_px)))


@dataclass(frozen=True)
class Unread:
    """A picture that could not be read, and why."""

    name: str
    reason: str


def _photo(name: str, decoded: Decoder, view: View) -> Photo | Unread:
    try:
        return photo(name, decoded, view)
    except BadPicture as e:
        return Unread(name, e.reason)


@dataclass(frozen=True)
class UnitShare:
    """One unit's part in an answer.

    `contribution` to the target's logit; `added`: the target's probability when the units up to this one work and no
    later one; `leads`: the most probable class then.
    """

    unit: str
    stage: int
    contribution: float
    added: float
    leads: str


@dataclass(frozen=True)
class Depth:
    """A logit by depth: the contributions sum up to `logit` - `bare_logit`, but for `missed`, by `points` points.

    `bare`: the target's probability with no unit at work, `bare_logit`: its logit, `bare_leads`: what leads then.
    """

    units: tuple[UnitShare, ...]
    bare: float
    bare_logit: float
    bare_leads: str
    missed: float
    points: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a net says of a photo, and why.

    `classes` and `probabilities`: the best few. `target`: the class that is explained, with its probability and logit.
    `heat`: what speaks for it, float32 (S, S) in [0, 1] on the view's square; all zero where nothing does. `depth` is
    None for nets without shortcuts. `scores` where they were asked for.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    target: str
    target_probability: float
    logit: float
    heat: Tensor = field(repr=False)
    view: View = field(repr=False)
    photo: Photo = field(repr=False)
    depth: Depth | None = None
    scores: Scores | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[0]

    def overlay(self) -> Image.Image:
        """The photo under the heat, at its own size."""
        return overlay.painted(self.photo.pixels, self.heat, self.view)

    def small(self, least_px: int, most_px: int) -> tuple[Image.Image, Image.Image]:
        """The photo, and the photo under the heat, with a long side within these bounds where whole numbers allow."""
        return overlay.small(self.photo.pixels, self.heat, self.view, least_px, most_px)

    def to_json(self) -> dict[str, Any]:
        """Words and numbers; `units` is empty where there is no depth to tell of."""
        depth = asdict(self.depth) if self.depth else {"units": []}
        return {
            "name": self.name,
            "prediction": self.label,
            "probability": self.probabilities[0],
            "classes": list(self.classes),
            "probabilities": list(self.probabilities),
            "target": self.target,
            "target_probability": self.target_probability,
            "logit": self.logit,
            "nothing": not bool(self.heat.any()),
            **depth,
            "scores": asdict(self.scores) if self.scores else None,
        }


@dataclass(frozen=True, eq=False)
class Explainer:
    """A net that gives its reasons. `net` is where `engine` placed it; it is never changed.

    `stage` is where the maps of Grad-CAM and its kin are taken, from 0, the last one for None. `most_points` bounds
    the work for contributions by depth, `together` the bytes that their gradients keep at a time. Raises UsageError
    for a method or a stage that does not exist, and for a method whose library is missing.
    """

    net: Net
    classes: Sequence[str]
    view: View
    engine: Engine
    temperature: float | None = None
    method: str = "grad-cam"
    stage: int | None = None
    most_points: int = MOST
    together: int = TOGETHER_BYTES

    def __post_init__(self) -> None:
        """Check the words."""
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        stage_of(self.net, self.stage)
        if self.method in PIXELS:
            captum(self.method)

    @property
    def place(self) -> str | None:
        """Where the maps are taken: ``stages.3``; None for methods that work on pixels."""
        return None if self.method in PIXELS else f"stages.{stage_of(self.net, self.stage)}"

    @property
    def why_not(self) -> str | None:
        """Why there is nothing to tell by depth; None where there is."""
        return why_not(self.net)

    @property
    def notes(self) -> list[str]:
        """What a user should know of these maps: that a stage tells few places apart."""
        stage = stage_of(self.net, self.stage)
        if self.method in PIXELS:
            return []
        h, w = self.places(stage)
        if min(h, w) > FEW:
            return []
        finer = f": --stage {stage - 1} tells {' x '.join(map(str, self.places(stage - 1)))}" if stage else ""
        return [f"{self.place} tells only {h} x {w} places apart on a view of {self.view.side_px} px{finer}"]

    @torch.inference_mode()
    def places(self, stage: int) -> tuple[int, int]:
        """The size of the map that leaves a stage."""
        side = self.view.side_px
        blank = torch.zeros(1, self.view.channels, side, side)
        with evaluating(self.net), self.engine.autocast():
            found = self.net.stages[: stage + 1](self.net.stem(self.engine.move(blank)))
        return found.shape[2], found.shape[3]

    def target(self, name: str) -> int:
        """The place of a class. Raises UsageError with the nearest names for one that is none."""
        if name not in self.classes:
            raise unknown("class", name, self.classes)
        return list(self.classes).index(name)

    def stream(
        self, named: Iterable[tuple[str, Decoder]], target: int | None = None, batch_size: int = 8
    ) -> Iterator["Explanation | Unread"]:
        """The reasons for each picture, given as its name and what decodes it in a mode, in their order.

        What cannot be read is in its place; a batch of pictures is in memory at a time. `target` as for `explain`.
        """
        seen = (_photo(name, decoded, self.view) for name, decoded in named)
        while batch := list(islice(seen, batch_size)):
            found = iter(self.explain([p for p in batch if isinstance(p, Photo)], target))
            for one in batch:
                yield one if isinstance(one, Unread) else next(found)

    def explain(self, photos: Sequence[Photo], target: int | None = None) -> list[Explanation]:
        """The reasons for each photo's most probable class, or for class number `target`."""
        if not photos:
            return []
        images = torch.stack([p.seen for p in photos])
        logits = self._logits(images)
        targets = logits.argmax(1) if target is None else torch.full((len(images),), target)
        heat = self.on_square(self.maps(self.net, images, targets))
        depths = self._depths(images, targets)
        return [self._one(*row) for row in zip(photos, logits, targets.tolist(), heat, depths, strict=True)]

    def maps(self, net: Net, images: Tensor, targets: Tensor) -> Tensor:
        """The maps as the method gives them for a net like this one: float32 (N, h, w), nowhere below zero."""
        if self.method in PIXELS:
            return pixel_maps(net, images, targets, self.engine, method=self.method)
        stage = stage_of(self.net, self.stage)
        return stage_maps(net, images, targets, self.engine, method=self.method, stage=stage)

    def on_square(self, maps: Tensor) -> Tensor:
        """Maps on the view's square, (N, S, S) in [0, 1]."""
        return fitted(smoothed(maps) if self.method == "integrated-gradients" else maps, self.view.side_px)

    def judged(self, found: Explanation) -> Scores:
        """What becomes of the answer when pixels come and go in the order of the map."""
        judge = Judge(self.net, self.engine, self.temperature)
        return judge.scores(found.photo.seen, self.target(found.target), found.heat, found.name)

    def likeness(self, found: Sequence[Explanation]) -> dict[str, float]:
        """The mean rank correlation of these maps and those of the net randomised from the top down (`scores`)."""
        images = torch.stack([e.photo.seen for e in found])
        targets = torch.tensor([self.target(e.target) for e in found])
        return likeness(self.net, lambda net: self.maps(net, images, targets))

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> Tensor:
        with evaluating(self.net), self.engine.autocast():
            return logits_of(self.net, self.engine.move(images)).cpu()

    def _depths(self, images: Tensor, targets: Tensor) -> list[Depth | None]:
        if self.why_not:
            return [None] * len(images)
        share = contributions(
            self.net, images, targets, self.engine, most=self.most_points, together=self.together
        )  # fmt: skip
        course = added(self.net, images, targets, self.engine, self.temperature)
        where = paths(self.net)
        found: list[Depth | None] = []
        for i in range(len(images)):
            probability, leads = course.probability[i].tolist(), [self.classes[c] for c in course.leads[i].tolist()]
            parts = zip(where, share.contribution[i].tolist(), probability[1:], leads[1:], strict=True)
            shares = tuple(UnitShare(unit, stage, c, p, lead) for (unit, stage), c, p, lead in parts)
            missed, points = float(share.error[i]), int(share.points[i])
            found.append(Depth(shares, probability[0], float(share.bare[i]), leads[0], missed, points))
        return found

    def _one(self, seen: Photo, logits: Tensor, target: int, heat: Tensor, depth: Depth | None) -> Explanation:
        probability = tempered(logits, self.temperature).softmax(0)
        values, best = probability.topk(min(TOP, len(self.classes)))
        return Explanation(
            name=seen.name,
            classes=tuple(self.classes[c] for c in best.tolist()),
            probabilities=tuple(values.tolist()),
            target=self.classes[target],
            target_probability=float(probability[target]),
            logit=float(logits[target]),
            heat=heat,
            view=self.view,
            photo=seen,
            depth=depth,
        )
