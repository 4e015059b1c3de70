"""Laws of training localizers: runs resume bit for bit, start from what was learned, and refuse in one line."""

import json
import os
import shutil
import signal
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from residua.boxes.batches import each_once, opened
from residua.boxes.inputs import Unread
from residua.boxes.matched import matched
from residua.errors import DataError, Interrupted, UsageError
from residua.job import events as happened
from residua.job.localization import RECIPES, LocalizeOptions, resumed, train
from residua.localize.modelfile import load
from residua.localize.predict import load as load_model
from residua.localize.run import evaluate, returned
from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.training.loop import Step

QUICK = replace(RECIPES["quick"], epochs=2, batch_size=8, min_epoch_steps=0, lr=0.02)
VIEW = {"side_px": 32, "fit": "crop", "resize_px": 32, "mode": "RGB", "mean": [0.3] * 3, "std": [0.2] * 3}


def options(things, tmp_path, **changes) -> LocalizeOptions:
    given = {
        "arch": "cifar_resnet20:1-1-1", "recipe": QUICK, "threads": 1, "precision": "fp32",
        "out": str(tmp_path / "run"),
    }  # fmt: skip
    return LocalizeOptions(data=str(things), **given | changes)


def until(wanted, step: int) -> str:
    """Train up to a step, then press Ctrl-C; the line that it ends with."""
    with pytest.raises(Interrupted) as error:
        for event in train(wanted):
            if isinstance(event, Step) and event.step == step:
                os.kill(os.getpid(), signal.SIGINT)
    return str(error.value)


def weights(run):
    return modelfile.unseal(run / "model.safetensors")[1]


def classifier(path, names=("n01", "n02", "n03"), net: str = "cifar_resnet20:1-1-1"):
    """A model file of an untrained classifier, and its net."""
    row = replace(find(net), classes=len(names))
    made = build(row)
    modelfile.save(path, made, modelfile.Header(row=row, classes=names, view=VIEW))
    return made


@pytest.fixture(scope="session")
def run(things, tmp_path_factory):
    """A finished run, and its events."""
    folder = tmp_path_factory.mktemp("localizer")
    events = list(train(options(things, folder)))
    return folder / "run", events


