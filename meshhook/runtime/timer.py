"""The shared timer of asyncio: many calls under one limit, one timer of the loop.

Calls that start one after the other under one limit end their time in that order too, so the loop
needs a timer for the first of them only. A call whose time ends out of order (it has what is left
of an outer deadline) gets a timer of its own.

A :class:`Timer` belongs to one event loop and is used on its thread alone. It is kept alive by the
calls that it watches and by the loop while it is armed, and by nothing else: a loop that is closed
with calls in flight leaves nothing behind. Nothing here touches a loop before a call is made on it.
"""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import Any, TypeAlias

from meshhook import forks

ASKING_IS_DEAR = sys.version_info < (3, 12)
"""Whether it takes a system call to find the loop that is running."""

_NEVER = float("inf")
_process = object()
"""Another one in a forked child: there the parent's loop seems to run on."""


class Entry:
    """One call that may run until ``when``, a reading of the clock of its loop."""

    __slots__ = ("_cancelling", "_handle", "_task", "_timer", "fired", "when")

    def __init__(self, timer: Timer, task: asyncio.Task[Any], when: float) -> None:
        self._timer = timer
        self._task = task
        self.when = when
        self._handle: asyncio.TimerHandle | None = None
        self._cancelling = task.cancelling()
        if self._cancelling and getattr(task, "_must_cancel", False):
            # Asked for since the call began, for it runs up to its first suspension unwatched.
            self._cancelling -= 1
        self.fired = False

    def fire(self) -> None:
        """Cancel the task: its time is up."""
        self.fired = True
        self._task.cancel()

    def fire_alone(self) -> None:
        """Have a timer of the loop for this entry alone."""
        self._handle = self._timer.loop.call_at(self.when, self.fire)

    def end(self) -> bool:
        """Withdraw the entry; call it once. Tell whether its cancellation is the only one.

        False means that it never fired, or that somebody else has cancelled the task as well.
        """
        if self.fired:
            return self._task.uncancel() <= self._cancelling
        if self._handle is None:
            self._timer.live.pop(self, None)
        else:
            self._handle.cancel()
        return False


class Timer:
    """The calls of one limit on one loop, in the order in which their time ends."""

    __slots__ = (
        "__weakref__",
        "_is_monotonic",
        "latest",
        "live",
        "loop",
        "process",
        "rings_at",
        "thread",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = get_ident()
        self.process = _process
        self._is_monotonic = type(loop).time is asyncio.BaseEventLoop.time
        self.live: dict[Entry, None] = {}
        self.latest = -_NEVER
        self.rings_at = _NEVER

    def when(
        self,
        began: float,
        latest: float,
        # Captured on purpose, to tell a frozen clock from it.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> float:
        """Return ``latest`` as the clock of the loop has it, which keeps real time in any case."""
        if self._is_monotonic and time.monotonic is monotonic:
            return latest
        return self.loop.time() + (latest - max(time.monotonic(), began))

    def ring_at(self, when: float) -> None:
        """Ring at that moment. To be called only if the timer is to ring never."""
        self.rings_at = when
        self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        """Fire what is due and wait for the next one, if there is a next one."""
        # A loop may ring a little early, by the resolution of its clock.
        now = max(self.loop.time(), self.rings_at)
        self.rings_at = _NEVER
        due = []
        for entry in self.live:
            if entry.when > now:
                self.ring_at(entry.when)
                break
            due.append(entry)
        for entry in due:
            del self.live[entry]
            entry.fire()


_ByLoop: TypeAlias = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Timer]]


class Timers:
    """The timers of one limit, one for each event loop that it is used on."""

    __slots__ = ("_by_loop", "_recent")

    def __init__(self) -> None:
        self._by_loop: _ByLoop | None = None  # made when first needed: few functions are async
        self._recent: Callable[[], Timer | None] = _nothing

    def start(self, began: float, latest: float) -> Entry:
        """Watch the running task from ``began`` to ``latest``, both of ``time.monotonic()``."""
        timer: Any = self._recent()
        task = None
        if (
            ASKING_IS_DEAR
            and timer is not None
            and timer.thread == get_ident()
            and timer.process is _process
        ):
            task = asyncio.current_task(timer.loop)
        if task is None:
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a timeout needs a running task: await it inside a coroutine")
            loop = task.get_loop()
            if timer is None or timer.loop is not loop:
                timer = self._timer_of(loop)
        when = timer.when(began, latest)
        entry = Entry(timer, task, when)
        if when < timer.latest:
            entry.fire_alone()
            return entry
        timer.latest = when
        timer.live[entry] = None
        if timer.rings_at == _NEVER:
            timer.ring_at(when)
        return entry

    def _timer_of(self, loop: asyncio.AbstractEventLoop) -> Timer:
        if self._by_loop is None:
            # Another thread may do so too at this moment; then its first timer is not found again.
            self._by_loop = weakref.WeakKeyDictionary()
        known = self._by_loop.get(loop)
        timer = None if known is None else known()
        if timer is None:
            timer = Timer(loop)
            self._by_loop[loop] = weakref.ref(timer)
        self._recent = weakref.ref(timer)
        return timer


def _nothing() -> None:
    """Be a reference to nothing."""


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Make a coroutine of any awaitable."""
    return await awaitable


def _after_fork_in_child() -> None:
    global _process  # noqa: PLW0603 - what timers of the parent compare with
    _process = object()


forks.after_in_child(_after_fork_in_child)
