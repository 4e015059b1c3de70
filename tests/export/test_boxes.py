"""Detectors and localizers as ONNX files find the same things, suppression inside."""

import numpy as np
import pytest

from export.conftest import shaken
from export.served import agrees
from residua.boxes.found import Found
from residua.errors import UsageError
from residua.export.boxes import found_row
from residua.export.repository import Slot
from residua.export.session import Options, export, opened


def found(*things):
    boxes, labels, scores = zip(*things, strict=True)
    return Found(np.array(boxes, np.float64), np.array(labels, np.int64), np.array(scores, np.float64))


BOX = (10.0, 10.0, 40.0, 50.0)


def test_the_same_things_in_another_order_agree_and_a_missing_or_moved_one_does_not():
    a, b = (BOX, 0, 0.9), ((60.0, 5.0, 80.0, 30.0), 1, 0.7)
    assert found_row(found(a, b), found(b, a), (100, 100), 100, 0.05).agrees
    assert not found_row(found(a, b), found(a), (100, 100), 100, 0.05).agrees
    assert not found_row(found(a), found(a, b), (100, 100), 100, 0.05).agrees
    assert not found_row(found(a), found(((11.0, 10.0, 40.0, 50.0), 0, 0.9)), (100, 100), 100, 0.05).agrees
    assert not found_row(found(a), found((BOX, 1, 0.9)), (100, 100), 100, 0.05).agrees


def test_what_lies_within_rounding_of_the_threshold_may_be_missing():
    a = (BOX, 0, 0.9)
    assert found_row(found(a, (BOX, 1, 0.05001)), found(a), (100, 100), 100, 0.05).agrees


def detector(path, form):
    from dataclasses import replace

    import torch

    from residua.boxes.view import BoxView
    from residua.detect import modelfile
    from residua.detect.detector import build
    from residua.detect.row import detector_row
    from residua.nn.zoo import find

    torch.manual_seed(0)
    row = detector_row(find("resnet18:1-1-1-1"), 3, form=form, small=True)
    row = replace(row, proposals_test=(120, 80), detections=40, pyramid_width=32, head_width=64)
    net = shaken(build(row))
    with torch.no_grad():
        net.roi_heads.box_predictor.cls_score.weight.mul_(20)
        net.rpn.head.cls_logits.weight.mul_(20)
    view = BoxView(64, 107, "RGB", (0.5,) * 3, (0.25,) * 3)
    modelfile.save(path, net, modelfile.DetectorHeader(row=row, classes=("a", "b", "c"), view=view))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fpn", "c4"])
def test_a_detector_finds_the_same_in_pictures_of_any_size(form, tmp_path):
    model = detector(tmp_path / "m.safetensors", form)
    slot = Slot(root=tmp_path / "models", name="x", to="onnx")
    done = export(model, slot, Options(to="onnx"))
    agrees(slot, batched=False)
    assert done.parity.agrees and sum(r.answers for r in done.parity.rows) > 100
    assert done.words["input"]["shape"] == [1, 3, "height", "width"]
    file = opened(done.paths[0])
    for height, width in ((64, 64), (43, 107), (33, 70)):
        got = file.run(np.random.default_rng(0).integers(0, 256, (1, 3, height, width), dtype=np.uint8))
        assert got["boxes"].shape == (len(got["scores"]), 4) and (np.diff(got["scores"]) <= 0).all()
        assert (got["boxes"] <= [width, height] * 2).all() and set(got["labels"]) <= {0, 1, 2}


def localizer(path, refined=False):
    from dataclasses import replace

    import torch

    from residua.boxes.view import BoxView
    from residua.localize import modelfile
    from residua.localize.localizer import build
    from residua.localize.row import LocalizerRow
    from residua.nn.zoo import find

    torch.manual_seed(0)
    row = LocalizerRow(
        net=replace(find("resnet18:1-1-1-1"), classes=4, stem="3x3"), anchors=((9, 9), (20, 14)), refined=refined
    )
    view = BoxView(32, 32, "RGB", (0.5,) * 3, (0.25,) * 3, "squash")
    header = modelfile.LocalizerHeader(row=row, classes=tuple("abcd"), view=view, mean_boxes=np.full((4, 4), 0.25))
    modelfile.save(path, shaken(build(row)), header)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("refined", [False, True])
def test_a_localizer_names_and_places_the_same(refined, tmp_path):
    model = localizer(tmp_path / "m.safetensors", refined)
    slot = Slot(root=tmp_path / "models", name="x", to="onnx")
    done = export(model, slot, Options(to="onnx"))
    agrees(slot, batched=True)
    assert done.parity.agrees and done.words["input"]["shape"] == ["n", 3, "height", "width"]


@pytest.mark.parametrize("words", [{"to": "pt2"}, {"to": "openvino"}, {"to": "onnx", "raw": True},
                                   {"to": "onnx", "int8": "digits"}])  # fmt: skip
def test_what_no_exporter_can_do_is_said_in_one_line(words, tmp_path):
    model = detector(tmp_path / "m.safetensors", "fpn")
    with pytest.raises(UsageError):
        export(model, tmp_path / "x.onnx", Options(**words))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
