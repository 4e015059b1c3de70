"""Laws of training detectors: runs resume bit for bit, keep the best, say what they decided, and refuse in one line."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from boxes.shapes import make
from residua.boxes.matched import matched
from residua.detect.modelfile import load
from residua.detect.predict import Answer, Unread
from residua.detect.predict import load as load_model
from residua.errors import DataError, Interrupted, UsageError
from residua.job import events as happened
from residua.job.detection import RECIPES, DetectOptions, resumed, train
from residua.nn.modelfile import load as load_classifier
from residua.nn.modelfile import unseal
from residua.training.loop import Step

QUICK = replace(RECIPES["quick"], epochs=2, batch_size=4, lr=0.005)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    return make(tmp_path_factory.mktemp("shapes") / "shapes")


def options(shapes, tmp_path, **changes) -> DetectOptions:
    given = {"arch": "cifar_resnet20", "recipe": QUICK, "threads": 1, "precision": "fp32", "out": str(tmp_path / "run")}
    return DetectOptions(data=str(shapes), **given | changes)


def until(wanted, step: int) -> str:
    """Train up to a step, then press Ctrl-C; the line that it ends with."""
    import os
    import signal

    with pytest.raises(Interrupted) as error:
        for event in train(wanted):
            if isinstance(event, Step) and event.step == step:
                os.kill(os.getpid(), signal.SIGINT)
    return str(error.value)


def weights(run):
    return unseal(run / "model.safetensors")[1]


@pytest.fixture(scope="session")
def run(shapes, tmp_path_factory):
    """A finished run, and its events."""
    folder = tmp_path_factory.mktemp("detector")
    events = list(train(options(shapes, folder)))
    return folder / "run", events


def test_a_run_folder_has_everything(run):
    folder, events = run
    for name in (
        "config.toml", "environment.json", "metrics.jsonl", "metrics.csv", "split.csv", "data_check.json",
        "batches/step-0.png", "per_class.csv", "detections.csv", "decisions.json", "summary.json", "evaluation.json",
        "detected.json", "precision_recall.json", "model.safetensors",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    decided = {d.what for e in events if isinstance(e, happened.Decided) for d in e.decisions}
    assert {"image_size", "norm", "size", "augment", "device", "pictures"} <= decided
    assert isinstance(events[-1], happened.Finished) and isinstance(events[-2], happened.Tested)
    assert tomllib.loads((folder / "config.toml").read_text())["task"] == "detection"


def test_an_interrupted_training_ends_bit_for_bit_as_one_that_was_not(shapes, run, tmp_path):
    line = until(options(shapes, tmp_path), 2)
    assert "residua detect train --resume" in line and "step 2 of 6" in line
    list(train(resumed(tmp_path / "run")))
    ours, theirs = weights(tmp_path / "run"), weights(run[0])
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    rows = [
        [{k: v for k, v in json.loads(line).items() if "second" not in k and k != "waiting"}
         for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", run[0])
    ]  # fmt: skip
    assert rows[0] == rows[1]


def test_the_model_file_is_enough_to_find_the_same_again(shapes, run):
    folder, events = run
    model = load_model(folder)
    data, name = matched(model.classes, model.header.view.mode, str(shapes), "test")
    split = data.splits[name]
    (test,) = [e.evaluation for e in events if isinstance(e, happened.Tested)]
    names = [str(p) for p in split.images.paths]
    answers = list(model.stream((n, n) for n in names))
    assert [a.name for a in answers] == names and all(isinstance(a, Answer) for a in answers)
    from residua.detect.counts import evaluated

    again = evaluated(split.targets, [a.found for a in answers], split.sizes, model.classes)
    assert again.coco == test.coco
    single = next(model.stream([(names[0], names[0])], batch_size=1))
    assert np.allclose(single.found.boxes, answers[0].found.boxes, atol=1e-2)


def test_pictures_come_as_files_bytes_and_images_and_broken_ones_are_named(shapes, run, tmp_path):
    model = load_model(run[0])
    path = shapes / "JPEGImages" / "00.png"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    inputs = [("a", str(path)), ("b", path.read_bytes()), ("bad", str(tmp_path / "bad.png")), ("c", Image.open(path))]
    a, b, bad, c = model.stream(inputs)
    assert isinstance(bad, Unread) and "not an image" in bad.reason
    assert all(np.allclose(a.found.boxes, x.found.boxes, atol=1e-3) for x in (b, c)) and a.size == (64, 96)


def test_a_detector_is_no_classifier_and_the_reverse(run, tmp_path):
    with pytest.raises(DataError, match=r"is a model for detection, not for classification: `residua detect` takes it"):
        load_classifier(run[0] / "model.safetensors")
    from residua.nn import modelfile
    from residua.nn.zoo import build, find

    row = replace(find("cifar_resnet20"), classes=2)
    view = {"side_px": 8, "fit": "crop", "resize_px": 8, "mode": "RGB", "mean": [0, 0, 0], "std": [1, 1, 1]}
    modelfile.save(tmp_path / "c.safetensors", build(row), modelfile.Header(row=row, classes=("a", "b"), view=view))
    with pytest.raises(DataError, match="is no detector: `residua predict` takes it"):
        load(tmp_path / "c.safetensors")


def test_the_words_of_python_are_those_of_the_command(shapes, run, tmp_path):
    import residua

    words = {"arch": "cifar_resnet20", "epochs": 1, "batch_size": 4, "threads": 1, "form": "c4"}
    result = residua.train_detector(shapes, out=str(tmp_path / "run"), **words)
    assert result.model.is_file() and (result.run / "report.html").is_file() and result.test.n == 4
    model = residua.load(run[0])
    path = shapes / "JPEGImages" / "00.png"
    (one,), two = model.predict(path), model.predict([path, path.read_bytes()])
    assert isinstance(one, Answer) and [a.name for a in two] == [str(path), "picture 1"]
    with pytest.raises(UsageError, match="did you mean"):
        residua.train_detector(shapes, frm="c4")


def test_a_training_that_gets_no_better_ends_early_and_says_so(shapes, tmp_path, monkeypatch):
    from residua.job.detection import session

    measure, worse = session.evaluate, iter([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])

    def falling(net, pictures, *rest, **more):
        found, every = measure(net, pictures, *rest, **more)
        return replace(found, coco={**found.coco, "ap50": next(worse)}), every

    monkeypatch.setattr(session, "evaluate", falling)
    wanted = options(shapes, tmp_path, recipe=replace(QUICK, epochs=6, early_stop_epochs=2))
    events = list(train(wanted))
    decided = [d.what for e in events if isinstance(e, happened.Decided) for d in e.decisions]
    assert sum(isinstance(e, happened.Validated) for e in events) == 3 and "stopped early" in decided
    with pytest.raises(UsageError, match="is finished"):
        list(train(resumed(tmp_path / "run")))


def test_a_missing_library_is_said_before_anything_is_trained(shapes, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(UsageError, match=r"pip install 'residua\[detect\]'"):
        next(train(options(shapes, tmp_path)))
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_is_one_line(run, tmp_path):
    whole = (run[0] / "model.safetensors").read_bytes()
    for content in (whole[:-50], whole[:2000] + b"x" + whole[2001:], b""):
        (tmp_path / "m.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=r"m\.safetensors"):
            load(tmp_path / "m.safetensors")


def test_a_class_that_the_model_does_not_have_is_one_line(shapes, run, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(shapes, other)
    mark = other / "Annotations" / "17.xml"
    mark.write_text(mark.read_text().replace("<name>square</name>", "<name>star</name>").replace("disc", "star"))
    model = load_model(run[0])
    with pytest.raises(DataError, match=r"class 'star' of .* is none of the model's 2"):
        matched(model.classes, model.header.view.mode, str(other), "test")


@pytest.mark.parametrize("form", ["fpn", "c4"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_every_form_trains_and_is_measured(shapes, tmp_path, form, norm):
    wanted = options(shapes, tmp_path, form=form, norm=norm, recipe=replace(QUICK, epochs=1), anchors="fit")
    *_, tested, _ = train(wanted)
    assert 0 <= tested.evaluation.voc12 <= 1
    assert load(tmp_path / "run")[1].row.form == form


def test_a_classifier_of_ours_is_a_backbone_with_frozen_norms(shapes, tmp_path):
    from residua.nn import modelfile
    from residua.nn.zoo import build, find

    row = replace(find("cifar_resnet20"), classes=3)
    view = {"side_px": 32, "fit": "crop", "resize_px": 32, "mode": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3}
    net = build(row)
    modelfile.save(tmp_path / "c.safetensors", net, modelfile.Header(row=row, classes=("a", "b", "c"), view=view))
    recipe = replace(RECIPES["finetune"], epochs=1, batch_size=4, freeze=("stem",))
    list(train(options(shapes, tmp_path, arch="auto", weights=str(tmp_path / "c.safetensors"), recipe=recipe)))
    made, header = load(tmp_path / "run")
    assert header.row.norm == "frozen" and header.view.mean == (0.5,) * 3
    assert header.lineage[0]["from"] == "c.safetensors"
    assert torch.equal(made.backbone.body.stem.conv1.weight, net.stem.conv1.weight)
    assert not torch.equal(made.backbone.body.stages[1][0].branch.conv1.weight, net.stages[1][0].branch.conv1.weight)


def test_a_detector_goes_on_from_a_detector_and_knows_its_classes_by_name(shapes, run, tmp_path):
    still = replace(QUICK, epochs=1, lr=1e-12, weight_decay=0.0)
    same = options(shapes, tmp_path, arch="auto", weights=str(run[0]), recipe=still)
    decided = [d for e in train(same) if isinstance(e, happened.Decided) for d in e.decisions]
    assert any("2 of 2 classes are known to it" in d.why for d in decided)
    ours, theirs = weights(tmp_path / "run"), weights(run[0])
    learned = {k for k in ours if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert all(torch.allclose(ours[k], theirs[k], atol=1e-6) for k in learned)
    with pytest.raises(UsageError, match="brings its own"):
        list(train(replace(same, form="c4", out=None)))


def test_classes_that_are_new_to_a_detector_are_rows_of_their_own(run):
    from residua.job.detection.start import TrainedDetector

    net, header = load(run[0])
    known = TrainedDetector(header.row, net.state_dict(), header.view, header.classes, [])
    assert header.classes == ("disc", "square")
    made = known.for_classes(replace(header.row, classes=3), ("ant", "square", "disc"))
    scores, edges = (f"roi_heads.box_predictor.{p}.weight" for p in ("cls_score", "bbox_pred"))
    old = net.state_dict()
    assert torch.equal(made[scores][[0, 3, 2]], old[scores]) and not torch.equal(made[scores][1], old[scores][1])
    assert torch.equal(made[edges][8:12], old[edges][8:12]) and torch.equal(made[edges][12:16], old[edges][4:8])


def test_torchvisions_checkpoint_is_a_detector_to_start_from(tmp_path):
    from torchvision.models import resnet18
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    from residua.job.detection.start import TrainedDetector, starting

    reference = FasterRCNN(_resnet_fpn_extractor(resnet18(norm_layer=FrozenBatchNorm2d), 5), 4)
    torch.save(reference.state_dict(), tmp_path / "theirs.pth")
    found = starting(DetectOptions(data="x", arch="resnet18", weights=str(tmp_path / "theirs.pth")))
    assert isinstance(found, TrainedDetector) and found.row.classes == 3 and found.row.norm == "frozen"
    key = "roi_heads.box_head.fc6.weight"
    assert torch.equal(found.state[key], reference.state_dict()[key])
    with pytest.raises(UsageError, match="name its net by --arch"):
        starting(DetectOptions(data="x", weights=str(tmp_path / "theirs.pth")))
    with pytest.raises(DataError, match=r"is no Faster R-CNN|no weights of a detector"):
        starting(DetectOptions(data="x", arch="resnet50", weights=str(tmp_path / "theirs.pth")))
    with pytest.raises(UsageError, match="those known here are fasterrcnn_resnet50_fpn"):
        starting(DetectOptions(data="x", weights="torchvision/fasterrcnn_resnet50_fpn_v2"))


def test_what_is_frozen_stays_so_over_an_evaluation(shapes, tmp_path):
    """Its norms' statistics too: an evaluation in between puts nothing of it into training."""
    from residua.nn import modelfile
    from residua.nn.zoo import build, find

    row = replace(find("cifar_resnet20"), classes=2)
    view = {"side_px": 32, "fit": "crop", "resize_px": 32, "mode": "RGB", "mean": [0.3] * 3, "std": [0.2] * 3}
    net = build(row)
    modelfile.save(tmp_path / "c.safetensors", net, modelfile.Header(row=row, classes=("a", "b"), view=view))
    recipe = replace(RECIPES["finetune"], epochs=3, batch_size=4, freeze=("stem",))
    weights_file = str(tmp_path / "c.safetensors")
    list(train(options(shapes, tmp_path, arch="auto", weights=weights_file, recipe=recipe, norm="batch")))
    made, header = load(tmp_path / "run")
    assert header.row.norm == "batch"
    assert torch.equal(made.backbone.body.stem.bn1.running_mean, net.stem.bn1.running_mean)
    assert not torch.equal(
        made.backbone.body.stages[0][0].branch.bn1.running_mean, net.stages[0][0].branch.bn1.running_mean
    )


