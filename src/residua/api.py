"""The Python words: the same as the command's verbs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from residua.errors import DataError, UsageError
from residua.words import unknown

if TYPE_CHECKING:
    from residua.data.check import Check
    from residua.detect.predict import DetectorModel
    from residua.explain import Explanation, Unread
    from residua.job import Event
    from residua.job.boxes.options import BoxOptions
    from residua.localize.predict import LocalizerModel
    from residua.predict import Model
    from residua.training.recipe import Recipe

    Options = TypeVar("Options", bound=BoxOptions)


@dataclass(frozen=True)
class TrainResult:
    """A finished training: its run folder, the evaluation of its test split, and how long it took.

    `test` is an `Evaluation` of a classifier, a `BoxEvaluation` of a detector, or a `LocalizationEvaluation`.
    """

    run: Path
    test: Any
    seconds: float

    @property
    def model(self) -> Path:
        """The model file of the run."""
        return self.run / "model.safetensors"


def train(
    data: str | None = None, *, recipe: str | None = None, sets: Sequence[str] = (), **options: Any
) -> TrainResult:
    """Train a net on `data` (the digits, if not said) and write everything about it into a run folder.

    `options` are the flags of `residua train`, with underscores: fields of the recipe (``epochs=2``, ``lr=0.05``) or of
    the run (``arch="resnet18"``, ``seed=1``, ``out="runs/first"``). `sets` are words such as ``"label_smoothing=0"``.
    ``resume="runs/first"`` goes on with a run. Raises UsageError for a word that does not exist, with the nearest ones.
    """
    from residua.amounts import in_numbers
    from residua.training.recipe import FIELDS
    from residua.training.recipe import recipe as find

    resume = options.pop("resume", None)
    of_recipe = {k: v for k, v in options.items() if k in FIELDS}
    of_run = {k: v for k, v in options.items() if k not in FIELDS} | ({} if data is None else {"data": str(data)})
    of_run |= in_numbers({**of_run, **of_recipe}, sets)
    found = find(
        recipe or (f"{resume}/config.toml" if resume else "finetune" if options.get("weights") else "quick"),
        sets,
        **of_recipe,
    )
    from residua.job import TrainOptions, resumed
    from residua.job import train as events

    known = [f.name for f in fields(TrainOptions)]
    for word in of_run:
        if word not in known:
            raise unknown("option", word, [*known, *FIELDS])
    made = resumed(resume, recipe=found, **of_run) if resume else TrainOptions(recipe=found, **of_run)
    return _result(events(made))


def _result(events: "Iterable[Event]") -> TrainResult:
    """Follow a training to its end, draw its pages, and give what came of it. Raises DataError without a test split."""
    from residua.job import Finished, Tested
    from residua.report import draw

    finished, test = None, None
    for event in events:
        test = event.evaluation if isinstance(event, Tested) else test
        if isinstance(event, Finished):
            finished = event
            draw(finished.run)
    if finished is None or test is None:
        raise DataError("the data have no test split, so there is no result; the run folder holds the model")
    return TrainResult(run=finished.run, test=test, seconds=finished.seconds)


def check(data: str | Path, *, root: str | None = None, workers: int = 0) -> "Check":
    """What is wrong with a data set, what it is like and what suits it: every picture looked at once, nothing written.

    ``check(...).findings`` says it, the worst first; ``to_mend`` holds those that must be mended; ``to_json()`` is the
    document of ``residua check --json``. Raises UsageError or DataError for what is no data at all.
    """
    from residua.data.check import examine, material
    from residua.job.proposals import proposed

    return proposed(examine(material(str(data), root=root), workers=workers))


def train_detector(
    data: str | Path, *, recipe: str | None = None, sets: Sequence[str] = (), **options: Any
) -> TrainResult:  # fmt: skip
    """Train Faster R-CNN on pictures with boxes and write everything about it into a run folder.

    `options` are the flags of `residua detect train`, with underscores (``form="c4"``, ``epochs=10``). The result's
    `test` has `coco`, `voc12`, `classes` and `errors`. Raises UsageError for a word that does not exist.
    """
    from residua.detect.recipes import RECIPES

    usual = "finetune" if options.get("weights") else "quick"
    of_run = _on_boxes(RECIPES, recipe or usual, sets, options)
    from residua.job.detection import DetectOptions
    from residua.job.detection import train as events

    return _result(events(_made(DetectOptions, data, of_run)))


def train_localizer(
    data: str | Path, *, recipe: str | None = None, sets: Sequence[str] = (), **options: Any
) -> TrainResult:  # fmt: skip
    """Train a net that says what one thing a picture shows and where, and write everything into a run folder.

    `options` are the flags of `residua localize train`, with underscores (``stem="5x5"``, ``epochs=10``). The result's
    `test` has `top1_localization_error`, `given_localization_error` and `top1_error`. Raises UsageError for a word that
    does not exist.
    """
    from residua.localize.recipes import RECIPES

    usual = "refine" if options.get("refine") else "finetune" if options.get("weights") else "quick"
    of_run = _on_boxes(RECIPES, recipe or usual, sets, options)
    from residua.job.localization import LocalizeOptions
    from residua.job.localization import train as events

    return _result(events(_made(LocalizeOptions, data, of_run)))


def _on_boxes(
    known: "Mapping[str, Recipe]", recipe: str, sets: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of a training on boxes, those that are fields of its recipe put into that."""
    from residua.training.recipe import FIELDS
    from residua.training.recipe import recipe as find

    of_recipe = {k: v for k, v in options.items() if k in FIELDS and k != "augment"}
    of_run = {k: v for k, v in options.items() if k not in of_recipe}
    return of_run | {"recipe": find(recipe, sets, known=known, **of_recipe)}


