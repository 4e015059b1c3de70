"""What is quick stays quick: no torch for help, for a wrong word, for a missing file, for `import residua`."""

import json
import subprocess
import sys

import pytest

#: Command lines, and the exit code of each.
QUICK = [
    ("--help", 0), ("--version", 0), ("", 0),
    *((f"{verb} --help", 0) for verb in ("train", "eval", "predict", "report", "serve", "archs", "describe")),
    ("convert --help", 0),
    *((f"detect {verb} --help", 0) for verb in ("train", "eval", "predict", "explain")), ("detect --help", 0),
    ("detect train", 2), ("detect train nowhere", 3), ("detect train . --recipe quik", 2),
    ("detect train . --form x", 2), ("detect train . --augment flop", 2), ("detect train . --set lrr=1", 2),
    ("detect train --resume nowhere", 3),
    ("detect eval nowhere .", 3), ("detect predict nowhere a.png", 3), ("check nowhere", 2),
    ("trian", 2), ("train --epoch 3", 2), ("train --arch nonsense", 2), ("train digitz", 2), ("train ./nowhere", 3),
    ("train --recipe quik", 2), ("train --set lrr=1", 2), ("train --lr -1", 2), ("train --lr abc", 2),
    ("train --stem 4x4", 2), ("train --device gpu", 2), ("train --depths a", 2), ("train --resume nowhere", 3),
    ("train --config nowhere.toml", 3), ("train --weights nowhere.safetensors", 3), ("train --out .", 3),
    ("eval missing.safetensors digits", 3), ("eval here.txt digitz", 2), ("eval here.txt digits --split tset", 2),
    ("predict missing.safetensors a.png", 3), ("predict here.txt a.png --out a.xls", 2), ("report nowhere", 3),
    ("archs --family nonsense", 2), ("describe nonsense", 2), ("describe missing.safetensors", 3),
    ("serve nowhere", 3), ("serve here.txt here.txt", 2), ("serve here.txt --port x", 2),
    ("serve here.txt --token-file nowhere", 3),
    ("convert missing.pth --arch resnet18", 3), ("convert here.txt --arch nonsense", 2), ("convert here.txt", 2),
]  # fmt: skip

#: Runs command lines where every heavy module is missing, so that whoever asks for one fails.
PROGRAM = """
import json, sys
for name in ("torch", "torchvision", "sklearn", "matplotlib", "PIL", "safetensors"):
    sys.modules[name] = None
from residua.cli.main import run
codes = []
for line in json.loads(sys.argv[1]):
    sys.argv = ["residua", *line.split()]
    codes.append(run(line.split()))
print(json.dumps(codes), file=sys.stderr)
"""


def test_bad_arguments_fail_before_torch_is_imported(tmp_path):
    (tmp_path / "here.txt").write_text("here")
    words = [sys.executable, "-c", PROGRAM, json.dumps([line for line, _ in QUICK])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    codes = json.loads(done.stderr.splitlines()[-1])
    assert dict(zip((line for line, _ in QUICK), codes, strict=True)) == dict(QUICK)


def test_help_loads_neither_rich_nor_anything_heavy():
    code = (
        "import sys; from residua.cli.main import run; run(['--help']); run(['train', '--help'])\n"
        "heavy = {'torch', 'numpy', 'rich', 'PIL', 'jinja2'} & sys.modules.keys()\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("code", ["import residua", "from residua import UsageError", "import residua; dir(residua)"])
def test_importing_the_package_imports_nothing_heavy(code):
    program = f"{code}\nimport sys; sys.exit(bool({{'torch', 'numpy', 'typer', 'rich'}} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


#: What no training and no answer needs: torch's compiler with what it brings, and libraries for tests and pages.
COMPILER = ("torch._dynamo", "torch._inductor", "triton", "sympy")
OTHERS = ("pandas", "torchvision", "torchmetrics", "captum", "onnx", "onnxruntime", "fastapi")

#: Trains, bounded and saved on its way, and says what is loaded at the first step and at the end; then predicts.
TRAINED = """
import json, sys
from residua.cli.main import run
from residua.job import TrainOptions, train
from residua.training.loop import Step
from residua.training.recipe import recipe
loaded = {}
words = ["steps=3", "batch_size=32"]
made = TrainOptions(arch="cifar_resnet8", recipe=recipe("quick", words), limit=64, out="run", save_every=0.0)
for event in train(made):
    if isinstance(event, Step):
        loaded.setdefault("step", sorted(sys.modules))
loaded["end"] = sorted(sys.modules)
import torch
from residua.nn.zoo import build
from residua.training.optimise import optimiser
for name in ("adamw", "lamb"):
    net = build("cifar_resnet8:2-1-1")
    steps = optimiser(net, recipe("quick", [f"optimiser={name}", "nesterov=false"]))
    net(torch.zeros(2, 3, 8, 8)).sum().backward()
    steps.step()
    steps.zero_grad()
    steps.load_state_dict(steps.state_dict())
loaded["optimisers"] = sorted(sys.modules)
from PIL import Image
Image.new("L", (8, 8)).save("a.png")
assert run(["predict", "run/model.safetensors", "a.png"]) == 0
assert run(["eval", "run/model.safetensors", "digits", "--limit", "64", "--json"]) == 0
loaded["answers"] = sorted(sys.modules)
print(json.dumps(loaded))
"""


@pytest.mark.slow
def test_trainings_and_answers_load_no_compiler_nor_anything_else_that_takes_seconds(tmp_path):
    words = [sys.executable, "-c", TRAINED]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    loaded = {when: set(names) for when, names in json.loads(done.stdout.splitlines()[-1]).items()}
    assert not loaded["step"] & {*COMPILER, *OTHERS, "matplotlib", "jinja2"}
    for when in ("end", "optimisers", "answers"):
        assert not loaded[when] & {*COMPILER, *OTHERS}
