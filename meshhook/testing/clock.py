"""A clock for tests: time passes when the test says so, or when whoever sleeps would wait.

While a :class:`FakeClock` is open, ``time.monotonic`` and ``time.time`` show its time, and pauses
of policies and ``time.sleep`` wait on it. Event loops keep real time, except those of
:meth:`FakeClock.run`, whose timers are on the clock as well.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar

from meshhook.runtime import pauses
from meshhook.testing.loop import VirtualLoop
from meshhook.testing.sleeping import sleep_by
from meshhook.testing.whole import import_everything

T = TypeVar("T")

_NANO = 1_000_000_000
_TURNS = 100
"""For how many turns of a loop its tasks may be busy before time goes on regardless."""
_QUIET = 3
"""After how many turns with nothing to do all tasks are waiting; in one of them the loop has looked
for what came in from outside."""
_REAL = (time.monotonic,)
"""In a tuple, where freezegun does not find it."""
_numbers = itertools.count()


class _Sleeper:
    """Whoever sleeps until ``due``; of two that are due together the first is woken first."""

    __slots__ = ("due", "number", "wake")

    def __init__(self, due: int, wake: Callable[[], object]) -> None:
        self.due = due
        self.number = next(_numbers)
        self.wake = wake

    def __lt__(self, other: _Sleeper) -> bool:
        return (self.due, self.number) < (other.due, other.number)


class FakeClock:
    """A clock that stands still until it is moved, for sync and async calls: ``with`` it.

    With ``auto=True`` a sleep moves it: a sync one at once, an async one when no other task of its
    loop has anything to do. That suits a test of one thread. With ``auto=False`` whoever sleeps
    does so until the test calls :meth:`tick`, or awaits :meth:`advance`.

    Time is counted in whole nanoseconds. It begins at that of the real clock, in whole seconds, so
    that what is there already goes on. ``tick`` and what asks for the time may be used from any
    thread. One clock may be open in a process at a time.
    """

    def __init__(self, *, auto: bool = True) -> None:
        self.auto = auto
        self._began = math.ceil(_REAL[0]()) * _NANO
        self._wall = time.time_ns()
        self._elapsed = 0  # guarded by _changed, as what follows
        self._sleepers: list[_Sleeper] = []
        self._driven: set[asyncio.AbstractEventLoop] = set()
        # Reentrant inside: a coroutine that is thrown away ends wherever the collector runs.
        self._changed = threading.Condition(threading.RLock())
        self._open: contextlib.ExitStack | None = None

    def __repr__(self) -> str:
        return f"<FakeClock at {self.elapsed:g} s, {self.sleeping} sleeping>"

    @property
    def elapsed(self) -> float:
        """How many seconds have passed on the clock."""
        return self._elapsed / _NANO

    @property
    def sleeping(self) -> int:
        """How many threads and tasks sleep on the clock; tasks of its own loops do not count."""
        return len(self._sleepers)

    def monotonic(self) -> float:
        """Return what ``time.monotonic()`` shows."""
        return (self._began + self._elapsed) / _NANO

    def time(self) -> float:
        """Return what ``time.time()`` shows."""
        return (self._wall + self._elapsed) / _NANO

    def __enter__(self) -> Self:
        if time.monotonic is not _REAL[0]:
            raise RuntimeError("time.monotonic is replaced already: end the other clock first")
        import_everything()
        with contextlib.ExitStack() as undo:
            for owner, name, value in (
                (time, "monotonic", self.monotonic),
                (time, "monotonic_ns", lambda: self._began + self._elapsed),
                (time, "time", self.time),
                (time, "time_ns", lambda: self._wall + self._elapsed),
                (time, "sleep", self._sleep),
                *((kind, "time", _real_time) for kind in _loops(asyncio.BaseEventLoop)),
            ):
                undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
            undo.enter_context(sleep_by(self._sleep, self._sleep_async))
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()
        with self._changed:
            sleepers, self._sleepers[:] = self._sleepers.copy(), []
        for sleeper in sleepers:
            sleeper.wake()

    def tick(self, seconds: float) -> None:
        """Let time pass, and wake whoever is due by then, in that order.

        The threads go on by themselves: one that goes to sleep again meanwhile does so from
        wherever the clock is by then. Use :meth:`advance` for tasks.
        """
        with self._changed:
            self._move_to(self._elapsed + _nanoseconds(seconds))

    async def advance(self, seconds: float) -> None:
        """Let time pass for tasks: each of them wakes when it is due, and goes on before others do.

        The tasks of this loop come to rest before the clock moves, and again when it has moved.
        """
        until = self._elapsed + _nanoseconds(seconds)
        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            await self._sleep_async(seconds)
        await _rest()
        while (due := self._next_due()) is not None and due <= until:
            self._move_to(due)
            await _rest()
        self._move_to(until)
        await _rest()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine as ``asyncio.run`` does, in a loop whose timers are on the clock.

        When no task has anything to do, time goes on to the next timer at once: ``asyncio.sleep``,
        timeouts and whatever waits with a limit take no real time. Work that a thread does for the
        loop takes no time on the clock.
        """
        with asyncio.Runner(loop_factory=self.new_event_loop) as runner:
            return runner.run(main)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop whose timers are on the clock, to be used while it is open."""
        if self._open is None:
            raise RuntimeError("the clock is not open: use it inside of `with clock:`")
        return VirtualLoop(self)

    def wait_until_asleep(self, count: int = 1, *, within: float = 5.0) -> None:
        """Wait until that many threads and tasks sleep, before the clock is moved.

        Raises:
            AssertionError: if they do not within so many seconds of real time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.sleeping >= count, within):
                raise AssertionError(f"{self.sleeping} of {count} sleep after {within:g} s")

    def until_next(self) -> float | None:
        """Return in how many seconds the next of those that sleep is due; None if none does."""
        due = self._next_due()
        return None if due is None else max(0, due - self._elapsed) / _NANO

    def _next_due(self) -> int | None:
        with self._changed:
            return self._sleepers[0].due if self._sleepers else None

    def _move_to(self, moment: int) -> None:
        with self._changed:
            while self._sleepers and self._sleepers[0].due <= moment:
                sleeper = self._sleepers.pop(0)
                self._elapsed = max(self._elapsed, sleeper.due)
                sleeper.wake()  # which waits for nobody
            self._elapsed = max(self._elapsed, moment)

    @contextlib.contextmanager
    def _asleep(self, seconds: float, wake: Callable[[], object]) -> Iterator[None]:
        sleeper = _Sleeper(self._elapsed + _nanoseconds(seconds), wake)
        with self._changed:
            bisect.insort(self._sleepers, sleeper)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._sleepers[:] = [each for each in self._sleepers if each is not sleeper]

    def _sleep(self, seconds: float) -> bool:
        """Sleep in this thread; False if it was woken because the process shuts down."""
        if self.auto:
            self.tick(max(0.0, seconds))
        elif seconds > 0 and not pauses.is_shut_down():
            gate = threading.Lock()
            gate.acquire()
            # Among the others, so that `shutdown` opens it.
            pauses._sleepers.add(gate)
            try:
                with self._asleep(seconds, lambda: pauses._open(gate)):
                    gate.acquire()
            finally:
                pauses._sleepers.discard(gate)
        return not pauses.is_shut_down()

    async def _sleep_async(self, seconds: float) -> None:
        """Sleep in this task."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def set_woken() -> None:
            if not woken.done():
                woken.set_result(None)

        if isinstance(loop, VirtualLoop):
            timer = loop.call_later(max(0.0, seconds), set_woken)
            try:
                await woken
            finally:
                timer.cancel()
            return

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its tasks with it
                loop.call_soon_threadsafe(set_woken)

        with self._asleep(max(0.0, seconds), wake):
            if self.auto and loop not in self._driven:
                self._driven.add(loop)
                self._drive(loop, 0)
            await woken

    def _drive(self, loop: asyncio.AbstractEventLoop, quiet: int) -> None:
        """Move the clock to the next sleeper when nothing else is to be done on the loop."""
        if not self._sleepers:
            self._driven.discard(loop)
            return
        quiet = 0 if _is_busy(loop) else quiet + 1
        if quiet >= _QUIET:
            self._move_to(self._sleepers[0].due)
        loop.call_soon(self._drive, loop, quiet)


def _real_time(_: asyncio.AbstractEventLoop) -> float:
    return _REAL[0]()


def _loops(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes of loops that read ``time.monotonic``, as freezegun may have left them."""
    if vars(kind).get("time") is asyncio.BaseEventLoop.time:
        yield kind
    for below in kind.__subclasses__():
        yield from _loops(below)


def _nanoseconds(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"time does not go back: seconds must be 0 or more, got {seconds!r}")
    return math.ceil(round(min(seconds, threading.TIMEOUT_MAX) * _NANO, 3))


def _is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether anything is to be done on the loop in this turn, beside what is being done."""
    return bool(getattr(loop, "_ready", ()))


async def _rest() -> None:
    """Let the other tasks go on until all of them wait for something."""
    loop = asyncio.get_running_loop()
    quiet = 0
    for _ in range(_TURNS):
        await asyncio.sleep(0)
        quiet = 0 if _is_busy(loop) else quiet + 1
        if quiet == _QUIET:
            return
