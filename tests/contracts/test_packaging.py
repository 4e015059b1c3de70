"""The wheel: complete, and usable without development dependencies."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_one_version_stands_everywhere_and_the_changelog_knows_it():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    (locked,) = [p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if p["name"] == "residua"]
    assert locked["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", changes, re.MULTILINE)
    assert [h for h in headings if h == "Unreleased" or re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", h)] == headings
    assert version.endswith(".dev0") or f"\n## {version} - " in changes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    if shutil.which("uv"):
        uv = ["uv"]
    elif subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode == 0:
        uv = [sys.executable, "-m", "uv"]
    else:
        pytest.skip("uv is not installed")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run([*uv, "build", "--wheel", "--out-dir", str(out), str(ROOT)], capture_output=True, text=True)
    if "failed to fetch" in done.stderr.lower() or "dns error" in done.stderr.lower():
        pytest.skip("the build backend cannot be fetched offline")
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_types_templates_and_licence_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "residua/py.typed" in names
    sources = {f"residua/{p.relative_to(ROOT / 'src' / 'residua')}" for p in (ROOT / "src" / "residua").rglob("*.*")}
    assert {s for s in sources if "__pycache__" not in s} <= set(names)
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert not any("test" in Path(n).parts[0] for n in names)


@pytest.mark.slow
def test_every_module_of_the_wheel_imports_without_development_dependencies(wheel, tmp_path):
    program = (
        "import importlib, pathlib, sys\n"
        "for name in ('pytest', 'mypy', 'timm', 'transformers', 'pyarrow', 'ruff'): sys.modules[name] = None\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import residua; assert residua.__file__.startswith(sys.argv[1]), residua.__file__\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "for path in sorted(root.joinpath('residua').rglob('*.py')):\n"
        "    parts = path.relative_to(root).with_suffix('').parts\n"
        "    if parts[-1] != '__main__': importlib.import_module('.'.join(p for p in parts if p != '__init__'))\n"
    )
    zipfile.ZipFile(wheel).extractall(tmp_path)
    subprocess.run([sys.executable, "-W", "error", "-c", program, str(tmp_path)], check=True, cwd=tmp_path)
