"""What is on these pictures? A model file answers alone: it holds the weights, the classes and the view. Floor 2."""

from residua.predict.inputs import pictures, readers
from residua.predict.journal import Journal, asked, begun
from residua.predict.model import Ensemble, Model, load, together
from residua.predict.result import Failure, Prediction, Result
from residua.predict.spread import Spread, spread
from residua.predict.table import write

__all__ = [
    "Ensemble",
    "Failure",
    "Journal",
    "Model",
    "Prediction",
    "Result",
    "Spread",
    "asked",
    "begun",
    "load",
    "pictures",
    "readers",
    "spread",
    "together",
    "write",
]