def test_a_training_on_frozen_weights_resumes_bit_for_bit(shapes, tmp_path):
    from residua.nn import modelfile
    from residua.nn.zoo import build, find

    row = replace(find("cifar_resnet20"), classes=2)
    view = {"side_px": 32, "fit": "crop", "resize_px": 32, "mode": "RGB", "mean": [0.3] * 3, "std": [0.2] * 3}
    modelfile.save(tmp_path / "c.safetensors", build(row), modelfile.Header(row=row, classes=("a", "b"), view=view))
    recipe = replace(RECIPES["finetune"], epochs=1, batch_size=4, freeze=("stem",))
    wanted = options(shapes, tmp_path, arch="auto", weights=str(tmp_path / "c.safetensors"), recipe=recipe)
    until(wanted, 1)
    kept = (tmp_path / "c.safetensors").rename(tmp_path / "kept.safetensors")  # the run has all that it needs
    list(train(resumed(tmp_path / "run")))
    ours = weights(tmp_path / "run")
    whole = options(shapes, tmp_path, arch="auto", weights=str(kept), recipe=recipe, out=str(tmp_path / "whole"))
    list(train(whole))
    assert all(torch.equal(v, ours[k]) for k, v in weights(tmp_path / "whole").items())
    assert load(tmp_path / "run")[1].view.mean == (0.3,) * 3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"norm": "frozen"}, UsageError, "random weights have learned nothing"),
        ({"arch": "vgg19"}, UsageError, "no residual net"),
        ({"arch": "resnet18", "image_size": 32}, UsageError, "leaves nothing of 32 px"),
        ({"weights": "nowhere.safetensors", "arch": "auto"}, DataError, "nowhere.safetensors"),
    ],
)
def test_what_does_not_fit_is_one_line(shapes, tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        list(train(options(shapes, tmp_path, **change)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "yolo"}, "form"), ({"augment": ("cutmix",)}, "augmentation"), ({"image_size": 9}, "--image-size"),
        ({"anchors": "many"}, "anchors"), ({"recipe": replace(QUICK, balance="loss")}, "balance=loss is for classif"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line(change, words):
    with pytest.raises(UsageError, match=words):
        DetectOptions(**{"data": "x"} | change)


def test_a_resumed_run_refuses_other_options(shapes, tmp_path):
    until(options(shapes, tmp_path), 2)
    stored = resumed(tmp_path / "run")
    with pytest.raises(UsageError, match="image_size cannot change"):
        list(train(replace(stored, image_size=96)))
    with pytest.raises(UsageError, match=r"lr 0\.005 -> 0\.1"):
        list(train(replace(stored, recipe=replace(stored.recipe, lr=0.1))))
    with pytest.raises(DataError, match="trains no detector"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.toml").write_text('data = "digits"\n')
        resumed(tmp_path / "other")


def test_a_training_that_runs_out_of_memory_keeps_the_batch_and_counts_each_picture_once(shapes, tmp_path, monkeypatch):
    from residua.detect.detector import Detector
    from residua.detect.run import Lesson

    lesson, answer, seen = Lesson.forward, Detector.forward, []

    def learns(self, images, sides, targets):
        if len(sides) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        seen.append(len(sides))
        return lesson(self, images, sides, targets)

    def answers(self, images, sides):
        if len(sides) > 1:
            raise MemoryError
        return answer(self, images, sides)

    monkeypatch.setattr(Lesson, "forward", learns)
    monkeypatch.setattr(Detector, "forward", answers)
    events = list(train(options(shapes, tmp_path)))
    steps = [e for e in events if isinstance(e, Step)]
    assert {e.images for e in steps} == {4} and seen == [2, 2] * len(steps)
    told = [d for e in events if isinstance(e, happened.Decided) for d in e.decisions]
    (cut,) = [d for d in told if d.what == "accumulate"]
    assert (cut.value, cut.why) == ("2", "memory ran out: slices of 2 pictures, the batch as it was")
    assert any(d.what == "evaluation" and "1 pictures at a time" in d.why for d in told)
    tested = next(e for e in events if isinstance(e, happened.Tested)).evaluation
    assert tested.n == (tmp_path / "run" / "split.csv").read_text().count(",test\n")
