"""The drivers of a bulkhead for streams: a slot from the first item to the end, or to the close.

For an adaptive limit a stream took as long as it was inside of the generator: while its consumer is
at work it holds its slot, which says nothing about the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.policies.bulkhead.place import Place
from meshhook.policies.bulkhead.waiting import obtain
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.slots import Turn
from meshhook.runtime.streams import Ended, Visit, async_driver, driver

if TYPE_CHECKING:
    from meshhook.policies.bulkhead.policy import Bulkhead
    from meshhook.runtime.protocol import Runtime

Call: TypeAlias = Callable[..., Any]
Hold: TypeAlias = Callable[[Any, dict[str, Any]], Place]
"""Finds the slots for a call, and keeps them in their family until they are let go."""


def stream(bulkhead: Bulkhead, hold: Hold, call: Call) -> Call:
    """Guard a generator function."""

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        seat = _Seat(bulkhead, hold(args, kwargs))
        run_blocking(seat.take(BLOCKING))
        return Visit(seat.end, step=seat.step if bulkhead.is_adaptive else None)

    return driver(begin, call)


def stream_async(bulkhead: Bulkhead, hold: Hold, call: Call) -> Call:
    """Guard an async generator function."""

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        seat = _Seat(bulkhead, hold(args, kwargs))
        await seat.take(ASYNCIO)
        return Visit(seat.end, step=seat.step_async if bulkhead.is_adaptive else None)

    return async_driver(begin, call)


class _Seat:
    """The slot of one stream, and the time that the stream has taken so far."""

    __slots__ = ("_bulkhead", "_place", "_taken", "_turn")

    def __init__(self, bulkhead: Bulkhead, place: Place) -> None:
        self._bulkhead = bulkhead
        self._place = place
        self._turn = Turn()
        self._taken = 0.0

    async def take(self, runtime: Runtime) -> None:
        """Obtain the slot, or raise BulkheadFullError."""
        try:
            await obtain(self._bulkhead, self._place, self._turn, runtime)
            self._place.tally.admitted += 1
        except BaseException:
            self._give_back()
            raise

    def step(self, method: Call, value: Any) -> Any:
        """Count the time until the next item is there."""
        began = time.monotonic()
        try:
            return method(value)
        finally:
            self._taken += max(0.0, time.monotonic() - began)

    async def step_async(self, method: Call, value: Any) -> Any:
        """Count the time until the next item is there, async."""
        began = time.monotonic()
        try:
            return await method(value)
        finally:
            self._taken += max(0.0, time.monotonic() - began)

    def end(self, how: Ended) -> None:
        """Give the slot back."""
        try:
            began = time.monotonic() - self._taken
            if how is None:
                self._bulkhead.learn(self._place, began)
            else:
                self._bulkhead.learn_error(self._place, began, how)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        try:
            self._place.slots.give_back(self._turn)
        finally:
            self._bulkhead.let_go(self._place)
