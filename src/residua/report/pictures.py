"""Pictures inside the page: small files as data URIs, so that the page stands alone."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

#: Larger files are drawn smaller and as WebP before they go into the page.
KEEP_BYTES, SIDE_PX = 300_000, 1400
#: A sheet of thumbnails is cut up by its cells, so it goes in as it is, or not at all.
SHEET_BYTES = 2_500_000


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


def picture(
    folder: Path, name: str, *, keep_bytes: int = KEEP_BYTES, side_px: int = SIDE_PX, sheet: bool = False
) -> Picture | None:
    """The picture `name` of the run folder; None where it is missing, unreadable or outside the folder.

    One of more than `keep_bytes` is drawn within `side_px`; a `sheet` never is: a too large one is None.
    """
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return None
        raw = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG", "WEBP")) as image:
                image.load()
                kind, (width, height) = str(image.format).lower(), image.size
                if sheet and len(raw) > SHEET_BYTES:
                    return None
                if len(raw) > keep_bytes and not sheet:
                    raw, kind = _smaller(image, side_px), "webp"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Picture(f"data:image/{kind};base64,{base64.b64encode(raw).decode()}", width, height)


def _smaller(image: Image.Image, side_px: int) -> bytes:
    shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
    shown.thumbnail((side_px, side_px))
    out = io.BytesIO()
    shown.save(out, "WEBP", quality=85)
    return out.getvalue()
