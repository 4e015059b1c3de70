"""Why the net said what it said, and how much each unit does: explanations.json and strengths.json for the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from residua.report import say, units
from residua.report.depths import Unit, climb, contributions, ratios
from residua.report.files import RunFiles
from residua.report.pictures import picture

#: Images that are explained on the page, at most, and the bytes above which their pictures are drawn smaller.
ITEMS, KEEP_BYTES, SIDE_PX = 12, 12_000, 320
WIDE, NARROW = 900, 420


def explained(files: RunFiles) -> dict[str, Any] | None:
    """What explanations.json says, with pictures and charts; None where it says nothing."""
    found = files.explanations
    items = found.get("items")
    made = [_item(files, i) for i in (items if isinstance(items, list) else [])[:ITEMS] if isinstance(i, dict)]
    shown = [i for i in made if i["overlay"] or i["adds"]]
    why_not = say.label(found.get("why_not") or "")
    if not shown and not why_not:
        return None
    return {
        "method": say.label(found.get("method") or "heat map"),
        "stage": say.label(found.get("stage") or ""),
        "target": say.label(found.get("target") or "the class that the net names"),
        "items": shown,
        "why_not": why_not,
        "with_units": any(i["adds"] for i in shown),
    }


def _item(files: RunFiles, item: dict[str, Any]) -> dict[str, Any]:
    look = {"keep_bytes": KEEP_BYTES, "side_px": SIDE_PX}
    adds, bare = _units(item.get("units"), "contribution"), say.number(item.get("bare"))
    steps = _units(item.get("units"), "added")
    words = {k: say.label(item.get(k, say.UNKNOWN)) for k in ("name", "truth", "prediction")}
    return {
        **words,
        "right": words["truth"] == words["prediction"],
        "probability": say.number(item.get("probability")),
        "overlay": picture(files.folder, str(item.get("file", "")), **look),
        "photo": picture(files.folder, str(item.get("picture", "")), **look),
        "adds": contributions(adds, width=NARROW) if adds else None,
        "climb": climb(steps, bare, width=NARROW) if steps and bare is not None else None,
        "adds_said": _most(adds),
        "climb_said": _climbed(steps, bare),
    }


def _units(rows: Any, key: str) -> list[Unit]:
    """The units that have the number `key`, in their order."""
    made = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and (value := say.number(row.get(key))) is not None:
            made.append(Unit(say.label(row.get("unit", "")), int(say.number(row.get("stage")) or 0), value))
    return made


def _most(adds: Sequence[Unit]) -> str:
    """The units that speak for the class most, and the one that speaks against it most."""
    best = sorted((u for u in adds if u.value > 0), key=lambda u: -u.value)[:2]
    worst = min(adds, key=lambda u: u.value, default=None)
    told = [f"Most for it: {' and '.join(f'{u.name} (+{u.value:.2f})' for u in best)}"] if best else []
    if worst is not None and worst.value < 0:
        told.append(f"most against it: {worst.name} (\u2212{-worst.value:.2f})")
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _climbed(steps: Sequence[Unit], bare: float | None) -> str:
    """The probability without a unit, and after each stage."""
    if bare is None or not steps:
        return ""
    last = {u.stage: u.value for u in steps}
    told = [f"{say.percent(value, 1)} after stage {stage}" for stage, value in last.items()]
    return f"{say.percent(bare, 1)} with no unit at work, {', '.join(told)}."


def strengths(files: RunFiles) -> dict[str, Any] | None:
    """How much each unit changes its input, as charts and in words; None where nothing was measured."""
    found = files.strengths
    shown = _units(found.get("units"), "ratio")
    if not shown:
        return None
    document: Mapping[str, Any] = {"units": [{"unit": u.name, "ratio": u.value} for u in shown], "word": "unit"}
    return {
        "images": say.number(found.get("images")),
        "sentence": units.sentence(document),
        "wide": ratios(shown, width=WIDE),
        "narrow": ratios(shown, width=NARROW),
        "rows": [(u.path, u.value) for u in shown],
    }
