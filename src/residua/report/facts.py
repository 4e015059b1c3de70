"""What was trained on what, in words: the page's facts, from the run's files, whatever is missing."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residua.report import say
from residua.report.files import RunFiles

Fact = tuple[str, str]


def name_of(value: Any, fallback: str) -> str:
    """The name of something that is written as a word or as an object with a name."""
    found = value.get("name") if isinstance(value, Mapping) else value
    return say.label(found) if found else fallback


def titles(files: RunFiles) -> tuple[str, str]:
    """The net's name and the data's name."""
    data = files.data_check.get("name") or files.summary.get("data")
    return name_of(files.summary.get("arch"), "a net"), name_of(data, "images").rstrip("/").rsplit("/", 1)[-1]


def splits(files: RunFiles) -> dict[str, dict[str, int]]:
    """Images of each class in each split, as the data check counted them."""
    found = files.data_check.get("splits")
    if not isinstance(found, Mapping):
        return {}
    return {str(s): {str(c): int(n) for c, n in v.items()} for s, v in found.items() if isinstance(v, Mapping)}


def data_facts(files: RunFiles) -> list[Fact]:
    """Where the images came from, how many, and how each becomes a tensor."""
    counts = {split: sum(by_class.values()) for split, by_class in splits(files).items()}
    classes = files.data_check.get("classes") or files.evaluation.get("classes") or []
    facts = [("data", name_of(files.data_check.get("name") or files.summary.get("data"), ""))]
    if classes:
        facts.append(("classes", say.count(len(classes))))
    facts += [(SPLITS.get(split, split), say.plural(n, "image")) for split, n in counts.items()]
    view = files.summary.get("view")
    return _told([*facts, *_view(view if isinstance(view, Mapping) else {})])


SPLITS = {"train": "for training", "val": "for choosing", "test": "for testing"}


def _view(view: Mapping[str, Any]) -> list[Fact]:
    side, resize = view.get("side_px"), view.get("resize_px")
    if side is None:
        return []
    how = {"crop": "centre crop", "pad": "padded to a square", "squash": "squashed to a square"}.get(
        str(view.get("fit")), ""
    )
    size = f"{side} × {side} px, {'grey' if view.get('mode') == 'L' else 'colour'}"
    path = (
        "as they are" if resize == side else f"short side to {resize} px, {how}" if view.get("fit") == "crop" else how
    )
    scale = " ".join(say.figures(m) for m in _numbers(view.get("mean")))
    spread = " ".join(say.figures(s) for s in _numbers(view.get("std")))
    return [("view", size), ("fit", path), ("mean, std", f"{scale}, {spread}" if scale else "")]


def _numbers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def net_facts(files: RunFiles) -> list[Fact]:
    """The net in numbers, and how fast it trained."""
    s = files.summary
    layers, params, macs = (say.number(s.get(k)) for k in ("layers", "params", "macs"))
    return _told([
        ("net", name_of(s.get("arch"), "")),
        ("layers", say.count(layers) if layers else ""),
        ("parameters", say.count(params) if params else ""),
        ("multiply-adds", f"{say.short(macs)} an image" if macs else ""),
        *_pace(s),
    ])  # fmt: skip


def recipe_facts(files: RunFiles) -> list[Fact]:
    """How it was trained, in the recipe's own words."""
    s = files.summary
    recipe = s.get("recipe")
    r: Mapping[str, Any] = recipe if isinstance(recipe, Mapping) else {}
    length = (
        say.plural(r["steps"], "step")
        if r.get("steps")
        else say.plural(r["epochs"], "epoch")
        if r.get("epochs")
        else ""
    )
    augment = r.get("augment")
    facts = [
        ("recipe", name_of(recipe, "")),
        ("source", str(r.get("source") or "")),
        ("length", length),
        ("batch", say.plural(r["batch_size"], "image") if r.get("batch_size") else ""),
        (
            "optimiser",
            f"{r['optimiser']}, weight decay {say.figures(r.get('weight_decay'))}" if r.get("optimiser") else "",
        ),
        ("learning rate", f"{say.figures(r['lr'])}, {r.get('schedule', '')}".rstrip(", ") if r.get("lr") else ""),
        ("augmentation", ", ".join(map(str, augment)) if isinstance(augment, list) else ""),
        ("label smoothing", say.figures(r["label_smoothing"]) if r.get("label_smoothing") else ""),
        ("averaged weights", say.figures(r["ema"], 6) if r.get("ema") else ""),
    ]
    return _told(facts)


