"""A folder of images as users have them: every mode, orientation and accident that Residua promises to handle.

``make_acceptance_folder(path)`` makes it; other rooms' tests may use it through the fixture ``acceptance``.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

ORIENTATION = 0x0112  # EXIF

#: How the rows and columns of an upright picture (H, W, C) are stored under each orientation (EXIF 2.32, 4.6.4).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@dataclass(frozen=True)
class Acceptance:
    """The folder, the names of the pictures that can be used, and of each that cannot a word of the reason."""

    root: Path
    good: frozenset[str]
    bad: dict[str, str]


def picture(height: int = 30, width: int = 40, seed: int = 0) -> Pixels:
    """A picture (H, W, 3) that no flip or rotation leaves as it is: four coloured quarters and a gradient."""
    out = np.empty((height, width, 3), np.uint8)
    colours = np.random.default_rng(seed).integers(0, 256, (2, 2, 3))
    for i, rows in enumerate((slice(0, height // 2), slice(height // 2, height))):
        for j, columns in enumerate((slice(0, width // 2), slice(width // 2, width))):
            out[rows, columns] = colours[i, j]
    out[..., 0] = np.linspace(0, 255, width)
    return out


def save(path: Path, pixels: Pixels, **options: object) -> None:
    """Write a picture, its folder made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def oriented(orientation: int) -> Image.Exif:
    """EXIF data that hold an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG file whose header claims a size, whatever its data hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def make_acceptance_folder(path: Path) -> Acceptance:
    """Classes ants, bees, wasps (empty in val), moths (one picture) in train/ and val/, and all that may go wrong."""
    root = Path(path)
    good = kinds(root) | plain(root)
    bad = broken(root)
    hidden = root / "train" / ".ipynb_checkpoints"
    save(hidden / "ants-checkpoint.png", picture())
    (root / "train" / "ants" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "train" / "bees" / "loop").symlink_to(root / "train")
    return Acceptance(root, frozenset(good), bad | {"train/bees/loop": "above"})


def plain(root: Path) -> set[str]:
    """Ordinary pictures; one in both splits; a class of one; an empty class in val; awkward names."""
    names = [f"train/bees/{i}.png" for i in range(6)] + [f"train/wasps/{i}.jpg" for i in range(5)]
    names += [f"val/ants/{i}.png" for i in range(2)] + ["val/bees/0.png", "train/moths/only.png"]
    names += ["train/wasps/with space.png", 'train/wasps/it\'s "quoted".png', "train/wasps/new\nline.png"]
    names += ["train/wasps/Größe-蜂.png", "val/moths/only.png", "train/wasps/deeper/still/one.png"]
    for i, name in enumerate(names):
        save(root / name, picture(30 + i, 40, seed=i))
    (root / "val" / "bees" / "twin.png").write_bytes((root / "train" / "bees" / "0.png").read_bytes())
    (root / "val" / "wasps").mkdir()
    return {*names, "val/bees/twin.png"}


def kinds(root: Path) -> set[str]:
    """Every kind of picture, all of them in train/ants."""
    ants = root / "train" / "ants"
    rgb = picture()
    for orientation, stored in STORED.items():
        save(ants / f"turned-{orientation}.jpg", np.ascontiguousarray(stored(rgb)), exif=oriented(orientation))
    image = Image.fromarray(rgb)
    image.convert("CMYK").save(ants / "cmyk.jpg")
    palette = image.quantize(8)
    palette.save(ants / "palette.png", transparency=bytes([0, 128, 255, 255, 255, 255, 255, 255]))
    save(ants / "sixteen.png", np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16))
    image.convert("L").save(ants / "grey.png")
    frames = [Image.fromarray(picture(seed=s)) for s in (1, 2)]
    image.save(ants / "moving.gif", save_all=True, append_images=frames)
    image.save(ants / "LOUD.JPG")
    image.save(ants / "modern.webp")
    image.save(ants / "old.tiff")
    image.convert("RGBA").save(ants / "alpha.png")
    save(ants / "panorama.png", picture(20, 8000))
    return {f"train/ants/{p.name}" for p in ants.iterdir()}


def broken(root: Path) -> dict[str, str]:
    """Files that cannot be used, with a word of the reason; an unreadable one only where permissions count."""
    bees = root / "train" / "bees"
    save(bees / "cut.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    whole = (bees / "cut.jpg").read_bytes()
    (bees / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (bees / "nothing.jpg").touch()
    (bees / "text.jpg").write_text("not a picture at all, whatever its name says")
    (bees / "bomb.png").write_bytes(png(40_000, 40_000))
    (bees / "notes.txt").write_text("these are bees")
    (bees / "gone.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(bees / "pipe.jpg")
    bad = {
        "cut.jpg": "truncated",
        "nothing.jpg": "empty",
        "text.jpg": "not an image",
        "bomb.png": "pixels",
        "notes.txt": ".txt",
        "gone.jpg": "no such file",
        "pipe.jpg": "not a regular file",
    }
    (bees / "secret.jpg").write_bytes(whole)
    (bees / "secret.jpg").chmod(0)
    if not os.access(bees / "secret.jpg", os.R_OK):
        bad["secret.jpg"] = "permission"
    else:
        (bees / "secret.jpg").unlink()
    return {f"train/bees/{name}": reason for name, reason in bad.items()}
