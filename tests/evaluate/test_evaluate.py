"""Laws of evaluation: equal to scikit-learn's counts, every image once, tables that nothing breaks."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from torch import Tensor, nn

from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import DataError
from residua.evaluate import Evaluation, evaluate, per_class_csv, predictions_csv, wilson
from residua.files import replacing

CPU = Engine(device="cpu")
N, K = 43, 7
CLASSES = [f"c{i}" for i in range(K)]


class Parrot(nn.Module):
    """A net that says what is written on the picture: (N, 1, 1, K) -> (N, K)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def logits_of(n: int = N, k: int = K, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, K) that are often right, and labels (N,) that leave the last class out."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, max(2, k - 1), (n,), generator=g)
    logits = torch.randn(n, k, generator=g)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def batches(logits: Tensor, labels: Tensor, size: int = 8, order: Sequence[int] | None = None) -> Iterator[Batch]:
    """The images in batches of `size`, in `order`."""
    index = np.arange(len(labels)) if order is None else np.asarray(order)
    for i in range(0, len(index), size):
        part = index[i : i + size]
        yield Batch(logits[part][:, None, None], labels[part], part)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(Parrot(), batches(*logits_of()), CLASSES, CPU)


def test_counts_and_rates_are_those_of_scikit_learn(found: Evaluation) -> None:
    logits, labels = logits_of()
    said = logits.argmax(1)
    assert (found.confusion == confusion_matrix(labels, said, labels=range(K))).all()
    expected = precision_recall_fscore_support(labels, said, labels=range(K), zero_division=0)
    ours = [
        [c.precision for c in found.per_class],
        [c.recall for c in found.per_class],
        [c.f1 for c in found.per_class],
    ]
    np.testing.assert_allclose(ours, expected[:3], rtol=1e-12)
    assert [c.n for c in found.per_class] == list(expected[3])
    assert [c.wrong for c in found.per_class] == [int(((labels == i) & (said != i)).sum()) for i in range(K)]
    assert found.loss == pytest.approx(log_loss(labels, logits.double().softmax(1), labels=range(K)), rel=1e-6)
    assert 1 - found.top5_error == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(K)))
    assert found.wrong == sum(c.wrong for c in found.per_class) == int((said != labels).sum())
    assert (found.n, found.top1_error) == (N, found.wrong / N)


def test_every_image_counts_once_whatever_the_batches_and_their_order(found: Evaluation) -> None:
    order = np.random.default_rng(3).permutation(N)
    other = evaluate(Parrot(), batches(*logits_of(), size=11, order=order), CLASSES, CPU)
    assert other.to_json() == found.to_json()
    for name in ("index", "labels", "top5", "top5_probability", "losses"):
        np.testing.assert_array_equal(getattr(other, name), getattr(found, name))
    with pytest.raises(ValueError, match="once"):
        evaluate(Parrot(), batches(*logits_of(), order=[0, 1, 0]), CLASSES, CPU)


def test_each_image_keeps_its_best_classes_with_their_probabilities(found: Evaluation) -> None:
    logits, labels = logits_of()
    probability, best = logits.softmax(1).topk(5)
    assert (found.top5 == best.numpy()).all() and (found.predictions == logits.argmax(1).numpy()).all()
    np.testing.assert_allclose(found.top5_probability, probability)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.losses.mean() == pytest.approx(found.loss)


@pytest.mark.parametrize(("wrong", "n"), [(0, 9), (3, 9), (9, 9), (827, 10_000), (1, 1)])
def test_the_interval_is_wilsons(wrong: int, n: int) -> None:
    expected = binomtest(wrong, n).proportion_ci(method="wilson")
    assert wilson(wrong, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    low, high = wilson(wrong, n)
    assert 0 <= low <= wrong / n <= high <= 1
    assert wilson(0, 0) == (0, 1)


def test_with_five_classes_or_fewer_the_top_five_hold_every_class() -> None:
    found = evaluate(Parrot(), batches(*logits_of(k=4)), CLASSES[:4], CPU)
    assert found.top5_error == 0 and found.top5.shape == (N, 4)


def test_evaluation_mode_is_on_inside_and_every_modules_own_mode_comes_back() -> None:
    class Asked(Parrot):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.live = nn.BatchNorm2d(1).eval(), nn.Dropout()
            self.seen: set[bool] = set()

        def forward(self, x: Tensor) -> Tensor:
            self.seen |= {m.training for m in self.modules()} | {torch.is_grad_enabled()}
            return super().forward(x)

    net = Asked()
    net.frozen.eval()
    evaluate(net, batches(*logits_of()), CLASSES, CPU)
    assert net.seen == {False}
    assert (net.training, net.frozen.training, net.live.training) == (True, False, True)
    with pytest.raises(DataError):
        evaluate(net, batches(*logits_of(k=3)), CLASSES, CPU)
    assert net.training and not net.frozen.training


def test_half_precision_logits_are_counted_in_full_precision() -> None:
    class Half(Parrot):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).bfloat16()

    found = evaluate(Half(), batches(*logits_of()), CLASSES, CPU)
    assert found.losses.dtype == np.float32
    np.testing.assert_allclose(found.top5_probability.max(1) <= 1, True)


