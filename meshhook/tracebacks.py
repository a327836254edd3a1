"""Tracebacks: what they show of policies, which is one frame for each.

What belongs to an exception is set past its ``__setattr__``, which may refuse: that of a frozen
dataclass does.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

_context: Any = vars(BaseException)["__context__"]


def set_traceback(exc: BaseException, traceback: TracebackType | None) -> None:
    """Set the traceback of ``exc``."""
    BaseException.with_traceback(exc, traceback)


def set_context(exc: BaseException, context: BaseException | None) -> None:
    """Set what ``exc`` was raised in the handling of."""
    _context.__set__(exc, context)


def hide_this_frame(exc: BaseException) -> None:
    """Take the frame that has caught ``exc`` out of its traceback.

    For the second function of a driver, before it raises ``exc`` once more with a bare ``raise``:
    the traceback of a stack then names each policy once. A frame that raised it stays.
    """
    here = exc.__traceback__
    if here is not None and here.tb_next is not None:
        set_traceback(exc, here.tb_next)


def hide_steps(exc: BaseException) -> None:
    """Take the frames of a policy that come after the one which has caught ``exc`` out likewise.

    A stream has several for each item. One that raised it stays.
    """
    here = exc.__traceback__
    after = None if here is None else here.tb_next
    while after is not None and _is_step(after):
        after = after.tb_next
    if here is not None and after is not None:
        here.tb_next = after


def _is_step(traceback: TracebackType) -> bool:
    return str(traceback.tb_frame.f_globals.get("__name__")).startswith("meshhook.policies.")
