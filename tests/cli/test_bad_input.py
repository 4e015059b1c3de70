"""Every bad input: one clear line, the exit code of the documentation, and nothing of the user's is touched."""

import os
import pickle
import shutil

import pytest

from residua.errors import Interrupted


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("train --arch resnet51", 2, "unknown net 'resnet51': did you mean resnet50"),
        ("train --arch cifar_resnet21", 2, "the nearest is 20 or 26"),
        ("train --recipe quik", 2, "unknown recipe 'quik': did you mean quick?"),
        ("train digitz", 2, "unknown data set 'digitz': did you mean digits?"),
        ("train ./nowhere", 3, "./nowhere: no such folder or table"),
        ("train --set lr", 2, "--set lr: write field=value, such as lr=0.2"),
        ("train --set weight_deca=1", 2, "did you mean weight_decay"),
        ("train --set augment=flop", 2, "unknown augmentation 'flop': did you mean flip?"),
        ("train --lr -1", 2, "lr must be positive, got -1"),
        ("train --epochs 0", 2, "epochs must be positive, got 0"),
        ("train --lr 0", 2, "lr must be positive, got 0"),
        ("train --batch-size 0", 2, "batch_size must be at least 2, got 0"),
        ("train --epochs 3 --steps 5", 2, "give either epochs or steps"),
        ("train --depths 3,x,3", 2, "--depths 3,x,3: give one whole number a stage, such as 3,5,3"),
        ("train --stem 4x4", 2, "'4x4': did you mean"),
        ("train --precision bf61", 2, "did you mean bf16"),
        ("train --folds 1", 2, "--folds 1: give a whole number of at least 2"),
        ("train --folds three", 2, "--folds three: give a whole number of at least 2"),
        ("train --folds 1000", 2, "--folds 1000: the class 8 has 139 pictures, so 139 is the most"),
        ("train --folds 3 --budget 1m", 2, "--budget is for a single training: try it without --folds"),
        ("train --folds 3 --find-lr", 2, "--find-lr is for a single training"),
        ("train --folds 3 --resume nowhere", 3, "--resume nowhere does not exist"),
        ("train --groups (", 2, "--groups (: no regular expression"),
        ("train --groups patient_(\\d+)", 2, "it fits no picture's name, such as 'digits/"),
        ("train --groups folder", 3, "digits: all pictures are one group"),
        ("train --track tensorbord", 2, "unknown tracker 'tensorbord': did you mean tensorboard?"),
        ("train --track wandb,", 2, "unknown tracker ''"),
        ("train --resume nowhere", 3, "--resume nowhere does not exist"),
        ("train --config nowhere.toml", 3, "no config file nowhere.toml"),
        ("train --weights nowhere.safetensors", 3, "no model file nowhere.safetensors"),
        ("eval nowhere.safetensors digits", 3, "no model file nowhere.safetensors"),
        ("predict nowhere.safetensors a.png", 3, "no model file nowhere.safetensors"),
        ("report nowhere", 3, "no run folder nowhere"),
        ("describe resnet51", 2, "unknown net 'resnet51'"),
        ("archs --family resnets", 2, "unknown family 'resnets': did you mean resnet"),
        ("convert nowhere.pth --arch resnet18", 3, "no checkpoint nowhere.pth"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line_that_names_the_right_one(residua, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    ran = residua(*words.split())
    assert (ran.code, ran.out) == (code, "")
    assert ran.line.startswith("error: ") and said in ran.line
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_a_problem_with_the_data(residua, tmp_path):
    ran = residua("train", tmp_path)
    assert ran.code == 3 and "empty" in ran.line


def test_one_class_is_not_enough(residua, photos, tmp_path):
    shutil.rmtree(photos / "dark")
    ran = residua("train", photos, "--out", tmp_path / "run")
    assert ran.code == 3 and "class" in ran.line
    assert not (tmp_path / "run").exists()


def test_a_table_whose_pictures_are_missing_is_a_problem_with_the_data(residua, tmp_path):
    (tmp_path / "table.csv").write_text("path,label\na.png,ant\nb.png,bee\n")
    ran = residua("train", tmp_path / "table.csv", "--out", tmp_path / "run")
    assert ran.code == 3 and ran.line


@pytest.mark.parametrize("verb", [("eval", "digits"), ("predict", "a.png"), ("describe",)])
@pytest.mark.parametrize("damage", ["cut", "pickle", "text", "empty"])
def test_a_file_that_is_no_model_is_refused_by_every_verb(residua, trained, tmp_path, verb, damage):
    whole = (trained / "model.safetensors").read_bytes()
    content = {"cut": whole[: len(whole) // 2], "pickle": pickle.dumps({"a": 1}), "text": b"hello", "empty": b""}
    path = tmp_path / "model.safetensors"
    path.write_bytes(content[damage])
    ran = residua(verb[0], path, *verb[1:])
    assert (ran.code, ran.out) == (3, "") and str(path) in ran.line


def test_a_run_folder_is_never_overwritten(residua, trained):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*")}
    ran = residua("train", "--epochs", "1", "--out", trained)
    assert ran.code == 3 and "never overwritten" in ran.line
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*")} == before


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "MODEL", "digits", "--out", "THERE"),
        ("predict", "MODEL", "x.png", "--out", "THERE"),
        ("convert", "MODEL", "--to", "torchvision", "--out", "THERE"),
    ],
)
def test_results_are_never_written_over_a_file(residua, trained, tmp_path, words):
    there = tmp_path / "there.csv"
    there.write_text("mine")
    ran = residua(*(str(w).replace("MODEL", str(trained)).replace("THERE", str(there)) for w in words))
    assert ran.code == 3 and f"{there} exists and is never overwritten" in ran.line
    assert there.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_model_that_may_not_be_read_is_one_line(residua, trained, tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(trained / "model.safetensors", path)
    path.chmod(0)
    ran = residua("eval", path, "digits")
    assert ran.code == 3 and "cannot read" in ran.line


def test_a_folder_that_cannot_be_written_is_one_line(residua, tmp_path):
    (tmp_path / "file").write_text("")
    ran = residua("train", "--limit", "20", "--epochs", "1", "--out", tmp_path / "file" / "run")
    assert ran.code == 3 and "cannot write" in ran.line


def test_a_file_name_with_a_line_break_stays_on_one_line(residua, tmp_path):
    ran = residua("eval", tmp_path / "two\nlines\x1b[31m.safetensors", "digits")
    assert ran.code == 3 and r"two\nlines\x1b" in ran.line


def test_a_model_of_other_classes_is_refused_by_the_first_that_differs(residua, trained, photos):
    ran = residua("eval", trained, photos)
    assert (ran.code, ran.out) == (3, "")
    assert "class 'bright' of photos is none of the model's 10 classes (0, 1, 2, 3, ...)" in ran.line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("saved")])
def test_an_interrupt_is_said_by_the_first_process_alone(residua, monkeypatch, error):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr("residua.cli.main._invoke", lambda argv: (_ for _ in ()).throw(error))
    monkeypatch.setattr("residua.cli.main.TURN_SECONDS", 60.0)
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        ran = residua("train")
        assert ran.code == Interrupted.exit_code and ran.err.count("\n") == lines


def test_an_error_of_one_process_alone_is_said_by_it(residua, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("residua.cli.main.TURN_SECONDS", 0.0)
    ran = residua("train", tmp_path / "nowhere")
    assert ran.code == 3 and ran.line.startswith("process 1: error: ") and "nowhere" in ran.line