def test_what_is_not_finite_is_wrong_and_makes_the_loss_nan() -> None:
    logits, labels = logits_of()
    right = int((logits.argmax(1) == labels).nonzero()[0, 0])
    before = evaluate(Parrot(), batches(logits, labels), CLASSES, CPU)
    logits[right, 2] = math.inf
    found = evaluate(Parrot(), batches(logits, labels), CLASSES, CPU)
    assert found.wrong == before.wrong + 1 == N - np.trace(found.confusion)
    assert math.isnan(found.loss) and found.to_json()["loss"] is None
    all_nan = evaluate(Parrot(), batches(torch.full_like(logits, math.nan), labels), CLASSES, CPU)
    assert (all_nan.top1_error, all_nan.top5_error) == (1, 1)


def test_data_that_do_not_fit_the_net_are_refused_in_one_line() -> None:
    logits, labels = logits_of()
    with pytest.raises(DataError, match="tells 7 classes apart, the data have 9"):
        evaluate(Parrot(), batches(logits, labels), [*CLASSES, "x", "y"], CPU)
    with pytest.raises(DataError, match="data have class 7"):
        evaluate(Parrot(), batches(logits, labels + 2), CLASSES, CPU)
    with pytest.raises(DataError, match="no images"):
        evaluate(Parrot(), iter(()), CLASSES, CPU)
    with pytest.raises(ValueError, match="one class an image"):
        evaluate(Parrot(), [Batch(logits[:, None, None], logits, np.arange(N))], CLASSES, CPU)


def test_the_json_form_has_the_documented_keys_and_is_json(found: Evaluation) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(data) == [
        "n", "wrong", "top1_error", "top5_error", "loss", "interval", "classes", "per_class", "confusion",
        "macro", "weighted", "balanced_accuracy", "calibration", "intervals",
    ]  # fmt: skip
    assert data["classes"] == CLASSES and np.trace(data["confusion"]) == data["n"] - data["wrong"]


# -- tables ---------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as f:
        return list(csv.DictReader(f))


def test_the_table_of_classes_says_what_the_evaluation_says(found: Evaluation, tmp_path: Path) -> None:
    per_class_csv(found, tmp_path / "per_class.csv")
    rows = rows_of(tmp_path / "per_class.csv")
    assert [(r["class"], int(r["n"]), int(r["wrong"])) for r in rows] == [
        (c.name, c.n, c.wrong) for c in found.per_class
    ]
    assert [float(r["f1"]) for r in rows] == [c.f1 for c in found.per_class]


def test_the_table_of_predictions_has_one_row_an_image(found: Evaluation, tmp_path: Path) -> None:
    names = [f"photos/{i}.png" for i in range(N)]
    predictions_csv(found, names, tmp_path / "predictions.csv")
    rows = rows_of(tmp_path / "predictions.csv")
    assert list(rows[0]) == [
        "path", "truth", "prediction", "correct", "loss",
        *(f"{word}_{rank}" for rank in range(1, 6) for word in ("class", "probability")),
    ]  # fmt: skip
    assert [r["path"] for r in rows] == names
    assert sum(r["correct"] == "0" for r in rows) == found.wrong
    assert all(
        (r["truth"] == r["prediction"]) == (r["correct"] == "1") and r["class_1"] == r["prediction"] for r in rows
    )
    assert [float(r["probability_1"]) for r in rows] == pytest.approx(found.top5_probability[:, 0], rel=1e-5)


def test_no_name_breaks_a_table_or_runs_in_a_spreadsheet(tmp_path: Path) -> None:
    nasty = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", 'a,"b"', "new\nline", "ünï", "not text \udcff"]
    logits, labels = logits_of(n=len(nasty), k=len(nasty))
    found = evaluate(Parrot(), batches(logits, labels), nasty, CPU)
    predictions_csv(found, nasty, tmp_path / "p.csv")
    per_class_csv(found, tmp_path / "c.csv")
    expected = [f"'{n}" if i < 6 else n for i, n in enumerate(nasty)]
    assert [r["path"] for r in rows_of(tmp_path / "p.csv")] == expected
    assert [r["class"] for r in rows_of(tmp_path / "c.csv")] == expected


def test_a_table_is_written_whole_or_not_at_all(found: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("before")
    with pytest.raises(IndexError):
        predictions_csv(found, ["only one"], path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match=r"cannot write .*No such file"), replacing(tmp_path / "no" / "x") as temporary:
        temporary.write_text("x")
