"""A classifier taken apart: its units, and what becomes of one picture's answer when some of them do not work.

The model is one of its own, with the weights of the one that answers: contributions put gates into its net and take
them out again, hooks read what its units do, and no other picture ever meets that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from residua.depth.chain import Link, keeps_shape, run, without
from residua.depth.lesion import Variants
from residua.depth.measure import shortcut_of
from residua.depth.probe import Probe, residual
from residua.errors import UsageError
from residua.evaluate import evaluating, tempered
from residua.explain.units import contributions, why_not
from residua.nn.cost import LayerCost, cost_of
from residua.nn.resnet import Net
from residua.predict import Model
from residua.serve.limits import Refused
from residua.words import unknown


@dataclass(frozen=True)
class DepthWish:
    """Which units shall not work: those of `off`, or all but the `first` k (None: all work).

    `top` classes are named; `target` is the class that is followed (None: the one that the whole net names);
    `contributions` to its logit take many passes, the rest takes two.
    """

    top: int = 5
    off: tuple[str, ...] = ()
    first: int | None = None
    target: str | None = None
    contributions: bool = True


@dataclass(frozen=True, eq=False)
class Pass:
    """One way of a picture through the net: probabilities (K,), and of each unit (|F(x)| / |x|, cosine)."""

    probabilities: Tensor
    relations: Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True, eq=False)
class Logit:
    """The target's logit with all units and with none, the contribution of each in between, what they miss."""

    full: float
    bare: float
    missed: float
    units: Mapping[str, float]


