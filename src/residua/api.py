"""The Python words: the same as the command's verbs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.errors import DataError
from residua.words import unknown

if TYPE_CHECKING:
    from residua.data.check import Check
    from residua.detect.predict import DetectorModel
    from residua.explain import Explanation, Unread
    from residua.job import Event
    from residua.predict import Model


@dataclass(frozen=True)
class TrainResult:
    """A finished training: its run folder, the evaluation of its test split, and how long it took.

    `test` is an `Evaluation` of a classifier, or a `BoxEvaluation` of a detector.
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
    from residua.training.recipe import FIELDS
    from residua.training.recipe import recipe as find

    of_recipe = {k: v for k, v in options.items() if k in FIELDS and k != "augment"}
    of_run = {k: v for k, v in options.items() if k not in of_recipe}
    usual = "finetune" if options.get("weights") else "quick"
    found = find(recipe or usual, sets, known=RECIPES, **of_recipe)
    from residua.job.detection import DetectOptions
    from residua.job.detection import train as events

    known = [f.name for f in fields(DetectOptions)]
    for word in of_run:
        if word not in known:
            raise unknown("option", word, [*known, *FIELDS])
    return _result(events(DetectOptions(data=str(data), recipe=found, **of_run)))


def load(path: str | Path) -> "Model | DetectorModel":
    """The model of a file, or of a run folder, ready to predict: a classifier, or a detector.

    Raises DataError for anything else.
    """
    from residua.nn.modelfile import task_of

    path = Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    if task_of(path) == "detection":
        from residua.detect.predict import load as load_detector

        return load_detector(path)
    from residua.predict import load as load_model

    return load_model(path)


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
