"""``residua explain MODEL IMAGES``: where a net looked, and which depth decided."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import BatchSize, Debug, Device, Json, Threads, choice
from residua.errors import DataError

if TYPE_CHECKING:
    from residua.explain import Explainer, Explanation, Photo
    from residua.predict import Model
    from residua.report.explained_sheet import Row

#: The long side of the pictures on the contact sheet.
SMALL_PX = 420


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

    Pictures that cannot be read are named on stderr, all others are explained; with none left the exit code is 3.

    Examples:
      residua explain runs/photos-resnet18-1 holiday/
      residua explain model.safetensors bee.jpg --class ant --method layer-cam --stage 2
      residua explain model.safetensors photos/ --check --out why
      residua explain model.safetensors bee.jpg --method occlusion --json
    """
    from residua.cli.files import model_file

    file = model_file(model)
    folder = _folder(file, out)
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.explain import Explainer
        from residua.predict import load

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
    work = Work(explainer, folder, str(file), loaded.header.row.name, quiet=json, check=check)
    for batch in _batches(images, loaded, work, batch_size):
        work.add(explainer.explain(batch, number))
    if not work.items:
        raise DataError(f"none of {len(work.failures):,} pictures could be read (named above)")
    work.close(target)


def _folder(model: Path, out: str | None) -> Path:
    """A folder that does not exist yet: `out`, or the first free ``explanations/MODEL-N``. Raises DataError."""
    from residua.cli.files import fresh

    if out is not None:
        return fresh(out, "explanations")
    name = model.parent.name if model.name == "model.safetensors" and model.parent.name else model.stem
    n = 1
    while (path := Path("explanations", f"{name}-{n}")).exists():
        n += 1
    return path


def _batches(images: Sequence[str], model: "Model", work: "Work", size: int) -> Iterator[list["Photo"]]:
    """The pictures that can be read, a batch at a time; the others are named and noted."""
    from residua.cli.terminal import say
    from residua.data.decode import BadPicture
    from residua.explain import photo
    from residua.predict import Failure
    from residua.predict.inputs import decoded, pictures

    batch: list[Photo] = []
    for item in pictures(images):
        try:
            if isinstance(item.source, Failure):
                raise BadPicture(item.name, item.source.reason)
            batch.append(photo(item.name, partial(decoded, item.source), model.view))
        except BadPicture as e:
            work.failures.append({"path": item.name, "reason": e.reason})
            say(f"residua: cannot read {Failure(item.name, e.reason)}")
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(eq=False)
class Work:
    """What is explained so far: overlays in the folder, rows of the document and of the sheet."""

    explainer: "Explainer"
    folder: Path
    model: str
    arch: str
    quiet: bool
    check: bool
    items: list[dict[str, Any]] = field(default_factory=list)
    rows: list["Row"] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    likeness: dict[str, float] = field(default_factory=dict)
    alike: int = 0  # pictures that `likeness` is the mean of
    taken: set[str] = field(default_factory=lambda: {"sheet"})

    def add(self, found: "Sequence[Explanation]") -> None:
        """Write, keep and say a batch of explanations."""
        if self.check and not self.alike:
            self.likeness, self.alike = self.explainer.likeness(found), len(found)
        for one in found:
            self._add(replace(one, scores=self.explainer.judged(one)) if self.check else one)

    def _add(self, one: "Explanation") -> None:
        from residua.explain import drawn, within
        from residua.report.explained_sheet import Row

        item = {"file": self._write(one), "picture": one.name, "truth": None, **one.to_json()}
        size = within(one.photo.pixels, 96, SMALL_PX)
        self.rows.append(Row(item, drawn(one.photo.pixels, size), one.overlay(size)))
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

    def close(self, target: str | None) -> None:
        """Write the document and the sheet, and say where."""
        from residua.cli.depth import write_json
        from residua.cli.explained import close
        from residua.cli.live import waiting
        from residua.cli.terminal import emit
        from residua.report.explained_sheet import sheets

        document = self.document(target)
        with waiting("drawing the sheet"):
            drawn = sheets(document, self.rows, self.folder)
        document["files"] = [str(self.folder / n) for n in ("explanations.json", *(p.name for p in drawn))]
        write_json(self.folder / "explanations.json", document)
        if self.quiet:
            emit(document)
        else:
            close(document)

    def document(self, target: str | None) -> dict[str, Any]:
        """explanations.json."""
        return {
            "model": self.model,
            "arch": self.arch,
            "method": self.explainer.method,
            "stage": self.explainer.place,
            "target": "the class that the net names" if target is None else target,
            "engine": self.explainer.engine.describe(),
            "items": self.items,
            "failures": self.failures,
            "why_not": self.explainer.why_not,
            "notes": self.explainer.notes,
            "check": {"randomised": self.likeness, "n": self.alike} if self.check else None,
            "out": str(self.folder),
        }


def safe(stem: str) -> str:
    """A file's name without what could trouble a terminal, a page or another system."""
    return re.sub(r"[^\w.() -]", "_", stem)[:80].strip(" .") or "picture"
