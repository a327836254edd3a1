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

from meshhook import blocks
from meshhook.errors import TimeoutError
from meshhook.settings import Duration, duration
from meshhook.wording import short

_NEVER = float("inf")


class BlockDeadline(float):
    """A deadline that a block has set, and that is in force until the block ends.

    It may be seen after that: by a task that was started in the block, or where a generator was
    that has been closed elsewhere.
    """

    __slots__ = ("_before", "has_ended", "outer")

    _before: float | None
    outer: float | None
    """What is in force when the block has ended."""
    has_ended: bool

    @classmethod
    def begin(cls, latest: float) -> BlockDeadline:
        """Make ``latest`` the deadline of this context, which heeds an earlier one already."""
        made = cls(latest)
        made._before = current.get()
        made.outer = None if latest == _NEVER else made._before
        made.has_ended = False
        current.set(made)
        return made

    def end(self) -> None:
        """Bring back what was in force before the block, if the block is what is in force here."""
        self.has_ended = True
        now = current.get()
        current.set(_without_ended(self._before if now is self else now))


current: ContextVar[float | None] = ContextVar("meshhook_deadline", default=None)
"""The deadline of this context as a reading of ``time.monotonic()``, or None.

It is that of a call, which ends where it began, or a BlockDeadline: see :func:`in_force`.
"""


def in_force(latest: float | None) -> float | None:
    """Return a value of ``current`` as it counts: without blocks that have ended; None for none."""
    latest = _without_ended(latest)
    return None if latest == _NEVER else latest


def _without_ended(latest: float | None) -> float | None:
    while isinstance(latest, BlockDeadline) and latest.has_ended:
        latest = latest.outer
    return latest


def remaining() -> float | None:
    """Return the seconds left until the deadline, 0 or more; None if there is no deadline."""
    latest = in_force(current.get())
    return None if latest is None else max(0.0, latest - time.monotonic())


def check_deadline() -> None:
    """Raise TimeoutError if the deadline has passed."""
    latest = in_force(current.get())
    if latest is not None and time.monotonic() >= latest:
        raise TimeoutError(
            f"the deadline passed {short(time.monotonic() - latest)} s ago; give the work more "
            "time or less to do",
            name="deadline",
        )


def deadline(seconds: Duration | None) -> AbstractContextManager[None]:
    """Set a deadline for the block, in sync and async functions alike.

    An earlier deadline from outside stays in force. Nothing is interrupted: the block is told
    through :func:`remaining` and :func:`check_deadline`, and timeouts inside it end with it.

    With None the block has no deadline, whatever is outside: start in it what is to outlive the
    call that starts it. A task that is started in a block is free of its deadline when the block
    ends, but takes along for good that of a call with a timeout.
    """
    return _Deadline(None if seconds is None else duration("seconds", seconds, zero=True))


class _Deadline:
    """A block with a deadline. No decorator: around an async function it would limit nothing."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"deadline({self._seconds})"

    def __enter__(self) -> None:
        latest = _NEVER
        if self._seconds is not None:
            outer = in_force(current.get())
            latest = time.monotonic() + self._seconds
            latest = latest if outer is None else min(latest, outer)
        blocks.enter(self, BlockDeadline.begin(latest))

    def __exit__(self, *_: object) -> None:
        blocks.leave(self).end()
