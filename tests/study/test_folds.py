"""Laws of cross-validation: each picture answered once, by a net that had not seen it; folds that stand alone."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score

from residua.errors import DataError, Interrupted, NumericError, UsageError
from residua.evaluate import in_groups
from residua.job import TrainOptions, resumed, train
from residua.job.stopping import signals
from residua.study import folds as module
from residua.study.folds import begin, cross_validate, folds
from residua.training.loop import Step
from residua.training.recipe import recipe

SHORT = recipe("quick", ["epochs=1", "batch_size=128"])


def options(out, **changes):
    return TrainOptions(**({"arch": "cifar_resnet8", "recipe": SHORT, "out": str(out), "folds": 3} | changes))


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
    names = [r["name"] for r in rows(folder / "fold-1" / "split.csv")]
    assert sorted(r["path"] for r in answers) == sorted(names) and len(set(names)) == found["pooled"]["n"] == 1437
    for i in (1, 2, 3):
        split = {r["name"]: r["split"] for r in rows(folder / f"fold-{i}" / "split.csv")}
        mine = [r["path"] for r in answers if r["fold"] == str(i)]
        assert mine and all(split[path] == "test" for path in mine)


def test_every_fold_has_its_share_of_each_class(crossed):
    answers = rows(crossed[0] / "predictions.csv")
    n = [[sum(r["truth"] == c and r["fold"] == i for r in answers) for i in "123"] for c in crossed[1]["classes"]]
    assert len(n) == 10 and all(max(of) - min(of) <= 1 for of in n)


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


def stopped(made, number, when):
    """Train a fold until `when` holds for an event, press Ctrl-C, and give the line that it ends with."""
    with pytest.raises(Interrupted) as error:
        for event in made.train(number):
            if when(event):
                os.kill(os.getpid(), signal.SIGINT)
    return str(error.value)


def test_a_fold_stopped_on_the_way_goes_on_and_all_ends_the_same(crossed, tmp_path):
    folder, found = crossed
    cv = tmp_path / "cv"
    line = stopped(folds(options(cv)), 1, lambda e: isinstance(e, Step) and e.step == 1)
    assert line == f"fold 1 of 3 stopped at step 1 of 6, saved; go on with: residua train --resume {cv}"
    (cv / "fold-2" / "state").mkdir(parents=True)  # as if the next had died before anything was saved
    again = resumed(cv)
    assert again.resume is not None and folds(again).left() == [1, 2, 3]
    ended = cross_validate(again)
    assert ended["pooled"] == found["pooled"]
    assert (cv / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


def test_what_is_done_is_not_trained_again(crossed, tmp_path, monkeypatch):
    folder, found = crossed
    shutil.copytree(folder, tmp_path / "cv")
    (tmp_path / "cv" / "folds.json").unlink()
    monkeypatch.setattr(module, "train", lambda options: pytest.fail("trained again"))
    assert cross_validate(resumed(str(tmp_path / "cv"))) == found


@pytest.mark.parametrize("moment", ["between two folds", "too late for the fold before"])
def test_ctrl_c_outside_a_training_is_heard_before_the_next_fold(tmp_path, monkeypatch, moment):
    def quick(options):
        with signals() as stop:
            stop.at_once = False
            yield "an event"
            if moment == "too late for the fold before":
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "train", quick)
    (tmp_path / "cv").mkdir()
    made, trained = folds(options(tmp_path / "cv")), []
    with pytest.raises(Interrupted, match=r"^fold 2 of 3 stopped before it began, saved; go on with: .*cv$"):
        for number, events in made.trainings():
            trained.append((number, list(events)))
            if moment == "between two folds":
                os.kill(os.getpid(), signal.SIGINT)
    assert trained == [(1, ["an event"])] and resumed(tmp_path / "cv").folds == 3


def test_ctrl_c_before_there_is_anything_promises_nothing(tmp_path, monkeypatch):
    def early(options):
        raise Interrupted("interrupted before training began: nothing was written that matters")
        yield

    monkeypatch.setattr(module, "train", early)
    with pytest.raises(Interrupted, match=r"^interrupted before training began"):
        cross_validate(options(tmp_path / "cv"))
    (tmp_path / "cv").mkdir()
    made = folds(options(tmp_path / "cv"))
    begin(made)
    with pytest.raises(Interrupted, match=r"^fold 2 of 3 stopped before it began, saved; go on with"):
        list(made.train(2))


def test_an_error_on_the_way_says_in_which_fold(tmp_path):
    with pytest.raises(NumericError, match=r"^fold 1 of 3: the loss is .* try a lower rate"):
        cross_validate(options(tmp_path / "cv", recipe=recipe("quick", ["lr=1e30", "batch_size=16"])))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folds": 4}, "was begun otherwise: folds 3 -> 4"),
        ({"seed": 7, "accept_changes": True}, "seed 0 -> 7; its folds are trained alike"),
        ({"lr": 0.3}, r"lr 0\.1 -> 0\.3"),
    ],
)
def test_folds_of_one_cross_validation_are_trained_alike(crossed, changes, says):
    with pytest.raises(UsageError, match=says):
        folds(resumed(crossed[0], **changes))


def test_folds_do_not_begin_in_the_middle_of_a_single_training(crossed, tmp_path):
    for _ in train(options(tmp_path / "plain", folds=None)):
        pass
    with pytest.raises(UsageError, match=r"^--folds 5: .*plain is a single training"):
        folds(resumed(tmp_path / "plain", folds=5))
    assert resumed(crossed[0] / "fold-2").fold == 2  # and one fold of many is a run like any other


def photos(folder, classes="ab", patients=6, each=3):
    """A folder of classes: pictures `each` of every patient."""
    rng = np.random.default_rng(0)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for patient in range(patients):
            for n in range(each):
                picture = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
                picture.save(folder / label / f"{label}p{patient}_{n}.png")
    return str(folder)


def test_whole_groups_are_on_one_side_and_the_interval_knows_of_them(tmp_path):
    data = photos(tmp_path / "data")
    made = options(tmp_path / "cv", data=data, groups=r"([ab]p\d)_", folds=2)
    found = cross_validate(made)
    where, wrong, patients = {}, [], []
    for row in rows(tmp_path / "cv" / "predictions.csv"):
        patients.append(row["path"].split("/")[-1][:3])
        where.setdefault(patients[-1], set()).add(row["fold"])
        wrong.append(row["correct"] == "0")
    assert len(where) == 12 and all(len(folds_of) == 1 for folds_of in where.values())
    codes = np.unique(patients, return_inverse=True)[1]
    assert found["pooled"]["groups"] == 12
    assert found["pooled"]["interval"] == pytest.approx(in_groups(np.array(wrong), codes))
    for i in (1, 2):  # nor are they parted by what is held out to choose the epoch by
        sides = {}
        for row in rows(tmp_path / "cv" / f"fold-{i}" / "split.csv"):
            sides.setdefault(row["group"], set()).add(row["split"])
        assert all(len(s) == 1 for s in sides.values())


def test_folds_of_other_data_are_neither_gone_on_with_nor_pooled(tmp_path):
    data = photos(tmp_path / "data")
    made = folds(options(tmp_path / "cv", data=data, folds=2))
    list(made.train(1))
    (tmp_path / "data" / "a" / "ap0_0.png").unlink()
    again = folds(resumed(tmp_path / "cv"))
    with pytest.raises(DataError, match=r"is not the data that .* was begun with"):
        next(again.trainings())
    list(again.train(2))
    with pytest.raises(DataError, match=r"fold 2 was trained on other data than fold 1: remove .*fold-2, then"):
        again.summarise()


def test_folds_of_data_that_have_changed_are_not_pooled(crossed, tmp_path):
    folder, _ = crossed
    shutil.copytree(folder, tmp_path / "cv")
    path = tmp_path / "cv" / "fold-3" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["x"]}))
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
