"""Laws of which epoch is kept, and of when a training ends early."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from residua.errors import UsageError
from residua.evaluate import evaluation
from residua.job import TrainOptions, resumed, train
from residua.job.best import better, candidate, score
from residua.training.recipe import recipe


def options(tmp_path, **changes):
    """A training of seconds: 64 digits, a net of eight layers."""
    words = {"data": "digits", "arch": "cifar_resnet20:1-1-1", "limit": 64, "out": str(tmp_path / "run")}
    return TrainOptions(**words | changes)


def test_training_ends_early_where_no_epoch_gets_better_and_keeps_the_best(tmp_path):
    words = ["epochs=9", "lr=0.02", "batch_size=16", "early_stop_epochs=2"]
    begun = options(tmp_path, recipe=recipe("quick", words))
    run = list(train(begun))[-1].run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [r for r in rows if r["event"] == "epoch"]
    best = json.loads((run / "summary.json").read_text())["best_epoch"]
    assert len(epochs) < 9 and epochs[-1]["epoch"] - best == 2
    told = json.loads((run / "decisions.json").read_text())
    assert any(d["what"] == "stopped early" and f"epoch {best}" in d["why"] for d in told)
    with pytest.raises(UsageError, match="is finished"):
        list(train(resumed(run)))


def found(*wrong, n=10, loss=1.0):
    """An evaluation of two classes with 10 and 90 images, of which so many are wrong."""
    labels = np.array([0] * n + [1] * 9 * n)
    said = labels.copy()
    said[: wrong[0]] = 1
    said[n : n + wrong[1]] = 0
    top = np.stack([said, 1 - said], 1)
    half, losses = np.full((10 * n, 2), 0.5, np.float32), np.full(10 * n, loss)
    raw = np.stack([half[:, 0], losses, half[:, 0]], 1)
    return evaluation(np.arange(10 * n), labels, top, half, losses, "ab", squares=half[:, 0], raw=raw)


@pytest.mark.parametrize(
    ("by", "theirs"),
    [
        ("macro-f1", lambda y, p: 1 - f1_score(y, p, average="macro")),
        ("balanced-accuracy", lambda y, p: 1 - balanced_accuracy_score(y, p)),
        ("error", lambda y, p: 1 - accuracy_score(y, p)),
    ],
)
def test_what_is_best_is_scikit_learns_number(by, theirs):
    e = found(6, 5)
    assert score(e, by) == pytest.approx(theirs(e.labels, e.predictions))


def test_the_metric_decides_which_epoch_is_best():
    common, fair = found(9, 0), found(1, 12)
    assert better(candidate(2, fair, "balanced-accuracy"), candidate(1, common, "balanced-accuracy"))
    assert not better(candidate(2, fair, "error"), candidate(1, common, "error"))
    assert not better(candidate(2, found(0, 0, loss=np.nan), "loss"), candidate(1, common, "loss"))


def test_a_score_that_is_no_number_is_never_kept_by_any_task():
    """Kept once, it would stay: no number is better than it."""
    from residua.job.detection.session import Best as Detected
    from residua.job.detection.session import Session as Detection
    from residua.job.localization.session import Best as Localized
    from residua.job.localization.session import Session as Localization

    nan = float("nan")
    for session, bad, good in (
        (Detection, Detected(1, 5, nan, 0.2), Detected(2, 5, 0.1, 0.2)),
        (Localization, Localized(1, 5, nan, 0.5), Localized(2, 5, 0.9, 0.9)),
    ):
        first = SimpleNamespace(best=None)
        assert not session.better(first, bad) and session.better(first, good)
        assert not session.better(SimpleNamespace(best=good), bad)
