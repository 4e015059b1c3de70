"""``residua check`` of pictures with boxes: the same verb, other findings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.errors import DataError

if TYPE_CHECKING:
    from residua.boxes.check import BoxCheck
    from residua.report.boxes_page import PhotoOf

#: Pictures that show what the boxes look like.
SAMPLE = 6
COLUMNS = ("kind", "severity", "sentence", "path", "remark")


def check_boxes(data: str, out: str | None, json: bool) -> None:
    """Look at every picture and box, write page, table and document, and say what was found.

    Raises DataError where something must be mended.
    """
    from residua.cli.check import FILES, place
    from residua.cli.live import bar, waiting

    with waiting("listing the files"):
        from residua.boxes.check import examine
        from residua.boxes.sources import listed

        marked = listed(data)
        folder = place(data, marked.name, out)
    with bar("looking at every picture", len(marked)) as moved:
        found = examine(marked, moved=moved)
    with waiting("drawing the page"):
        document = written(found, folder)
    if json:
        from residua.cli.terminal import emit

        emit(document)
    else:
        show(document)
    if found.to_mend:
        first = found.to_mend[0].sentence.rstrip(".")
        raise DataError(f"{marked.name} must be mended: {first[:1].lower()}{first[1:]}; see {folder / FILES['page']}")


def written(found: "BoxCheck", folder: Path) -> dict[str, Any]:
    """Write page, table and document into the folder, and return the document. Raises DataError."""
    from residua.boxes.check import Example
    from residua.cli.check import FILES
    from residua.cli.terminal import as_json
    from residua.files import cell, write, write_csv
    from residua.report.boxes_page import boxes_page

    try:
        folder.mkdir(parents=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror}: choose another --out") from e
    document = found.to_json() | {"out": {what: str(folder / name) for what, name in FILES.items()}}
    names = found.of.marked.names
    usable = [i for i in found.of.rows.tolist() if i not in found.unreadable and len(found.boxes_of(i))]
    step = max(1, len(usable) // SAMPLE)
    sample = tuple(Example(i, names[i]) for i in usable[::step][:SAMPLE])
    examples = [f.examples for f in found.findings]
    boxes_page(folder / FILES["page"], document, [*examples], sample, photo_of(found))
    write_csv(folder / FILES["table"], COLUMNS, ([cell(v) for v in row] for row in found.rows()))
    write(folder / FILES["document"], (as_json(document) + "\n").encode())
    return document


def photo_of(found: "BoxCheck") -> "PhotoOf":
    """A function from positions to pictures with their boxes."""
    from residua.data.decode import BadPicture, as_image, decode

    def photo(i: int) -> Any:
        try:
            return as_image(decode(found.of.marked.paths[i], "RGB")), found.boxes_of(i).tolist()
        except BadPicture:
            return None

    return photo


def show(document: dict[str, Any]) -> None:
    """The whole check on stdout."""
    from residua.cli.check_screen import HEADS, findings
    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, counted, results, table

    console = results()
    console.print()
    per = ", ".join(f"{s} {n:,}" for s, n in document["pictures"].items())
    pictures = sum(document["pictures"].values())
    console.print(
        cell(document["name"], "bold"),
        cell(f"{counted(pictures, 'picture')}, {document['boxes']:,} boxes, {len(document['classes'])} classes: {per}"),
    )
    each, sizes = document["boxes_per_picture"], document["box_sizes"]
    words = ", ".join(f"{n:,} {kind}" for kind, n in sizes.items())
    console.print(
        cell(f"{document['kind']} · {each['median']:g} boxes a picture, {each['most']} at most · {words}", "dim")
    )
    names = list(document["splits"])
    columns = [word for s in names for word in (s, "")]
    shown = table("class", *columns, right=names)
    most = max((n for of in document["splits"].values() for n in of.values()), default=0) or 1
    for c in document["classes"]:
        row = [v for s in names for v in (f"{document['splits'][s][c]:,}", bar_of(document["splits"][s][c] / most, 10))]
        shown.add_row(cell(c), *row)
    console.print(shown)
    for severity in HEADS:
        found = [f for f in document["findings"] if f["severity"] == severity]
        said = document["notes"] if severity == "note" else ()
        findings(console, severity, [*found, *({"sentence": f"{n}.", "todo": ""} for n in said)])
    verbs = ("localize", "detect") if document["task"] == "localization" else ("detect",)
    for word, verb in zip(("train   ", "        "), verbs, strict=False):
        console.print(cell(word), cell(f"residua {verb} train {document['spec']}", "cyan"))
    console.print(cell("page    "), cell(document["out"]["page"], "bold"))
    console.print(cell("table   "), cell(document["out"]["table"], "bold"))
