"""Find what the user meant: the nearest valid words to one that is not.

Ground: any room may import it; it imports `errors` only.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from residua.errors import UsageError


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of the `known` words that resemble `word`, best first."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[m] for m in get_close_matches(word.lower(), by_lower, n, cutoff=0.5)]


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
    hints = "; ".join(h for h in (hint, see) if h)
    return UsageError(f"unknown {kind} '{word}'" + (f": {hints}" if hints else ""))
