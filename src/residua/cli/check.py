"""``residua check DATA``: every picture looked at once; what is wrong, what is proposed, a page with the pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import DATA_HELP, Debug, Json, Root, Workers, data_names, starting
from residua.errors import DataError, UsageError

if TYPE_CHECKING:
    from residua.data.check import Check

#: What the command writes into its folder.
FILES = {"page": "data_check.html", "table": "data_check.csv", "document": "data_check.json"}
COLUMNS = ("kind", "severity", "sentence", "group", "path", "label", "split", "remark")


def check(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False, autocompletion=starting(data_names))
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="where the page and the table go; one that exists is never overwritten",
            show_default="checks/DATA-N",
        ),
    ] = None,
    root: Root = None,
    workers: Workers = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="check boxes, also where the folders are classes (Tiny ImageNet)")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at every picture of a data set and say what is wrong with it.

    Every file is decoded once, by the same rules as in training: broken, empty or foreign files, identical and nearly
    identical pictures within and across classes and splits, classes that are missing or rare, what a centre crop would
    hide, sizes. A page shows the pictures in question, a table lists them all. Nothing of yours is changed. Of pictures
    with boxes (Pascal VOC, COCO, YOLO, a table of edges) the boxes are checked too: without area, outside, there twice.

    Exit code 3 says that something must be mended: nothing to train on, one class only, a class that train lacks or of
    which no picture can be used, one picture with two labels, or identical pictures in train and at least 1 % of a
    held-out split. Broken files alone do not: training leaves them out. What is worth a look never changes the code.

    Examples:
      residua check ./photos
      residua check ./photos --json | jq '.findings[].sentence'
      residua check labels.csv --out checks/labels
      residua check cifar10
      residua check ./cells --boxes
    """
    from residua.cli.live import bar, waiting
    from residua.data.names import check_spec

    if not (data.lower().endswith(".json") and Path(data).expanduser().is_file()):
        check_spec(data)
    if has_boxes(data, boxes):
        from residua.cli.check_boxes import check_boxes

        check_boxes(data, out, json)
        return
    with waiting("listing the files"):
        from residua.data.check import examine, material
        from residua.job.proposals import proposed

        what = material(data, root=root)
        folder = place(data, what.name, out)
    with bar("looking at every picture", len(what)) as moved:
        found = examine(what, workers=processes(workers, len(what)), moved=moved)
    with waiting("comparing, drawing the page"):
        found = proposed(found)
        document = written(found, folder)
    if json:
        from residua.cli.terminal import emit

        emit(document)
    else:
        from residua.cli.check_screen import show

        show(document)
    if found.to_mend:
        first = found.to_mend[0].sentence.rstrip(".")
        more = f" (and {len(found.to_mend) - 1} more)" if len(found.to_mend) > 1 else ""
        raise DataError(
            f"{what.name} must be mended: {first[:1].lower()}{first[1:]}{more}; see {folder / FILES['page']}"
        )


def has_boxes(data: str, asked: bool) -> bool:
    """Whether it is boxes that are to be checked: where that is said, and where the files hold boxes."""
    if asked or not Path(data).expanduser().exists():
        return asked
    from residua.boxes.sources import recognised

    return recognised(data)


def processes(asked: int | None, pictures: int) -> int:
    """How many processes look: as asked for, else one a core, and none for a few pictures."""
    if asked is not None:
        return asked
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if pictures < 64 else min(cores, 16)


def place(data: str, name: str, out: str | None) -> Path:
    """A folder that does not exist yet and does not lie in the data. Raises UsageError or DataError."""
    from residua.cli.files import fresh

    source = Path(data).expanduser()
    inside = source.resolve() if source.is_dir() else None
    if out is not None:
        folder = fresh(out, "check")
        if inside and folder.resolve().is_relative_to(inside):
            raise UsageError(f"--out {out} lies within the data: choose a place outside of {data}")
        return folder
    above = Path("checks")
    if inside and above.resolve().is_relative_to(inside):
        above = Path(inside).parent / "checks"
    word = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".-") or "data"
    n = 1
    while (above / f"{word}-{n}").exists():
        n += 1
    return above / f"{word}-{n}"


def written(found: "Check", folder: Path) -> dict[str, Any]:
    """Write page, table and document into the folder, and return the document. Raises DataError."""
    from residua.cli.terminal import as_json
    from residua.files import cell, write, write_csv
    from residua.report import data_page

    try:
        folder.mkdir(parents=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror or e}; choose another --out") from e
    document = found.to_json()
    document["out"] = {what: str(folder / name) for what, name in FILES.items()}
    rows = ([cell(v) if isinstance(v, str) else v for v in row] for row in found.rows())
    write_csv(folder / FILES["table"], COLUMNS, rows)
    write(folder / FILES["document"], as_json(document).encode("utf-8", "backslashreplace"))
    data_page(folder, document, found.picture_of())
    return document