def _pace(summary: Mapping[str, Any]) -> list[Fact]:
    seconds, rate = say.number(summary.get("seconds")), say.number(summary.get("train_images_per_second"))
    return [
        ("trained in", say.duration(seconds) if seconds else ""),
        ("pace", f"{say.count(rate)} images/s" if rate else ""),
    ]


def _told(facts: Iterable[Fact]) -> list[Fact]:
    return [(what, say.label(value)) for what, value in facts if value and value != say.UNKNOWN]


def lead(files: RunFiles) -> str:
    """One sentence: what this run is."""
    s, counts = files.summary, splits(files)
    net, data = titles(files)
    params, layers = say.number(s.get("params")), say.number(s.get("layers"))
    size = f" with {say.count(params)} parameters in {say.count(layers)} layers" if params and layers else ""
    images = f"{say.count(sum(counts['train'].values()))} images of " if counts.get("train") else ""
    classes = files.data_check.get("classes") or files.evaluation.get("classes") or []
    of = say.plural(len(classes), "class", "classes") if classes else data
    epochs = say.number(files.epochs[-1].get("epoch")) if files.epochs else None
    length = f" for {say.plural(epochs, 'epoch')}" if epochs else ""
    seconds = say.number(s.get("seconds"))
    return f"{net}{size}, trained on {images}{of}{length}{f' in {say.duration(seconds)}' if seconds else ''}."


def notes(files: RunFiles) -> list[str]:
    """What was decided about the data."""
    found = files.data_check.get("notes")
    return [say.label(n) for n in found] if isinstance(found, list) else []


def decisions(files: RunFiles) -> list[Mapping[str, Any]]:
    """What was decided without being asked for, save what the data check says already."""
    said = {*notes(files), "asked for"}
    return [d for d in files.decisions if d.get("what") != "skipped" and say.label(d.get("why", "")) not in said]


def shown_path(run: Path) -> str:
    """The run folder as a command would name it: relative where it lies below here, else its own name."""
    try:
        return str(run.resolve().relative_to(Path.cwd()))
    except ValueError:
        return run.resolve().name


def commands(run: Path, data: str) -> dict[str, str]:
    """What to type next."""
    folder = shown_path(run)
    model = f"{folder}/model.safetensors"
    return {
        "predict": f"residua predict {shlex.quote(model)} photo.jpg",
        "eval": f"residua eval {shlex.quote(model)} {shlex.quote(data)}",
        "resume": f"residua train --resume {shlex.quote(folder)}",
        "python": (
            f"import residua\n\nmodel = residua.load({model!r})\n"
            "for prediction in model.predict('photos'):\n    print(prediction)"
        ),
        "http": HTTP.format(model=model),
        "curl": "curl --data-binary @photo.jpg 127.0.0.1:8000",
    }


#: A server of the standard library's that answers for one picture at a time, on this machine only.
HTTP = """\
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import residua

model = residua.load({model!r})

class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 < size <= 50_000_000:
            return self.send_error(413)
        result = model.predict(self.rfile.read(size))[0]
        known = isinstance(result, residua.Prediction)
        said = dict(zip(result.classes, result.probabilities)) if known else {{"problem": result.reason}}
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

HTTPServer(("127.0.0.1", 8000), Answer).serve_forever()"""


def environment(files: RunFiles) -> list[Fact]:
    """The environment as flat rows; nested objects get dotted names."""
    return [(k, say.label(v)) for k, v in _flat("", files.environment)]


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for k, v in value.items():
            yield from _flat(f"{prefix}.{k}" if prefix else str(k), v)
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, value
