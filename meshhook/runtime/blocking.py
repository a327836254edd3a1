"""The blocking runtime: verbs that block the calling thread and never suspend.

Waiting is done on locks, so it takes real time, also while a test freezes the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from meshhook.runtime import pauses
from meshhook.runtime.bell import Bell
from meshhook.runtime.flights import Flight
from meshhook.stores.protocol import Store

T = TypeVar("T")


def run_blocking(path: Coroutine[Any, Any, T]) -> T:
    """Run a slow path to its end in this thread."""
    try:
        path.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    path.close()
    raise RuntimeError("a slow path suspended in a sync call")


class Gate:
    """A thread that waits; a shutdown wakes it as well."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    async def wait(self, seconds: float) -> None:
        """Wait until woken, at most so many seconds."""
        pauses.wait_at(self._lock, seconds)

    def wake(self) -> bool:
        """Wake the thread."""
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._lock.release()
        return True


class Blocking:
    """The verbs for sync callers."""

    async def ask(self, store: Store, message: Any, within: float | None = None) -> Any:
        """Send a message and wait for its answer."""
        if within is None:
            return store.perform(message)
        reply = store.submit(message)
        reply.hurry(within)
        return reply.result()

    async def answer(self, reply: Any) -> Any:
        """Wait for the answer to a message that was sent."""
        _wait(reply.add_done_callback, reply.remaining())
        return reply.result(0)

    async def wait(self, flight: Flight, timeout: float) -> bool:
        """Wait until ``flight`` lands, at most ``timeout`` seconds."""
        wake = _wait(flight.add_done_callback, timeout)
        flight.remove_done_callback(wake)
        return flight.done()

    def can_wait_for(self, flight: Flight) -> bool:
        """Tell whether waiting lets ``flight`` go on: not if it needs this very thread."""
        return flight.thread != threading.get_ident()

    def waiter(self) -> Gate:
        """Make a waiter for this thread."""
        return Gate()

    def blocks_a_loop(self) -> bool:
        """Tell whether an event loop is running in this thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    async def sleep(self, seconds: float) -> bool:
        """Sleep in this thread; False if it was woken because the process shuts down."""
        return pauses.pause(seconds)


def _wait(add_done_callback: Callable[[Any], object], timeout: float) -> Callable[[Any], None]:
    bell = Bell()  # a finalizer in this very thread may bring on what it waits for

    def wake(_: Any) -> None:
        bell.ring()

    add_done_callback(wake)
    bell.wait(timeout)
    return wake


BLOCKING = Blocking()
