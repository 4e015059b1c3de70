"""``residua depth deepen MODEL``: a deeper net that computes the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import DATA_HELP, Debug, Json, Root, Threads, archs, data_names, starting
from residua.errors import NumericError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from residua.data.batches import Batch
    from residua.depth.deepen import Deepened, Difference
    from residua.nn.arch import Row
    from residua.nn.modelfile import Header
    from residua.nn.resnet import Net
    from residua.pair import Pair

RANDOM = 64  # pictures of noise where there are no data
BATCH = 100
SEEN = (4, 128)  # batches and their size that the norms of identity layers are set by


def deepen(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="the deeper net, by name", autocompletion=starting(archs)),
    ] = None,
    add: Annotated[str | None, typer.Option("--add", metavar="2,2,2", help="new units in each stage")] = None,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="the file to write; it must not exist")
    ] = "deepened.safetensors",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help=f"what to prove it on: {DATA_HELP}",
            show_default="the training's, else noise",
            autocompletion=starting(data_names),
            rich_help_panel="data",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, help="use the first N pictures of each split", rich_help_panel="data"
        ),
    ] = 1000,
    root: Root = None,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a net deeper without changing what it computes.

    New units go to the end of each stage and begin as the identity: their last norm is zero, so that they learn at
    once. Plain nets and VGG get identity layers. The command shows on real pictures that not one logit differs, or for
    plain nets by how little, before it writes. From a run folder, momentum and averages of the old units go along.

    Examples:
      residua depth deepen runs/cifar10-cifar_resnet20-1 --to cifar_resnet56 --out deeper.safetensors
      residua depth deepen resnet50.safetensors --add 0,0,17,0 --data ./photos
      residua train cifar10 --weights deeper.safetensors
    """
    from residua.cli.files import fresh, model_file

    path, target = model_file(model), fresh(out, "deeper net")
    added = _numbers(to, add)
    if data is not None:
        from residua.data.names import check_spec

        check_spec(data)
    from residua.cli.live import waiting

    with waiting("loading torch, the model and the data"):
        import torch

        from residua.nn import modelfile

        if threads is not None:
            torch.set_num_threads(threads)
        net, header = modelfile.load(path)
        depths, name = _depths(header.row, to, added)
        proof = _proof(path, data, header, root, limit)
    made, found = _made(net, header.row, depths, name, proof)
    carried = _carried(Path(model), net, header)
    document = _document(made, found, header, proof) | {"carried": len(carried), "out": str(target), "model": str(path)}
    if not json:
        _show(document)
    _check(document, path)
    modelfile.save(target, made.net, _header(header, made, document), carried=carried)
    _tell(document, json)


