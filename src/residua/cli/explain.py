"""``residua explain MODEL IMAGES``: where a net looked, and which depth decided."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import BatchSize, Debug, Device, Json, Threads, choice
from residua.errors import DataError

if TYPE_CHECKING:
    from residua.explain import Explainer, Explanation, Unread
    from residua.report.explained_sheet import Sheets

#: What no overlay is called: the sheets are.
SHEET = re.compile(r"sheet(-\d+)?", re.IGNORECASE)
#: The long side of the pictures on the contact sheet.
SMALL_PX = 420
#: The first pictures, whose maps are compared with those of randomised nets.
COMPARED = 8


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="pictures, or folders of pictures")],
    method: Annotated[
        str,
        choice(
            "--method",
            "how the map is made; grad-cam, grad-cam++ and layer-cam look at the sum of a stage; occlusion and "
            "integrated-gradients at pixels, by captum",
            shown="grad-cam",
        ),
    ] = "grad-cam",
    stage: Annotated[
        int | None,
        typer.Option("--stage", metavar="N", min=0, help="the stage to look at, from 0", show_default="the last"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="the class to explain", show_default="the one that the net names"),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="is the map to be believed? insertion and deletion scores beside those of random maps, and what "
            "becomes of the map when the weights are randomised",
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for the overlays, sheet.png and explanations.json",
            show_default="explanations/MODEL-N",
        ),
    ] = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where a net looked, and which depth decided.

    For each picture an overlay at the picture's own size: warm where it speaks for the class. For residual nets also
    what each unit adds to the class's logit, by depth (the contributions add up to it), and the probability as units
    are added one by one. What the net's view does not see of a picture is dimmed.

    Pictures that cannot be read are named on stderr, all others are explained, and the exit code is 3.

    Examples:
      residua explain runs/photos-resnet18-1 holiday/
      residua explain model.safetensors bee.jpg --class ant --method layer-cam --stage 2
      residua explain model.safetensors photos/ --check --out why
      residua explain model.safetensors bee.jpg --method occlusion --json
    """
    from residua.cli.files import model_file, results_folder

    file = model_file(model)
    folder = results_folder("explanations", file, out)
    from residua.cli.live import waiting
    from residua.cli.terminal import counted

    with waiting("loading the model"):
        from residua.explain import Explainer
        from residua.predict import load, readers

        loaded = load(file, device=device, threads=threads)
        explainer = Explainer(
            loaded.net,  # type: ignore[arg-type]
            loaded.classes,
            loaded.view,
            loaded.engine,
            loaded.header.temperature,
            method,
            stage,
        )
        number = None if target is None else explainer.target(target)
    head = {
        "model": str(file),
        "arch": loaded.header.row.name,
        "method": explainer.method,
        "stage": explainer.place,
        "target": "the class that the net names" if target is None else target,
        "engine": loaded.engine.describe(),
    }
    work = Work(explainer, folder, head, quiet=json, check=check)
    for one in explainer.stream(readers(images), number, batch_size):
        work.add(one)
    bad, asked = len(work.failures), counted(len(work.failures) + len(work.items), "picture")
    if work.items:
        work.close()
    if bad:
        raise DataError(f"{bad:,} of {asked} could not be read (named above)")


@dataclass(eq=False)
class Work:
    """What is explained so far: overlays and sheets in the folder, and the rows of the document, which `head` opens."""

    explainer: "Explainer"
    folder: Path
    head: Mapping[str, Any]
    quiet: bool
    check: bool
    items: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    compared: list["Explanation"] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    @cached_property
    def sheets(self) -> "Sheets":
        """The contact sheets."""
        from residua.report.explained_sheet import Sheets

        return Sheets(self.head, self.folder)

    def add(self, one: "Explanation | Unread") -> None:
        """Write, keep and say an explanation, or what could not be read."""
        from residua.cli.terminal import say
        from residua.explain import Unread
        from residua.predict import Failure

        if isinstance(one, Unread):
            self.failures.append({"path": one.name, "reason": one.reason})
            say(f"residua: cannot read {Failure(one.name, one.reason)}")
            return
        if self.check and len(self.compared) < COMPARED:
            self.compared.append(one)
        self._add(replace(one, scores=self.explainer.judged(one)) if self.check else one)

    def _add(self, one: "Explanation") -> None:
        from residua.report.explained_sheet import Row

        item = {"file": self._write(one), "picture": one.name, "truth": None, **one.to_json()}
        self.sheets.add(Row(item, *one.small(96, SMALL_PX)))
        self.items.append(item)
        if not self.quiet:
            from residua.cli.explained import show

            show(item)

    def _write(self, one: "Explanation") -> str:
        """The overlay's name in the folder, after the picture's, each once."""
        from residua.files import replacing

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise DataError(f"cannot write {self.folder}: {e.strerror}: choose another --out") from e
        stem = safe(os.path.splitext(os.path.basename(one.name))[0])
        name, n = stem, 1
        while name.casefold() in self.taken:
            n += 1
            name = f"{stem}-{n}"
        self.taken.add(name.casefold())
        with replacing(self.folder / f"{name}.png") as temporary:
            one.overlay().save(temporary, "PNG")
        return f"{name}.png"

    def close(self) -> None:
        """Write the document and the last sheet, and say where."""
        from residua.cli.depth import write_json
        from residua.cli.explained import close
        from residua.cli.live import waiting
        from residua.cli.terminal import emit

        with waiting("drawing the sheet"):
            sheets = self.sheets.close()
        document = self._document()
        document["files"] = [str(self.folder / "explanations.json"), *map(str, sheets)]
        write_json(self.folder / "explanations.json", document)
        if self.quiet:
            emit(document)
        else:
            close(document)

    def _document(self) -> dict[str, Any]:
        """explanations.json."""
        return {
            **self.head,
            "items": self.items,
            "failures": self.failures,
            "why_not": self.explainer.why_not,
            "notes": self.explainer.notes,
            "check": self._check(),
            "out": str(self.folder),
        }

    def _check(self) -> dict[str, Any] | None:
        """How like the maps of the first pictures are to those of nets without training, where it was asked for."""
        if not self.check:
            return None
        return {"randomised": self.explainer.likeness(self.compared), "n": len(self.compared)}


def safe(stem: str) -> str:
    """A file's name without what could trouble a terminal, a page or another system; never a sheet's."""
    name = re.sub(r"[^\w.() -]", "_", stem)[:80].strip(" .") or "picture"
    return f"{name}_" if SHEET.fullmatch(name) else name
