"""The verbs of a slow path: what an ``async def`` that serves both colours may await.

A slow path is written once, over a :class:`Runtime`. Async callers await it with the asyncio
runtime; sync callers run the same coroutine with the blocking one, whose verbs block and never
suspend.
"""

from __future__ import annotations

from typing import Any, Protocol

from meshhook.runtime.flights import Flight
from meshhook.stores.protocol import Store


class Waiter(Protocol):
    """Somebody who waits, and whom any thread may wake."""

    async def wait(self, seconds: float) -> None:
        """Wait until woken, at most so many seconds; infinity is for ever."""

    def wake(self) -> bool:
        """Wake him, now or as soon as he waits; False if he cannot be reached any more."""


class Runtime(Protocol):
    """How one colour waits."""

    async def ask(self, store: Store, message: Any, within: float | None = None) -> Any:
        """Send a message and return its answer, or raise StoreUnavailableError after ``within``.

        If it is cancelled, or answered too late, what the message took is given back.
        """

    async def answer(self, reply: Any) -> Any:
        """Return the answer to a message that was sent. If cancelled, the message stays sent."""

    async def wait(self, flight: Flight, timeout: float) -> bool:
        """Wait until ``flight`` lands, at most ``timeout`` seconds; tell whether it has."""

    def can_wait_for(self, flight: Flight) -> bool:
        """Tell whether waiting for ``flight`` lets it go on."""

    def waiter(self) -> Waiter:
        """Make a waiter for the caller."""

    def blocks_a_loop(self) -> bool:
        """Tell whether waiting here would block an event loop, and all of its tasks."""

    async def sleep(self, seconds: float) -> bool:
        """Let time pass; False if it was cut short because the process shuts down."""
