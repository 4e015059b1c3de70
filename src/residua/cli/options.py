"""Options that several verbs share, and the words that they take. Imports no torch."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from residua.runtimes.words import RUNTIMES
from residua.words import unknown

CHOICES: dict[str, tuple[str, ...]] = {
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--precision": ("auto", "fp32", "bf16", "fp16"),
    "--memory-format": ("auto", "channels_last", "contiguous"),
    "--compile": ("auto", "on", "off"),
    "--sync-norm": ("auto", "on", "off"),
    "--fit": ("crop", "pad", "squash"),
    "--stem": ("auto", "3x3", "5x5", "7x7"),
    "--shortcut": ("A", "B", "C", "none"),
    "--split": ("train", "val", "test", "all"),
    "--to": ("torchvision",),
    "--balance": ("none", "loss", "sampler"),
    "--on-nan": ("stop", "skip"),
    "--best-by": ("error", "loss", "macro-f1", "balanced-accuracy"),
    "--engine": ("local", "ray"),
    "--runtime": RUNTIMES,
    "--views": ("one", "ten-crop", "multi-scale"),
    "--only": ("units", "random", "swap"),
    "--form": ("fpn", "c4"),
    "--norm": ("auto", "frozen", "batch", "group", "sync"),
    "--size": ("auto", "small", "large"),
    "--anchors": ("auto", "fit"),
    "--method": ("grad-cam", "grad-cam++", "layer-cam", "occlusion", "integrated-gradients"),
}

DATA_HELP = (
    "digits, cifar10, cifar100, mnist, fashion_mnist, svhn, stl10; "
    "a folder of class folders; a .csv or .parquet table of paths and labels; "
    "or shards: a folder of .tar files, a pattern of some, an address"
)

RECIPE_HELP = (
    "how to train: quick, he2015-cifar, he2015-imagenet, he2016-preact, goyal2017, wightman2021-a3, finetune, "
    "or a FILE.toml"
)


def choice(flag: str, help: str, *, section: str | None = None, shown: str | None = None, also: str = "") -> Any:
    """An option that takes one of the words in CHOICES, and names the nearest for any other."""
    words = CHOICES[flag]
    return typer.Option(
        flag,
        metavar=also or "|".join(words),
        help=help,
        callback=one_of(flag, words),
        autocompletion=starting(words),
        rich_help_panel=section,
        show_default=shown or False,
    )


def one_of(flag: str, words: tuple[str, ...]) -> Callable[[Any], Any]:
    """A check that lets only `words` pass (``cuda:1`` counts as ``cuda``)."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in words and not (value.startswith("cuda:") and value[5:].isdigit()):
            raise unknown(f"value of {flag}", value, words)
        return value

    return check


def starting(words: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What the shell offers while the user types one of `words`."""

    def offer(incomplete: str) -> list[str]:
        known = words() if callable(words) else words
        return [w for w in known if w.startswith(incomplete)]

    return offer


def archs() -> list[str]:
    """The names of all listed nets, for the shell."""
    from residua.nn.zoo import names

    return names()


def data_names() -> list[str]:
    """The names of all known sets, for the shell."""
    from residua.data.names import KNOWN

    return list(KNOWN)


def recipes() -> list[str]:
    """The names of all recipes, for the shell."""
    from residua.training.recipe import RECIPES

    return list(RECIPES)


Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else there")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error show the traceback instead of one line")]
Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="where the known sets lie or are downloaded to",
        show_default="$RESIDUA_DATA, or ~/.cache/residua",
        rich_help_panel="data",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="use the first N pictures of each split", rich_help_panel="data"),
]
Device = Annotated[
    str,
    choice("--device", "where to compute", section="machine", shown="auto", also="auto|cpu|cuda|cuda:N|mps"),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="CPU threads", show_default="auto", rich_help_panel="machine"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="processes that read pictures; any number gives the same batches",
        show_default="auto",
        rich_help_panel="machine",
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="pictures at a time", rich_help_panel="machine")
]
Exact = Annotated[
    str,
    choice(
        "--precision",
        "fp32 is exact; auto, bf16 and fp16 are faster where the machine has them",
        section="machine",
        shown="fp32",
    ),
]
Runtime = Annotated[
    str,
    choice(
        "--runtime",
        "what computes: torch as it is, torch's compiler, ONNX Runtime or OpenVINO; each has to say what the net says. "
        "auto takes what is done first, in the precision that is asked for",
        section="machine",
        shown="auto",
    ),
]
Int8Data = Annotated[
    str | None,
    typer.Option(
        "--int8",
        metavar="DATA",
        help="compute in int8, calibrated on training pictures of these data, if their test pictures say that it costs "
        "no more than --tolerance (with openvino and onnx)",
        autocompletion=starting(data_names),
        rich_help_panel="machine",
    ),
]


def points_lost(panel: str) -> Any:
    """The option ``--tolerance`` under a heading of the help."""
    return typer.Option(
        "--tolerance",
        metavar="POINTS",
        min=0,
        help="how many points of accuracy int8 may lose on all test pictures",
        rich_help_panel=panel,
    )


Tolerance = Annotated[float, points_lost("machine")]
Engine = Annotated[
    str,
    choice(
        "--engine",
        "local: this machine; ray: a Ray cluster, all of whose machines see the same files",
        section="machine",
        shown="local",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="with --engine ray: the cluster to join",
        show_default="one here",
        rich_help_panel="machine",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="with --engine ray: workers at a time, each of --threads cores or with a GPU",
        show_default="all there is room for",
        rich_help_panel="machine",
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="MODEL",
        help="one more model file or run folder (again and again): probabilities are averaged",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="choose depth and epochs so that all ends within this time (90s, 10m, 1h30m); "
        "with --arch the epochs, with --epochs the depth",
        rich_help_panel="net",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="train within this memory (8G): maps are computed again, then batches cut into slices, as far as needed",
        show_default="what is free",
        rich_help_panel="machine",
    ),
]
CacheSize = Annotated[
    str | None,
    typer.Option(
        "--cache-size",
        metavar="SIZE|off",
        help="room for decoded pictures in $RESIDUA_CACHE or ~/.cache/residua, which are then not decoded again (8G)",
        show_default="10G, at most a quarter of the free disk",
        rich_help_panel="machine",
    ),
]
Grow = Annotated[
    str | None,
    typer.Option(
        "--grow",
        metavar="FRACTION:DEPTHS",
        help="deepen the net on the way without changing what it computes, such as 0.4:5-5-5",
        rich_help_panel="net",
    ),
]
