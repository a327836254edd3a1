"""What the last error of a retried call tells of the attempts before it.

It is the error of the last attempt itself, with a note, and with the earlier errors in an attribute
that stays out of pickles. The earlier ones lose their tracebacks: those would keep alive all that
the failed attempts were working on. Everything is written past ``__setattr__``, which may refuse.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from meshhook.tracebacks import set_traceback

KEPT = 10
"""How many earlier errors are kept at most: the latest ones."""
_ATTRIBUTE = "__meshhook__"


class _History:
    """The earlier errors; None stands for the error that has the history, which would be a ring."""

    __slots__ = ("errors", "note")

    def __init__(self, errors: tuple[Exception | None, ...], note: str) -> None:
        self.errors = errors
        self.note = note

    def __reduce__(self) -> tuple[Any, ...]:
        return _History, ((), self.note)


def attempts_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors of all attempts of the call that ended with ``error``, which is the last.

    Of many attempts the last eleven. Earlier errors have no tracebacks. After a call that was not
    retried, or that came out of a pickle, it is ``error`` alone; of nested retries, those of the
    outermost. Attempts whose result was refused have no error.
    """
    history = getattr(error, _ATTRIBUTE, None)
    earlier = history.errors if isinstance(history, _History) else ()
    return (*(error if each is None else each for each in earlier), error)


def remember(error: Exception, earlier: Iterable[Exception], note: str) -> None:
    """Give ``error`` its note and the errors before it; in place of those of an earlier end."""
    with contextlib.suppress(Exception):  # an exception that has a __dict__ of its own making
        fields = vars(error)
        notes = fields.setdefault("__notes__", [])
        before = fields.get(_ATTRIBUTE)
        if isinstance(before, _History) and before.note in notes:
            notes.remove(before.note)
        notes.append(note)
        errors = tuple(None if each is error else each for each in earlier)
        fields[_ATTRIBUTE] = _History(errors, note)


def without_frame(error: Exception) -> None:
    """Take the outermost frame out of the traceback of ``error``: that of a driver."""
    traceback = error.__traceback__
    set_traceback(error, None if traceback is None else traceback.tb_next)
