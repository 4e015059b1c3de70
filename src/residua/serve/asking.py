"""What a client asks of ``POST /v1/predict``: pictures and words, as a form, as JSON, or as one picture's bytes."""

import asyncio
import base64
import binascii
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from residua.explain import METHODS
from residua.serve.answerer import Wish
from residua.serve.body import document
from residua.serve.limits import Refused
from residua.serve.stack import DepthWish
from residua.words import nearest

#: The words of a request beside its pictures, in its query, its form or its JSON.
WORDS = ("model", "top", "threshold", "explain", "method", "class")
DEPTH_WORDS = ("model", "top", "off", "first", "class", "contributions", "seen")
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


@dataclass(frozen=True, eq=False)
class DepthAsked:
    """A model's name (None: the only one), a picture with its name or what an earlier answer called it, the wish."""

    model: str | None
    name: str | None
    picture: bytes | None
    seen: str | None
    wish: DepthWish


async def asked(request: Request, body: bytes) -> Asked:
    """What a request asks. Raises Refused: 400, or 415 for a kind of body that is not read."""
    words, named = await _said(request, body)
    if not named:
        raise Refused(400, "no picture in the request")
    return Asked(_model(words), tuple(n for n, _ in named), tuple(p for _, p in named), wish(words))


async def _said(request: Request, body: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The words of a request, of its body and its query, and its pictures with their names."""
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
    return words | query, named


def _model(words: Mapping[str, Any]) -> str | None:
    model = words.get("model")
    if model is not None and not isinstance(model, str):
        raise Refused(400, "model is a name")
    return model


def _known(words: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise Refused (400) for a word that is not known."""
    for word in words:
        if word not in known:
            near = nearest(word, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise Refused(400, f"unknown field {word[:80]!r}: {hint}")


def wish(words: Mapping[str, Any]) -> Wish:
    """What is wanted, from words that may come from a query. Raises Refused (400)."""
    _known(words, WORDS)
    usual = Wish()
    method = words.get("method", usual.method)
    if method not in METHODS:
        near = nearest(str(method)[:80], METHODS)
        raise Refused(400, f"unknown method {str(method)[:80]!r}: known are {', '.join(near or METHODS)}")
    return Wish(
        top=_whole("top", words.get("top", usual.top), 1),
        threshold=_share(words.get("threshold")),
        explain=_bool("explain", words.get("explain", False)),
        method=method,
        target=_class(words),
    )


async def depth_asked(request: Request, body: bytes) -> DepthAsked:
    """What a request asks of a net's units. Raises Refused: 400, or 415 for a kind of body that is not read."""
    words, named = await _said(request, body)
    _known(words, DEPTH_WORDS)
    seen = words.get("seen")
    if seen is not None and not (isinstance(seen, str) and re.fullmatch("[0-9a-f]{64}", seen)):
        raise Refused(400, "seen is what an earlier answer said there: 64 signs")
    if len(named) + (seen is not None) != 1:
        raise Refused(400, "one picture is asked about at a time: send it, or say which was seen")
    if words.get("off") is not None and words.get("first") is not None:
        raise Refused(400, "off names the units that do not work, first how many do: say one of them")
    made = DepthWish(
        top=_whole("top", words.get("top", DepthWish.top), 1),
        off=_units(words.get("off")),
        first=None if words.get("first") is None else _whole("first", words["first"], 0),
        target=_class(words),
        contributions=_bool("contributions", words.get("contributions", True)),
    )
    name, picture = named[0] if named else (None, None)
    return DepthAsked(_model(words), name, picture, seen, made)


def _units(value: Any) -> tuple[str, ...]:
    """A list of JSON, or words with commas between them."""
    found = [] if value is None else value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(unit, str) for unit in found):
        raise Refused(400, "off is a list of units")
    return tuple(unit.strip() for unit in found if unit.strip())


def _class(words: Mapping[str, Any]) -> str | None:
    target = words.get("class")
    if target is not None and not isinstance(target, str):
        raise Refused(400, "class is a name")
    return target


def _whole(word: str, value: Any, least: int) -> int:
    text = str(value) if type(value) in (int, str) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 7 and least <= int(text) <= MOST_TOP):
        raise Refused(400, f"{word} is a whole number from {least} to {MOST_TOP:,}")
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


def _bool(word: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in BOOLS:
        raise Refused(400, f"{word} is true or false")
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
    given = words.pop("pictures", [] if "seen" in words else None)
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
