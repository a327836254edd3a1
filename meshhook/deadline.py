"""The deadline: the latest moment at which the work of this context may end.

It lives in a context variable, so it follows a call into tasks and, with a copied context, into
threads. Nested limits take the earliest. Setting a deadline interrupts nothing by itself: what
waits in meshhook ends at it, and a function can ask :func:`remaining` or call
:func:`check_deadline`.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from contextvars import ContextVar

from meshhook.errors import TimeoutError
from meshhook.settings import Duration, duration

current: ContextVar[float | None] = ContextVar("meshhook_deadline", default=None)
"""The deadline of this context as a reading of ``time.monotonic()``, or None."""

_outer: ContextVar[tuple[float | None, ...]] = ContextVar("meshhook_outer_deadlines", default=())
"""What was the deadline outside of each block around here, the innermost first.

In the context and not in the block, so that tasks and threads may enter the same one.
"""


def remaining() -> float | None:
    """Return the seconds left until the deadline, 0 or more; None if there is no deadline."""
    latest = current.get()
    return None if latest is None else max(0.0, latest - time.monotonic())


def check_deadline() -> None:
    """Raise TimeoutError if the deadline has passed."""
    latest = current.get()
    if latest is not None and time.monotonic() >= latest:
        raise TimeoutError(
            f"the deadline passed {time.monotonic() - latest:.3g} s ago; give the work more time "
            "or less to do",
            name="deadline",
        )


def deadline(seconds: Duration) -> AbstractContextManager[None]:
    """Set a deadline for the block, in sync and async functions alike.

    An earlier deadline from outside stays in force. Nothing is interrupted: the block is told
    through :func:`remaining` and :func:`check_deadline`, and timeouts inside it end with it.
    """
    return _Deadline(duration("seconds", seconds, zero=True))


class _Deadline:
    """A block with a deadline. No decorator: around an async function it would limit nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        latest = time.monotonic() + self._seconds
        outer = current.get()
        _outer.set((outer, *_outer.get()))
        current.set(latest if outer is None else min(latest, outer))

    def __exit__(self, *_: object) -> None:
        outer, *rest = _outer.get()
        current.set(outer)
        _outer.set(tuple(rest))
