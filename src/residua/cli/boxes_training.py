"""What `detect train` and `localize train` share: from flags to options, the course, and what is said at the end."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from residua.errors import DataError, UsageError

if TYPE_CHECKING:
    from residua.job import Event
    from residua.job.boxes.options import BoxOptions
    from residua.training.recipe import Recipe

    Options = TypeVar("Options", bound=BoxOptions)

BOXES_HELP = (
    "a folder of Pascal VOC, COCO, YOLO or Tiny ImageNet boxes; a COCO .json; "
    "or a .csv table with path, label and four edges"
)
#: Parameters of the command that are no options of a training, and those that are fields of its recipe.
OWN, FIELDS = ("json", "debug", "recipe", "sets", "verify"), ("epochs", "steps", "batch_size", "lr", "freeze", "on_nan")


def given(ctx: typer.Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given on the command line: options of the training, and fields of its recipe."""
    every = {k: v for k, v in ctx.params.items() if k not in OWN and v is not None and v is not False}
    fields = {k: every.pop(k) for k in FIELDS if k in every}
    if "freeze" in fields:
        fields["freeze"] = tuple(w.strip() for w in fields["freeze"].split(",") if w.strip())
    return every, fields


def chosen(
    verb: str, kind: "Callable[[], type[Options]]", recipes: "Mapping[str, Recipe]", ctx: typer.Context,
    recipe: str | None, sets: list[str] | None, usual: Callable[[dict[str, Any]], str],
) -> "Options":  # fmt: skip
    """The options that flags give, over those of the run that is resumed; `usual` names the recipe where none is.

    What can be checked without torch is checked first, before the `kind` of options is asked for. Raises UsageError or
    DataError.
    """
    from dataclasses import replace

    from residua.amounts import in_numbers
    from residua.boxes.words import check_words
    from residua.training.recipe import from_json, set_words
    from residua.training.recipe import recipe as find

    options, fields = given(ctx)
    run = options.pop("resume", None)
    if run is None and "data" not in options:
        raise UsageError(f"missing argument 'DATA': `residua {verb} train --help` shows how")
    if run is None and not Path(options["data"]).expanduser().exists():
        raise DataError(f"{options['data']}: no such folder or file")
    options |= in_numbers(options, [])
    if "augment" in options:
        options["augment"] = tuple(w.strip() for w in options["augment"].split(",") if w.strip())
        check_words(w for w in options["augment"] if w != "auto")
    if "out" in options:
        from residua.cli.files import fresh, taken

        if taken(options["out"]):
            fresh(options["out"], "run")
    if run is None or recipe is not None:
        made = find(recipe or usual(options), sets or [], known=recipes, **fields)
    else:
        from residua.cli.settings import run_config

        run_config(run)
    if run is None:
        return kind()(recipe=made, **options)
    from residua.job.boxes.options import resumed

    base = resumed(run, kind())
    changes = set_words(sets or []) | fields
    if recipe is None:
        made = from_json(changes, base.recipe) if changes else base.recipe
    return replace(base, recipe=made, **options)


def followed(
    events: "Callable[[Options], Iterator[Event]]", options: "Options", show: Callable[[Any], None], json: bool
) -> None:
    """Train, show it, draw the report; print it as the user wants it."""
    from residua.cli.live import follow
    from residua.cli.terminal import first
    from residua.job import Finished, Tested

    test: Any = None
    run, seconds, page = Path(), 0.0, Path()
    happening = events(options)
    for event in follow(happening) if first() else happening:
        if isinstance(event, Tested):
            test = event.evaluation
        if isinstance(event, Finished):
            run, seconds = event.run, event.seconds
            from residua.report import draw  # here: its plotting takes a second to import

            page = draw(run) if first() else page
    if not first():
        return
    if json:
        from residua.cli.terminal import emit

        emit({
            "run": str(run), "test": test.to_json() if test else None, "seconds": seconds,
            "model": str(run / "model.safetensors"), "report": str(page),
        })  # fmt: skip
        return
    from residua.cli.terminal import cell, duration, results

    console = results()
    console.print()
    if test is not None:
        words = f"looked at once, with the weights that were best; trained in {duration(seconds)}"
        console.print(cell("test", "bold"), cell(words, "dim"))
        show(test)
    where, data = shlex.quote(str(run)), shlex.quote(options.data)
    console.print(cell("run     "), cell(str(run), "bold"))
    console.print(cell("report  "), cell(str(page), "bold"))
    console.print(cell("next    "), cell(f"residua {options.verb} predict {where} YOUR_PICTURES", "cyan"))
    console.print(cell("        "), cell(f"residua {options.verb} eval {where} {data}", "cyan"))
