"""Laws of likely label errors: the confident joint, and that flipped labels come first."""

import csv

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from residua.errors import DataError
from residua.evaluate.labels import label_errors_csv, read_predictions, suspects


def rows_of(probability, labels, top=5):
    """The rows of predictions.csv for probabilities (N, K), as text; names are numbers."""
    rows = []
    for i, (p, label) in enumerate(zip(probability, labels, strict=True)):
        best = np.argsort(-p, kind="stable")[:top]
        row = {"path": str(i), "truth": str(label), "prediction": str(best[0]), "loss": repr(float(-np.log(p[label])))}
        for rank, c in enumerate(best, 1):
            row |= {f"class_{rank}": str(c), f"probability_{rank}": repr(float(p[c]))}
        rows.append(row)
    return rows


def off_diagonal(probability, labels):
    """Northcutt et al. 2021, eq. 1 and 2, over the full matrix: the images counted beside the diagonal."""
    k = probability.shape[1]
    thresholds = np.array([probability[labels == j, j].mean() for j in range(k)])
    sure = np.where(probability >= thresholds, probability, -1)
    guess = np.where((sure >= 0).any(1), sure.argmax(1), labels)
    return set(np.flatnonzero(guess != labels).tolist())


@pytest.fixture(scope="module")
def flipped():
    """(out-of-fold probabilities, given labels, which were flipped) of the digits, a twentieth of them flipped."""
    data, random = load_digits(), np.random.default_rng(0)
    labels = data.target.copy()
    wrong = random.choice(len(labels), len(labels) // 20, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.1))
    return cross_val_predict(model, data.data, labels, cv=5, method="predict_proba"), labels, set(wrong.tolist())


def test_flipped_labels_are_found_and_come_first(flipped):
    probability, labels, wrong = flipped
    found = [int(s.path) for s in suspects(rows_of(probability, labels))]
    first = found[: len(wrong) // 2]
    assert np.mean([i in wrong for i in first]) > 0.9
    assert len(wrong & set(found)) / len(wrong) > 0.7


def test_the_suspects_are_those_beside_the_diagonal_of_the_confident_joint(flipped):
    probability, labels, _ = flipped
    found = suspects(rows_of(probability, labels, top=10))
    expected = {i for i in off_diagonal(probability, labels)}
    assert {int(s.path) for s in found} == {i for i in expected if probability[i].max() > probability[i, labels[i]]}
    margins = [s.margin for s in found]
    assert margins == sorted(margins)
    for s in found:
        i = int(s.path)
        assert s.probability_truth == pytest.approx(probability[i, labels[i]])
        assert s.probability_likely == pytest.approx(probability[i, int(s.likely)])


def test_five_classes_a_row_suffice_on_ten(flipped):
    probability, labels, _ = flipped
    some, every = (suspects(rows_of(probability, labels, top=t)) for t in (5, 10))
    assert [s.path for s in some] == [s.path for s in every]


def test_a_silent_image_and_an_empty_table_are_no_trouble(flipped):
    probability, labels, _ = flipped
    rows = rows_of(probability[:50], labels[:50])
    rows[3]["loss"] = "nan"
    assert isinstance(suspects(rows), list) and suspects([]) == []


def test_tables_are_read_back_as_they_were_written(tmp_path):
    names = ["=1+1.png", 'a,"b"\n.png', "plain.png", "'quoted.png"]
    with open(tmp_path / "p.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["path", "truth", "prediction", "correct", "loss", "class_1", "probability_1"])
        from residua.files import cell

        writer.writerows([[cell(n), "a", "b", 0, 3.0, "b", 0.95] for n in names])
        writer.writerows([["x", "b", "b", 1, 0.5, "b", 0.6]])
    rows = read_predictions(tmp_path / "p.csv", tmp_path / "p.csv")
    assert [r["path"] for r in rows[:4]] == names and len(rows) == 10
    found = suspects(rows[:5])
    assert {s.path for s in found} == set(names) and {s.likely for s in found} == {"b"}
    label_errors_csv(found, tmp_path / "e.csv")
    with open(tmp_path / "e.csv", newline="") as f:
        assert {r["path"] for r in csv.DictReader(f)} == {cell(n) for n in names}


def test_what_is_no_table_of_predictions_is_said_in_one_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of predictions"):
        read_predictions(tmp_path / "x.csv")
    with pytest.raises(DataError, match="cannot read"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none of predictions\.csv"):
        suspects([{"path": "a"}])
    with pytest.raises(DataError, match="class 'z' of a is none"):
        suspects([{"path": "a", "truth": "z", "loss": 1}], ["y"])
