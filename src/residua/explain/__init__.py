"""Why did a net say so? Maps at the sum of a stage, contributions by depth, scores of maps, overlays. Floor 2."""

from residua.explain.explanation import METHODS, Depth, Explainer, Explanation, Photo, UnitShare, Unread, photo
from residua.explain.scores import Scores

__all__ = [
    "METHODS",
    "Depth",
    "Explainer",
    "Explanation",
    "Photo",
    "Scores",
    "UnitShare",
    "Unread",
    "photo",
]  # fmt: skip
