"""What `detect predict`, `detect explain` and `localize predict` share: pictures in, drawings and tables out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.errors import DataError

if TYPE_CHECKING:
    from rich.text import Text


def items(paths: Sequence[str], failures: list[dict[str, str]]) -> Iterator[tuple[str, Any]]:
    """Names and files of all pictures; what is none is noted and named at once."""
    from residua.cli.terminal import say
    from residua.predict import Failure
    from residua.predict.inputs import pictures

    for item in pictures(paths):
        if isinstance(item.source, Failure):
            failures.append({"path": item.source.path, "reason": item.source.reason})
            say(f"residua: cannot read {item.source}")
        else:
            yield item.name, item.source


def made(folder: Path) -> None:
    """Make a folder for results. Raises DataError where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror}: choose another --out") from e


def own_name(picture: str, ending: str, taken: set[str]) -> str:
    """A file name after a picture's, each once; noted in `taken`."""
    stem = Path(picture).stem or "picture"
    name, n = f"{stem}{ending}", 1
    while name in taken:
        n += 1
        name = f"{stem}-{n}{ending}"
    taken.add(name)
    return name


def refused(failures: Sequence[Any], answered: int) -> None:
    """Raise DataError where pictures could not be read."""
    if failures:
        from residua.cli.terminal import counted

        asked = counted(len(failures) + answered, "picture")
        raise DataError(f"{len(failures):,} of {asked} could not be read (named above)")


@dataclass
class Work:
    """What is found so far: drawn as it comes, written into tables at the end.

    `name` is what answers are called in file names and in the document; of each answer `rows` gives the table's rows
    with their `columns` (the first is the path), `drawn` its picture, and `line` what the terminal says.
    """

    name: str
    folder: Path
    classes: Sequence[str]
    columns: Sequence[str]
    rows: Callable[[Any], Iterable[tuple[Any, ...]]]
    line: "Callable[[Any], Text]"
    drawn: Callable[[Any], Any] | None
    quiet: bool
    answers: list[tuple[Any, str | None]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """No drawing takes the tables' names."""
        self.taken |= {f"{self.name}.csv", f"{self.name}.json"}

    def run(self, answers: Iterable[Any], failures: list[dict[str, str]], words: dict[str, Any]) -> None:
        """Take all answers, write everything, print it as the user wants it. Raises DataError for what was unread."""
        from residua.boxes.inputs import Unread
        from residua.cli.terminal import emit, results, say

        try:
            for one in answers:
                if isinstance(one, Unread):
                    failures.append({"path": one.name, "reason": one.reason})
                    say(f"residua: cannot read {one.name}: {one.reason}")
                    continue
                self.answers.append((one, self._drawn(one) if self.drawn is not None else None))
                if not self.quiet:
                    results().print(self.line(one))
        finally:  # after Ctrl-C too: the tables hold what was found so far
            document = self._written() | words
        if self.quiet:
            emit(document | {"failures": failures})
        refused(failures, len(self.answers))

    def _drawn(self, one: Any) -> str:
        """The picture with its boxes, under a name of its own."""
        import io

        from residua.files import write

        assert self.drawn is not None
        name = own_name(one.name, ".jpg", self.taken)
        content = io.BytesIO()
        self.drawn(one).save(content, "JPEG", quality=92)
        made(self.folder)
        write(self.folder / name, content.getvalue())
        return name

    def _written(self) -> dict[str, Any]:
        """Write the tables; what ``--json`` prints."""
        from residua.boxes.tables import coco_results
        from residua.cli.terminal import as_json, cell, results
        from residua.files import write, write_csv

        every = [(one, file, list(self.rows(one))) for one, file in self.answers]
        if every:
            made(self.folder)
            write_csv(self.folder / f"{self.name}.csv", self.columns, (row for *_, rows in every for row in rows))
            found = [one for one, _, _ in every]
            coco = coco_results(
                [one.name for one in found], [one.size for one in found], [one.found for one in found], self.classes
            )
            write(self.folder / f"{self.name}.json", (as_json(coco) + "\n").encode())
            if not self.quiet:
                results().print(cell("wrote   "), cell(str(self.folder), "bold"))
        return {
            "out": str(self.folder) if every else None,
            "pictures": [
                {
                    "path": one.name, "height": one.size[0], "width": one.size[1], "drawn": file,
                    self.name: [dict(zip(self.columns[1:], row[1:], strict=True)) for row in rows],
                }
                for one, file, rows in every
            ],
        }  # fmt: skip
