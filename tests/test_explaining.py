"""What a run explains of itself: its worst and best answers in turn, and no more than there is time for."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from residua.job import explaining
from residua.job.explaining import _chosen, _in_time


class Slow:
    """An explainer that takes its time over every photo."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked, self.now = seconds, [], 0.0

    def explain(self, photos):
        self.asked.append(len(photos))
        self.now += self.seconds * len(photos)
        return list(photos)


@pytest.mark.parametrize("one, found", [(0.1, 8), (0.5, 3), (1.0, 1), (60.0, 1)])
def test_as_many_are_explained_as_there_is_time_for_and_always_one(monkeypatch, one, found):
    slow = Slow(one)
    monkeypatch.setattr(time, "perf_counter", lambda: slow.now)
    assert _in_time(slow, list(range(8)), 1.5) == list(range(found))
    assert slow.now <= max(1.5, one) + 1e-9 and slow.asked[0] == 1


def test_worst_and_best_answers_take_turns_and_none_comes_twice():
    losses = np.array([0.5, np.nan, 0.1, 3.0, 0.2, 0.4, 2.0, 0.3, 0.05, 1.0])
    chosen = _chosen(SimpleNamespace(losses=losses))
    assert chosen == [
        (1, "worst"), (8, "best"), (3, "worst"), (2, "best"), (6, "worst"), (4, "best"), (9, "worst"), (7, "best"),
    ]  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_images_are_each_explained_once(n):
    chosen = _chosen(SimpleNamespace(losses=np.arange(n, dtype=float)))
    assert sorted(row for row, _ in chosen) == list(range(n)) and chosen[0] == (n - 1, "worst")
    assert len(chosen) <= explaining.WORST + explaining.BEST
