"""What a client asks of ``POST /v1/predict``: pictures and words, as a form, as JSON, or as one picture's bytes."""

import asyncio
import base64
import binascii
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from residua.explain import METHODS
from residua.serve.answerer import Wish
from residua.serve.body import document
from residua.serve.limits import Refused
from residua.words import nearest

#: The words of a request beside its pictures, in its query, its form or its JSON.
WORDS = ("model", "top", "threshold", "explain", "method", "class")
BOOLS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
MOST_TOP = 100_000
SOME = 2**18
KINDS = "multipart/form-data, application/json, image/* or application/octet-stream"


@dataclass(frozen=True, eq=False)
class Asked:
    """A model's name (None: the only one), pictures with their names, and what is wanted of them."""

    model: str | None
    names: tuple[str, ...]
    pictures: tuple[bytes, ...]
    wish: Wish


async def asked(request: Request, body: bytes) -> Asked:
    """What a request asks. Raises Refused: 400, or 415 for a kind of body that is not read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        words, named = await _form(request, body)
    elif kind == "application/json":
        words, named = await asyncio.to_thread(_json, body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        words, named = {}, [("picture 0", body)]
    else:
        raise Refused(415, f"content type {kind[:80]!r} is not read: send {KINDS}")
    query = dict(request.query_params)
    if twice := sorted(words.keys() & query.keys()):
        raise Refused(400, f"{twice[0]} stands in the query and in the body: say it once")
    words |= query
    if not named:
        raise Refused(400, "no picture in the request")
    model = words.get("model")
    if model is not None and not isinstance(model, str):
        raise Refused(400, "model is a name")
    return Asked(model, tuple(n for n, _ in named), tuple(p for _, p in named), wish(words))


def wish(words: Mapping[str, Any]) -> Wish:
    """What is wanted, from words that may come from a query. Raises Refused (400)."""
    for word in words:
        if word not in WORDS:
            near = nearest(word, WORDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(WORDS)}"
            raise Refused(400, f"unknown field {word[:80]!r}: {hint}")
    usual = Wish()
    method = words.get("method", usual.method)
    if method not in METHODS:
        near = nearest(str(method)[:80], METHODS)
        raise Refused(400, f"unknown method {str(method)[:80]!r}: known are {', '.join(near or METHODS)}")
    target = words.get("class")
    if target is not None and not isinstance(target, str):
        raise Refused(400, "class is a name")
    return Wish(
        top=_whole(words.get("top", usual.top)),
        threshold=_share(words.get("threshold")),
        explain=_bool(words.get("explain", False)),
        method=method,
        target=target,
    )


def _whole(value: Any) -> int:
    text = str(value) if type(value) in (int, str) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= MOST_TOP):
        raise Refused(400, f"top is a whole number from 1 to {MOST_TOP:,}")
    return int(text)


def _share(value: Any) -> float | None:
    if value is None:
        return None
    try:
        found = float(value) if type(value) in (int, float, str) else -1.0
    except (ValueError, OverflowError):
        found = -1.0
    if not 0 <= found <= 1:
        raise Refused(400, "threshold is a number from 0 to 1")
    return found


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in BOOLS:
        raise Refused(400, "explain is true or false")
    return BOOLS[value.lower()]


# -- bodies ---------------------------------------------------------------------------------------------------------


class _InMemory(MultiPartParser):
    """Files of a form stay in memory: the body is there already, and is no longer than it may be."""

    spool_max_size = sys.maxsize


async def _form(request: Request, body: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Every file of a form, whatever its field is called, and its other fields."""
    try:
        form = await _InMemory(request.headers, _parts(body), max_files=sys.maxsize, max_fields=2 * len(WORDS)).parse()
    except MultiPartException as e:
        raise Refused(400, f"the form cannot be read: {e.message}") from e
    except (KeyError, ValueError, LookupError) as e:
        raise Refused(400, "the form cannot be read") from e
    words: dict[str, Any] = {}
    named: list[tuple[str, bytes]] = []
    try:
        for field, value in form.multi_items():
            if isinstance(value, UploadFile):
                named.append((value.filename or f"picture {len(named)}", value.file.read()))
            elif field in words:
                raise Refused(400, f"{field[:80]!r} stands in the form twice")
            else:
                words[field] = value
    finally:
        await form.close()
    return words, named


async def _parts(body: bytes) -> AsyncGenerator[bytes, None]:
    """The body in parts, others' work between them."""
    for at in range(0, len(body), SOME):
        yield body[at : at + SOME]
        await asyncio.sleep(0)


def _json(body: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The pictures of JSON: base64, or objects of `name` and `data`; and its other words."""
    words = document(body)
    given = words.pop("pictures", None)
    if not isinstance(given, list):
        raise Refused(400, "pictures is a list: of base64, or of objects with name and data")
    named = []
    for i, picture in enumerate(given):
        name, data = f"picture {i}", picture
        if isinstance(picture, dict):
            name, data = picture.get("name", name), picture.get("data")
        if not isinstance(data, str) or not isinstance(name, str):
            raise Refused(400, f"picture {i} is neither base64 nor an object with name and data")
        try:
            named.append((name, base64.b64decode(data, validate=True)))
        except (binascii.Error, ValueError):
            raise Refused(400, f"picture {i} is not base64") from None
    return words, named
