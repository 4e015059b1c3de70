"""`residua train`: the run folder, one JSON document, options from flags and files, stopping and going on."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

SMALL = ("--arch", "cifar_resnet8", "--epochs", "1", "--limit", "64")


def test_a_run_folder_holds_what_the_documentation_says(trained):
    assert {p.name for p in trained.iterdir()} >= {
        "config.toml", "environment.json", "metrics.jsonl", "metrics.csv", "split.csv", "data_check.json",
        "decisions.json", "per_class.csv", "predictions.csv", "evaluation.json", "batches", "curves.png",
        "confusion.png", "report.html", "model.safetensors", "state",
    }  # fmt: skip


def test_json_is_one_document_and_progress_goes_to_stderr(residua, tmp_path):
    ran = residua("train", *SMALL, "--out", tmp_path / "run", "--json")
    assert ran.code == 0
    assert ran.json.keys() == {"run", "test", "seconds", "model", "report"}
    assert ran.json["run"] == str(tmp_path / "run") and ran.json["seconds"] > 0
    assert ran.json["test"]["n"] == 64 and ran.json["test"]["wrong"] <= 64
    assert Path(ran.json["model"]).is_file() and Path(ran.json["report"]).is_file()
    assert "cifar_resnet8 on digits" in ran.err and "epoch 1/1" in ran.err


def test_every_decision_is_said_with_the_flag_that_changes_it(residua, tmp_path):
    ran = residua("train", *SMALL, "--out", tmp_path / "run")
    for flag in ("--device", "--precision", "--memory-format", "--compile", "--threads", "--image-size"):
        assert f"{flag})" in ran.err


def test_the_end_says_the_test_error_and_the_next_commands(residua, tmp_path):
    ran = residua("train", *SMALL, "--out", tmp_path / "a run")
    assert "of 64 wrong" in ran.out and "95 % interval" in ran.out
    assert f"residua predict '{tmp_path}/a run/model.safetensors'" in ran.out
    assert f"residua eval '{tmp_path}/a run/model.safetensors' digits" in ran.out


def test_the_printed_config_gives_the_same_options_again(residua, tmp_path):
    words = ("--arch", "resnet18", "--seed", "3", "--depths", "1,1,2,1", "--lr", "0.2", "--set", "augment=flip,erase")
    first = residua("train", *words, "--print-config")
    (tmp_path / "options.toml").write_text(first.out)
    assert first.code == 0 and tomllib.loads(first.out)["recipe"]["lr"] == 0.2
    again = residua("train", "--config", tmp_path / "options.toml", "--print-config")
    assert again.out == first.out
    as_json = residua("train", *words, "--print-config", "--json").json
    assert {k: v for k, v in as_json.items() if v is not None and k != "recipe"} == {
        k: v for k, v in tomllib.loads(first.out).items() if k != "recipe"
    }


def test_flags_go_before_the_file_and_the_file_before_the_defaults(residua, tmp_path):
    file = tmp_path / "options.toml"
    file.write_text('seed = 3\nfit = "pad"\nrecipe = "he2015-cifar"\nlr = 0.3\n')
    values = residua("train", "--config", file, "--seed", "4", "--batch-size", "32", "--print-config", "--json").json
    assert (values["seed"], values["fit"], values["stem"]) == (4, "pad", "auto")
    recipe = values["recipe"]
    assert (recipe["name"], recipe["batch_size"], recipe["lr"], recipe["steps"]) == ("he2015-cifar", 32, 0.3, 64_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed = 3", "unknown option 'sed': did you mean seed"),
        ("seed =", "is not TOML"),
        ("[recipe]\nbase = 'quick'\nlrr = 1", "did you mean lr"),
        ("seed = 'three'", "seed must be a whole number, got 'three'"),
        ("limit = 1.5", "limit must be a whole number"),
    ],
)
def test_a_config_file_with_a_wrong_key_names_the_nearest(residua, tmp_path, text, said):
    (tmp_path / "options.toml").write_text(text)
    ran = residua("train", "--config", tmp_path / "options.toml", "--print-config")
    assert ran.code == 2 and said in ran.line


def test_a_recipe_file_is_a_recipe(residua, tmp_path):
    (tmp_path / "mine.toml").write_text('base = "quick"\nlr = 0.3\n')
    values = residua("train", "--recipe", tmp_path / "mine.toml", "--print-config", "--json").json
    assert (values["recipe"]["name"], values["recipe"]["lr"], values["recipe"]["epochs"]) == ("mine", 0.3, 15)


def test_a_finished_run_is_not_gone_on_with(residua, trained):
    ran = residua("train", "--resume", trained)
    assert ran.code == 2 and "finished" in ran.err.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved_and_says_how_to_go_on(residua, tmp_path, number):
    run, log = tmp_path / "a run", tmp_path / "log"
    command = [sys.executable, "-m", "residua", "train", "--arch", "cifar_resnet8", "--epochs", "400", "--json"]
    with (
        log.open("wb") as err,
        subprocess.Popen([*command, "--out", run], stdout=subprocess.PIPE, stderr=err) as process,
    ):
        until(lambda: b"epoch 2/" in log.read_bytes() or process.poll() is not None)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    last = log.read_text().splitlines()[-1]
    assert (process.returncode, out) == (130, b"")
    assert last.startswith("residua: stopped at step ") and last.endswith(f"residua train --resume '{run}'")
    assert (run / "state" / "last.pt").is_file() and (run / "model.safetensors").is_file()
    ran = residua("train", "--resume", run, "--epochs", "3", "--json")
    assert ran.code == 2 and "epochs 400 -> 3; leave that out, or say --accept-changes" in ran.line


def until(holds, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals")
def test_on_a_terminal_a_table_grows_above_a_live_line(tmp_path):
    import pty

    parent, child = pty.openpty()
    command = [sys.executable, "-m", "residua", "train", *SMALL, "--epochs", "3", "--out", str(tmp_path / "run")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while chunk := read(parent):
            shown += chunk
    text = shown.decode()
    assert process.returncode == 0
    assert "change it with" in text and "train error" in text and "left" in text and "95 % interval" in text


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""


@pytest.mark.slow
@pytest.mark.data
def test_photos_as_they_are_train_evaluate_and_predict(residua, real_data, tmp_path):
    photos = real_data / "hymenoptera_data"
    words = ("--limit", "24", "--epochs", "1", "--image-size", "64", "--arch", "resnet18", "--batch-size", "8")
    ran = residua("train", photos, *words, "--out", tmp_path / "run", "--json")
    assert ran.code == 0 and ran.json["test"]["classes"] == ["ants", "bees"]
    again = residua("eval", tmp_path / "run", photos, "--limit", "24", "--json")
    assert again.json["n"] == 24 and again.json["split"] == "test"
    answers = residua("predict", tmp_path / "run", photos / "val", "--json")
    assert answers.code == 0 and len(answers.json["predictions"]) == 153
    assert json.loads((tmp_path / "run" / "data_check.json").read_text())["classes"] == ["ants", "bees"]
