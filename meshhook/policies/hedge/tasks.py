"""The attempts of an async call: a task each, with a copy of the context of the caller.

When the call has its answer, the tasks that are left are cancelled and end in the background; the
loop keeps them alive until then. When the caller is cancelled, so are all attempts, and the caller
waits for their end, as it would for the function alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import CancelledError, Future, Task
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from meshhook.policies.hedge.race import Ended
from meshhook.tracebacks import hide_this_frame

if TYPE_CHECKING:
    from meshhook.policies.hedge.extras import Place
    from meshhook.policies.hedge.policy import Hedge

AsyncCalls = tuple[Callable[..., Awaitable[Any]], ...]


class Tasks:
    """The attempts of one call. Belongs to one event loop."""

    __slots__ = (
        "__weakref__",
        "_args",
        "_calls",
        "_ended",
        "_has_left",
        "_insisting",
        "_kwargs",
        "_loop",
        "_places",
        "_policy",
        "_running",
        "_waiter",
    )

    def __init__(self, policy: Hedge, calls: AsyncCalls, args: Any, kwargs: dict[str, Any]) -> None:
        self._policy = policy
        self._calls = calls
        self._args = args
        self._kwargs = kwargs
        self._loop = asyncio.get_running_loop()
        self._running: dict[Task[Any], int] = {}
        self._ended: deque[tuple[int, Task[Any]]] = deque()
        self._waiter: Future[None] | None = None
        self._insisting: asyncio.TimerHandle | None = None
        self._has_left = False
        self._places: list[Place] = []

    def start(self, number: int) -> None:
        """Start an attempt."""
        task = self._loop.create_task(self._attempt(number))
        self._running[task] = number
        task.add_done_callback(self._on_end)

    async def _attempt(self, number: int) -> Any:
        try:
            return await self._calls[number](*self._args, **self._kwargs)
        except BaseException as exc:
            hide_this_frame(exc)
            raise

    def running(self) -> int:
        """Return how many attempts have not been handed out by ``next``."""
        return len(self._running) + len(self._ended)

    async def next(self, seconds: float | None) -> Ended | None:
        """Wait for an attempt to end, at most so long."""
        if not self._ended and (seconds is None or seconds > 0):
            timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
            try:
                await self._wait()
                if not self._ended and any(task.done() for task in self._running):
                    # A loop that was held up says so late, and all calls look slow to it.
                    await self._wait()
            except CancelledError:
                await self._call_off()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        if not self._ended:
            return None
        number, task = self._ended.popleft()
        if task.cancelled():
            return Ended(number, None, _cancellation(task))
        error = task.exception()
        return Ended(number, None if error is not None else task.result(), error)

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _call_off(self) -> None:
        """Cancel all attempts and wait for their end; cancel them again if we are cancelled."""
        while True:
            self._cancel()
            try:
                while self._running:
                    await self._wait()
            except CancelledError:
                continue
            return

    def _cancel(self) -> None:
        for task in tuple(self._running):
            if not task.cancel():
                # It has ended, and an interrupt may have cut short what was to see that.
                self._on_end(task)

    def leave(self, held: list[Place]) -> None:
        """Cancel what is still running, and let it end in the background."""
        self._has_left = True
        # They go with the tasks at the latest: a loop that is closed too early ends none.
        self._places = self._policy.extras.leave(held, len(self._running))
        for _, task in self._ended:
            self._discard(task)
        self._ended.clear()
        if not self._running:
            return
        if asyncio._get_running_loop() is self._loop:
            self._insist()
        else:  # thrown away by the collector, wherever that was running
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._insist)

    def _insist(self) -> None:
        """Cancel what is running, now and again; the timer is what keeps the tasks alive."""
        self._cancel()
        if self._running:
            self._insisting = self._loop.call_later(self._policy.settings.grace, self._insist)

    def _on_end(self, task: Task[Any]) -> None:
        number = self._running.pop(task, None)
        if number is None:
            return
        if not self._has_left:
            self._ended.append((number, task))
            self._wake()
            return
        del self._places[-1:]
        self._discard(task)
        if self._insisting is not None and not self._running:
            self._insisting.cancel()

    def _discard(self, task: Task[Any]) -> None:
        # Asking for the exception says that it has been seen, so that the loop does not report it.
        if not task.cancelled() and task.exception() is None:
            self._policy.discard(task.result())


def _cancellation(task: Task[Any]) -> BaseException:
    try:
        task.result()
    except CancelledError as error:
        return error
    raise AssertionError  # pragma: no cover - it was cancelled
