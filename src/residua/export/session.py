"""One export from beginning to end: nothing stands under its name that has not answered as the model does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from residua.errors import DataError, UsageError
from residua.export import boxes, classifier, quantise, to_onnx, to_openvino, to_pt2
from residua.export.exported import FORMAT, Array, Exported
from residua.export.formats import SUFFIXES, check_int8, need
from residua.export.graphs import Graph
from residua.export.keeping import Place, Single
from residua.export.parity import Parity
from residua.export.shown import USUAL, Shown
from residua.nn import modelfile

FORMATS = {"onnx": to_onnx, "openvino": to_openvino, "pt2": to_pt2}
#: How many points of accuracy int8 may cost.
LOSS = 0.5


class Subject(Protocol):
    """A model of any task on its way out."""

    def graph(self, to: str, raw: bool) -> Graph:
        """What is exported."""

    def words(self, made: Graph) -> dict[str, Any]:
        """What the file says of itself."""

    def at_hand(self, root: str | None) -> Shown:
        """Pictures to ask about where the user gives none."""

    def of_data(self, data: str, split: str = "test", *, root: str | None = None, limit: int | None = None) -> Shown:
        """Pictures of the user's data."""

    def parity(self, exported: Exported, shown: Shown, tolerance: float | None = None) -> Parity:
        """What both say of pictures."""

    def fed(self, takes: str, pictures: Sequence[Any]) -> Array:
        """Pictures as a file takes them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of an export: see the flags of `residua export`. `check` and `int8` name data sets."""

    to: str
    raw: bool = False
    check: str | None = None
    int8: str | None = None
    tolerance: float = LOSS
    root: str | None = None
    licence: str | None = None
    author: str | None = None


@dataclass(frozen=True, eq=False)
class Done:
    """What was exported, and how it compares."""

    paths: tuple[Path, ...]
    words: dict[str, Any]
    parity: Parity


def subject(path: Path) -> Subject:
    """The model of a file of any task. Raises DataError."""
    task = modelfile.task_of(path)
    return classifier.load(path) if task in (None, modelfile.CLASSIFICATION) else boxes.load(path, task)


def export(
    model: Path, target: Path | Place, options: Options, heard: Callable[[str], object] = lambda line: None
) -> Done:
    """Write the model as `target`, once that very file has answered as the model does; `heard` is told what is done.

    Raises UsageError for what the format cannot do, DataError for files, NumericError where the answers differ; then
    nothing is left.
    """
    need(options.to)
    if options.int8:
        check_int8(options.to)
    of, form = subject(model), FORMATS[options.to]
    if options.int8 and not isinstance(of, classifier.Classifier):
        raise UsageError("--int8 is for classifiers: what it costs a net that finds boxes is not measured here")
    shown = _pictures(of, options)
    made = of.graph(options.to, options.raw)
    words = _words(of, made, options, model)
    place = Single(target, SUFFIXES[options.to]) if isinstance(target, Path) else target
    place.fits(words, form.opened)
    with place.proved() as folder:
        if options.int8:
            heard("calibrating on training pictures")
            inputs = _calibration(of, made, options)
            words["int8"]["calibrated_on"] = len(inputs)
            quantise.write(options.to, made, words, folder, place.stem, inputs=inputs)
        else:
            heard(f"writing {options.to}")
            form.write(made, words, folder, place.stem)
        heard("asking both about the same pictures")
        exported = form.opened(folder / place.file)
        parity = of.parity(exported, shown, options.tolerance if options.int8 else None)
        parity.demand(f"the {options.to} file")
        place.describe(folder, exported, made.example.numpy())
        del exported
    return Done(place.paths(), words, parity)


def _pictures(of: Subject, options: Options) -> Shown:
    data = options.int8 or options.check
    if data is None:
        return of.at_hand(options.root)
    return of.of_data(data, root=options.root, limit=None if options.int8 else USUAL)


def _calibration(of: Subject, made: Graph, options: Options) -> list[Array]:
    assert options.int8 is not None
    train = of.of_data(options.int8, "train", root=options.root, limit=quantise.PICTURES)
    return [of.fed(made.takes, [picture]) for _, picture in train.readable()]


def _words(of: Subject, made: Graph, options: Options, model: Path) -> dict[str, Any]:
    """All words of the file."""
    own = {"licence": options.licence, "author": options.author}
    words = {"format": FORMAT, "residua": version("residua"), "from": model.name, **of.words(made), **own}
    if options.int8:
        words["int8"] = {"tolerance_points": options.tolerance}
    words["precision"] = "int8" if options.int8 else "fp32"
    return words


def opened(path: Path) -> Exported:
    """An exported file, ready to answer. Raises UsageError for an unknown kind, DataError for a damaged one."""
    by_suffix = {SUFFIXES[to][0]: (to, form) for to, form in FORMATS.items()}
    if path.suffix.lower() not in by_suffix:
        raise UsageError(f"{path} is no exported file: give {', '.join(by_suffix)}")
    to, form = by_suffix[path.suffix.lower()]
    need(to, str(path))
    found: Exported = form.opened(path)
    return found


def verify(
    exported: Path, model: Path, data: str, *, split: str = "test", root: str | None = None, limit: int | None = USUAL,
    tolerance: float | None = None,
) -> tuple[Exported, Parity]:  # fmt: skip
    """Ask a file and the model that it was exported from about the same pictures again; the caller judges.

    `tolerance` is for int8; the file's own where it is None. Raises UsageError and DataError.
    """
    file, of = opened(exported), subject(model)
    if file.words["task"] != (modelfile.task_of(model) or modelfile.CLASSIFICATION):
        raise DataError(f"{exported} was exported from a model for {file.words['task']}, {model} is for another task")
    allowed = None
    if file.words.get("precision") == "int8":
        allowed = tolerance if tolerance is not None else float(file.words["int8"]["tolerance_points"])
    return file, of.parity(file, of.of_data(data, split, root=root, limit=limit), allowed)