@dataclass(eq=False)
class Stack:
    """A model's net as links that can be left out. Raises Refused (400) for a net that has none."""

    model: Model
    variants: Variants = field(init=False)

    def __post_init__(self) -> None:
        """Take the net apart; its own modules stay where they are."""
        try:
            self.variants = Variants(self.model.net)
        except (TypeError, UsageError) as e:
            raise Refused(400, str(e)) from e
        self.paths = [link.path for link in self.variants.removable]

    @property
    def net(self) -> Net:
        """The model's."""
        return cast(Net, self.model.net)

    # -- what there is ----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Stem, units (or layers) and head in order, with shapes, cost and receptive fields on the view's square."""
        view = self.model.view
        rows = cost_of(self.net, view.channels, view.side_px).layers
        units = [link for link in self.variants.removable if link.unit]
        kind = "layers" if not units else "plain" if all(shortcut_of(u) == "none" for u in units) else "residual"
        return {
            "kind": kind, "why_not": why_not(self.net), "stages": len(self.net.stages),
            "side_px": view.side_px, "units": list(self._described(rows)),
        }  # fmt: skip

    def _described(self, rows: Sequence[LayerCost]) -> Iterator[dict[str, Any]]:
        for link in self.variants.removable:
            mine = [row for row in rows if f"{row.name}.".startswith(f"{link.path}.")]
            c, h, w = next(row.out_shape for row in reversed(mine) if len(row.out_shape) == 3)
            yield {
                "unit": link.path, "stage": link.stage, "shortcut": shortcut_of(link), "keeps_shape": keeps_shape(link),
                "layers": sum(isinstance(m, nn.Conv2d) for m in _branch(link).modules()),
                "channels": c, "height": h, "width": w, "params": sum(row.params for row in mine),
                "macs": sum(row.macs for row in mine), "receptive_field": max(row.receptive_field for row in mine),
            }  # fmt: skip

    # -- a picture's answer -----------------------------------------------------------------------------------------

    def off(self, wish: DepthWish) -> list[str]:
        """The units that shall not work, in network order. Raises Refused (400) for one that is none."""
        if wish.first is not None:
            if wish.first > len(self.paths):
                raise Refused(400, f"first is a whole number from 0 to {len(self.paths)}: so many units there are")
            return self.paths[wish.first :]
        gone = set(wish.off)
        for path in wish.off:
            if path not in self.paths:
                raise Refused(400, str(unknown("unit", path, self.paths)))
        return [path for path in self.paths if path in gone]

    def answer(self, seen: Tensor, wish: DepthWish) -> dict[str, Any]:
        """What the whole net says of a picture, float32 (C, S, S), and what it says without the units that are off.

        Raises Refused (400) for units and classes that do not exist.
        """
        off, x = self.off(wish), seen[None]
        classes = self.model.classes
        if wish.target is not None and wish.target not in classes:
            raise Refused(400, str(unknown("class", wish.target, classes)))
        whole = self._whole(x)
        reduced = self._reduced(x, off) if off else whole
        target = int(whole.probabilities.argmax()) if wish.target is None else classes.index(wish.target)
        reason = why_not(self.net)
        asked = wish.contributions and reason is None
        full = self._logit(x, target, ()) if asked else None
        rest = (self._logit(x, target, off) if off else full) if asked else None
        return {
            "target": classes[target], "off": off, "why_not": reason,
            "whole": self._said(whole, wish.top, target, full, ()),
            "reduced": self._said(reduced, wish.top, target, rest, off),
            "change": self._change(whole, reduced, wish.top),
        }  # fmt: skip

    def _whole(self, x: Tensor) -> Pass:
        """The answer as `predict` gives it, and what each unit did on the way."""
        with Probe(self.net, responses=False) as probe:
            scores = self.model.scores(x)
        return self._passed(scores, probe)

    def _reduced(self, x: Tensor, off: Sequence[str]) -> Pass:
        """The answer of a list of links, which leaves the net as it is."""
        model = self.model
        with (
            Probe(self.net, responses=False) as probe, evaluating(self.net), torch.inference_mode(),
            model.engine.autocast(),
        ):  # fmt: skip
            modules = [Link("", 0, module) for module in self.variants.without(off)]
            scores = tempered(run(modules, model.engine.move(x)), model.header.temperature)
        return self._passed(scores, probe)

    def _passed(self, scores: Tensor, probe: Probe) -> Pass:
        relations = {path: relation.means() for path, relation in probe.relations.items()}
        return Pass(scores.softmax(1).cpu()[0], relations)

    def _logit(self, x: Tensor, target: int, off: Sequence[str]) -> Logit:
        """Contributions by `explain`'s measure, of the net without the units that are off (theirs are zero)."""
        with without(self.net, off) if off else nullcontext():
            share = contributions(self.net, x, torch.tensor([target]), self.model.engine)
        each = dict(zip(self.paths, share.contribution[0].tolist(), strict=True))
        return Logit(float(share.logit), float(share.bare), float(share.error), each)

    def _said(self, of: Pass, top: int, target: int, logit: Logit | None, off: Sequence[str]) -> dict[str, Any]:
        values, best = of.probabilities.topk(min(top, len(self.model.classes)))
        units = []
        for link in self.variants.removable:
            on = link.path not in off
            ratio, cosine = of.relations[link.path] if on else (None, None)
            units.append({
                "unit": link.path, "stage": link.stage, "on": on, "ratio": ratio, "cosine": cosine,
                "contribution": logit.units[link.path] if logit and on else None,
            })  # fmt: skip
        return {
            "classes": [self.model.classes[c] for c in best.tolist()], "probabilities": values.tolist(),
            "target_probability": float(of.probabilities[target]), "logit": logit and logit.full,
            "bare_logit": logit and logit.bare, "missed": logit and logit.missed, "units": units,
        }  # fmt: skip

    def _change(self, whole: Pass, reduced: Pass, top: int) -> list[dict[str, Any]]:
        """The classes that either names, the whole net's first, with both probabilities."""
        k = min(top, len(self.model.classes))
        both = [c for p in (whole, reduced) for c in p.probabilities.topk(k).indices.tolist()]
        return [
            {"class": self.model.classes[c], "whole": float(whole.probabilities[c]),
             "reduced": float(reduced.probabilities[c])}
            for c in dict.fromkeys(both)
        ]  # fmt: skip


def _branch(link: Link) -> nn.Module:
    """F of a unit, or a layer as it is."""
    return residual(link).branch if link.unit else link.module
