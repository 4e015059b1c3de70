"""Laws of calibration, means and intervals: the references' numbers, a temperature that never harms."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn import metrics
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from residua.data.batches import Batch
from residua.engine import Engine
from residua.evaluate import evaluate, fit_temperature
from residua.evaluate.calibration import ece

CPU = Engine(device="cpu")
N, K = 400, 7
CLASSES = [f"c{i}" for i in range(K)]


class Parrot(torch.nn.Module):
    """Says what is written on the picture."""

    def forward(self, x):
        return x.flatten(1)


def sure(factor=4.0, seed=0, present=K):
    """Logits (N, K) whose softmax would be right if divided by `factor`, and labels drawn from that."""
    g = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(N, K, generator=g)
    labels = torch.multinomial(logits[:, :present].softmax(1), 1, generator=g)[:, 0]
    return factor * logits, labels


def found(logits, labels, temperature=None):
    batch = Batch(logits[:, None, None], labels, np.arange(len(labels)))
    return evaluate(Parrot(), [batch], CLASSES, CPU, temperature=temperature)


@pytest.mark.parametrize("present", [K, 3])
def test_means_are_scikit_learns_also_with_absent_classes(present):
    logits, labels = sure(1.0, present=present)
    logits[:, K - 1] -= 99  # one class is neither true nor predicted
    e, said = found(logits, labels), logits.argmax(1)
    for name in ("macro", "weighted"):
        references = (multiclass_precision, multiclass_recall, multiclass_f1_score)
        expected = [float(reference(said, labels, num_classes=K, average=name)) for reference in references]
        mean = getattr(e.means, name)
        assert (mean.precision, mean.recall, mean.f1) == pytest.approx(expected, abs=1e-6)
    recall = multiclass_recall(said, labels, num_classes=K, average=None)[labels.unique()]
    assert e.means.balanced_accuracy == pytest.approx(float(recall.mean()), abs=1e-6)


@pytest.mark.parametrize("temperature", [None, 3.0])
def test_ece_log_loss_and_brier_are_the_references(temperature):
    logits, labels = sure()
    c = found(logits, labels, temperature).calibration
    p = (logits / (temperature or 1)).softmax(1)
    assert c.ece == pytest.approx(float(multiclass_calibration_error(p, labels, K, n_bins=15)), abs=1e-6)
    assert c.nll == pytest.approx(
        metrics.log_loss(labels, (logits.double() / (temperature or 1)).softmax(1), labels=range(K)), abs=1e-5
    )
    assert c.brier == pytest.approx(float((p - functional.one_hot(labels, K)).square().sum(1).mean()), abs=1e-5)
    plain = logits.softmax(1)
    assert c.ece_uncalibrated == pytest.approx(
        float(multiclass_calibration_error(plain, labels, K, n_bins=15)), abs=1e-6
    )
    assert sum(b.n for b in c.bins) == N and len(c.bins) == 15
    assert sum(b.n * abs(b.confidence - b.accuracy) for b in c.bins) / N == pytest.approx(c.ece, abs=1e-6)


def test_a_confidence_of_one_belongs_to_the_last_bin():
    confidence, right = np.array([1, 0.95], np.float32), np.array([False, True])
    assert ece(confidence, right) == pytest.approx(abs(0.975 - 0.5), abs=1e-6)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_of_least_log_loss(factor):
    logits, labels = sure(factor)
    fitted = fit_temperature(logits, labels).temperature

    def loss(log_t):
        return float(functional.cross_entropy(logits.double() / np.exp(log_t), labels))

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
    assert fitted == pytest.approx(np.exp(best.x), rel=1e-5)
    assert loss(np.log(fitted)) <= loss(0.0)
    assert fitted == pytest.approx(factor, rel=0.25)


def test_a_temperature_brings_the_error_down_and_changes_no_prediction():
    logits, labels = sure()
    fitted = fit_temperature(*sure(seed=1)).temperature
    before, after = found(logits, labels), found(logits, labels, fitted)
    assert after.calibration.ece < 0.5 * before.calibration.ece == 0.5 * after.calibration.ece_uncalibrated
    assert (after.predictions == before.predictions).all() and after.wrong == before.wrong


def test_there_is_no_temperature_where_there_is_nothing_to_learn_from():
    logits, labels = sure()
    assert "too few" in fit_temperature(logits[:49], labels[:49]).why
    right = functional.one_hot(labels, K).float()
    assert fit_temperature(right, labels).temperature is None
    assert fit_temperature(torch.full_like(logits, float("nan")), labels).temperature is None
    assert "no better than chance" in fit_temperature(-right, labels).why


def test_intervals_hold_the_estimate_and_are_always_the_same():
    logits, labels = sure(1.0)
    first, again = found(logits, labels), found(logits, labels)
    assert first.intervals == again.intervals
    low, high = first.intervals.macro_f1
    assert low < first.means.macro.f1 < high
    low, high = first.intervals.balanced_accuracy
    assert low < first.means.balanced_accuracy < high


def test_a_bootstrap_of_right_and_wrong_is_as_wide_as_theory_says():
    """With one class the balanced accuracy is a share: its interval is the normal one, 1.96 sqrt(p q / n) each way."""
    logits, _ = sure(1.0)
    labels = torch.zeros(N, dtype=torch.long)
    e = found(logits, labels)
    p = e.means.balanced_accuracy
    low, high = e.intervals.balanced_accuracy
    assert (high - low) / 2 == pytest.approx(1.96 * (p * (1 - p) / N) ** 0.5, rel=0.1)
