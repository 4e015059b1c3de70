"""Laws of recipes: frozen, checked, named after their source; wrong words name the nearest right ones."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest

from residua.errors import DataError, UsageError
from residua.training.recipe import FIELDS, RECIPES, Recipe, from_json, recipe, to_json


def test_the_recipes_are_these_and_each_names_its_source():
    assert list(RECIPES) == [
        "quick", "he2015-cifar", "he2015-imagenet", "he2016-preact", "goyal2017", "wightman2021-a3", "finetune",
    ]  # fmt: skip
    assert all(r.source and r.name == name for name, r in RECIPES.items())


def test_published_numbers_of_the_recipes():
    he = RECIPES["he2015-cifar"]
    assert (he.steps, he.batch_size, he.lr, he.weight_decay, he.momentum) == (64_000, 128, 0.1, 1e-4, 0.9)
    assert [d * he.steps for d in he.drops] == [32_000, 48_000]
    assert (he.warmup_lr, he.warmup_until_error, he.warmup_from_layers) == (0.01, 0.8, 110)
    assert RECIPES["he2015-imagenet"].steps == 60e4
    goyal = RECIPES["goyal2017"]
    assert goyal.lr == pytest.approx(0.1 * goyal.batch_size / 256)
    assert [round(d * 90) for d in goyal.drops] == [30, 60, 80]
    a3 = RECIPES["wightman2021-a3"]
    assert (a3.optimiser, a3.loss, a3.lr, a3.batch_size, a3.weight_decay, a3.epochs) == (
        "lamb", "bce", 8e-3, 2048, 0.02, 100,
    )  # fmt: skip


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["quick"].lr = 1.0


def test_sets_and_changes_replace_fields_and_none_changes_nothing():
    r = recipe("quick", ["lr=0.2", "nesterov=false", "augment=pad-crop:1,flip", "ema=0.99"], batch_size=32, epochs=None)
    assert (r.lr, r.nesterov, r.augment, r.ema) == (0.2, False, ("pad-crop:1", "flip"), 0.99)
    assert (r.batch_size, r.epochs) == (32, RECIPES["quick"].epochs)
    assert recipe("quick", ["ema=none", "augment=", "betas=(0.8, 0.9)"]).betas == (0.8, 0.9)
    assert recipe("quick", ["augment="]).augment == ()


def test_epochs_replace_steps_and_drops_keep_their_place_in_the_run():
    r = recipe("he2015-cifar", epochs=10)
    assert (r.epochs, r.steps, r.drops) == (10, None, (0.5, 0.75))
    assert recipe("quick", ["steps=7"]).epochs is None
    with pytest.raises(UsageError, match="either epochs or steps"):
        recipe("quick", epochs=3, steps=7)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["lr=0"], "lr must be positive, got 0"),
        (["lr=nan"], "lr must be positive"),
        (["lr=inf"], "lr must be positive"),
        (["lr=high"], "lr must be a number"),
        (["batch_size=1"], "batch_size must be at least 2"),
        (["batch_size=2.5"], "batch_size must be a whole number"),
        (["batch_size=8", "accumulate=5"], "fewer than 2 images"),
        (["epochs=-1"], "epochs must be positive"),
        (["epochs=none"], "either epochs or steps"),
        (["momentum=1"], "momentum must be in"),
        (["momentum=0"], "nesterov needs"),
        (["nesterov=maybe"], "nesterov must be true or false"),
        (["schedule=step", "drops=0.5,0.5"], "drops must be rising"),
        (["schedule=step", "drops=32000,48000"], "drops must be rising fractions"),
        (["schedule=cosin"], "did you mean cosine"),
        (["optimiser=adam"], "did you mean adamw"),
        (["warmup_until_error=0.8"], "needs a warmup_lr"),
        (["warmup_steps=4", "warmup_epochs=1"], "either warmup_steps or warmup_epochs"),
        (["learning_rate=1"], "unknown field of a recipe"),
        (["label_smooth=1"], "did you mean label_smoothing"),
        (["lr"], "write field=value"),
        (["augment=pad-corp:4"], "did you mean pad-crop"),
        (["betas=0.9"], "two numbers"),
        (["ema=1"], "ema must be in"),
    ],
)
def test_a_wrong_field_or_value_is_one_line_that_says_which(sets, says):
    with pytest.raises(UsageError, match=says) as error:
        recipe("quick", sets)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean quick"):
        recipe("quik")


def test_wrong_types_are_usage_errors():
    for field in ("lr", "augment", "name", "nesterov", "betas"):
        with pytest.raises(UsageError, match=f"field {field} must be"):
            from_json({field: {"a": 1}}, RECIPES["quick"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    assert from_json(to_json(RECIPES[name])) == RECIPES[name]


def test_a_file_starts_from_another_recipe_or_stands_alone(tmp_path):
    based = tmp_path / "mine.toml"
    based.write_text('base = "quick"\nlr = 1\nsteps = 30\n')
    r = recipe(str(based), batch_size=16)
    assert (r.name, r.lr, r.steps, r.epochs, r.batch_size, r.nesterov) == ("mine", 1.0, 30, None, 16, True)
    alone = tmp_path / "alone.toml"
    alone.write_text("[recipe]\nlr = 0.5\nepochs = 3\nbatch_size = 8\n")
    assert recipe(str(alone)) == Recipe(name="alone", lr=0.5, epochs=3, batch_size=8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr = ", "not TOML"),
        ("lr = 0.1\nepochs = 2", "no batch_size"),
        ('base = "quick"\nlr = "x"', "lr must be a number"),
        ('base = "qick"', "did you mean quick"),
        ('base = "quick"\nlrr = 1', "unknown field"),
        ('base = "quick"\naugment = ["flop"]', "did you mean flip"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        recipe(str(tmp_path / "r.toml"))


def test_an_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot read the recipe"):
        recipe(str(tmp_path / "none.toml"))


def test_recipes_and_schedules_import_no_torch():
    code = "import sys, residua.training.recipe, residua.training.schedule; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_number_is_checked():
    unchecked = {"warmup_from_layers"}
    numbers = [f for f, kind in FIELDS.items() if kind in (int, float, int | None, float | None)]
    for field in set(numbers) - unchecked:
        with pytest.raises(UsageError):
            from_json({field: -math.pi if FIELDS[field] in (float, float | None) else -3}, RECIPES["quick"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe lr = 1", "is not TOML"),
        (b"lr = " + b"[" * 5000 + b"]" * 5000, "is not TOML"),
        (b"lr = " + b"9" * 5000, "is not TOML"),
        (b'base = "quick"\nlr = ' + b"9" * 400, "lr must be a number"),
        (b'base = "self.toml"', "begin with one another without an end"),
        (b'base = "quick"\nlr = nan', "lr must be positive"),
        (b'base = "quick"\nbatch_size = true', "batch_size must be a whole number"),
    ],
    ids=["encoding", "nest", "digits", "size", "circle", "nan", "bool"],
)
def test_a_file_that_is_no_recipe_is_one_line(content, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "self.toml").write_bytes(content)
    with pytest.raises(UsageError, match=said) as error:
        recipe("self.toml")
    assert "\n" not in str(error.value)


def test_a_pipe_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "x.toml")
    with pytest.raises(DataError, match="not a regular file"):
        recipe(str(tmp_path / "x.toml"))
