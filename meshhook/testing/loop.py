"""An event loop on virtual time: where it would wait for a timer, its clock goes there at once.

That holds while all that the loop waits for is timers. As long as a thread works for it, or it
watches a file or a socket, it waits for them in real time, and its timers keep that pace too.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol


class Clock(Protocol):
    """What a loop needs of a clock."""

    def monotonic(self) -> float:
        """Return the time."""

    def tick(self, seconds: float) -> None:
        """Let time pass."""

    def until_next(self) -> float | None:
        """Return the seconds until a sleeper of another loop or thread is due, if there is one."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of ``clock``."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.works_elsewhere = 0
        """How many threads work for the loop."""
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the time of the clock."""
        return self.clock.monotonic()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Have a thread do something, which takes no time on the clock."""
        future = super().run_in_executor(executor, func, *args)
        self.works_elsewhere += 1
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: object) -> None:
        self.works_elsewhere -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads to end, in real time."""
        self.works_elsewhere += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.works_elsewhere -= 1


class _Selector(selectors.DefaultSelector):
    """Tells the loop what is ready, and lets the clock pass where there is nothing."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready, or until the next timer is due."""
        clock = self._loop.clock
        # One is always there: the pipe through which threads wake the loop.
        is_alone = not self._loop.works_elsewhere and len(self.get_map()) <= 1
        due = clock.until_next()
        if due is not None and (timeout is None or due < timeout):
            timeout = due
        ready = super().select(0 if is_alone and timeout is not None else timeout)
        if not ready and timeout is not None and timeout > 0:
            clock.tick(timeout)
        return ready