def _made(kind: "type[Options]", data: str | Path, options: Mapping[str, Any]) -> "Options":
    """The options of a kind. Raises UsageError for a word that does not exist."""
    from residua.training.recipe import FIELDS

    known = [f.name for f in fields(kind)]
    for word in options:
        if word not in known:
            raise unknown("option", word, [*known, *FIELDS])
    return kind(data=str(data), **options)


def load(
    path: str | Path,
    *,
    runtime: str = "eager",
    precision: str = "fp32",
    int8: str | None = None,
    tolerance: float = 0.5,
) -> "Model | DetectorModel | LocalizerModel":
    """The model of a file, or of a run folder, ready to predict: a classifier, a detector, or a localizer.

    `runtime`, `precision`, `int8` and `tolerance` are the flags of `residua predict`, for classifiers; "auto" is the
    runtime that is fastest once it is prepared, and ``model.engine.decisions`` tells why. Raises DataError for anything
    else, UsageError for what is not installed or does not go together, NumericError for int8 that loses too much.
    """
    from residua.nn.modelfile import model_path, task_of

    path = model_path(path)
    if task_of(path) in ("detection", "localization") and (runtime, precision, int8) != ("eager", "fp32", None):
        raise UsageError(f"runtimes are for classifiers: {path} is a model for {task_of(path)}")
    match task_of(path):
        case "detection":
            from residua.detect.predict import load as load_detector

            return load_detector(path)
        case "localization":
            from residua.localize.predict import load as load_localizer

            return load_localizer(path)
    from residua.runtimes.loading import load as load_model
    from residua.runtimes.words import Int8

    wanted = None if int8 is None else Int8(int8, tolerance)
    return load_model(path, runtime=runtime, precision=precision, int8=wanted)


def explanations(
    model: "Model",
    inputs: Any | Iterable[Any],
    *,
    method: str = "grad-cam",
    stage: int | None = None,
    target: str | None = None,
) -> "list[Explanation | Unread]":
    """Where a model looked on every picture, and which depth decided, in the order of the inputs.

    `inputs` as for `Model.predict`; what cannot be read is an Unread in its place. `method` and `stage` are the flags
    of `residua explain`; `target` is the class to explain, for None the one that the net names. An explanation has
    `label`, `overlay()` (the picture under the map, at its own size), `depth` (None for nets without shortcuts) and
    `to_json()`. Raises UsageError for a word that does not exist, and for a method whose library is missing.
    """
    from residua.explain import Explainer
    from residua.predict import readers

    net, temperature = model.net, model.header.temperature
    made = Explainer(net, model.classes, model.view, model.engine, temperature, method, stage)  # type: ignore[arg-type]
    return list(made.stream(readers(inputs), None if target is None else made.target(target)))
