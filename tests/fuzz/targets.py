"""What bytes from anywhere go through: each target reads them as a user's file, and has small valid ones to begin with.

The law of all of them: a value, or a ResiduaError of one line. What a target needs on disk lies in a folder of its own.
"""

import csv
import io
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from residua.boxes.dataset import dataset_of as boxes_of
from residua.boxes.sources import listed as listed_boxes
from residua.data import decode
from residua.data.scan import look_at_all
from residua.data.table import list_table
from residua.errors import ResiduaError
from residua.nn import checkpoint, modelfile
from residua.nn.zoo import build, find
from residua.training.recipe import recipe
from residua.training.run import read_config

#: Pictures of more pixels than this are refused while bytes are tried: a million large ones would take days.
PIXELS = 2**20


@dataclass(frozen=True)
class Target:
    """A reader of bytes; small valid files; how a file of it is called."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


@cache
def place() -> Path:
    """A folder of this process's own, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="residua-fuzz-", dir=memory if memory.is_dir() else None))


def tidy() -> None:
    """Away with the folder."""
    shutil.rmtree(place(), ignore_errors=True)


def kept(name: str, data: bytes) -> Path:
    """A file with these bytes."""
    path = place() / name
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def law(name: str, data: bytes) -> bool:
    """Read the bytes by a target; whether they were taken. A refusal is one line; anything else is raised."""
    try:
        TARGETS[name].read(data)
    except ResiduaError as e:
        line = str(e)
        assert line and "\n" not in line and "\r" not in line, line
        return False
    return True


#: What readers stumble over, put into files as it is.
WORDS = (
    b"9" * 20, b"9" * 400, b"9" * 5000, b"1e999", b"-1e999", b"-1", b"0.5", b"NaN", b"Infinity", b"inf",
    b"nan",     b"null", b"true", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"[", b"{", b"[[[[",
    b'{"a":', b'"', b"'",     b"\n", b"\r\n", b",", b";", b"\t", b"\x1b]0;x\x07", "\u202e".encode(), b"../../",
    b"/dev/zero", b"a" * 300, b"&b;",     b"<!ENTITY b 'c'>", b"<a>", b"*a", b"&a ", b"<<: ",
    b"!!python/object:os.system ", b"[recipe]\n", b"name", b"id",     b"bbox", b"names", b"path", b"label",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01", b"IHDR", b"zTXt",     b"iCCP", b"PLTE", b"\xff\xda",
    b"RIFF", b"PK\x01\x02",
)  # fmt: skip


