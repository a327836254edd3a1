"""The four loops in which calls are timed: sync and async, answered and refused.

A loop makes the thing to call, calls it once with each of the given values, and returns the seconds
that took. ``empty`` goes through the values and calls nothing: its cost is subtracted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

Call = Callable[[Any], Any]


class Failure(Exception):  # noqa: N818 - not an error of ours, but what a guarded function does
    """What the function of a breaker raises, until the breaker refuses to call it."""


class Loop(Protocol):
    """How the cases of a group are made, called and checked."""

    def make(self, make: Callable[[], Call]) -> Call:
        """Return what ``make`` makes, made where it will be called."""

    def run(self, call: Call, values: Sequence[Any]) -> float:
        """Call ``call`` with each of ``values``; return the seconds that took."""

    def check(self, call: Call, function: Call, value: Any) -> None:
        """Fail unless ``call`` does what it is measured for, around ``function``."""


def empty(values: Sequence[Any]) -> float:
    """Return the seconds that going through ``values`` takes."""
    start = time.perf_counter()
    for _ in values:
        pass
    return time.perf_counter() - start


class Answered:
    """Sync calls that return."""

    def make(self, make: Callable[[], Call]) -> Call:
        """Make the call."""
        return make()

    def run(self, call: Call, values: Sequence[Any]) -> float:
        """Time the calls."""
        start = time.perf_counter()
        for value in values:
            call(value)
        return time.perf_counter() - start

    def check(self, call: Call, function: Call, value: Any) -> None:
        """Compare with what the function returns."""
        assert call(value) == function(value), "the result is not that of the function"


class Refused(Answered):
    """Sync calls that raise."""

    def run(self, call: Call, values: Sequence[Any]) -> float:
        """Time the calls."""
        start = time.perf_counter()
        for value in values:
            try:  # noqa: SIM105 - suppress() costs more than what is measured here
                call(value)
            except Exception:  # noqa: S110
                pass
        return time.perf_counter() - start

    def check(self, call: Call, function: Call, value: Any) -> None:
        """See the call refused without reaching the function."""
        try:
            call(value)
        except Failure:
            raise AssertionError("the function was called") from None
        except Exception:
            return
        raise AssertionError("the call was not refused")


class AnsweredAsync:
    """Async calls that return, all on one event loop."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def make(self, make: Callable[[], Call]) -> Call:
        """Make the call inside the event loop, which some libraries need."""

        async def made() -> Call:
            return make()

        return self._runner.run(made())

    def run(self, call: Call, values: Sequence[Any]) -> float:
        """Time the calls, without the start of the event loop."""
        return self._runner.run(self._run(call, values))

    async def _run(self, call: Call, values: Sequence[Any]) -> float:
        start = time.perf_counter()
        for value in values:
            await call(value)
        return time.perf_counter() - start

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Return the result of ``awaitable``."""

        async def waited() -> Any:
            return await awaitable

        return self._runner.run(waited())

    def check(self, call: Call, function: Call, value: Any) -> None:
        """Compare with what the function returns."""
        Answered().check(
            lambda given: self.wait(call(given)), lambda given: self.wait(function(given)), value
        )


class RefusedAsync(AnsweredAsync):
    """Async calls that raise."""

    async def _run(self, call: Call, values: Sequence[Any]) -> float:
        start = time.perf_counter()
        for value in values:
            try:  # noqa: SIM105 - as in Refused
                await call(value)
            except Exception:  # noqa: S110
                pass
        return time.perf_counter() - start

    def check(self, call: Call, function: Call, value: Any) -> None:
        """See the call refused without reaching the function."""
        Refused().check(lambda given: self.wait(call(given)), function, value)
