"""Laws of published weights: names to nets, one line where there is no network, and what was downloaded is enough."""

import json
from pathlib import Path

import pytest
import timm
import torch

from residua.errors import DataError, UsageError
from residua.nn import hub
from residua.nn.hub import fetch, published, row_of
from residua.nn.zoo import find


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A hub of which only what lies in a folder was downloaded before, and no network to ask for more."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(name, file, *, local_files_only):
        asked.append((file, local_files_only))
        if not (tmp_path / file).exists():
            raise LocalEntryNotFoundError(f"{name}/{file} is not here, \nand nobody answers")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "reachable", lambda url: False)
    return tmp_path, asked


@pytest.mark.parametrize("word, is_name", [
    ("imagenet", True), ("torchvision/resnet50", True), ("torchvision/resnet50:IMAGENET1K_V1", True),
    ("timm/resnet18.a1_in1k", True), ("microsoft/resnet-50", True), ("weights/best.pth", False), ("a.pth", False),
    ("./run", False), ("a/b/c", False), ("", False),
])  # fmt: skip
def test_a_name_is_told_from_a_file(word, is_name):
    assert published(word) is is_name


def test_a_file_or_folder_that_is_there_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("timm/resnet18").mkdir(parents=True)
    assert not published("timm/resnet18") and not published("timm/resnet50")


def test_timm_s_names_are_those_of_its_own_registry():
    for ours in ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg19_bn"):
        assert timm.is_model(ours)
        assert row_of({"architecture": ours}, "timm/x") == find(ours)
    assert row_of({"architecture": "resnetv2_50"}, "timm/x") == find("preact_resnet50")


def test_transformers_configurations_are_recognised_by_their_shapes():
    from transformers import ResNetConfig

    fifty = ResNetConfig(depths=[3, 4, 6, 3], hidden_sizes=[256, 512, 1024, 2048], layer_type="bottleneck").to_dict()
    assert row_of(fifty, "x") == find("resnet50")
    assert row_of(fifty | {"downsample_in_bottleneck": True}, "x") == find("resnet50_v1")
    eighteen = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic").to_dict()
    assert row_of(eighteen, "x") == find("resnet18")


def test_a_net_that_is_none_of_ours_is_named(kept):
    folder, _ = kept
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224"}))
    with pytest.raises(UsageError, match="vit_base_patch16_224, which is none of the nets"):
        fetch("timm/vit")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_what_was_downloaded_before_is_enough_without_a_network(kept, file):
    folder, asked = kept
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    (folder / file).write_bytes(b"weights")
    found = fetch("timm/resnet18.a1_in1k")
    assert found.path == folder / file and found.row == find("resnet18") and all(local for _, local in asked)


@pytest.mark.parametrize("config", [False, True])
def test_without_a_network_one_line_says_what_to_fetch(kept, config):
    folder, _ = kept
    if config:
        (folder / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(
        DataError, match=r"cannot be downloaded \(no network\): fetch https://huggingface.co/timm/r18"
    ) as e:
        fetch("timm/r18")
    assert "\n" not in str(e.value)


def test_torchvision_s_weights_are_asked_for_once_at_their_published_address(tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights

    asked = []

    def download(url, path, digest):
        asked.append((url, digest))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    first, second = fetch("imagenet"), fetch("torchvision/resnet18:IMAGENET1K_V1")
    assert first == second and first.row == find("resnet18")
    assert asked == [(ResNet18_Weights.IMAGENET1K_V1.url, "f37072fd")]


def test_a_download_that_fails_says_the_address_in_one_line(tmp_path, monkeypatch):
    def download(url, path, digest):
        raise OSError("[Errno -3] Temporary failure\nin name resolution")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(DataError, match=r"download.pytorch.org.* --arch resnet34") as e:
        fetch("imagenet", "resnet34")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name, arch, says", [
    ("torchvison/resnet18", "auto", "did you mean torchvision/resnet18?"),
    ("torchvision/resnet18", "resnet34", "are a resnet18's, not a resnet34's"),
    ("torchvision/resnet18:V9", "auto", "take IMAGENET1K_V1"),
    ("torchvision/resnet200", "auto", "publishes no weights of resnet200"),
    ("torchvision/resnet19", "auto", "resnet18"),
])  # fmt: skip
def test_names_that_do_not_exist_are_answered_with_those_that_do(name, arch, says):
    with pytest.raises(UsageError) as e:
        fetch(name, arch)
    assert says in str(e.value) and "\n" not in str(e.value)
