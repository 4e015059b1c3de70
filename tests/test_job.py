"""Laws of a whole training: what it decides, what it leaves behind, and that stopping it loses nothing."""

import csv
import json
import os
import signal
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from acceptance import picture, save
from residua import job
from residua.data.dataset import ArrayImages, Dataset, Split
from residua.data.view import View
from residua.engine import facts
from residua.errors import DataError, Interrupted, NumericError, UsageError
from residua.evaluate import evaluate
from residua.job import Decided, Finished, Started, TrainOptions, Validated, resumed, train
from residua.job.best import Best, better
from residua.job.plan import augment_for, resolve, row_for
from residua.nn import modelfile, names
from residua.nn.zoo import build, find
from residua.training.loop import Epoch, Step
from residua.training.recipe import RECIPES, recipe
from residua.training.run import Run

TINY = recipe("quick", ["epochs=3", "batch_size=16", "lr=0.02"])
KINDS = {Decided: "D", Started: "S", Step: ".", Epoch: "E", Validated: "V", job.Tested: "T", Finished: "F"}


def options(tmp_path, name="run", **changes):
    """A training of seconds: 64 digits, a net of eight layers, three epochs of four steps."""
    words = {"data": "digits", "arch": "cifar_resnet20:1-1-1", "recipe": TINY, "limit": 64, "out": str(tmp_path / name)}
    return TrainOptions(**words | changes)


def finished(wanted):
    """All events of a training that runs to its end."""
    return list(train(wanted))


def until(wanted, stops):
    """Train until `stops` holds for an event, then press Ctrl-C; gives the one line that it ends with."""
    with pytest.raises(Interrupted) as error:
        for event in train(wanted):
            if stops(event):
                os.kill(os.getpid(), signal.SIGINT)
    assert error.value.exit_code == 130 and "\n" not in str(error.value)
    return str(error.value)


def left(folder):
    """What a run leaves behind that does not depend on the time of day."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second", "waiting")} for r in rows]
    files = ("predictions.csv", "per_class.csv", "evaluation.json", "gallery.json", "split.csv")
    weights = {k: v.numpy().tobytes() for k, v in load_file(folder / "model.safetensors").items()}
    return timeless, weights, {f: (folder / f).read_bytes() for f in files}


def size(file):
    """(width, height) of a picture."""
    with Image.open(file) as image:
        return image.size


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped, and its events."""
    tmp_path = tmp_path_factory.mktemp("whole")
    events = finished(options(tmp_path))
    return tmp_path / "run", events


# -- what a training says and leaves --------------------------------------------------------------------------------


def test_a_training_says_what_happens_in_order(whole):
    _, events = whole
    assert "".join(KINDS[type(e)] for e in events) == "DS....EV....EV....EVTF"
    started = events[1]
    assert (started.images, started.steps, started.epochs) == ({"train": 64, "val": 64, "test": 64}, 12, 3)
    assert events[-1].seconds > 0


def test_a_run_folder_holds_what_the_readme_says(whole):
    folder, _ = whole
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {f for f in files if not f.startswith(("gallery/", "explanations/"))} == {
        "config.toml", "environment.json", "decisions.json", "data_check.json", "summary.json", "split.csv",
        "metrics.jsonl", "metrics.csv", "batches/step-0.png", "evaluation.json", "predictions.csv", "per_class.csv",
        "explanations.json", "strengths.json", "gallery.json", "mistakes.json",
        "model.safetensors", "state/last.pt", "state/previous.pt", "state/lock",
    }  # fmt: skip


