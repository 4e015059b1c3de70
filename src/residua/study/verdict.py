"""What the numbers of a study say, in sentences; every sentence carries its numbers."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Group = Mapping[str, Any]

#: A gradient that grows or shrinks by more than this from one end of a net to the other explodes or vanishes.
MUCH = 10.0


def verdict(groups: Sequence[Group], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`headline`, one sentence, and `findings`: each with `about`, `sentence` and the numbers it was made from."""
    depth = list(of_depth(groups))
    findings = [*depth, *of_shortcuts(groups), *of_width(groups), *of_twins(groups), *of_gradients(groups, cells)]
    return {"headline": headline(depth), "findings": findings}


def headline(depth: Sequence[Mapping[str, Any]]) -> str:
    """What going deeper does to the training error of each series, in points."""
    if not depth:
        return "No two depths to compare have finished."
    parts: list[str] = []
    for d in depth:
        points = 100 * (d["deep"]["train_error"] - d["shallow"]["train_error"])
        how = f"{'rises' if points > 0 else 'falls'} by {_points(points)}" if abs(points) >= 0.005 else "stays"
        parts.append(f"{how} in {d['series']} nets")
    first = depth[0]
    steps = {(d["shallow"]["depth"], d["deep"]["depth"]) for d in depth}
    span = f"From {first['shallow']['depth']} to {first['deep']['depth']} layers" if len(steps) == 1 else "With depth"
    return f"{span}, training error {_and(parts)}."


# -- deeper ---------------------------------------------------------------------------------------------------------


