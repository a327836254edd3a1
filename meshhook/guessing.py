"""Guesses: which word was meant by somebody who wrote one that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 100


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that may have been meant; None if none is like ``word``.

    To look takes some milliseconds where a thousand are known.
    """
    words = sorted(known)
    close = difflib.get_close_matches(word[:_LONGEST], words, n=1)
    if not close:
        close = [each for each in words if each.casefold() == word.casefold()]
    return close[0] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """Return what an error ends with: ``; did you mean 'circuit_changed'?``, or nothing."""
    near = nearest(word, known)
    return "" if near is None else f"; did you mean {near!r}?"
