"""Laws of prediction: the tensors of evaluation, results in order, bad pictures in their place, bounded memory."""

import csv
import io
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from acceptance import Acceptance
from residua import predict
from residua.data.batches import in_order
from residua.data.dataset import FileImages, Split
from residua.data.view import View
from residua.engine import Engine
from residua.errors import DataError, UsageError
from residua.nn.arch import Arch
from residua.nn.modelfile import Header, save
from residua.nn.resnet import resnet
from residua.predict import Failure, Model, Prediction, write
from residua.predict.model import batch_of

CLASSES = ("ant", "bee", "=cat", "dog, or\nwolf")
CROP = View(side_px=12, fit="crop", resize_px=14, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
ROW = Arch(name="tiny", source="a test", depths=(1,), widths=(4,), stem="3x3", stem_width=4, classes=4)
H, W = 17, 23


def model_with(net: nn.Module, view: View = CROP) -> Model:
    """A model around any net."""
    return Model(
        net.eval(), Header(row=ROW, classes=CLASSES, view=view.to_json()), view, Engine(device="cpu", workers=2)
    )


class Recorder(nn.Module):
    """Keeps what it sees: x (N, C, H, W) -> logits (N, 4) of the means of the channels and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return (
            torch.stack([*x.mean((2, 3)).unbind(1), x[:, 0, :3].mean((1, 2))], 1) if x.shape[1] == 3 else x[:, 0, 0, :4]
        )


@pytest.fixture
def model() -> Model:
    return model_with(Recorder())


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Pictures of odd sizes: a PNG, a rotated JPEG, a palette, a grey 16-bit one."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour).save(tmp_path / "b.jpg", exif=exif)
    Image.fromarray(colour).convert("P").save(tmp_path / "c.gif")
    Image.fromarray(rng.integers(0, 65536, (H, W), dtype=np.uint16)).save(tmp_path / "d.png")
    return [str(tmp_path / name) for name in ("a.png", "b.jpg", "c.gif", "d.png")]


def answers(results: list[predict.Result]) -> list[Prediction]:
    assert all(isinstance(r, Prediction) for r in results), results
    return [r for r in results if isinstance(r, Prediction)]


# -- what the net sees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_tensors_are_those_of_evaluation_bit_for_bit(pictures: list[str], fit: str, mode: str) -> None:
    k = 3 if mode == "RGB" else 1
    view = replace(CROP, fit=fit, mode=mode, mean=CROP.mean[:k], std=CROP.std[:k])
    split = Split(FileImages(tuple(pictures), mode), np.zeros(len(pictures), np.int64), pictures)
    expected = torch.cat([batch.images for batch in in_order(split, view, 3)])
    net = Recorder()
    answers(model_with(net, view).predict(pictures, batch_size=3))
    assert torch.equal(torch.cat(net.seen), expected)


def test_a_picture_is_the_same_however_it_is_given(model: Model, pictures: list[str]) -> None:
    path = pictures[0]
    array = np.array(Image.open(path))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    given = [
        path, Path(path), Path(path).read_bytes(), Image.open(path), array, array[::, ::].astype(np.float32) / 255,
        tensor, tensor.double() / 255, np.dstack([array, np.full((H, W), 255, np.uint8)]),
    ]  # fmt: skip
    found = answers(model.predict(given))
    assert {(r.classes, r.probabilities) for r in found} == {(found[0].classes, found[0].probabilities)}
    assert [r.path for r in found] == [path, path, *(f"picture {i}" for i in range(2, 9))]


def test_one_input_needs_no_list_and_a_stack_is_many(model: Model, pictures: list[str]) -> None:
    array = np.array(Image.open(pictures[0]))
    for one in (pictures[0], Path(pictures[0]), array, Image.open(pictures[0]), torch.from_numpy(array[..., 0])):
        assert len(model.predict(one)) == 1
    assert len(model.predict(np.stack([array] * 3))) == len(model.predict(torch.zeros(3, 3, H, W))) == 3


def test_a_pil_image_is_upright_and_stays_as_it_was(model: Model, pictures: list[str]) -> None:
    image = Image.open(pictures[1])
    assert answers(model.predict(image))[0].probabilities == answers(model.predict(pictures[1]))[0].probabilities
    assert image.size == (W, H) and image.getexif()[0x0112] == 6


def test_transparency_of_an_array_is_over_white(model: Model) -> None:
    clear, white = np.zeros((H, W, 4), np.uint8), np.full((H, W, 3), 255, np.uint8)
    a, b = answers(model.predict([clear, white]))
    assert a.probabilities == b.probabilities


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((H, W, 3), np.int64), "uint8, or fractions"),
        (np.full((H, W, 3), 255.0), "between 0 and 1"),
        (np.full((H, W), np.nan), "between 0 and 1"),
        (np.zeros((3, H, W), np.uint8), "last in an array, first in a tensor"),
        (np.zeros((0, W), np.uint8), "got"),
        ([17], "a int is no picture"),
    ],
)
def test_what_is_no_picture_by_its_kind_is_said(model: Model, given: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.predict(given)


# -- what comes out -------------------------------------------------------------------------------------------------


def test_the_classes_come_best_first_with_probabilities_that_add_up(model: Model, pictures: list[str]) -> None:
    for r in answers(model.predict(pictures)):
        assert sorted(r.classes) == sorted(CLASSES) and sum(r.probabilities) == pytest.approx(1)
        assert list(r.probabilities) == sorted(r.probabilities, reverse=True)
        assert (r.label, r.probability) == (r.classes[0], r.probabilities[0])
    assert [len(r.classes) for r in answers(model.predict(pictures, top=2))] == [2] * 4
    for bad in ({"top": 0}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            model.predict(pictures, **bad)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_results_come_in_order_and_failures_in_their_place(
    model: Model, pictures: list[str], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    inputs = [pictures[0], tmp_path / "text.jpg", *pictures[1:], tmp_path / "gone.png", b"junk", pictures[0]]
    found = model.predict(inputs, batch_size=batch_size)
    assert [isinstance(r, Failure) for r in found] == [False, True, False, False, False, True, True, False]
    assert [r.path for r in found] == [str(i) if not isinstance(i, bytes) else "picture 6" for i in inputs]
    assert found[0] == found[-1]
    reasons = [r.reason for r in found if isinstance(r, Failure)]
    assert reasons[0].startswith("not an image") and reasons[1].startswith("no such file")


def test_a_result_is_one_readable_line(model: Model, tmp_path: Path) -> None:
    assert str(Prediction("a\nb.png", CLASSES[3:], (0.9713,))) == r"'a\nb.png': 'dog, or\nwolf' 97.1 %"
    assert str(Failure("x.png", "an empty file")) == "x.png: an empty file"


def test_a_folder_gives_its_pictures_sorted_however_deep(model: Model, pictures: list[str], tmp_path: Path) -> None:
    deep = tmp_path / "deeper" / "still"
    deep.mkdir(parents=True)
    Image.new("L", (5, 4)).save(deep / "Z.PNG")
    (tmp_path / ".hidden").mkdir()
    Image.new("L", (5, 4)).save(tmp_path / ".hidden" / "x.png")
    (tmp_path / "labels.txt").write_text("not looked at")
    (deep / "loop").symlink_to(tmp_path)
    (tmp_path / "empty").mkdir()
    found = model.predict(tmp_path)
    assert [r.path for r in found if isinstance(r, Prediction)] == [*pictures, str(deep / "Z.PNG")]
    assert [str(r) for r in found if isinstance(r, Failure)] == [f"{deep / 'loop'}: a link to a folder above it"]
    assert [str(r) for r in model.predict(tmp_path / "empty")] == [f"{tmp_path / 'empty'}: no picture in this folder"]


def test_every_picture_of_the_acceptance_folder_is_answered_or_named(model: Model, acceptance: Acceptance) -> None:
    found = {os.path.relpath(r.path, acceptance.root): r for r in model.predict(acceptance.root)}
    assert {name for name, r in found.items() if isinstance(r, Prediction)} == acceptance.good
    failures = {name: r.reason for name, r in found.items() if isinstance(r, Failure)}
    assert failures.keys() <= acceptance.bad.keys()
    assert all(acceptance.bad[name] in reason for name, reason in failures.items())


# -- streaming ------------------------------------------------------------------------------------------------------


def test_a_stream_holds_three_batches_at_most(model: Model) -> None:
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield np.full((H, W, 3), i % 256, np.uint8)

    for given, result in enumerate(itertools.islice(model.stream(source(), batch_size=4), 100), 1):
        assert isinstance(result, Prediction) and result.path == f"picture {given - 1}"
        assert taken - given <= 3 * 4


def test_a_stream_that_is_left_leaves_no_thread_behind(model: Model, pictures: list[str]) -> None:
    before = threading.active_count()
    stream = model.stream(itertools.cycle(pictures), batch_size=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


# -- the model file -------------------------------------------------------------------------------------------------


def saved(path: Path, view: dict[str, object], **changes: object) -> Path:
    torch.manual_seed(0)
    save(path, resnet(ROW).eval(), Header(row=ROW, classes=CLASSES, view=view, **changes))
    return path


def test_a_model_file_needs_nothing_else(pictures: list[str], tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors", CROP.to_json())
    model = predict.load(path, device="cpu")
    assert model.classes == CLASSES and model.view == CROP and not model.net.training
    torch.manual_seed(0)
    again = replace(model_with(resnet(ROW)), engine=model.engine)
    for a, b in zip(answers(model.predict(pictures)), answers(again.predict(pictures)), strict=True):
        assert a.classes == b.classes and a.probabilities == pytest.approx(b.probabilities, abs=1e-6)


def test_a_temperature_softens_and_keeps_the_order(pictures: list[str], tmp_path: Path) -> None:
    cold = predict.load(saved(tmp_path / "a.safetensors", CROP.to_json()), device="cpu")
    warm = predict.load(saved(tmp_path / "b.safetensors", CROP.to_json(), temperature=4.0), device="cpu")
    for a, b in zip(answers(cold.predict(pictures)), answers(warm.predict(pictures)), strict=True):
        assert a.classes == b.classes and a.probability > b.probability


def test_a_file_that_is_no_model_or_has_no_view_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a Residua model file"):
        predict.load(tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="does not say how a picture becomes a tensor"):
        predict.load(saved(tmp_path / "y.safetensors", {}))


# -- files of results -----------------------------------------------------------------------------------------------

RESULTS = [
    Failure("=gone.png", "no such file"),
    Prediction('b,\n"c".png', CLASSES[2:], (0.75, 0.25)),
    Prediction("not text \udcff.png", CLASSES[:2], (0.5, 0.5)),
]


def test_a_csv_of_results_has_a_row_a_picture_and_no_formula(tmp_path: Path) -> None:
    with write(iter(RESULTS), tmp_path / "r.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as f:
        rows = list(csv.reader(f))
    assert rows == [
        ["path", "class_1", "probability_1", "class_2", "probability_2", "problem"],
        ["'=gone.png", "", "", "", "", "no such file"],
        ['b,\n"c".png', "'=cat", "0.75", "dog, or\nwolf", "0.25", ""],
        ["not text \udcff.png", "ant", "0.5", "bee", "0.5", ""],
    ]


def test_a_json_of_results_reads_back_whole(tmp_path: Path) -> None:
    rows = json.loads(write(iter(RESULTS), tmp_path / "r.json").read_text(encoding="utf-8"))
    assert rows == [
        {"path": "=gone.png", "problem": "no such file"},
        {"path": 'b,\n"c".png', "classes": list(CLASSES[2:]), "probabilities": [0.75, 0.25]},
        {"path": "not text \udcff.png", "classes": list(CLASSES[:2]), "probabilities": [0.5, 0.5]},
    ]
    assert json.loads(write([], tmp_path / "none.json").read_text()) == []


def test_a_parquet_of_results_reads_back_whole(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write(iter(RESULTS), tmp_path / "r.parquet"))
    assert table.column_names == ["path", "class_1", "probability_1", "class_2", "probability_2", "problem"]
    assert table["class_1"].to_pylist() == [None, "=cat", "ant"]
    assert table["probability_2"].to_pylist() == [None, 0.25, 0.5]
    assert table["path"].to_pylist()[:2] == ["=gone.png", 'b,\n"c".png']
    assert parquet.read_table(write([RESULTS[0]], tmp_path / "f.parquet")).column_names == ["path", "problem"]


@pytest.mark.parametrize("name", ["r.csv", "r.json", "r.parquet"])
def test_results_are_written_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[predict.Result]:
        yield RESULTS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_or_a_missing_pyarrow_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.json, \.parquet, not to '\.xlsx'"):
        write(RESULTS, tmp_path / "r.xlsx")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'residua\[parquet\]'"):
        write(RESULTS, tmp_path / "r.parquet")


def test_bytes_of_a_picture_need_no_file(model: Model) -> None:
    out = io.BytesIO()
    Image.new("RGB", (9, 5), "red").save(out, "PNG")
    assert answers(model.predict(out.getvalue()))[0].path == "picture 0"


def test_one_picture_is_read_by_the_caller_and_not_copied(monkeypatch):
    net = Recorder()
    model, picture = model_with(net), np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    wanted = model.predict([picture, picture])[0]
    monkeypatch.setattr("residua.predict.model.ThreadPoolExecutor", None)
    (found,) = model.predict(picture)
    assert isinstance(found, Prediction) and isinstance(wanted, Prediction)
    assert found.classes == wanted.classes and torch.equal(net.seen[0][:1], net.seen[1])
    seen = torch.rand(3, 12, 12)
    assert batch_of([seen]).data_ptr() == seen.data_ptr() and torch.equal(batch_of([seen, seen])[1], seen)


def test_arrays_of_any_layout_are_seen_as_the_same_picture():
    model, picture = model_with(Recorder()), np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    for same in (picture, Image.fromarray(picture), tensor, tensor.contiguous(), np.asfortranarray(picture)):
        model.predict(same)
    assert isinstance(model.net, Recorder)
    assert all(torch.equal(x, model.net.seen[0]) for x in model.net.seen) and len(model.net.seen) == 5
