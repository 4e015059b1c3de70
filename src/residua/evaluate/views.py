"""The words of ``--views``: what of a picture a model looks at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from residua.data.view import View
from residua.evaluate.looks import Look, default_scales, fully, once, roomy, ten_crop


@dataclass(frozen=True)
class Views:
    """How pictures are looked at: made by `view`, or whole at `scales` where there are any. `said` is for people."""

    look: Look
    view: View
    scales: tuple[int, ...] = ()
    said: str = ""


def views(word: str, view: View, scales: Sequence[int] = (), mirrored: bool = True) -> Views:
    """What "one", "ten-crop" and "multi-scale" stand for, for a model's view; scales are the paper's if not given."""
    if word == "ten-crop":
        room = roomy(view)
        said = f"ten crops of {view.side_px} px from a square of {room.side_px} px, probabilities averaged"
        return Views(ten_crop(view.side_px), room, said=said)
    if word == "multi-scale":
        sides = tuple(scales) or default_scales(view)
        mirrors = ", mirrored too" if mirrored else ", not mirrored: the training showed no mirror images"
        said = f"whole pictures with a short side of {', '.join(map(str, sides))} px{mirrors}, probabilities averaged"
        return Views(fully(mirrored), view, sides, said)
    return Views(once, view)


def shows_mirrors(augment: Iterable[str] | None) -> bool:
    """Whether mirror images are like what was trained on; so they are where nothing is known of the training."""
    return augment is None or any("flip" in word for word in augment)
