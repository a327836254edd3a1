"""The asyncio runtime: verbs that suspend the calling task.

A task is woken from any thread through its own loop; what comes after the loop has ended wakes
nobody. Timers are the loop's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from meshhook.runtime import pauses
from meshhook.runtime.flights import Flight
from meshhook.stores.protocol import Store


class Sleeper:
    """A task that waits."""

    __slots__ = ("_loop", "_woken")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = self._loop.create_future()

    async def wait(self, seconds: float) -> None:
        """Wait until woken, at most so many seconds."""
        if seconds == math.inf:
            await self._woken
        else:
            await _within(self._woken, seconds)

    def wake(self) -> bool:
        """Wake the task; False if its loop has been closed."""
        try:
            self._loop.call_soon_threadsafe(_set, self._woken)
        except RuntimeError:
            return False
        return True


class Asyncio:
    """The verbs for async callers."""

    async def ask(self, store: Store, message: Any, within: float | None = None) -> Any:
        """Send a message and await its answer."""
        reply = store.submit(message)
        if within is not None:
            reply.hurry(within)
        return await reply

    async def answer(self, reply: Any) -> Any:
        """Await the answer to a message that was sent."""
        if not reply.done():
            woken, wake = _waker()
            reply.add_done_callback(wake)
            await _within(woken, reply.remaining())
        return reply.result(0)

    async def wait(self, flight: Flight, timeout: float) -> bool:
        """Wait until ``flight`` lands, at most ``timeout`` seconds."""
        woken, wake = _waker()
        flight.add_done_callback(wake)
        try:
            await _within(woken, timeout)
        finally:
            flight.remove_done_callback(wake)
        return flight.done()

    def can_wait_for(self, flight: Flight) -> bool:
        """Tell whether waiting lets ``flight`` go on: a task that waits blocks nobody."""
        return True

    def waiter(self) -> Sleeper:
        """Make a waiter for this task."""
        return Sleeper()

    def blocks_a_loop(self) -> bool:
        """Tell that waiting here blocks nobody."""
        return False

    async def sleep(self, seconds: float) -> bool:
        """Sleep in this task; it is cancelled rather than woken, so this is always True."""
        await pauses.pause_async(seconds)
        return True


def _waker() -> tuple[asyncio.Future[None], Callable[[Any], None]]:
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its tasks with it
            loop.call_soon_threadsafe(_set, woken)

    return woken, wake


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


async def _within(woken: asyncio.Future[None], timeout: float) -> None:
    timer = asyncio.get_running_loop().call_later(timeout, _set, woken)
    try:
        await woken
    finally:
        timer.cancel()


ASYNCIO = Asyncio()
