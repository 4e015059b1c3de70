import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from residua.depth.deepen import Difference
from residua.nn import modelfile
from residua.training.saving import read_state


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deeper.safetensors"


def test_a_run_becomes_deeper_with_the_figure_before_the_file(residua, trained, out):
    ran = residua("depth", "deepen", trained, "--add", "2,0,1", "--out", out, "--limit", 50)
    assert ran.code == 0, ran.err
    assert "max |difference| of the logits: 0 (allowed: 0), 50 test pictures of digits" in ran.out
    assert ran.out.index("difference") < ran.out.index("wrote")
    net, header = modelfile.load(out)
    old, before = modelfile.load(trained / "model.safetensors")
    assert header.row.depths == (3, 1, 2) and header.classes == before.classes and header.metrics == before.metrics
    entry = header.lineage[-1]["deepened"]
    assert entry == {
        "from": "cifar_resnet8", "depths": [1, 1, 1], "to": [3, 1, 2], "max_difference": 0, "n": 50, "data": "digits",
    }  # fmt: skip
    x = torch.randn(3, header.row.channels, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(x), old(x))


def test_the_momentum_of_a_run_goes_along_and_training_takes_it_up(residua, trained, out, tmp_path):
    assert residua("depth", "deepen", trained, "--to", "cifar_resnet14", "--out", out, "--limit", 20).code == 0
    carried = modelfile.carried(out)
    saved = read_state(trained / "state" / "last.pt")["train"]["optimiser"]["state"]
    assert len(carried) == len(saved) and all(k.startswith("optimiser/sgd/momentum_buffer/") for k in carried)
    assert sorted(v.abs().sum().item() for v in carried.values()) == pytest.approx(
        sorted(v["momentum_buffer"].abs().sum().item() for v in saved.values())
    )
    with safe_open(out, "pt") as file:
        assert set(carried) < set(file.keys())
    run = tmp_path / "run"
    ran = residua("train", "digits", "--weights", out, "--limit", 64, "--set", "steps=1", "--out", run)
    assert ran.code == 0, ran.err
    told = {d["what"]: d for d in json.loads((run / "decisions.json").read_text())}
    assert told["optimiser state"]["value"] == f"{len(carried)} of {len(carried) + 18} parameters"
    lineage = modelfile.read_header(run / "model.safetensors").lineage
    assert [next(iter(entry)) for entry in lineage] == ["deepened", "from"]
    assert modelfile.carried(run / "model.safetensors") == {}


def test_without_data_noise_is_taken_and_said(residua, trained, out, tmp_path):
    net, header = modelfile.load(trained / "model.safetensors")
    modelfile.save(tmp_path / "m", net, replace(header, data={}))
    document = residua("depth", "deepen", tmp_path / "m", "--add", "1,1,1", "--out", out, "--json").json
    assert document["data"] is None and "noise" in document["pictures"] and document["n"] == 64
    assert document["max_difference"] == 0 and document["carried"] == 0 and document["wrong"] is None


def test_a_net_that_differs_is_not_written(residua, trained, out, monkeypatch):
    monkeypatch.setattr("residua.depth.deepen.difference", lambda *_: Difference(1e-7, 10.0, 50, (3, 3)))
    ran = residua("depth", "deepen", trained, "--add", "1,1,1", "--out", out)
    assert ran.code == 4 and "differs by 1e-07" in ran.err and "1e-07" in ran.out and not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "one of --to NAME and --add 2,2,2"),
        (("--add", "1,1,1", "--to", "cifar_resnet20"), 2, "one of --to NAME and --add 2,2,2"),
        (("--add", "1,1"), 2, "has 3 stages"),
        (("--add", "0,0,0"), 2, "nothing to add"),
        (("--add", "1,-1,0"), 2, "new units of each stage"),
        (("--add", "many"), 2, "new units of each stage"),
        (("--to", "resnet50"), 2, "cannot become resnet50"),
        (("--to", "cifar_resnet21"), 2, "the nearest is"),
        (("--add", "1,1,1", "--data", "digitz"), 2, "digits"),
    ],
)
def test_what_does_not_fit_is_one_line_and_no_file(residua, trained, out, words, code, says):
    ran = residua("depth", "deepen", trained, *words, "--out", out)
    assert (ran.code, ran.out) == (code, "") and says in ran.line and not out.exists()


def test_nothing_is_written_over(residua, trained, out):
    out.write_text("mine")
    ran = residua("depth", "deepen", trained, "--add", "1,1,1", "--out", out)
    assert ran.code == 3 and "never overwritten" in ran.line and out.read_text() == "mine"


@pytest.mark.data
@pytest.mark.slow
def test_a_deepened_resnet20_of_56_layers_is_wrong_on_the_same_pictures(residua, real_data: Path, tmp_path):
    model, out = tmp_path / "resnet20.safetensors", tmp_path / "resnet56.safetensors"
    checkpoint = next((real_data / "akamaster").glob("resnet20*.th"))
    assert residua("convert", checkpoint, "--arch", "cifar_resnet20", "--classes", "cifar10", "--out", model).code == 0
    document = residua(
        "depth", "deepen", model, "--to", "cifar_resnet56", "--data", "cifar10", "--limit", 2_000,
        "--root", real_data, "--out", out, "--json",
    ).json  # fmt: skip
    assert (
        document["max_difference"] == 0 and document["n"] == 2_000 and document["wrong"][0] == document["wrong"][1] > 0
    )
