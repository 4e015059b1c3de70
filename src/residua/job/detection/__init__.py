"""The training of a detector as a whole: data, net, fit and evaluate in turn, and the run folder."""

from residua.detect.recipes import RECIPES
from residua.job.detection.options import DetectOptions, resumed
from residua.job.detection.session import train

__all__ = ["RECIPES", "DetectOptions", "resumed", "train"]
