"""Laws of explaining detections: they are those of the detector, each with a proposal that it was made of."""

import numpy as np
import pytest
import torch
from PIL import Image

from boxes.conftest import photo
from residua.boxes.view import BoxView
from residua.detect.detector import build
from residua.detect.explained import drawn, explain
from residua.detect.modelfile import DetectorHeader, save
from residua.detect.predict import load
from residua.detect.row import detector_row
from residua.errors import DataError
from residua.nn.zoo import find

VIEW = BoxView(64, 128, "RGB", (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module", params=["fpn", "c4"])
def model(request, tmp_path_factory):
    """A detector of random weights that finds something, from its file."""
    row = detector_row(find("resnet18"), 2, form=request.param, small=True)
    torch.manual_seed(0)
    net = build(row)
    with torch.no_grad():
        net.roi_heads.box_predictor.cls_score.weight.mul_(3)
    file = tmp_path_factory.mktemp("model") / f"{request.param}.safetensors"
    save(file, net, DetectorHeader(row=row, classes=("a", "b"), view=VIEW))
    return load(file, threads=1)


def test_reasons_are_the_detections_and_their_proposals(model, tmp_path):
    photo(tmp_path / "x.png", (120, 80), 1)
    of = explain(model, "x", str(tmp_path / "x.png"))
    (answer,) = model.stream([("x", str(tmp_path / "x.png"))])
    assert len(of.reasons) == len(answer.found.scores) > 3 and of.size == (80, 120)
    assert np.allclose([r.score for r in of.reasons], answer.found.scores, atol=1e-5)
    assert np.allclose([r.box for r in of.reasons], answer.found.boxes, atol=0.02)
    places = {tuple(np.round(b, 2)) for b in of.proposals.boxes.tolist()}
    strides = {4, 8, 16, 32, 64} if model.net.row.form == "fpn" else {16}
    for r in of.reasons:
        assert tuple(np.round(r.proposal, 2)) in places
        assert r.anchor_stride in strides and r.region_stride in strides - {64}
    told = of.to_json()
    assert sum(told["proposals"].values()) == len(of.proposals.boxes)
    image = drawn(of, str(tmp_path / "x.png"), threshold=0.0)
    assert isinstance(image, Image.Image) and image.width > 1200


def test_a_strip_of_20_000_pixels_is_answered(model, tmp_path):
    Image.new("RGB", (20_000, 40), (90, 20, 30)).save(tmp_path / "long.png")
    (answer,) = model.stream([("long", str(tmp_path / "long.png"))])
    assert answer.size == (40, 20_000) and (answer.found.boxes[:, 2] <= 20_000).all()


def test_a_file_whose_header_describes_no_detector_is_one_line(model, tmp_path):
    from residua.nn import modelfile

    words = {"task": "detection", "detector": {"net": {}}, "classes": [], "view": {}, "format": 2}
    modelfile.seal(tmp_path / "m.safetensors", words, {"x": torch.zeros(1)})
    with pytest.raises(DataError, match="describes no detector"):
        load(tmp_path / "m.safetensors")