def test_a_run_folder_explains_some_of_its_best_and_worst_answers(whole):
    folder, _ = whole
    found = json.loads((folder / "explanations.json").read_text())
    assert found.keys() == {"method", "stage", "target", "items", "why_not", "notes"}
    assert (found["method"], found["stage"], found["why_not"]) == ("grad-cam", "stages.2", None)
    assert 1 <= len(found["items"]) <= 8 and found["items"][0]["kind"] == "worst"
    for item in found["items"]:
        assert size(folder / item["file"]) == size(folder / item["picture"]) == (128, 128)
        assert [u["unit"] for u in item["units"]] == ["stages.0.0", "stages.1.0", "stages.2.0"]
        whole_ = item["logit"] - item["bare_logit"]
        assert sum(u["contribution"] for u in item["units"]) == pytest.approx(whole_, abs=0.02 * max(1, abs(whole_)))
        assert item["units"][-1]["added"] == pytest.approx(item["probability"], abs=1e-4)
    drawn = {f"explanations/{p.name}" for p in (folder / "explanations").iterdir()}
    assert drawn == {i[k] for i in found["items"] for k in ("file", "picture")}


def test_a_run_folder_says_what_each_unit_does_to_its_input(whole):
    found = json.loads((whole[0] / "strengths.json").read_text())
    assert found["images"] == 64 and [u["unit"] for u in found["units"]] == ["stages.0.0", "stages.1.0", "stages.2.0"]
    assert all(u["ratio"] > 0 and -1 <= u["cosine"] <= 1 for u in found["units"])


