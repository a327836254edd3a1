"""Cancelling a coroutine at one await point after the other, as an event loop would.

An await point is where the coroutine suspends. There are two moments to be cancelled at it: before
what is awaited is there (asyncio cancels the future as well), and after (the task was to be resumed
when the cancellation came). Or it is thrown away there: nobody awaits it any more, and it is closed
as the collector would close it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any

MOMENTS = ("before", "after", "thrown away")


class Stepped:
    """Awaits a coroutine, and has it cancelled at the given await points, counted from 1."""

    def __init__(
        self, call: Coroutine[Any, Any, Any], cancelled_at: Iterable[int], moment: str = "before"
    ) -> None:
        self._call = call
        self._cancelled_at = frozenset(cancelled_at)
        self._moment = moment
        self.points = 0
        """How many await points it came to."""

    async def run(self) -> Any:
        """Run in the current task."""
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._call.send(None)  # noqa: E731 - replaced below
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self.points += 1
            cancelled = self.points in self._cancelled_at
            if cancelled and self._moment == "thrown away":
                self._call.close()
                raise asyncio.CancelledError
            if cancelled and self._moment == "before":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield awaited
            except BaseException as error:  # thrown in by the event loop
                step = lambda error=error: self._call.throw(error)  # noqa: E731
            else:
                step = lambda: self._call.send(None)  # noqa: E731
            if cancelled and self._moment == "after":
                step = lambda: self._call.throw(asyncio.CancelledError())  # noqa: E731