# -- pictures -------------------------------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    """One small picture of each kind that is read."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = 6
    deep = Image.fromarray(np.linspace(0, 65535, 108).reshape(9, 12).astype(np.uint16))
    clear, few = rgb.convert("RGBA"), rgb.quantize(8)
    made = [
        (rgb, "JPEG", {"exif": exif}), (rgb, "JPEG", {"progressive": True}), (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("L"), "JPEG", {}), (rgb, "PNG", {"icc_profile": b"\0" * 200}), (deep, "PNG", {}),
        (few, "PNG", {"transparency": 1}), (clear, "PNG", {"exif": exif}), (rgb.convert("1"), "PNG", {}),
        (few, "GIF", {"save_all": True, "append_images": [few.rotate(90)]}), (rgb, "WEBP", {}),
        (clear, "WEBP", {"lossless": True, "save_all": True, "append_images": [clear]}), (rgb, "AVIF", {}),
        (rgb, "TIFF", {"exif": exif}), (rgb, "TIFF", {"compression": "tiff_lzw"}), (deep, "TIFF", {}),
        (rgb, "TIFF", {"compression": "jpeg"}), (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        (clear, "TIFF", {"compression": "tiff_adobe_deflate"}), (rgb, "BMP", {}), (few, "BMP", {}), (rgb, "DIB", {}),
        (rgb, "PPM", {}), (rgb, "JPEG2000", {}), (rgb, "MPO", {"save_all": True, "append_images": [rgb]}),
    ]  # fmt: skip
    return [saved(image, kind, **words) for image, kind, words in made]


def saved(image: Image.Image, kind: str, **words: object) -> bytes:
    """The bytes of a picture in a format."""
    out = io.BytesIO()
    image.save(out, kind, **words)
    return out.getvalue()


def decoded(data: bytes) -> None:
    """Decode, at full size and reduced."""
    with patch.object(decode, "MAX_PIXELS", PIXELS):
        pixels = decode.decode(data)
        assert pixels.dtype == torch.uint8 and len(pixels) == 3 and 0 not in pixels.shape
        decode.reduced(data, "L", 4)


def scanned(data: bytes) -> None:
    """A file as listing and checking look at it: one is refused by both or by none."""
    path = str(kept("picture.jpg", data))
    with patch.object(decode, "MAX_PIXELS", PIXELS):
        (header,), seen = decode.inspect([path]), look_at_all([path], 0, 1)
        decode.orientation(path)
    if isinstance(header, decode.BadPicture) and 0 not in seen.reasons:
        raise AssertionError(f"refused by inspect alone: {header}")


# -- models and checkpoints -----------------------------------------------------------------------------------------


@cache
def model() -> bytes:
    """A small model file."""
    row = find("cifar_resnet8")
    header = modelfile.Header(row=row, classes=tuple(map(str, range(row.classes))), view={"side_px": 8, "mean": [0.5]})
    path = place() / "seed.safetensors"
    modelfile.save(path, build(row), header, overwrite=True)
    return path.read_bytes()


def parts() -> tuple[dict, dict, bytes]:
    """Words, index and numbers of the small model file."""
    blob = model()
    start = 8 + int.from_bytes(blob[:8], "little")
    index = json.loads(blob[8:start])
    words = json.loads(index.pop("__metadata__")["residua"])
    del words["checksum"]
    return words, index, blob[start:]


def models() -> list[bytes]:
    """A whole model file's beginning: the numbers do not matter, and files that are short are tried more often."""
    return [model()[: 8 + int.from_bytes(model()[:8], "little")], model()[:64]]


def opened_model(data: bytes) -> None:
    """A file as a model."""
    path = kept("model.safetensors", data)
    modelfile.task_of(path)
    modelfile.read_header(path)
    modelfile.load(path)


def words() -> list[bytes]:
    """The words of a model's header as text."""
    return [json.dumps(parts()[0]).encode()]


def sealed_model(data: bytes) -> None:
    """A model file whose words are these, with a checksum that agrees wherever they are JSON."""
    text = data.decode("utf-8", "replace")
    _, index, numbers = parts()
    with suppress(ValueError, TypeError, RecursionError):
        given = json.loads(text)
        if isinstance(given, dict):
            given.pop("checksum", None)
            text = json.dumps(given | {"checksum": modelfile.checksum(given, index, memoryview(numbers))})
    head = json.dumps({"__metadata__": {"residua": text}, **index}).encode()
    opened_model(len(head).to_bytes(8, "little") + head + numbers)


def checkpoints() -> list[bytes]:
    """Other people's files: torch's two formats, safetensors, a bare pickle."""
    state = {"conv1.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}
    found = []
    for new in (True, False):
        out = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, out, _use_new_zipfile_serialization=new)
        found.append(out.getvalue())
    from safetensors.torch import save

    return [*found, save(state), pickle.dumps({"a": [1, 2.0, "x"]}, protocol=2)]


def opened_checkpoint(data: bytes) -> None:
    """A file as a checkpoint."""
    checkpoint.read_checkpoint(kept("x.pth", data))


# -- recipes, annotations, tables -----------------------------------------------------------------------------------

BESIDE = {"classes.txt": b"cat\ndog\n", "labels/x.txt": b"0 0.5 0.5 0.25 0.5\n"}
TOML = [
    b'base = "quick"\nlr = 0.1\nepochs = 3\naugment = ["flip", "pad-crop:4"]\n',
    b'[recipe]\nbatch_size = 32\nlr = 1e-2\nsteps = 100\nbetas = [0.9, 0.99]\nema = 0.999\nname = "x"\n',
    b'base = "recipe.toml"\ndrops = [0.5, 0.75]\nschedule = "step"\n',
]
VOC = [
    b"<annotation><filename>x.png</filename><size><width>12</width><height>9</height></size><object><name>cat</name>"
    b"<difficult>0</difficult><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>8</xmax><ymax>7</ymax></bndbox></object>"
    b"</annotation>",
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]><annotation><object><name>&c;</name>'
    b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>",
]
COCO = [
    json.dumps(
        {
            "images": [{"id": 1, "file_name": "x.png", "width": 12, "height": 9}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 5, 4.5], "iscrowd": 0}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        }
    ).encode()
]  # fmt: skip
YOLO = [b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.1 0.1 0.2 0.3\n"]
YAML = [
    b"names: ['cat', 'dog']\nnc: 2\n", b"names:\n  0: cat\n  1: dog\ntrain: ../images\n",
    b"a: &a [x, y]\nnames: [*a, *a]\n", b"names: [2020-01-01, 0x1F, 1:30, !!str 5, 1e3, null]\n",
]  # fmt: skip
BOXES = [
    b"path,class,xmin,ymin,xmax,ymax,split\nx.png,cat,1,1,5,5,train\nx.png,dog,2,2,8,8,train\n",
    b"filename;label;x1;y1;x2;y2\nx.png;cat;1;1;5;5\n",
]
TABLE = [
    b"path,label,split,group\na.png,ant,train,1\nb.png,bee,val,2\na.png,ant,train,1\n",
    b'file\tclass\n"a\n.png"\tant\nb.png\tbee\n',
    b"\xef\xbb\xbfimage;target\r\n../x.png;=1+1\r\n",
]


def toml_recipe(data: bytes) -> None:
    """A file as a recipe, and as a run's options."""
    path = kept("recipe.toml", data)
    try:
        recipe(str(path))
    finally:
        shutil.copy(path, place() / "config.toml")
        read_config(place())


def annotated(name: str, data: bytes, *others: str) -> None:
    """A file among pictures, as annotations of boxes, and the data set of it."""
    root = kept(name, data).parents[len(Path(name).parts) - 2]
    for other in others:
        if not (root / other).exists():
            (root / other).parent.mkdir(parents=True, exist_ok=True)
            (root / other).write_bytes(BESIDE.get(other) or pictures()[4])
    boxes_of(listed_boxes(str(place() / name if name.endswith((".json", ".csv")) else root)))


def voc(data: bytes) -> None:
    """One XML file of a picture."""
    annotated("voc/Annotations/x.xml", data, "JPEGImages/x.png")


def coco(data: bytes) -> None:
    """One JSON file."""
    annotated("coco/train.json", data, "x.png")


def yolo(data: bytes) -> None:
    """One text file of a picture."""
    annotated("yolo/labels/x.txt", data, "images/x.png", "classes.txt")


def yolo_names(data: bytes) -> None:
    """The names of the classes."""
    annotated("named/data.yaml", data, "images/x.png", "labels/x.txt")


def box_table(data: bytes) -> None:
    """A table of boxes."""
    annotated("table/boxes.csv", data, "x.png")


def table(data: bytes) -> None:
    """A table of files and labels."""
    list_table(str(kept("table.csv", data)))


def parquets() -> list[bytes]:
    """The tables as Parquet files."""
    from pyarrow import parquet, table

    rows = [dict(r) for r in csv.DictReader(TABLE[0].decode().splitlines())]
    out = io.BytesIO()
    parquet.write_table(table({k: [r[k] for r in rows] for k in rows[0]}), out, compression="none")
    return [out.getvalue()]


def parquet_table(data: bytes) -> None:
    """A Parquet table of files and labels."""
    list_table(str(kept("table.parquet", data)))


TARGETS: Mapping[str, Target] = {
    "decode": Target(decoded, pictures),
    "scan": Target(scanned, pictures),
    "model": Target(opened_model, models),
    "words": Target(sealed_model, words),
    "checkpoint": Target(opened_checkpoint, checkpoints),
    "recipe": Target(toml_recipe, lambda: TOML),
    "voc": Target(voc, lambda: VOC),
    "coco": Target(coco, lambda: COCO),
    "yolo": Target(yolo, lambda: YOLO),
    "yolo-names": Target(yolo_names, lambda: YAML),
    "box-table": Target(box_table, lambda: BOXES),
    "table": Target(table, lambda: TABLE),
    "parquet": Target(parquet_table, parquets),
}  # fmt: skip
