"""What the training of a localizer is asked to do: options as a value, kept in a run's config.toml. No torch."""

from dataclasses import dataclass
from pathlib import Path

from residua.errors import UsageError
from residua.job.boxes.options import FIXED, BoxOptions
from residua.job.boxes.options import resumed as resumed_as
from residua.localize.recipes import RECIPES
from residua.nn.arch import WORDS
from residua.training.recipe import Recipe
from residua.words import unknown


@dataclass(frozen=True, kw_only=True)
class LocalizeOptions(BoxOptions):
    """The training of one localizer.

    `stem`: first layers, "auto" or as `nn.arch` names them; `refine`: a second look at what the localizer of `weights`
    finds is trained. `sync_norm`: whether norms look at the pictures of all processes.
    """

    stem: str = "auto"
    refine: bool = False
    sync_norm: str = "auto"
    recipe: Recipe = RECIPES["quick"]

    task, what, verb = "localization", "localizer", "localize"
    fixed = (*FIXED, "stem", "refine")

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError."""
        super().__post_init__()
        if self.stem not in (known := ("auto", *WORDS["stem"])):
            raise unknown("stem", self.stem, known)
        if self.sync_norm not in (known := ("auto", "on", "off")):
            raise unknown("sync_norm", self.sync_norm, known)
        if self.stem != "auto" and self.weights is not None:
            raise UsageError("--stem: the net of --weights brings its own")
        if self.refine and self.weights is None and self.resume is None:
            raise UsageError("--refine looks again at what a localizer finds: name one by --weights RUN")
        if self.refine and self.recipe.freeze:
            raise UsageError("--freeze has no use with --refine: the localizer it builds on is kept as it is")


def resumed(run: str | Path) -> LocalizeOptions:
    """The options to go on with a run folder. Raises DataError if it is none of a localizer."""
    return resumed_as(run, LocalizeOptions)
