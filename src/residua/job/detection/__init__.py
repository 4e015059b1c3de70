"""The training of a detector as a whole: data, net, fit and evaluate in turn, and the run folder."""

from residua.job.detection.options import RECIPES, DetectOptions, resumed
from residua.job.detection.session import train

__all__ = ["RECIPES", "DetectOptions", "resumed", "train"]
