"""Laws of cross-validation: each picture answered once, by a net that had not seen it; folds that stand alone."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from residua.errors import DataError, Interrupted, UsageError
from residua.job import TrainOptions, train
from residua.study.folds import begin, cross_validate, folds
from residua.training.loop import Step
from residua.training.recipe import recipe

SHORT = recipe("quick", ["epochs=1", "batch_size=32"])


def options(out, **changes):
    return TrainOptions(
        **({"arch": "cifar_resnet8", "recipe": SHORT, "out": str(out), "folds": 3, "limit": 90} | changes)
    )


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "cv"
    return folder, cross_validate(options(folder))


def test_every_picture_is_answered_by_the_net_that_had_not_seen_it(crossed):
    folder, found = crossed
    answers = rows(folder / "predictions.csv")
    assert len({r["path"] for r in answers}) == len(answers) == found["pooled"]["n"]
    for i in (1, 2, 3):
        split = {r["name"]: r["split"] for r in rows(folder / f"fold-{i}" / "split.csv")}
        mine = [r["path"] for r in answers if r["fold"] == str(i)]
        assert mine and all(split[path] == "test" for path in mine)


def test_what_is_pooled_is_what_scikit_learn_counts_over_all_answers(crossed):
    folder, found = crossed
    answers = rows(folder / "predictions.csv")
    truth, said = [r["truth"] for r in answers], [r["prediction"] for r in answers]
    assert found["pooled"]["confusion"] == confusion_matrix(truth, said, labels=found["classes"]).tolist()
    f1 = f1_score(truth, said, labels=found["classes"], average=None, zero_division=0)
    assert [c["f1"] for c in found["pooled"]["per_class"]] == pytest.approx(f1.tolist())
    errors = [f["top1_error"] for f in found["folds"]]
    assert found["mean"]["top1_error"] == pytest.approx(np.mean(errors))
    assert found["std"]["top1_error"] == pytest.approx(np.std(errors, ddof=1))
    assert json.loads((folder / "folds.json").read_text()) == found


def test_a_fold_alone_comes_to_the_same_bits(crossed, tmp_path):
    folder, _ = crossed
    for _ in train(options(tmp_path / "alone", fold=2)):
        pass
    for name in ("predictions.csv", "model.safetensors"):
        ours, theirs = (tmp_path / "alone" / name).read_bytes(), (folder / "fold-2" / name).read_bytes()
        assert ours == theirs, name


def test_a_stopped_cross_validation_goes_on_where_it_was_and_ends_the_same(crossed, tmp_path, monkeypatch):
    folder, found = crossed
    made = folds(options(tmp_path / "cv"))
    for _ in made.train(1):
        begin(made)
    for event in (going := made.train(2)):
        if isinstance(event, Step):
            going.close()
            break
    shutil.rmtree(tmp_path / "cv" / "fold-2")  # as if it had ended before anything was saved
    from residua.job import resumed

    again = resumed(str(tmp_path / "cv"))
    assert folds(again).left() == [2, 3]
    ended = cross_validate(again)
    assert ended["pooled"] == found["pooled"]
    assert (tmp_path / "cv" / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


def test_stopping_a_fold_says_how_to_go_on_with_all(tmp_path, monkeypatch):
    from residua.study import folds as module

    def stopped(options):
        raise Interrupted("stopped at step 3 of 9, saved; go on with: residua train --resume fold-1")
        yield

    monkeypatch.setattr(module, "train", stopped)
    made = folds(options(tmp_path / "cv"))
    with pytest.raises(Interrupted, match=r"^fold 1 of 3 stopped at step 3 of 9, saved; go on with: .*cv$"):
        list(made.train(1))


def test_whole_groups_are_on_one_side(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for patient in range(6):
            for n in range(3):
                picture = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
                picture.save(tmp_path / "data" / label / f"{label}p{patient}_{n}.png")
    made = options(tmp_path / "cv", data=str(tmp_path / "data"), groups=r"([ab]p\d)_", limit=None)
    cross_validate(made)
    where = {}
    for row in rows(tmp_path / "cv" / "predictions.csv"):
        where.setdefault(row["path"].split("/")[-1][:3], set()).add(row["fold"])
    assert len(where) == 12 and all(len(folds_of) == 1 for folds_of in where.values())


def test_folds_of_data_that_have_changed_are_not_pooled(crossed, tmp_path):
    folder, _ = crossed
    shutil.copytree(folder, tmp_path / "cv")
    path = tmp_path / "cv" / "fold-3" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["x"]}))
    from residua.job import resumed

    with pytest.raises(DataError, match="different classes"):
        cross_validate(resumed(str(tmp_path / "cv")))


def test_what_makes_no_folds_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="at least 2"):
        options(tmp_path, folds=1)
    with pytest.raises(UsageError, match="single training"):
        options(tmp_path, budget=60.0)
    with pytest.raises(UsageError, match="none of the 3"):
        options(tmp_path, fold=4)
    with pytest.raises(UsageError, match="139 is the most"):
        cross_validate(options(tmp_path / "many", folds=1000))
    assert not (tmp_path / "many").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="never overwritten"):
        folds(options(tmp_path / "full"))
    with pytest.raises(UsageError, match="number of folds"):
        folds(options(tmp_path / "none", folds=None))
