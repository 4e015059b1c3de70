"""``residua shard DATA OUT``: a data set as tar files that other machines read in one piece, here or from far away."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import DATA_HELP, Debug, Json, Root, data_names, starting
from residua.errors import UsageError

if TYPE_CHECKING:
    from residua.data.shards.write import Written

#: A shard is not smaller than this: a file for each picture is what shards are there to avoid.
SMALLEST = 2**20

#: Pictures that cannot be used are named on the screen up to so many.
NAMED = 5


def shard(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False, autocompletion=starting(data_names))
    ],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="the folder to write; one that exists is never overwritten")
    ],
    shard_size: Annotated[
        str, typer.Option("--shard-size", metavar="SIZE", help="bytes of a shard at most, such as 256M or 1G")
    ] = "256M",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="the order of the pictures in the shards")] = 0,
    root: Root = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a data set as shards: tar files in WebDataset's layout, with an index beside them.

    Reading a few large files is quicker than a million small ones, above all over a network, and data larger than the
    disk can be trained on from where they lie: give the address of the folder, or a pattern of tar files, as DATA to
    train, check or eval. The pictures are the files' very bytes; each split has its own shards, shuffled once by the
    seed, and the same pictures and seed give the same bytes. What cannot be read is left out and named. Your files stay
    as they are. The shards can also be read by the webdataset library; and what that library wrote can be read here.

    A folder that was interrupted is begun again. Shards from far away need `pip install 'residua[shards]'`; as many of
    them as RESIDUA_SHARDS=20G allows (off: none) are kept in $RESIDUA_CACHE or ~/.cache/residua.

    Examples:
      residua shard ./photos ./photos-shards
      residua train ./photos-shards
      residua train https://example.org/photos-shards
      residua train 'https://example.org/imagenet/train-{000000..001281}.tar'
      residua eval runs/photos-1 's3://bucket/photos/test-{000000..000003}.tar'
    """
    from residua.amounts import size
    from residua.data.names import check_spec

    shard_bytes = size(shard_size, "--shard-size")
    if shard_bytes < SMALLEST:
        raise UsageError(f"--shard-size {shard_size}: a megabyte (1M) is the least")
    check_spec(data)
    folder = place(data, out)
    from residua.cli.live import bar, waiting
    from residua.cli.terminal import say

    with waiting("looking at the pictures"):
        from residua.data.shards.material import gathered
        from residua.data.shards.write import write_shards

        samples = gathered(data, root)
    with bar("writing shards", len(samples)) as moved:
        written = write_shards(samples, folder, seed=seed, shard_bytes=shard_bytes, moved=moved)
    for note in samples.notes:
        say(note)
    told(document(data, out, written, seed=seed, shard_bytes=shard_bytes), json)


def place(data: str, out: str) -> Path:
    """The folder to write. Raises UsageError for one that lies within the data."""
    source, folder = Path(data).expanduser(), Path(out).expanduser()
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"OUT {out} lies within the data: choose a place outside of {data}")
    return folder


def document(data: str, out: str, written: "Written", *, seed: int, shard_bytes: int) -> dict[str, Any]:
    """What was written, for people and programs."""
    return {
        "data": data,
        "out": out,
        "seed": seed,
        "shard_size": shard_bytes,
        "splits": {
            split: {
                "pictures": n,
                "shards": sum(p.split == split for p in written.parts),
                "bytes": sum(p.bytes for p in written.parts if p.split == split),
            }
            for split, n in written.pictures.items()
        },
        "classes": list(written.classes),
        "left_out": len(written.skipped),
        "skipped": [{"path": s.path, "reason": s.reason} for s in written.skipped],
        "begun_again": written.begun_again,
        "shards": [{"name": p.name, "bytes": p.bytes} for p in written.parts],
    }


def told(document: dict[str, Any], json: bool) -> None:
    """Say what was written: as one document, or as a few lines."""
    from residua.amounts import gigabytes
    from residua.cli.terminal import cell, counted, emit, results, say, table

    if document["begun_again"]:
        say(f"{document['out']} was interrupted: it is begun again")
    if json:
        emit(document)
        return
    shown = table("split", "pictures", "shards", "size", right=("pictures", "shards", "size"))
    for split, row in document["splits"].items():
        shown.add_row(split, f"{row['pictures']:,}", f"{row['shards']:,}", gigabytes(row["bytes"]))
    results().print(shown)
    for one in document["skipped"][:NAMED]:
        results().print(cell(f"left out: {one['path']}: {one['reason']}"))
    if (n := document["left_out"]) > NAMED:
        results().print(cell(f"{counted(n, 'file')} left out in all; --json names them"))
    results().print(cell(f"{len(document['classes']):,} classes. Train on them: residua train {document['out']}"))
