"""The floors of docs/architecture.md: a room imports from lower floors and itself, and says what it needs."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import residua

SOURCE = Path(residua.__file__).parent

GROUND, TOP = -1, 7
FLOORS = {
    "errors": GROUND - 1, "words": GROUND, "seeds": GROUND, "files": GROUND, "amounts": GROUND, "heap": GROUND,
    "nn": 0, "data": 0, "engine": 0, "ranks": 0, "cluster": 0,
    "training": 1, "evaluate": 1, "pair": 1, "boxes": 1,
    "predict": 2, "explain": 2, "detect": 2, "localize": 2, "depth": 2,
    "job": 3, "export": 3,
    "study": 4, "report": 4, "runtimes": 4,
    "serve": 5,
    "cli": 6, "api": 6,
    "__init__": TOP, "__main__": TOP,
}  # fmt: skip

LIBRARIES = {
    "errors": set(), "words": set(), "files": set(), "amounts": set(), "heap": set(), "seeds": {"numpy"},
    "nn": {"torch", "safetensors", "torchvision", "huggingface_hub"},
    "data": {"numpy", "torch", "torchvision", "PIL", "sklearn", "pyarrow", "fsspec", "aiohttp"},
    "engine": {"torch"},
    "ranks": {"torch"},
    "cluster": {"ray"},
    "training": {"numpy", "torch"},
    "evaluate": {"numpy", "torch", "sklearn"},
    "pair": {"numpy"},
    "boxes": {"numpy", "torch", "torchvision", "PIL", "yaml"},
    "detect": {"numpy", "torch", "torchvision", "PIL", "faster_coco_eval"},
    "localize": {"numpy", "torch", "torchvision"},
    "depth": {"numpy", "torch"},
    "export": {"numpy", "torch", "torchvision", "onnx", "onnxruntime", "openvino", "nncf"},
    "study": {"numpy", "torch", "ray"},
    "predict": {"numpy", "torch", "pyarrow"},
    "runtimes": {"numpy", "torch", "onnxruntime", "openvino"},
    "explain": {"numpy", "torch", "PIL", "captum"},
    "job": {"numpy", "torch", "PIL", "mlflow", "wandb"},
    "report": {"numpy", "matplotlib", "jinja2", "PIL"},
    "serve": {
        "numpy", "torch", "PIL", "jinja2", "starlette", "uvicorn", "h11", "prometheus_client", "grpc", "google",
    },
    "cli": {"typer", "rich", "numpy", "torch", "torchvision", "safetensors"},
    "api": set(),
    "__init__": set(), "__main__": set(),
}  # fmt: skip

WITHOUT_TORCH = [
    "residua", "residua.__main__", "residua.api", "residua.errors", "residua.files", "residua.words",
    "residua.seeds", "residua.heap", "residua.cluster",
    "residua.nn", "residua.nn.arch", "residua.nn.zoo",
    "residua.data", "residua.data.names", "residua.data.shards.layout", "residua.training", "residua.training.recipe",
    "residua.training.schedule", "residua.runtimes.words",
]  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import: the dotted module it names, its line, and whether it runs when its own module is imported."""

    module: str
    line: int
    at_import: bool


def modules() -> dict[str, Path]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("residua", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[Import]:
    """All imports of a file, also those inside functions, under conditions and by ``import_module("...")``."""
    known = modules()

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_import) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield Import(whole if whole in known else base, node.lineno, at_import)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield Import(str(argument.value), node.lineno, at_import)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True)


def room(module: str) -> str:
    """``residua.nn.zoo`` -> ``nn``; the package itself is ``__init__``."""
    return module.partition("residua")[2].strip(".").partition(".")[0] or "__init__"


EVERY_IMPORT = [(name, i) for name, path in modules().items() for i in imports(path)]


def test_every_room_has_a_floor() -> None:
    assert {room(m) for m in modules()} <= FLOORS.keys()


def test_imports_are_absolute() -> None:
    assert [(name, i) for name, i in EVERY_IMPORT if i.module.startswith(".")] == []


def test_a_room_imports_only_from_lower_floors_and_itself() -> None:
    upward = [
        f"{name}:{i.line} imports {i.module}"
        for name, i in EVERY_IMPORT
        if i.module.startswith("residua.")
        and room(i.module) != room(name)
        and FLOORS[room(i.module)] >= FLOORS[room(name)]
    ]
    assert upward == []


def test_only_the_top_may_import_the_package_itself_save_for_its_version() -> None:
    sources = {name: path.read_text(encoding="utf-8").splitlines() for name, path in modules().items()}
    lines = [sources[name][i.line - 1].strip() for name, i in EVERY_IMPORT if i.module == "residua"]
    assert set(lines) <= {"from residua import __version__"}


def test_a_room_uses_only_its_own_libraries() -> None:
    import sys

    foreign = [
        f"{name}:{i.line} imports {i.module}"
        for name, i in EVERY_IMPORT
        if (library := i.module.partition(".")[0]) not in sys.stdlib_module_names | {"residua"}
        and library not in LIBRARIES[room(name)]
    ]
    assert foreign == []


@pytest.mark.parametrize("module", [*WITHOUT_TORCH, *(m for m in modules() if room(m) == "cli")])
def test_what_runs_before_the_arguments_are_good_reaches_no_torch(module: str) -> None:
    known, reached, todo = modules(), set[str](), [module]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in known:
            parent = name.rpartition(".")[0]
            todo += [i.module for i in imports(known[name]) if i.at_import] + ([parent] if parent else [])
    heavy = {"torch", "torchvision", "sklearn", "matplotlib", "PIL", "rich"}
    assert {m.partition(".")[0] for m in reached} & heavy == set()


def test_the_tests_see_imports_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import json\n"
        "def f():\n    from residua.nn import zoo\n    import_module('residua.cli')\n"
        "from . import b\n"
    )
    assert [(i.module, i.at_import) for i in imports(path)] == [
        ("typing", True),
        ("torch", False),
        ("json", True),
        ("residua.nn.zoo", False),
        ("residua.cli", False),
        (".", True),
    ]