def test_a_run_folder_has_everything(run):
    folder, events = run
    for name in (
        "config.toml", "environment.json", "metrics.jsonl", "metrics.csv", "split.csv", "data_check.json",
        "batches/step-0.png", "per_class.csv", "localizations.csv", "decisions.json", "summary.json",
        "evaluation.json", "localized.json", "model.safetensors",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    decided = {d.what for e in events if isinstance(e, happened.Decided) for d in e.decisions}
    assert {"image_size", "anchors", "augment", "device", "pictures"} <= decided
    assert isinstance(events[-1], happened.Finished) and isinstance(events[-2], happened.Tested)
    assert tomllib.loads((folder / "config.toml").read_text())["task"] == "localization"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    errors = [r["val_top1_localization_error"] for r in rows if r["event"] == "epoch"]
    assert len(errors) == 2
    header = load(folder)[1]
    assert header.metrics["val"]["top1_localization_error"] == min(errors)
    assert header.metrics["test"]["n"] == 12 and header.mean_boxes.shape == (3, 4)


def test_an_interrupted_training_ends_bit_for_bit_as_one_that_was_not(things, run, tmp_path):
    line = until(options(things, tmp_path), 3)
    assert "residua localize train --resume" in line and "step 3 of 4" in line
    list(train(resumed(tmp_path / "run")))
    ours, theirs = weights(tmp_path / "run"), weights(run[0])
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(things, run, tmp_path, workers):
    list(train(options(things, tmp_path, workers=workers)))
    ours, theirs = weights(tmp_path / "run"), weights(run[0])
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_the_model_file_is_enough_to_answer_the_same_again(things, run):
    folder, events = run
    model = load_model(folder, threads=1)
    view = model.header.view
    data, name = matched(model.classes, view.mode, str(things), "test", alone=True)
    data, pictures = opened(data, view)
    (test,) = [e.evaluation for e in events if isinstance(e, happened.Tested)]
    batches = each_once(pictures[name], 5)
    again, found = evaluate(model.net, pictures[name], batches, model.header.mean_boxes, model.classes, model.engine)
    assert again == test
    paths = data.splits[name].images.paths
    answers = model.predict(list(paths), top=2)
    for i, one in enumerate(answers):
        assert one.name == paths[i] and one.size == (48, 48)
        assert one.found.labels.tolist() == found.labels[i, :2].tolist()
        assert np.allclose(one.found.boxes, found.boxes[i, :2], atol=0.05)
        assert np.allclose(one.found.scores, found.scores[i, :2], atol=1e-4)


def test_pictures_come_as_files_bytes_and_images_and_broken_ones_are_named(things, run, tmp_path):
    model = load_model(run[0])
    path = things / "val" / "images" / "val_0_0.png"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    inputs = [str(path), path.read_bytes(), tmp_path / "bad.png", Image.open(path)]
    a, b, bad, c = model.predict(inputs)
    assert isinstance(bad, Unread) and "not an image" in bad.reason
    assert all(np.allclose(a.found.boxes, x.found.boxes, atol=1e-3) for x in (b, c)) and len(a.found.labels) == 3


def test_boxes_come_back_in_the_pixels_of_the_file(run):
    view = load(run[0])[1].view
    box = np.array([[12.0, 6, 24, 60]])  # of a square of 48
    assert returned(box, (48, 96), view).tolist() == [[24, 6, 48, 48]]  # twice as wide, and cut below
    assert returned(box, (96, 48), view).tolist() == [[12, 12, 24, 96]]


def test_a_classifier_of_ours_is_the_beginning_of_a_localizer(things, tmp_path):
    torch.manual_seed(5)
    net = classifier(tmp_path / "c.safetensors", net="cifar_resnet20")
    recipe = replace(RECIPES["finetune"], epochs=1, batch_size=8, min_epoch_steps=0, freeze=("stem",))
    list(train(options(things, tmp_path, arch="auto", weights=str(tmp_path / "c.safetensors"), recipe=recipe)))
    made, header = load(tmp_path / "run")
    assert header.view.mean == (0.3,) * 3 and header.view.short_px == 32
    assert header.lineage[0]["from"] == "c.safetensors" and header.row.net.name == "cifar_resnet20"
    assert torch.equal(made.net.stem.conv1.weight, net.stem.conv1.weight)
    assert not torch.equal(made.net.stages[1][0].branch.conv1.weight, net.stages[1][0].branch.conv1.weight)


def test_a_localizer_goes_on_from_a_localizer_and_knows_its_classes_by_name(run):
    from residua.job.localization.start import TrainedLocalizer

    net, header = load(run[0])
    known = TrainedLocalizer(header.row, net.state_dict(), header.view, header.classes, [])
    wider = replace(header.row, net=replace(header.row.net, classes=4))
    made = known.for_classes(wider, ("ant", "n03", "n01", "n02"))
    old, anchors = net.state_dict(), len(header.row.anchors)
    assert torch.equal(made["net.head.fc.weight"][[2, 3, 1]], old["net.head.fc.weight"])
    mine = made["region.numbers.weight"].unflatten(0, (anchors, 4, 4))
    theirs = old["region.numbers.weight"].unflatten(0, (anchors, 3, 4))
    assert torch.equal(mine[:, [2, 3, 1]], theirs) and torch.equal(
        made["net.stem.conv1.weight"], old["net.stem.conv1.weight"]
    )
    assert known.for_classes(header.row, header.classes).keys() == old.keys()


def test_a_second_look_keeps_the_first_and_resumes_bit_for_bit(things, run, tmp_path):
    recipe = replace(RECIPES["refine"], epochs=2, batch_size=8, min_epoch_steps=0)
    words = {"arch": "auto", "weights": str(run[0]), "refine": True, "recipe": recipe}
    events = list(train(options(things, tmp_path, **words)))
    made, header = load(tmp_path / "run")
    first, state = load(run[0])[0].state_dict(), made.state_dict()
    assert header.row.refined and all(torch.equal(v, state[k]) for k, v in first.items())
    assert any(k.startswith("refiner.") for k in state)
    begun = replace(options(things, tmp_path, **words), out=str(tmp_path / "again"))
    until(begun, 3)
    list(train(resumed(tmp_path / "again")))
    assert all(torch.equal(v, state[k]) for k, v in weights(tmp_path / "again").items())
    (test,) = [e.evaluation for e in events if isinstance(e, happened.Tested)]
    model = load_model(tmp_path / "run")
    answers = model.predict(str(things / "val" / "images" / "val_0_0.png"))
    assert 0 <= test.given_localization_error <= 1 and len(answers[0].found.boxes) == 3
    plain = options(things, tmp_path, arch="auto", weights=str(tmp_path / "run"), out=str(tmp_path / "plain"))
    list(train(replace(plain, recipe=replace(QUICK, epochs=1))))
    assert not load(tmp_path / "plain")[1].row.refined


def test_every_task_says_which_command_takes_its_file(run, tmp_path):
    with pytest.raises(DataError, match=r"is a model for localization, .*: `residua localize` takes it"):
        modelfile.load(run[0] / "model.safetensors")
    classifier(tmp_path / "c.safetensors")
    with pytest.raises(DataError, match="is no localizer: `residua predict` takes it"):
        load(tmp_path / "c.safetensors")
    from residua.detect.modelfile import load as load_detector

    with pytest.raises(DataError, match="is no detector: `residua localize predict` takes it"):
        load_detector(run[0])


def test_a_damaged_file_is_one_line(run, tmp_path):
    whole = (run[0] / "model.safetensors").read_bytes()
    for content in (whole[:-50], whole[:2000] + b"x" + whole[2001:], b""):
        (tmp_path / "m.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"m\.safetensors"):
            load(tmp_path / "m.safetensors")


def test_the_words_of_python_are_those_of_the_command(things, run, tmp_path):
    import residua

    words = {"arch": "cifar_resnet20:1-1-1", "epochs": 1, "batch_size": 8, "threads": 1}
    result = residua.train_localizer(things, out=str(tmp_path / "run"), **words)
    assert result.model.is_file() and (result.run / "report.html").is_file() and result.test.n == 12
    model = residua.load(run[0])
    (one,) = model.predict(things / "val" / "images" / "val_0_0.png", top=1)
    assert len(one.found.boxes) == 1
    with pytest.raises(UsageError, match="did you mean"):
        residua.train_localizer(things, stm="5x5")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"arch": "vgg19"}, UsageError, "no residual net"),
        ({"arch": "resnet18", "stem": "7x7", "image_size": 32}, UsageError, "leaves nothing of 32 px"),
        ({"weights": "nowhere.safetensors", "arch": "auto"}, DataError, r"nowhere\.safetensors"),
        ({"recipe": replace(QUICK, freeze=("stem",))}, UsageError, "random weights have learned nothing"),
    ],
)
def test_what_does_not_fit_is_one_line(things, tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        list(train(options(things, tmp_path, **change)))
    assert not (tmp_path / "run").exists()


def test_a_second_look_needs_a_localizer_of_the_same_classes(things, run, tmp_path):
    classifier(tmp_path / "c.safetensors")
    words = {"arch": "auto", "refine": True, "recipe": RECIPES["refine"]}
    with pytest.raises(UsageError, match=r"and .* is none"):
        list(train(options(things, tmp_path, weights=str(tmp_path / "c.safetensors"), **words)))
    fewer = tmp_path / "fewer"
    shutil.copytree(things, fewer)
    shutil.rmtree(fewer / "train" / "n03")
    notes = fewer / "val" / "val_annotations.txt"
    notes.write_text("".join(line for line in notes.read_text().splitlines(True) if "n03" not in line))
    with pytest.raises(UsageError, match="--refine needs the classes of"):
        list(train(options(fewer, tmp_path, weights=str(run[0]), **words)))
    with pytest.raises(UsageError, match=r"--image-size 32: .* sees 48 px"):
        list(train(options(things, tmp_path, weights=str(run[0]), image_size=32, **words)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stem": "9x9"}, "stem"), ({"augment": ("cutmix",)}, "augmentation"), ({"image_size": 9}, "--image-size"),
        ({"refine": True}, "name one by --weights"), ({"stem": "5x5", "weights": "x"}, "brings its own"),
        ({"recipe": replace(QUICK, balance="loss")}, "balance=loss is for classif"),
        ({"limit": 1}, "--limit 1"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line(change, words):
    with pytest.raises(UsageError, match=words):
        LocalizeOptions(**{"data": "x"} | change)


def test_a_resumed_run_refuses_other_options_and_data(things, run, tmp_path):
    until(options(things, tmp_path), 2)
    stored = resumed(tmp_path / "run")
    with pytest.raises(UsageError, match="stem cannot change"):
        list(train(replace(stored, stem="5x5")))
    with pytest.raises(UsageError, match=r"lr 0\.02 -> 0\.1"):
        list(train(replace(stored, recipe=replace(stored.recipe, lr=0.1))))
    other = tmp_path / "other"
    shutil.copytree(things, other)
    until(replace(options(other, tmp_path), out=str(tmp_path / "second")), 2)
    (other / "train" / "n01" / "images" / "n01_0.png").unlink()
    with pytest.raises(DataError, match="is not the data"):
        list(train(resumed(tmp_path / "second")))
    with pytest.raises(DataError, match=r"trains no localizer: go on with it by `residua train --resume"):
        (tmp_path / "classifier").mkdir()
        (tmp_path / "classifier" / "config.toml").write_text('data = "digits"\n')
        resumed(tmp_path / "classifier")
    with pytest.raises(UsageError, match="is finished"):
        list(train(resumed(run[0])))
