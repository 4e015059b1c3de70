"""Options that every training takes, under the sections of their help. Imports no torch."""

from typing import Annotated, Any

import typer

from residua.cli.options import choice

NET, RECIPE, DATA, MACHINE, RUN = "net", "recipe", "data", "machine", "run"


def option(flag: str, help: str, section: str, **words: Any) -> Any:
    """An option under a section of the help; `shown` is its default in words."""
    shown = words.pop("shown", False)
    return typer.Option(flag, help=help, rich_help_panel=section, show_default=shown, **words)


Epochs = Annotated[
    float | None, option("--epochs", "how often to see every picture", RECIPE, metavar="N", shown="the recipe's")
]
Steps = Annotated[int | None, option("--steps", "how many batches to see, instead of epochs", RECIPE, metavar="N")]
StepSize = Annotated[
    int | None, option("--batch-size", "pictures to one step", RECIPE, metavar="N", shown="the recipe's")
]
Lr = Annotated[float | None, option("--lr", "the largest learning rate", RECIPE, metavar="RATE", shown="the recipe's")]
Freeze = Annotated[
    str | None,
    option(
        "--freeze",
        "parts of the net that stay as the weights have them, statistics included: stem,stages.0",
        RECIPE,
        metavar="PART,PART",
    ),
]
OnNan = Annotated[
    str | None,
    choice(
        "--on-nan",
        "a loss or gradient without an end: stop and keep the batch, or skip the step",
        section=RECIPE,
        shown="stop",
    ),
]
Sets = Annotated[
    list[str] | None,
    option(
        "--set", "set any field of the recipe, such as ema=0.999; may be given again", RECIPE, metavar="FIELD=VALUE"
    ),
]
BoxAugmentations = Annotated[
    str | None,
    option(
        "--augment",
        "what is done to pictures and boxes: scale:0.8:1.25, flip, vertical-flip, color:0.2",
        RECIPE,
        metavar="WORD,WORD",
        shown="scale:0.8:1.25,flip",
    ),
]
Compute = Annotated[
    str | None,
    choice("--device", "where to compute", section=MACHINE, shown="auto", also="auto|cpu|cuda|cuda:N|mps"),
]
Precision = Annotated[str | None, choice("--precision", "numbers of the forward pass", section=MACHINE, shown="auto")]
MemoryFormat = Annotated[
    str | None, choice("--memory-format", "order of the numbers in memory", section=MACHINE, shown="auto")
]
SyncNorm = Annotated[
    str | None,
    choice(
        "--sync-norm",
        "under torchrun: norms look at the pictures of all processes, as a single one would",
        section=MACHINE,
        shown="on",
    ),
]
Seed = Annotated[int | None, option("--seed", "what every random choice is drawn from", RUN, metavar="N", shown="0")]
SaveEvery = Annotated[
    float | None, option("--save-every", "how often to save the state", RUN, metavar="SECONDS", min=0, shown="30")
]
Resume = Annotated[str | None, option("--resume", "go on with a run that was interrupted", RUN, metavar="RUN")]
Verify = Annotated[
    bool,
    option(
        "--verify",
        "with --resume: prove on a copy that going on from the state before the last gives the last one bit for bit",
        RUN,
    ),
]
AcceptChanges = Annotated[
    bool, option("--accept-changes", "with --resume: go on although options or data are others than before", RUN)
]