def of_depth(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """For each series, the shallowest against the deepest net: is the training error worse, and in how many seeds?"""
    for series in dict.fromkeys(g["series"] for g in groups):
        nets = sorted((g for g in groups if g["series"] == series and g["width"] == 1), key=lambda g: int(g["depth"]))
        if len(nets) < 2 or not (pair := paired(nets[0], nets[-1], "train_error")):
            continue
        shallow, deep = nets[0], nets[-1]
        sentence = (
            f"{_nets(series)}: with depth the training error is {how_often(pair)}, "
            f"{_stat(shallow, 'train_error')} with {shallow['depth']} layers and "
            f"{_stat(deep, 'train_error')} with {deep['depth']}; "
            f"test error {_stat(shallow, 'test_error')} and {_stat(deep, 'test_error')}."
        )
        yield {
            "about": "depth", "series": series, "sentence": sentence + _published(nets), **pair,
            "shallow": _numbers(shallow), "deep": _numbers(deep),
        }  # fmt: skip


def of_shortcuts(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """For each depth of the plain nets, the nets that have shortcuts besides: is their training error lower?"""
    same = ("depth", "width", "norm")
    for plain in (g for g in groups if g["kind"] == "plain"):
        for other in (g for g in groups if g["kind"] != "plain" and not g["drop_depth"]):
            if any(plain[k] != other[k] for k in same) or not (pair := paired(plain, other, "train_error")):
                continue
            sentence = (
                f"{plain['depth']} layers, {other['series']} instead of plain: training error {how_often(pair)}, "
                f"{_stat(other, 'train_error')} instead of {_stat(plain, 'train_error')}; "
                f"test error {_stat(other, 'test_error')} instead of {_stat(plain, 'test_error')}."
            )
            yield {
                "about": "shortcut",
                "series": other["series"],
                "depth": plain["depth"],
                "sentence": sentence,
                **pair,
            }


def _numbers(group: Group) -> dict[str, Any]:
    means = {k: group[k]["mean"] for k in ("train_error", "test_error")}
    return {"net": group["net"], "depth": group["depth"], "params": group["params"], "macs": group["macs"], **means}


def _published(nets: Iterable[Group]) -> str:
    known = [(g, g["published"]) for g in nets if g["published"]]
    if not known:
        return ""
    values = _and([f"{_percent(p['test_error'])} with {g['depth']}" for g, p in known])
    return f" Published test error: {values} ({known[0][1]['source'].partition(',')[0]})."


# -- wider, without norms, with dropped units -----------------------------------------------------------------------


def of_width(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """For each wider net, the narrow and deep one of about the same cost: which has the lower test error?"""
    for wide in (g for g in groups if g["width"] > 1):
        narrow = next((g for g in groups if g["series"] == wide["series"] and g["width"] == 1
                       and g["depth"] == wide["budget"]), None)  # fmt: skip
        if narrow is None or not (pair := paired(narrow, wide, "test_error")):
            continue
        sentence = (
            f"{_nets(wide['series'])} {_cost(wide['macs'] / narrow['macs'])}: "
            f"{wide['depth']} layers of {wide['width']} times the width "
            f"({_millions(wide['macs'])} multiply-adds, {_millions(wide['params'])} parameters) against "
            f"{narrow['depth']} layers ({_millions(narrow['macs'])}, {_millions(narrow['params'])}): the wider net's "
            f"test error is {how_often(pair)}, {_stat(wide, 'test_error')} against {_stat(narrow, 'test_error')}."
        )
        yield {"about": "width", "series": wide["series"], "sentence": sentence, **pair,
               "narrow": _numbers(narrow), "wide": _numbers(wide)}  # fmt: skip


TWINS: dict[str, tuple[Callable[[Group], bool], str, str]] = {
    "norm": (lambda g: g["norm"] == "none", "without batch norm", "with it"),
    "drop_depth": (lambda g: g["drop_depth"] > 0, "with units dropped in training", "without"),
}


def of_twins(groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """For each net without norms, or with dropped units, the same net otherwise."""
    for about, (changed, what, else_) in TWINS.items():
        same = [k for k in ("kind", "depth", "width", "shortcut", "norm", "drop_depth") if k != about]
        for group in filter(changed, groups):
            base = next((g for g in groups if not changed(g) and all(g[k] == group[k] for k in same)), None)
            if base is None:
                continue
            wide = f" and {group['width']} times the width" if group["width"] > 1 else ""
            name = f"{_nets(base['series'])} of {group['depth']} layers{wide} {what}"
            lost = f" {group['failed']} of {group['failed'] + group['n']} seeds failed." if group["failed"] else ""
            if not (pair := paired(base, group, "test_error")):
                if lost:
                    yield {"about": about, "series": group["series"], "sentence": f"{name}:{lost}"}
                continue
            sentence = (
                f"{name}: the test error is {how_often(pair)}, {_stat(group, 'test_error')} against "
                f"{_stat(base, 'test_error')} {else_}; training error {_stat(group, 'train_error')} against "
                f"{_stat(base, 'train_error')}.{lost}"
            )
            yield {"about": about, "series": group["series"], "sentence": sentence, **pair}


# -- gradients ------------------------------------------------------------------------------------------------------


def of_gradients(groups: Sequence[Group], cells: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each net, how the gradient's norm changes from its last units to its first, before and after training."""
    for group in groups:
        logged = [c["gradients"] for c in cells if c["net"] == group["net"] and c["series"] == group["series"]
                  and c["gradients"]]  # fmt: skip
        ratios = {when: across([g[when] for g in logged]) for when in ("first", "last")}
        first, last = ratios["first"], ratios["last"]
        if first is None or last is None:
            continue
        sentence = (
            f"{_nets(group['series'])} of {group['depth']} layers: at the first step the gradient of the first "
            f"units is {_times(first)} that of the last ones, so towards the input it {_fate(first)}; "
            f"at the last step {_times(last)}."
        )
        yield {"about": "gradients", "series": group["series"], "depth": group["depth"], "sentence": sentence,
               "first_step": first, "last_step": last}  # fmt: skip


def across(norms: Sequence[Sequence[float]]) -> float | None:
    """The gradient's norm in the first units over that in the last ones, a geometric mean over runs; None without any.

    A tenth of the units, at least one, stands at each end.
    """
    logs = []
    for run in norms:
        k = max(1, len(run) // 10)
        ends = statistics.fmean(run[:k]), statistics.fmean(run[-k:])
        if min(ends) > 0 and all(map(math.isfinite, ends)):
            logs.append(math.log(ends[0] / ends[1]))
    return math.exp(statistics.fmean(logs)) if logs else None


def _fate(ratio: float) -> str:
    return "explodes" if ratio > MUCH else "vanishes" if ratio < 1 / MUCH else "neither explodes nor vanishes"


# -- words ----------------------------------------------------------------------------------------------------------


def paired(base: Group, other: Group, measure: str) -> dict[str, int] | None:
    """In how many of the seeds that both nets finished `other` is worse and better; None without any."""
    a, b = base[measure], other[measure]
    seeds = [s for s in a["values"] if s in b["values"]] if a and b else []
    if not seeds:
        return None
    worse = sum(b["values"][s] > a["values"][s] for s in seeds)
    better = sum(b["values"][s] < a["values"][s] for s in seeds)
    return {"seeds": len(seeds), "worse": worse, "better": better}


def how_often(pair: Mapping[str, int]) -> str:
    """``worse in 3 of 3 seeds``."""
    n, worse, better = pair["seeds"], pair["worse"], pair["better"]
    if worse and better:
        return f"not clearly other (worse in {worse}, better in {better} of {n} seeds)"
    word, k = ("worse", worse) if worse else ("better", better) if better else ("the same", n)
    return f"{word} in {k} of {n} seeds" + (f", the same in {n - k}" if k < n else "")


def _stat(group: Group, measure: str) -> str:
    found = group[measure]
    if found is None:
        return "–"
    return (
        _percent(found["mean"]) if found["std"] is None else f"{100 * found['mean']:.2f} ± {100 * found['std']:.2f} %"
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _points(points: float) -> str:
    return f"{abs(points):.1f} points" if abs(points) >= 1 else f"{abs(points):.2f} points"


def _millions(number: float) -> str:
    return f"{number / 1e6:,.2f} M" if number < 1e7 else f"{number / 1e6:,.1f} M"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.2g} times"


def _nets(series: str) -> str:
    """``residual B, no batch norm`` as ``Residual B nets (no batch norm)``."""
    kind, _, rest = series.partition(", ")
    return f"{kind[:1].upper()}{kind[1:]} nets" + (f" ({rest})" if rest else "")


def _cost(ratio: float) -> str:
    if 0.8 <= ratio <= 1.25:
        return "at about equal cost"
    return f"at {ratio:.2g} times the cost, the nearest there is"


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
