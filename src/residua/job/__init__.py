"""One training as a whole: data, net, fit and evaluate in turn, and the run folder."""

from residua.job.begin import train
from residua.job.events import Decided, Event, Finished, Paced, Started, Tested, Validated
from residua.job.options import TrainOptions, resumed

__all__ = [
    "Decided",
    "Event",
    "Finished",
    "Paced",
    "Started",
    "Tested",
    "TrainOptions",
    "Validated",
    "resumed",
    "train",
]
