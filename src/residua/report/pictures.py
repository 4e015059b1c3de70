"""Pictures inside the page: small files as data URIs, so that the page stands alone."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

#: Larger files are drawn smaller and as WebP before they go into the page.
KEEP_BYTES, SIDE_PX = 300_000, 1400


@dataclass(frozen=True)
class Picture:
    """A data URI with the picture's size; `tiny` ones are shown with hard pixels."""

    uri: str
    width: int
    height: int

    @property
    def tiny(self) -> bool:
        """Whether enlarging would blur what there is to see."""
        return max(self.width, self.height) <= 48


def picture(folder: Path, name: str) -> Picture | None:
    """The picture `name` of the run folder; None where it is missing, unreadable or outside the folder."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return None
        raw = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG")) as image:
                image.load()
                kind, (width, height) = str(image.format).lower(), image.size
                if len(raw) > KEEP_BYTES:
                    raw, kind = _smaller(image), "webp"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Picture(f"data:image/{kind};base64,{base64.b64encode(raw).decode()}", width, height)


def _smaller(image: Image.Image) -> bytes:
    shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
    shown.thumbnail((SIDE_PX, SIDE_PX))
    out = io.BytesIO()
    shown.save(out, "WEBP", quality=85)
    return out.getvalue()
