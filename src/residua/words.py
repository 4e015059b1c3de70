"""Find what the user meant: the nearest valid words to one that is not.

Ground: any room may import it; it imports `errors` only.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from residua.errors import UsageError


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of the `known` words that resemble `word`, best first: those it begins, those that differ in a
    number only, those spelt alike.
    """  # fmt: skip
    word, by_lower = word.lower(), {k.lower(): k for k in known}
    begun = [k for k in by_lower if len(word) > 2 and k.startswith(word)]
    numbered = sorted((k for k in by_lower if _letters(k) == _letters(word)), key=lambda k: _apart(k, word))
    alike = get_close_matches(word, by_lower, n, cutoff=0.5)
    return [by_lower[m] for m in dict.fromkeys([*begun, *numbered, *alike])][:n]


def _letters(word: str) -> str:
    return re.sub(r"\d+", "#", word)


def _apart(word: str, other: str) -> int:
    """How far the numbers of two words with the same letters are from each other."""
    return sum(abs(int(a) - int(b)) for a, b in zip(*(re.findall(r"\d+", w) for w in (word, other)), strict=True))


def unknown(kind: str, word: str, known: Iterable[str], see: str = "") -> UsageError:
    """The error to raise for a `word` that is not among the `known` ones; `see` names a place to look."""
    known = list(known)
    near = nearest(word, known)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif len(known) <= 12:
        hint = f"known: {', '.join(known)}"
    else:
        hint = ""
    hints = (" " if hint.endswith("?") else "; ").join(h for h in (hint, see) if h)
    return UsageError(f"unknown {kind} '{word}'" + (f": {hints}" if hints else ""))
