"""The training of a localizer as a whole: data, net, fit and evaluate in turn, and the run folder."""

from residua.job.localization.options import LocalizeOptions, resumed
from residua.job.localization.session import train
from residua.localize.recipes import RECIPES

__all__ = ["RECIPES", "LocalizeOptions", "resumed", "train"]
