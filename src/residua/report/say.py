"""Numbers as people read them: fractions as percent, large counts with a prefix, seconds as a duration."""

import math
from typing import Any

UNKNOWN = "–"

#: Between a number and its unit no line breaks.
JOIN = "\u00a0"


def number(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(fraction: Any, digits: int = 2) -> str:
    """0.0111 -> "1.11 %", with `digits` decimals below 10 % and one less above."""
    value = number(fraction)
    if value is None:
        return UNKNOWN
    if value in (0, 1):
        return f"{100 * value:.0f}{JOIN}%"
    decimals = digits if value < 0.1 else max(0, digits - 1)
    return f"{100 * value:.{decimals}f}{JOIN}%"


def rate(fraction: Any) -> str:
    """0.9 -> "90.0 %": one decimal always, for columns."""
    value = number(fraction)
    return UNKNOWN if value is None else f"{100 * value:.1f}{JOIN}%"


def count(value: Any) -> str:
    """1797 -> "1,797"."""
    n = number(value)
    return UNKNOWN if n is None else f"{n:,.0f}"


def short(value: Any) -> str:
    """41_600_000 -> "41.6 M"."""
    n = number(value)
    if n is None:
        return UNKNOWN
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if n >= size:
            return f"{n / size:.3g}{JOIN}{prefix}"
    return count(n)


def figures(value: Any, digits: int = 3) -> str:
    """A number to `digits` significant figures, without trailing zeros or a needless exponent."""
    n = number(value)
    if n is None:
        return UNKNOWN
    text = f"{n:.{digits}g}"
    return f"{n:,.0f}" if "e+" in text else text


def duration(seconds: Any) -> str:
    """95.2 -> "1 min 35 s"."""
    n = number(seconds)
    if n is None:
        return UNKNOWN
    if n < 60:
        return f"{n:.1f}{JOIN}s" if n < 10 else f"{n:.0f}{JOIN}s"
    minutes, rest = divmod(round(n), 60)
    if minutes < 60:
        return f"{minutes}{JOIN}min {rest:02d}{JOIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{JOIN}h {minutes:02d}{JOIN}min"


def plural(n: Any, noun: str, many: str = "") -> str:
    """(1, "image") -> "1 image"; (3, "class", "classes") -> "3 classes"."""
    return f"{count(n)} {noun if n == 1 else many or noun + 's'}"


def label(text: Any) -> str:
    """A class name or path on one line: control characters are shown as escapes."""
    return "".join(c if c.isprintable() or c == JOIN else c.encode("unicode_escape").decode() for c in str(text))
