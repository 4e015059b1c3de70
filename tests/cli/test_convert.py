"""`residua convert`: other people's weights become a model file, and come back unchanged."""

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def theirs():
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(num_classes=5).eval()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_torchvision_s_weights_go_in_and_come_out_bit_for_bit(residua, theirs, tmp_path, ending):
    there, model, back = tmp_path / f"there{ending}", tmp_path / "model.safetensors", tmp_path / f"back{ending}"
    (save_file if ending == ".safetensors" else torch.save)(theirs.state_dict(), there)
    ran = residua("convert", there, "--arch", "resnet18", "--out", model, "--json")
    assert (ran.code, ran.json["layout"], len(ran.json["classes"])) == (0, "torchvision", 5)
    assert residua("convert", model, "--to", "torchvision", "--out", back).code == 0
    state = load_file(back) if ending == ".safetensors" else torch.load(back, weights_only=True)
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in theirs.state_dict().items())
    from residua.nn.modelfile import load

    x = torch.randn(2, 3, 67, 45)
    with torch.no_grad():
        assert torch.equal(load(model)[0](x), theirs(x))


@pytest.fixture
def weights(tmp_path):
    from residua.nn.zoo import build

    torch.save(build("cifar_resnet8", classes=3).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_class_names_come_from_a_file(residua, weights, tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee [red]\ncat\n")
    (tmp_path / "names.json").write_text('["ant", "bee [red]", "cat"]')
    for file in ("names.txt", "names.json"):
        out = tmp_path / f"{file}.safetensors"
        ran = residua("convert", weights, "--arch", "cifar_resnet8", "--classes", tmp_path / file, "--out", out)
        assert ran.code == 0 and "3 classes: ant, bee [red], cat" in ran.out


def test_the_view_can_be_overridden(residua, weights, tmp_path):
    words = ("--mean", "0.1,0.2,0.3", "--std", "1,1,1", "--image-size", "48", "--fit", "pad", "--json")
    view = residua("convert", weights, "--arch", "cifar_resnet8", "--out", tmp_path / "m.safetensors", *words).json[
        "view"
    ]
    assert (view["mean"], view["std"], view["side_px"], view["fit"]) == ([0.1, 0.2, 0.3], [1, 1, 1], 48, "pad")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "--arch NAME is needed"),
        ("--arch cifar_resnet20", 3, "missing"),
        ("--arch cifar_resnet8 --classes imagenets", 2, "did you mean imagenet"),
        ("--arch cifar_resnet8 --classes digits", 2, "has 10 names, but the weights have 3 classes"),
        ("--arch cifar_resnet8 --mean 1,x", 2, "--mean 1,x: give one number a channel"),
        ("--arch cifar_resnet8 --mean 0.5", 2, "3 means"),
        ("--to torchvision --arch resnet18", 2, "--arch has no meaning with --to torchvision"),
        ("--to torchvision", 3, "PyTorch pickle"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_and_nothing_is_written(residua, weights, tmp_path, words, code, said):
    ran = residua("convert", weights, *words.split(), "--out", tmp_path / "out.safetensors")
    assert (ran.code, ran.out) == (code, "") and said in ran.line
    assert not (tmp_path / "out.safetensors").exists()
