"""The help: complete, grouped, as wide as the terminal and no wider."""

import pytest

from residua.cli.document import commands
from residua.cli.help import entries, text
from residua.cli.options import DATA_HELP, RECIPE_HELP


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_help_fits_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for path, command in commands().items():
        lines = text(command, path).partition("examples")[0].splitlines()
        flags = max(len(e.flags) for e in entries(command)) + 4
        assert max(map(len, lines)) <= max(columns, flags + 24), path


def test_every_option_and_argument_says_what_it_is():
    for path, command in commands().items():
        for entry in entries(command):
            assert entry.help and not entry.help.endswith("."), (path, entry)


def test_help_has_no_colours_where_there_is_no_terminal(residua):
    assert "\x1b" not in residua("train", "--help").out


def test_the_help_names_every_recipe_and_known_set():
    from residua.data.names import KNOWN
    from residua.training.recipe import RECIPES

    assert f"how to train: {', '.join(RECIPES)}, or a FILE.toml" == RECIPE_HELP
    assert DATA_HELP.startswith(", ".join(KNOWN) + ";")


def test_the_words_of_the_choices_are_those_of_the_rooms():
    from residua.cli.options import CHOICES
    from residua.data.view import FITS
    from residua.engine import FORMATS, PRECISIONS, SWITCH
    from residua.nn.arch import WORDS

    assert CHOICES["--precision"] == ("auto", *PRECISIONS)
    assert CHOICES["--memory-format"] == ("auto", *FORMATS)
    assert CHOICES["--compile"] == SWITCH
    assert CHOICES["--fit"] == FITS
    assert set(CHOICES["--stem"]) == {"auto", *WORDS["stem"]}
    assert CHOICES["--shortcut"] == WORDS["shortcut"]


def test_the_shell_completes_nets_recipes_and_words():
    from residua.cli.options import archs, data_names, recipes, starting

    assert starting(archs)("cifar_resnet11") == ["cifar_resnet110"]
    assert starting(recipes)("he20") == ["he2015-cifar", "he2015-imagenet", "he2016-preact"]
    assert starting(data_names)("cifar") == ["cifar10", "cifar100"]
    assert starting(("auto", "on", "off"))("o") == ["on", "off"]