def test_a_training_does_not_fail_for_want_of_an_explanation(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such place")

    monkeypatch.setattr("residua.explain.Explainer.explain", broken)
    with pytest.warns(UserWarning, match="explanations could not be made: RuntimeError: no such place"):
        events = finished(options(tmp_path, recipe=recipe("quick", ["epochs=1", "batch_size=16", "lr=0.02"])))
    assert isinstance(events[-1], Finished) and (tmp_path / "run" / "evaluation.json").is_file()
    assert "no such place" in (tmp_path / "run" / "decisions.json").read_text()


def test_the_files_agree_with_the_events(whole):
    folder, events = whole
    tested = next(e.evaluation for e in events if isinstance(e, job.Tested))
    kept = json.loads((folder / "evaluation.json").read_text())
    assert (
        (kept["n"], kept["wrong"])
        == (tested.n, tested.wrong)
        == (64, sum(map(sum, kept["confusion"])) - sum(kept["confusion"][i][i] for i in range(10)))
    )
    header = modelfile.read_header(folder / "model.safetensors")
    assert header.metrics["test"]["wrong"] == tested.wrong and header.metrics["val"]["n"] == 64
    assert header.recipe["augment"] == ["pad-crop:1"] and header.data["name"] == "digits"
    epochs = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    said = [e for e in events if isinstance(e, Epoch)]
    assert [float(r["train_loss"]) for r in epochs] == [e.train_loss for e in said]
    assert [float(r["val_error"]) for r in epochs] == [
        e.evaluation.top1_error for e in events if isinstance(e, Validated)
    ]
    decisions = json.loads((folder / "decisions.json").read_text())
    assert decisions == [d.__dict__ for e in events if isinstance(e, Decided) for d in e.decisions]
    check = json.loads((folder / "data_check.json").read_text())
    assert sum(check["splits"]["train"].values()) == 64 and len(check["classes"]) == 10
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best_epoch"] == header.metrics["val"]["epoch"] and summary["macs"] > 0


def test_the_best_and_worst_images_are_those_of_the_predictions(whole):
    folder, _ = whole
    gallery = json.loads((folder / "gallery.json").read_text())
    assert [g["kind"] for g in gallery] == ["worst"] * 16 + ["best"] * 8
    worst = [g["loss"] for g in gallery[:16]]
    assert all(a >= b for a, b in pairwise(worst)) and all(g["loss"] <= worst[-1] for g in gallery[16:])
    rows = {r["path"]: r for r in csv.DictReader((folder / "predictions.csv").read_text().splitlines())}
    for g in gallery:
        row = rows[g["name"]]
        assert (g["truth"], g["prediction"]) == (row["truth"], row["prediction"])
        assert float(row["loss"]) == pytest.approx(g["loss"], rel=1e-4, abs=1e-5)
        assert max(size(folder / g["file"])) <= 96
    assert size(folder / "batches" / "step-0.png")[0] > 400


def test_the_kept_weights_are_those_of_the_best_epoch(tmp_path):
    wanted, kept = options(tmp_path), {}
    for event in train(wanted):
        if isinstance(event, Validated):
            kept[event.epoch] = (event.best, (tmp_path / "run" / "model.safetensors").read_bytes())
    best = max(epoch for epoch, (is_best, _) in kept.items() if is_best)
    _, header = modelfile.load(tmp_path / "run" / "model.safetensors")
    assert header.metrics["val"]["epoch"] == best
    (tmp_path / "then").write_bytes(kept[best][1])
    then, now = load_file(tmp_path / "then"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(then[k], now[k]) for k in now)


@pytest.mark.parametrize(
    ("found", "best", "wins"),
    [
        (Best(1, 9, 3, 0.3, 1.0), None, True),
        (Best(1, 9, 3, 0.3, float("nan")), None, False),
        (Best(2, 9, 0, 0.0, float("nan")), Best(1, 9, 3, 0.3, 1.0), False),
        (Best(2, 9, 3, 0.3, float("inf")), Best(1, 9, 3, 0.3, 1.0), False),
        (Best(2, 9, 2, 0.2, 2.0), Best(1, 9, 3, 0.3, 1.0), True),
        (Best(2, 9, 3, 0.3, 0.9), Best(1, 9, 3, 0.3, 1.0), True),
        (Best(2, 9, 3, 0.3, 1.1), Best(1, 9, 3, 0.3, 1.0), False),
        (Best(2, 9, 3, 0.3, 1.0), Best(1, 9, 3, 0.3, 1.0), True),
    ],
)
def test_the_best_is_the_lowest_error_then_loss_then_the_later_epoch_and_nan_never_wins(found, best, wins):
    assert better(found, best) is wins


def test_without_held_out_images_the_last_epoch_is_kept_and_said(tmp_path):
    events = finished(options(tmp_path, recipe=recipe("quick", ["epochs=2", "batch_size=16", "val_fraction=0"])))
    assert "".join(KINDS[type(e)] for e in events) == "DS....E....ETF"
    assert any(d.what == "keep" and d.value == "the last epoch" for d in events[0].decisions)


def test_averaged_weights_are_what_is_evaluated_and_kept(tmp_path):
    made = []

    def spy(net, *rest, **words):
        made.append(net)
        return evaluate(net, *rest, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("residua.job.session.evaluate", spy)
        finished(options(tmp_path, recipe=replace(TINY, ema=0.99)))
    assert not any(p.requires_grad for net in made for p in net.parameters())


def test_a_loss_that_is_not_finite_ends_in_one_line_and_leaves_the_run(tmp_path):
    with pytest.raises(NumericError, match=r"at step \d+ \(lr .*\): try a lower rate"):
        finished(options(tmp_path, recipe=recipe("quick", ["lr=1e30", "batch_size=16"])))
    Run.open(tmp_path / "run").close()


def test_odd_ends_make_no_batch_of_one(tmp_path):
    events = finished(options(tmp_path, limit=17, recipe=replace(TINY, epochs=1.0)))
    assert all(e.images == 16 for e in events if isinstance(e, Step))


def test_a_compiler_that_fails_is_a_decision_said_late(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        def call(*a, **k):
            raise RuntimeError("no g++")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    events = finished(options(tmp_path, compile="on", recipe=replace(TINY, epochs=1.0)))
    late = [d for e in events[2:] if isinstance(e, Decided) for d in e.decisions]
    assert [(d.what, d.value) for d in late] == [("compile", "off")] and "no g++" in late[0].why
    assert json.loads((tmp_path / "run" / "decisions.json").read_text())[-1]["why"] == late[0].why


# -- stopping and going on ------------------------------------------------------------------------------------------

MOMENTS = {
    "in the middle of an epoch": lambda e: isinstance(e, Step) and e.step == 2,
    "at the last step of an epoch": lambda e: isinstance(e, Step) and e.step == 4,
    "before a validation": lambda e: isinstance(e, Epoch) and e.epoch == 2,
    "after a validation": lambda e: isinstance(e, Validated) and e.epoch == 1,
    "before the test": lambda e: isinstance(e, Validated) and e.epoch == 3,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_stopped_at_any_moment_and_resumed_is_bit_equal_to_one_that_was_not(moment, whole, tmp_path):
    line = until(options(tmp_path), MOMENTS[moment])
    assert line.endswith(f"residua train --resume {tmp_path / 'run'}")
    finished(resumed(tmp_path / "run"))
    assert left(tmp_path / "run") == left(whole[0])


@pytest.mark.parametrize(
    "words", [["ema=0.9"], ["optimiser=adamw", "nesterov=false", "drop_depth=0.5", "augment=pad-crop:1,erase,mixup"]]
)
def test_every_part_of_a_recipe_is_resumed(words, tmp_path):
    changed = recipe("quick", ["epochs=2", "batch_size=16", "lr=0.01", *words])
    finished(options(tmp_path, "whole", recipe=changed))
    until(options(tmp_path, recipe=changed), MOMENTS["in the middle of an epoch"])
    finished(resumed(tmp_path / "run"))
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_reduced_precision_is_resumed_bit_equal_too(tmp_path):
    words = {"image_size": 16, "recipe": replace(TINY, epochs=2.0)}
    events = finished(options(tmp_path, "whole", **words))
    native = any(d.what == "precision" and d.value == "bf16" for d in events[0].decisions)
    assert native is (facts().cpu_bf16 and facts().cpu_bf16_pays)
    until(options(tmp_path, **words), MOMENTS["in the middle of an epoch"])
    finished(resumed(tmp_path / "run"))
    assert left(tmp_path / "run") == left(tmp_path / "whole")


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_that_died_goes_on_from_its_last_whole_state(torn, whole, tmp_path):
    running = train(options(tmp_path, save_every=0.0))
    for event in running:
        if isinstance(event, Step) and event.step == 7:
            break
    Run.log(
        type("Dead", (), {"rows": 0, "path": lambda _, n: tmp_path / "run" / n})(),
        {"event": "step", "step": 11, "loss": 9.0},
    )
    running.close()
    if torn:
        last = tmp_path / "run" / "state" / "last.pt"
        last.write_bytes(last.read_bytes()[:1000])
    events = finished(resumed(tmp_path / "run"))
    assert events[1].step == (5 if torn else 6)
    assert ("damaged" in events[0].decisions[0].why) is torn
    assert left(tmp_path / "run") == left(whole[0])


def test_sigterm_saves_too_and_the_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="step 1 of 12, saved"):
        for event in train(options(tmp_path)):
            if isinstance(event, Step):
                os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_ctrl_c_during_an_evaluation_does_not_wait_for_its_end(tmp_path, monkeypatch):
    def slow(net, batches, *rest, **more):
        for _ in batches:
            os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the evaluation went on")

    monkeypatch.setattr("residua.job.session.evaluate", slow)
    with pytest.raises(Interrupted, match="step 4 of 12, saved"):
        finished(options(tmp_path))


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    with pytest.raises(Interrupted, match=r"at once.*--resume"):
        for event in train(options(tmp_path, save_every=0.0)):
            if isinstance(event, Epoch):
                os.kill(os.getpid(), signal.SIGINT)
                monkey = pytest.MonkeyPatch()
                monkey.setattr("residua.job.session.evaluate", lambda *a, **k: os.kill(os.getpid(), signal.SIGINT))
    monkey.undo()
    assert finished(resumed(tmp_path / "run"))[1].step == 3


def test_ctrl_c_before_training_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setattr("residua.job.plan.open_data", lambda *a, **k: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="before training began"):
        finished(options(tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_going_on_cannot_be_resumed_beside(tmp_path):
    running = train(options(tmp_path))
    next(running)
    with pytest.raises(DataError, match="being written"):
        finished(resumed(tmp_path / "run"))
    running.close()


def test_a_finished_run_is_not_resumed_but_can_be_made_longer(tmp_path):
    finished(options(tmp_path, recipe=replace(TINY, epochs=1.0)))
    with pytest.raises(UsageError, match=r"is finished: start a new run with --weights"):
        finished(resumed(tmp_path / "run"))
    events = finished(resumed(tmp_path / "run", epochs=2, accept_changes=True))
    assert events[1].step == 4 and isinstance(events[-1], Finished)
    assert resumed(tmp_path / "run").recipe.epochs == 2


def test_changed_options_are_shown_and_need_a_word(tmp_path):
    until(options(tmp_path), MOMENTS["in the middle of an epoch"])
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match=r"begun otherwise: limit 64 -> 32, lr 0.02 -> 0.5; .*--accept-changes"):
        finished(resumed(folder, lr=0.5, limit=32))
    for name, value in {"seed": 1, "arch": "resnet18", "stem": "7x7", "image_size": 16}.items():
        with pytest.raises(UsageError, match=f"{name} cannot change on resuming"):
            finished(resumed(folder, **{name: value}, accept_changes=True))
    events = finished(resumed(folder, lr=0.5, accept_changes=True, workers=0, save_every=1.0))
    assert any(d.what == "lr" and d.value == "0.5" for d in events[0].decisions)


def test_unknown_changes_and_folders_are_one_line(tmp_path, whole):
    with pytest.raises(UsageError, match="did you mean"):
        resumed(whole[0], epoch=1)
    with pytest.raises(DataError, match="not a run folder"):
        resumed(tmp_path)
    (tmp_path / "config.toml").write_text("colour = 1\n")
    with pytest.raises(DataError, match="cannot be used: unknown option 'colour'"):
        resumed(tmp_path)


def pictures(folder, classes=("cat", "dog"), n=8, seed=0):
    """A folder of class folders with small colour pictures."""
    rng = np.random.default_rng(seed)
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            array = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8) + np.uint8(100 * c)
            Image.fromarray(array).save(folder / name / f"{i}.png")
    return str(folder)


def test_a_run_is_not_resumed_on_other_data(tmp_path):
    data = pictures(tmp_path / "pets")
    small = replace(TINY, batch_size=4)
    until(options(tmp_path, data=data, limit=None, recipe=small), MOMENTS["in the middle of an epoch"])
    pictures(tmp_path / "pets", n=9, seed=1)
    with pytest.raises(DataError, match=r"not the data that .* was begun with"):
        finished(resumed(tmp_path / "run"))
    pictures(tmp_path / "pets", classes=("cow",))
    with pytest.raises(DataError, match="has 3 classes"):
        finished(resumed(tmp_path / "run", accept_changes=True))


# -- what is decided ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What the decisions depend on."""

    name: str
    side_px: int
    same_size: bool = True
    channels: int = 3


def dataset(facts, splits=("train", "val", "test")):
    images = ArrayImages(torch.zeros(3, facts.channels, 4, 4, dtype=torch.uint8))
    split = Split(images, np.arange(3), ("a", "b", "c"))
    return Dataset(
        name=facts.name, classes=("x", "y", "z"), splits=MappingProxyType(dict.fromkeys(splits, split)),
        channels=facts.channels, side_px=facts.side_px, same_size=facts.same_size, skipped=(), fingerprint="", notes=(),
    )  # fmt: skip


def view(side_px, mode="RGB"):
    n = {"RGB": 3, "L": 1}[mode]
    return View(side_px=side_px, fit="crop", resize_px=side_px, mode=mode, mean=(0.5,) * n, std=(0.5,) * n)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts("digits", 8, channels=1), ("pad-crop:1",)),
        (Facts("mnist", 28, channels=1), ("pad-crop:3",)),
        (Facts("svhn", 32), ("pad-crop:3",)),
        (Facts("cifar10", 32), ("pad-crop:3", "alternate-flip")),
        (Facts("fashion_mnist", 28, channels=1), ("pad-crop:3", "alternate-flip")),
        (Facts("photos", 300, same_size=False), ("random-resized-crop:0.25", "alternate-flip")),
        (Facts("scans", 512), ("random-resized-crop:0.25", "alternate-flip")),
    ],
)
def test_augmentation_suits_the_images_and_digits_are_never_mirrored(facts, words):
    assert augment_for(dataset(facts))[0] == words
    resolved, told = resolve(recipe("quick", ["augment=auto,mixup:0.2"]), dataset(facts), find("cifar_resnet20"))
    assert resolved.augment == (*words, "mixup:0.2")
    assert "augment" in [d.what for d in told]


