"""Pending: an answer that is due within a bound, for threads and for any event loop.

Lighter than ``concurrent.futures.Future``: one lock, no condition; a thread that waits brings its
own. Whoever waits also keeps the bound, so a lane that is stuck or dead makes nobody wait longer.
Time here is real time, also while a test freezes it: a server does not freeze.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol

from meshhook.errors import StoreUnavailableError

_log = logging.getLogger("meshhook")


class Carrier(Protocol):
    """Whoever brings the answer of a Pending, as far as the Pending needs it."""

    def overdue(self, pending: Pending) -> Exception:
        """Learn that the bound has passed, and name the error to raise."""

    def runs_here(self) -> bool:
        """Tell whether this is the thread that brings the answers."""

    def give_back(self, pending: Pending, answer: Any) -> None:
        """Undo in the store what ``answer``, which nobody will read, says was taken."""


class Pending:
    """The reply to one command. Safe to share between threads, tasks and event loops."""

    __slots__ = (
        "_abandoned",
        "_answer",
        "_callbacks",
        "_carrier",
        "_error",
        "_lock",
        "_read",
        "_settled",
        "command",
        "due",
    )

    def __init__(
        self,
        command: Any,
        bound: float = 0.0,
        carrier: Carrier | None = None,
        # Captured on purpose: the bound is kept in real time.
        _monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.command = command
        self.due = _monotonic() + bound
        self._carrier = carrier
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        # guarded by _lock
        self._answer: Any = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Pending], object]] = []
        self._settled = False
        self._abandoned = False
        self._read = False

    def done(self) -> bool:
        """Tell whether the answer, or the error, is there."""
        return self._settled

    @property
    def abandoned(self) -> bool:
        """Whether nobody will read the answer."""
        return self._abandoned

    def settle(self, answer: Any = None, error: Exception | None = None) -> bool:
        """Give the answer or the error, once; False if nobody will read it."""
        with self._lock:
            if self._settled or self._abandoned:
                self._settled = True
                return False
            self._answer = answer
            self._error = error
            self._settled = True
            callbacks = self._callbacks
            self._callbacks = []
        for callback in callbacks:
            self._call(callback)
        return True

    def add_done_callback(self, fn: Callable[[Pending], object]) -> None:
        """Call ``fn(self)`` when settled, in the thread that settles; at once if settled."""
        with self._lock:
            if not self._settled:
                self._callbacks.append(fn)
                return
        self._call(fn)

    def _call(self, callback: Callable[[Pending], object]) -> None:
        try:
            callback(self)
        except Exception:
            _log.exception("a callback of a store's reply failed")

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it, or raise the error that came instead.

        ``timeout`` is in seconds; None waits until the bound. When it passes the reply is abandoned
        and StoreUnavailableError is raised.
        """
        if not self._settled:
            if self._carrier is not None and self._carrier.runs_here():
                self.abandon()
                raise StoreUnavailableError(
                    "the thread that would bring the answer cannot wait for it: a listener that is "
                    "called by a store hands on what it wants of that store to another thread"
                )
            gate = threading.Lock()
            gate.acquire()
            self.add_done_callback(lambda _: gate.release())
            try:
                gate.acquire(timeout=self.remaining() if timeout is None else max(0.0, timeout))
            except BaseException:
                self.abandon()
                raise
        return self._outcome()

    def _outcome(self) -> Any:
        with self._lock:
            if self._settled and not self._abandoned:
                self._read = True
                if self._error is not None:
                    raise self._error
                return self._answer
            self._abandoned = True
        if self._carrier is not None:
            raise self._carrier.overdue(self)
        raise StoreUnavailableError("the store did not answer in time")

    def remaining(self, _monotonic: Callable[[], float] = time.monotonic) -> float:
        """Return the seconds until the bound, at least 0."""
        return max(0.0, self.due - _monotonic())

    def hurry(self, seconds: float, _monotonic: Callable[[], float] = time.monotonic) -> None:
        """Wait that many seconds from now at the most; the bound may still end it earlier."""
        self.due = min(self.due, _monotonic() + seconds)

    def abandon(self) -> None:
        """Give up, unless the answer has been read: what it takes is given back to the store."""
        with self._lock:
            if self._abandoned or self._read:
                return
            self._abandoned = True
            answered = self._settled and self._error is None
        if answered and self._carrier is not None:
            self._carrier.give_back(self, self._answer)

    def __await__(self) -> Generator[Any, None, Any]:
        if self._settled:
            return self._outcome()
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake_from_lane(_: Pending) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have been closed
                loop.call_soon_threadsafe(wake)

        self.add_done_callback(wake_from_lane)
        timer = loop.call_later(self.remaining(), wake)
        try:
            yield from woken
        except BaseException:
            self.abandon()
            raise
        finally:
            timer.cancel()
        return self._outcome()