def _numbers(to: str | None, add: str | None) -> tuple[int, ...]:
    """The numbers of ``--add``; none where ``--to`` says it. Raises UsageError unless one of them is there."""
    if (to is None) == (add is None):
        raise UsageError("say how deep, by one of --to NAME and --add 2,2,2")
    if to is not None:
        from residua.nn.zoo import find

        find(to)
        return ()
    try:
        numbers = tuple(int(n) for n in str(add).split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0 or max(numbers) > 10_000:
        raise UsageError(f"--add {add}: give the new units of each stage, such as 2,2,2")
    return numbers


def _depths(row: "Row", to: str | None, added: tuple[int, ...]) -> tuple[tuple[int, ...], str | None]:
    """The depths asked for, and the net's name if it has one of its own."""
    from residua.depth.deepen import depths_of, row_named, row_with

    if to is not None:
        return depths_of(row_named(row, to)), to
    old = depths_of(row)
    if len(added) != len(old):
        raise UsageError(f"--add {','.join(map(str, added))}: {row.name} has {len(old)} stages, give as many numbers")
    depths = tuple(m + n for m, n in zip(old, added, strict=True))
    row_with(row, depths)
    return depths, None


# -- what it is proved on -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """Pictures to compare two nets on: of data, or noise, as `of` says in words."""

    of: str
    pair: "Pair | None"
    noise: "Tensor"

    def batches(self) -> "Iterator[Batch]":
        """The pictures to compare on."""
        import numpy as np
        import torch

        from residua.data.batches import Batch

        if self.pair is not None:
            yield from self.pair.batches(BATCH)
        else:
            n = len(self.noise)
            yield Batch(self.noise, torch.zeros(n, dtype=torch.int64), np.arange(n))

    def seen(self) -> "Iterator[Tensor]":
        """Pictures of the training, for the norms of identity layers."""
        from residua.data.batches import Batches

        if self.pair is None or "train" not in self.pair.dataset.splits:
            yield self.noise
            return
        p, (count, size) = self.pair, SEEN
        mixed = Batches(p.dataset.splits["train"], p.view, batch_size=size, seed=0, classes=len(p.classes))
        for batch in mixed.stream(0, min(count, mixed.steps_per_epoch)):
            yield batch.images


def _proof(path: Path, data: str | None, header: "Header", root: str | None, limit: int) -> Proof:
    """The data's test pictures; without data the training's, and noise where they are not there."""
    import torch

    from residua.errors import ResiduaError
    from residua.pair import pair

    side = int(header.view["side_px"])
    noise = torch.randn(RANDOM, header.row.channels, side, side, generator=torch.Generator().manual_seed(0))
    spec = data or str(header.data.get("name", ""))
    if spec:
        try:
            found = pair(path, spec, root=root, limit=limit)
            return Proof(f"test pictures of {found.dataset.name}", found, noise)
        except ResiduaError:
            if data is not None:
                raise
    why = f"{spec} cannot be opened" if spec else "the model does not say what it was trained on"
    return Proof(f"pictures of noise ({why}: give --data)", None, noise)


def _made(
    net: "Net", row: "Row", depths: tuple[int, ...], name: str | None, proof: Proof
) -> "tuple[Deepened, Difference]":
    """The deeper net, and how far it is from the old one."""
    from dataclasses import replace

    from residua.cli.live import bar
    from residua.depth.deepen import deepened, difference

    made = deepened(net, row, depths, images=proof.seen())
    if name is not None:
        made = made._replace(row=replace(made.row, name=name))
    with bar("comparing", proof.pair.n if proof.pair else RANDOM) as advance:

        def passing() -> "Iterator[Batch]":
            for batch in proof.batches():
                yield batch
                advance(len(batch.index))

        return made, difference(net, made.net, passing())


def _carried(folder: Path, net: "Net", header: "Header") -> "dict[str, Tensor]":
    """What the run's optimiser and averages know of the old units."""
    from residua.training import carry
    from residua.training.recipe import from_json

    if not folder.is_dir() or header.recipe is None:
        return {}
    return carry.of_run(folder, net, from_json(header.recipe))


# -- the answer -----------------------------------------------------------------------------------------------------


def _document(made: "Deepened", found: "Difference", header: "Header", proof: Proof) -> dict[str, Any]:
    from residua.depth.deepen import depths_of, tolerance

    old = header.row
    return {
        "name": made.row.name,
        "from": old.name,
        "depths": list(depths_of(old)),
        "to": list(depths_of(made.row)),
        "layers": [old.layers, made.row.layers],
        "params": sum(p.numel() for p in made.net.parameters()),
        "max_difference": found.largest,
        "tolerance": tolerance(old, found.logit),
        "n": found.n,
        "data": proof.pair.dataset.name if proof.pair else None,
        "pictures": proof.of,
        "wrong": list(found.wrong) if proof.pair else None,
        "units": list(made.new),
    }


def _check(document: dict[str, Any], path: Path) -> None:
    """Raise NumericError where the nets differ by more than they may."""
    if not document["max_difference"] <= document["tolerance"]:
        raise NumericError(
            f"{path}: the deeper net differs by {document['max_difference']:.3g}, at most {document['tolerance']:.3g} "
            "was expected: nothing is written"
        )


def _header(header: "Header", made: "Deepened", document: dict[str, Any]) -> "Header":
    from dataclasses import replace

    kept = ("from", "depths", "to", "max_difference", "n", "data")
    lineage = [*header.lineage, {"deepened": {k: document[k] for k in kept}}]
    same = document["max_difference"] == 0  # then the numbers of the old net are those of the new
    return replace(header, row=made.row, lineage=lineage, metrics=header.metrics if same else {}, versions={})


def _show(document: dict[str, Any]) -> None:
    """The nets and the difference: printed before anything is written."""
    from residua.cli.terminal import cell, counted, results

    console = results()
    depths, to = ("-".join(map(str, document[k])) for k in ("depths", "to"))
    layers, deeper = document["layers"]
    console.print(cell(f"{document['from']} becomes {document['name']}", "bold"))
    console.print(
        cell(f"  {depths} to {to} units, {layers} to {deeper} layers, {document['params']:,} parameters", "dim")
    )
    largest, allowed = document["max_difference"], document["tolerance"]
    console.print(
        cell("  max |difference| of the logits: ").append(f"{largest:.3g}", "bold"),
        cell(f"(allowed: {allowed:.3g}), {document['n']:,} {document['pictures']}"),
    )
    if document["wrong"]:
        before, after = document["wrong"]
        console.print(cell(f"  wrong before: {before:,}, after: {after:,}"))
    if document["carried"]:
        console.print(cell(f"  the optimiser's state goes along: {counted(document['carried'], 'tensor')}", "dim"))


def _tell(document: dict[str, Any], json: bool) -> None:
    from residua.cli.terminal import cell, emit, results

    if json:
        emit(document)
        return
    import shlex

    data = document["data"] or "DATA"
    console = results()
    console.print(cell(f"wrote {document['out']}", "dim"))
    console.print(cell(f"train on: residua train {shlex.quote(data)} --weights {shlex.quote(document['out'])}", "dim"))