def test_what_a_recipe_says_outright_is_kept():
    r = RECIPES["he2016-preact"]
    assert resolve(r, dataset(Facts("digits", 8)), find("cifar_resnet20")) == (r, ())


def test_the_error_bound_warmup_is_for_deep_nets():
    he = RECIPES["he2015-cifar"]
    shallow, told = resolve(he, dataset(Facts("cifar10", 32)), find("cifar_resnet56"))
    assert shallow.warmup_until_error is None and [d.what for d in told] == ["warm-up"]
    assert resolve(he, dataset(Facts("cifar10", 32)), find("cifar_resnet110")) == (he, ())


def test_a_plateau_needs_held_out_images():
    with pytest.raises(UsageError, match="val_fraction"):
        resolve(RECIPES["he2015-imagenet"], dataset(Facts("x", 32), ("train", "test")), find("resnet18"))


@pytest.mark.parametrize(
    ("side_px", "asked", "arch", "stem", "told"),
    [
        (8, {}, "cifar_resnet20", "3x3", ["arch"]),
        (56, {}, "cifar_resnet20", "3x3", ["arch"]),
        (64, {}, "wrn10_2", "5x5", ["arch", "stem"]),
        (64, {"stem": "3x3"}, "wrn10_2", "3x3", ["arch"]),
        (64, {"arch": "cifar_resnet20"}, "cifar_resnet20", "3x3", []),
        (96, {"arch": "resnet18"}, "resnet18", "5x5", ["stem"]),
        (113, {}, "resnet18", "7x7", ["arch"]),
        (32, {"arch": "resnet18"}, "resnet18", "3x3", ["stem"]),
        (32, {"arch": "resnet18", "stem": "7x7"}, "resnet18", "7x7", []),
        (224, {"arch": "resnet18"}, "resnet18", "7x7", []),
        (224, {"arch": "cifar_resnet20"}, "cifar_resnet20", "3x3", []),
        (224, {"arch": "resnet50", "shortcut": "C", "depths": (1, 2, 1, 1)}, "resnet50_C:1-2-1-1", "7x7", []),
        (32, {"arch": "cifar_resnet20", "shortcut": "none"}, "plain_cifar_resnet20", "3x3", []),
    ],
)
def test_net_and_stem_suit_the_image_size_unless_asked_for(side_px, asked, arch, stem, told):
    row, decisions = row_for(TrainOptions(**asked), dataset(Facts("x", side_px)), view(side_px), None)
    assert (row.name, row.stem, row.classes, row.channels) == (arch, stem, 3, 3)
    assert [d.what for d in decisions] == told and all(d.flag for d in decisions)
    assert build(row) is not None


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"arch": "resnet19"}, UsageError, "did you mean resnet"),
        ({"data": "digit"}, UsageError, "did you mean digits"),
        ({"data": "./nowhere"}, DataError, "no such folder"),
        ({"stem": "4x4"}, UsageError, "did you mean"),
        ({"fit": "cropp"}, UsageError, "did you mean crop"),
        ({"image_size": 0}, UsageError, "1 to 4096"),
        ({"limit": 1}, UsageError, "at least 2"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_read(words, error, says):
    with pytest.raises(error, match=says):
        TrainOptions(**words)


def test_what_does_not_fit_leaves_no_run_folder(tmp_path):
    wrong = [
        {"arch": "vgg11"},  # images too small
        {"arch": "vgg11_bn", "stem": "3x3"},
        {"arch": "alexnet", "recipe": replace(TINY, drop_depth=0.5)},
        {"weights": str(tmp_path / "none.safetensors")},
        {"device": "cuda:99"},
    ]
    for words in wrong:
        with pytest.raises((UsageError, DataError)) as error:
            finished(options(tmp_path, **words))
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten_and_this_is_said_first(whole, monkeypatch):
    monkeypatch.setattr("residua.job.plan.open_data", lambda *a, **k: pytest.fail("data were read"))
    with pytest.raises(DataError, match="never overwritten"):
        finished(options(whole[0].parent))


def test_runs_without_a_name_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in (1, 2):
        events = finished(options(tmp_path, out=None, recipe=replace(TINY, epochs=1.0)))
        assert str(events[-1].run) == os.path.join("runs", f"digits-cifar_resnet20-1-1-1-{n}")


# -- weights to start from ------------------------------------------------------------------------------------------


def test_a_training_starts_from_a_runs_weights_and_takes_its_normalisation(whole, tmp_path):
    first = options(
        tmp_path,
        arch="auto",
        weights=str(whole[0]),
        recipe=recipe("finetune", ["lr=1e-9", "epochs=1", "batch_size=64", "head_epochs=0"]),
    )
    events = finished(first)
    assert any(d.what == "normalise" for d in events[0].decisions)
    ours, theirs = load_file(tmp_path / "run" / "model.safetensors"), load_file(whole[0] / "model.safetensors")
    torch.testing.assert_close(ours["stem.conv1.weight"], theirs["stem.conv1.weight"], rtol=0, atol=1e-6)
    header = modelfile.read_header(tmp_path / "run" / "model.safetensors")
    assert header.lineage[0]["data"]["name"] == "digits"


def test_a_training_starts_from_anyones_weights_with_other_classes_and_channels(tmp_path):
    torch.manual_seed(0)
    row = find("resnet18:1-1-1-1")
    net = build(row)
    torch.save({"state_dict": names.to_torchvision(net.state_dict(), row)}, tmp_path / "theirs.pth")
    wanted = options(
        tmp_path,
        arch=row.name,
        weights=str(tmp_path / "theirs.pth"),
        image_size=32,
        recipe=recipe("finetune", ["lr=1e-9", "epochs=1", "batch_size=64", "head_epochs=0"]),
    )
    finished(wanted)
    ours = load_file(tmp_path / "run" / "model.safetensors")
    expected = net.state_dict()["stem.conv1.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(ours["stem.conv1.weight"], expected, rtol=0, atol=1e-6)
    assert ours["head.fc.weight"].shape == (10, 512)


def test_weights_of_another_net_are_refused_in_one_line(whole, tmp_path):
    with pytest.raises(UsageError, match="leave --arch out"):
        finished(options(tmp_path, arch="resnet18", weights=str(whole[0])))
    with pytest.raises(UsageError, match="--weights brings its own net"):
        finished(options(tmp_path, arch="auto", depths=(1, 1, 1), weights=str(whole[0])))
    damaged = tmp_path / "cut.safetensors"
    damaged.write_bytes((whole[0] / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(DataError, match="cut off"):
        finished(options(tmp_path, arch="auto", weights=str(damaged)))


# -- pictures in files, kept or not ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of 30 photos that are larger than what a net of 16 pixels sees of them."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(60):
        save(root / "ab"[i % 2] / f"{i}.jpg", picture(150 + i % 7, 203, seed=i))
    return root


def of_photos(tmp_path, photos, name="run", **changes):
    """A training of two epochs on photos."""
    small = recipe("quick", ["epochs=2", "batch_size=16", "lr=0.02"])
    words = {"data": str(photos), "image_size": 16, "workers": 0, "recipe": small, "limit": None, "device": "cpu"}
    return options(tmp_path, name, **words | changes)


@pytest.fixture
def kept_in(tmp_path, monkeypatch):
    """Where this test keeps decoded pictures."""
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


def said_of(events, what):
    """The decisions about something, as they were said."""
    return [d for e in events if isinstance(e, Decided) for d in e.decisions if d.what == what]


def test_a_training_with_and_without_a_cache_is_bit_equal(tmp_path, photos, kept_in):
    off = finished(of_photos(tmp_path, photos, "off", cache_size=0))
    assert [(d.value, d.flag) for d in said_of(off, "cache")] == [("off", "--cache-size")]
    assert not kept_in.exists()
    for name, words in (("first", {}), ("second", {}), ("workers", {"workers": 2}), ("small", {"cache_size": 10_000})):
        on = finished(of_photos(tmp_path, photos, name, **words))
        assert left(tmp_path / name) == left(tmp_path / "off")
        assert str(kept_in) in said_of(on, "cache")[0].why
    assert [(d.value, d.flag) for d in said_of(on, "cache")[1:]] == [("full", "--cache-size 1G")]


def test_a_cache_that_cannot_be_written_is_said_and_costs_time_only(tmp_path, photos, kept_in):
    (tmp_path / "cache").write_text("mine")
    events = finished(of_photos(tmp_path, photos))
    assert [(d.value, "nothing more is kept" in d.why) for d in said_of(events, "cache")] == [("off", True)]
    finished(of_photos(tmp_path, photos, "off", cache_size=0))
    assert left(tmp_path / "run") == left(tmp_path / "off")


@pytest.mark.parametrize("then", [None, 0, 10_000])
def test_a_run_goes_on_exactly_with_another_cache_or_a_damaged_one(then, tmp_path, photos, kept_in):
    finished(of_photos(tmp_path, photos, "whole"))
    until(of_photos(tmp_path, photos), lambda e: isinstance(e, Step) and e.step == 2)
    for file in kept_in.glob("*/content/*/*"):
        file.write_bytes(file.read_bytes()[:100])
    events = finished(resumed(tmp_path / "run", cache_size=then))
    assert left(tmp_path / "run") == left(tmp_path / "whole")
    assert [d.value for d in said_of(events, "cache")] == {None: ["damaged"], 0: [], 10_000: ["damaged", "full"]}[then]


def test_the_share_of_waiting_is_written_and_what_helps_is_said(tmp_path, photos, kept_in, monkeypatch):
    monkeypatch.setattr("residua.job.waiting.SECONDS", 0.0)
    monkeypatch.setattr("residua.job.waiting.WORTH", -1.0)
    events = finished(of_photos(tmp_path, photos, cache_size=0))
    (said,) = said_of(events, "waiting")
    assert (said.value.split(" % ")[1], said.flag) == ("of epoch 1", "--cache-size 1G")
    shares = [e.waiting for e in events if isinstance(e, Epoch)]
    assert len(shares) == 2 and all(0 < s <= 1 for s in shares)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["waiting"] for r in rows if r["event"] == "epoch"] == shares
    table = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [float(r["waiting"]) for r in table] == shares
    assert min(shares) <= json.loads((tmp_path / "run" / "summary.json").read_text())["waiting"] <= max(shares)
    (said,) = said_of(finished(of_photos(tmp_path, photos, "cached")), "waiting")
    assert (said.value.split(" % ")[1], said.flag) == ("of epoch 2", f"--workers {facts().cores}")


# -- figures --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_training_is_wrong_on_at_most_fifteen_in_a_thousand_digits(tmp_path):
    events = finished(TrainOptions(out=str(tmp_path / "run")))
    assert next(e.evaluation.top1_error for e in events if isinstance(e, job.Tested)) <= 0.015


@pytest.mark.data
def test_a_users_folder_of_photos_trains_as_it_is(tmp_path, real_data):
    data = str(real_data / "hymenoptera_data")
    small = recipe("quick", ["epochs=1", "batch_size=8"])
    events = finished(options(tmp_path, data=data, arch="resnet18:1-1-1-1", image_size=64, limit=24, recipe=small))
    assert (events[1].classes, events[1].images["test"]) == (2, 24)
    assert json.loads((tmp_path / "run" / "data_check.json").read_text())["classes"] == ["ants", "bees"]
    until(
        options(tmp_path, "b", data=data, arch="resnet18:1-1-1-1", image_size=64, limit=24, recipe=small),
        MOMENTS["in the middle of an epoch"],
    )
    finished(resumed(tmp_path / "b"))
    assert left(tmp_path / "b") == left(tmp_path / "run")


def test_a_clock_of_the_day_that_jumps_back_changes_nothing(tmp_path, monkeypatch):
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 2e9 - 1000 * next(ticks))
    finished(options(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows and all(row["seconds"] >= 0 for row in rows if row["event"] == "epoch")
