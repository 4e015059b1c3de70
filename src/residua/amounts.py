"""Times and sizes as people write them: ``1h30m``, ``8G``; read and shown.

Ground: any room may import it; it imports `errors` only.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from residua.errors import UsageError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 2**30, "m": 2**20, "g": 2**30, "t": 2**40}


def seconds(text: str, flag: str) -> float:
    """``90s``, ``10m``, ``1h30m`` in seconds; a bare number is minutes. Raises UsageError, which names the flag."""
    words = str(text).strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", words):
        words += "m"
    if not re.fullmatch(r"(\d+(\.\d+)?(d|h|min|m|sec|s))+", words):
        raise UsageError(f"{flag} {text}: give a time such as 90s, 10m or 1h30m")
    parts = re.findall(r"(\d+(?:\.\d+)?)(d|h|m|s)", words)
    if (total := sum(float(n) * SECONDS[unit] for n, unit in parts)) == 0:
        raise UsageError(f"{flag} {text}: give more than nothing")
    return total


def size(text: str, flag: str) -> int:
    """``8G``, ``512M`` (1,024-fold; a bare number is gigabytes) in bytes. Raises UsageError, which names the flag."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mgt]?)(?:i?b)?", str(text).strip().lower().replace(" ", ""))
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{flag} {text}: give an amount of memory such as 8G or 512M")
    return int(float(match[1]) * BYTES[match[2]])


def size_or_off(text: str, flag: str) -> int:
    """As `size`; ``off`` is 0. Raises UsageError, which names the flag."""
    if str(text).strip().lower() == "off":
        return 0
    try:
        return size(text, flag)
    except UsageError:
        raise UsageError(f"{flag} {text}: give a size such as 8G or 512M, or off") from None


def in_numbers(words: Mapping[str, Any], sets: Sequence[str] = ()) -> dict[str, Any]:
    """What a training's options `budget`, `memory` and `cache_size` are in numbers, where they are words; and
    `fixed_length`, if the recipe's words or `sets` say how long a training with a budget is to be.
    """  # fmt: skip
    made: dict[str, Any] = {}
    if isinstance(words.get("budget"), str):
        made["budget"] = seconds(words["budget"], "--budget")
    if isinstance(words.get("memory"), str):
        made["memory"] = size(words["memory"], "--memory")
    if isinstance(words.get("cache_size"), str):
        made["cache_size"] = size_or_off(words["cache_size"], "--cache-size")
    said = [k for k, v in words.items() if v is not None] + [word.partition("=")[0].strip() for word in sets]
    long = words.get("budget") is not None and bool({"epochs", "steps"} & set(said))
    return made | ({"fixed_length": True} if long else {})


def duration(seconds: float) -> str:
    """``75`` as ``1 min 15 s``; a number that is not finite as a dash."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole / 86400:.1f} days"


def gigabytes(n: float) -> str:
    """``3.1 GB``, ``340 MB`` (1,024-fold)."""
    return f"{n / 2**30:.1f} GB" if n >= 2**30 else f"{n / 2**20:.0f} MB"
