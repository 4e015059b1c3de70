"""The command as a whole: exit codes, one line for an error, streams."""

import subprocess
import sys

import pytest

from residua.cli import main
from residua.errors import DataError, Interrupted, NumericError, ResiduaError, UsageError


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("a"), "error: a", 2),
        (DataError("a"), "error: a", 3),
        (NumericError("a"), "error: a", 4),
        (Interrupted("stopped"), "stopped", 130),
        (KeyboardInterrupt(), "interrupted", 130),
        (ResiduaError("a"), "error: a", 1),
        (OSError(28, "No space left on device", "runs/a"), "error: No space left on device: runs/a", 3),
        (MemoryError(), "error: out of memory: try a smaller --batch-size or --image-size", 3),
        (ValueError("x"), "error: unexpected ValueError: x (--debug shows where; this is a bug worth reporting)", 1),
    ],
)  # fmt: skip
def test_each_kind_of_error_has_its_exit_code(error, line, code):
    assert main.explain(error) == (line, code)


def test_no_words_show_the_help(residua):
    ran = residua()
    assert ran.code == 0 and "usage  residua COMMAND" in ran.out and ran.err == ""


def test_the_version_is_the_package_s(residua):
    from importlib.metadata import version

    assert residua("--version").out == f"residua {version('residua')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "unknown command 'trian': did you mean train? `residua --help` lists them all"),
        ("train --epoch 3", "unknown option '--epoch': did you mean --epochs"),
        ("train --lr abc", "--lr abc: give a number"),
        ("train --limit 0", "--limit 0: give a whole number of at least 1"),
        ("train --batch-size 1.5", "--batch-size 1.5: give a whole number"),
        ("train --arch", "option '--arch' requires an argument"),
        ("train a b", "got unexpected extra argument"),
        ("eval", "missing argument 'MODEL': `residua eval --help` shows how"),
        ("predict model.safetensors", "missing argument 'PATHS...'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(residua, words, said):
    ran = residua(*words.split())
    assert (ran.code, ran.out) == (2, "") and said in ran.line


def test_debug_shows_the_traceback_above_the_line(residua):
    ran = residua("train", "--arch", "nonsense", "--debug")
    assert ran.code == 2 and "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("residua: error: unknown net 'nonsense'")


def test_an_interrupt_anywhere_is_130(residua, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("residua.nn.zoo.find", interrupted)
    ran = residua("describe", "resnet18")
    assert (ran.code, ran.line) == (130, "interrupted")


def test_python_m_residua_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "residua", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("residua ")


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from residua.cli.main import main; main(['train', '--help'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == main.PIPE_CLOSED
