"""Answers: what a call that failed gets instead, and from which source.

First the last good result, then the handlers in order, then the value. Each handler runs while the
error of the call, and of the handlers before it, is being handled, so that what it raises is
chained to them. The two colours differ in one await.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from meshhook import guard
from meshhook.policies.fallback.handlers import Handling

if TYPE_CHECKING:
    from meshhook.policies.fallback.keeping import LastGood
    from meshhook.policies.fallback.policy import Fallback
    from meshhook.policies.fallback.settings import Value

NOTHING: Any = object()
"""In place of an answer where there is none: the caller gets what the call gave."""


class Answers:
    """The sources of one guarded function."""

    __slots__ = ("_fallback", "_given", "_handlers", "_last", "last_good", "place")

    def __init__(
        self,
        fallback: Fallback,
        last_good: LastGood | None,
        handlers: list[Handling],
        given: Value | None,
        place: Callable[[tuple[Any, ...], dict[str, Any]], Hashable],
    ) -> None:
        self._fallback = fallback
        self.last_good = last_good
        self._handlers = handlers
        self._given = given
        self._last = len(handlers) if self._given is None else len(handlers) + 1
        self.place = place
        """Where the last good result of a call is kept, by its arguments."""

    def answer(
        self, exc: Exception | None, args: tuple[Any, ...], kwargs: dict[str, Any], at: Hashable
    ) -> Any:
        """Return what to give instead of ``exc`` or, if that is None, of a bad result."""
        if not self._fallback.handles(exc):
            return NOTHING
        found = self._kept(exc, at)
        return self._handled(0, exc, args, kwargs) if found is NOTHING else found

    def _handled(
        self, number: int, exc: Exception | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return what the handlers from ``number`` on, or the value after them, give."""
        if number == len(self._handlers):
            return self._value(exc)
        try:
            result = self._handlers[number](exc, args, kwargs)
            if type(result) not in guard.PLAIN:
                guard.check_result(result)
        except BaseException as failed:
            if self._is_final(number, failed):
                raise
            return self._handled(number + 1, exc, args, kwargs)
        self._fallback.used("handler", exc)
        return result

    async def answer_async(
        self, exc: Exception | None, args: tuple[Any, ...], kwargs: dict[str, Any], at: Hashable
    ) -> Any:
        """Return likewise, async."""
        if not self._fallback.handles(exc):
            return NOTHING
        found = self._kept(exc, at)
        return await self._handled_async(0, exc, args, kwargs) if found is NOTHING else found

    async def _handled_async(
        self, number: int, exc: Exception | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if number == len(self._handlers):
            return self._value(exc)
        try:
            result = self._handlers[number](exc, args, kwargs)
            if type(result) not in guard.PLAIN and inspect.isawaitable(result):
                result = await result
        except BaseException as failed:
            if self._is_final(number, failed):
                raise
            return await self._handled_async(number + 1, exc, args, kwargs)
        self._fallback.used("handler", exc)
        return result

    def _is_final(self, number: int, failed: BaseException) -> bool:
        """Count a handler that failed; tell whether its error is what the caller gets."""
        tally = self._fallback.tally
        if not isinstance(failed, Exception):
            tally.ignored += 1
            return True
        tally.handler_failures += 1
        if number + 1 < self._last:
            return False
        tally.failures += 1
        return True

    def _kept(self, exc: Exception | None, at: Hashable) -> Any:
        last_good = self.last_good
        found = None if last_good is None else last_good.find(at, time.monotonic())
        if found is None:
            return NOTHING
        self._fallback.used("last_good", exc, found.age)
        return found.result

    def _value(self, exc: Exception | None) -> Any:
        value = self._given
        if value is None:
            self._fallback.tally.failures += 1
            return NOTHING
        self._fallback.used("value", exc)
        return value.value
