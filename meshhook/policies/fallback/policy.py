"""fallback: give something else where a call fails.

What it gives comes from the last good result, from handlers or from a value, in this order; see
``answers``. Cancellation and interrupts go through untouched. What is refused by policies further
in is an error like any other: to have an answer for it is what a fallback is for.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from meshhook import events
from meshhook.errors import ConfigurationError
from meshhook.events import logger
from meshhook.judges import matches
from meshhook.keys import Key, KeyOf, compile_key
from meshhook.policies.fallback import drivers
from meshhook.policies.fallback.answers import Answers
from meshhook.policies.fallback.handlers import compile_handler
from meshhook.policies.fallback.keeping import LastGood
from meshhook.policies.fallback.settings import FallbackSettings
from meshhook.policies.fallback.stats import FallbackStats, Tally
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.wording import short


class Fallback(Policy):
    """Something else for calls that fail. Made by :func:`meshhook.fallback`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "fallback"
    settings: FallbackSettings

    def __init__(self, settings: FallbackSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self.last_good: LastGood | None = None
        if settings.last_good is not None:
            self.last_good = LastGood(settings.last_good, settings.max_keys)

    def _check(self, new: FallbackSettings) -> None:
        super()._check(new)
        if None not in (self.settings.last_good, new.last_good) and new.key != self.settings.key:
            raise self._cannot_change("key", "the last good results are kept by it")

    def _adapt(self, new: FallbackSettings) -> Callable[[], object]:
        """Give other things. The last good results are kept, if they may be that old."""
        if new.last_good is None:
            self.last_good = None
        elif self.last_good is None:
            self.last_good = LastGood(new.last_good, new.max_keys)
        else:
            self.last_good.change(new.last_good, new.max_keys, time.monotonic())
        return super()._adapt(new)

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        last_good = self.last_good
        if last_good is not None:
            last_good.renew_locks()

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        answers = self._answers(fn, asynchronous=False)
        make = drivers.judging if self._looks_at_results(answers) else drivers.plain
        return make(self, answers, call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        answers = self._answers(fn, asynchronous=True)
        make = drivers.judging_async if self._looks_at_results(answers) else drivers.plain_async
        return make(self, answers, call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.fallback import stream_drivers

        stream_drivers.refuse_what_gives_no_items(self, fn, asynchronous=False)
        return stream_drivers.stream(self, self._answers(fn, asynchronous=False), call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.fallback import stream_drivers

        stream_drivers.refuse_what_gives_no_items(self, fn, asynchronous=True)
        return stream_drivers.stream_async(self, self._answers(fn, asynchronous=True), call)

    def _looks_at_results(self, answers: Answers) -> bool:
        return answers.last_good is not None or self.settings.on_result is not None

    def _answers(self, fn: Callable[..., Any], *, asynchronous: bool) -> Answers:
        # All sources are those of one moment, for others may come in their place at any time.
        settings = self.settings
        last_good = None if settings.last_good is None else self.last_good
        handlers = [
            compile_handler(handler, fn, asynchronous=asynchronous) for handler in settings.handler
        ]
        place = _nowhere if last_good is None else self._place(settings.key, fn)
        return Answers(self, last_good, handlers, settings.value, place)

    def _place(self, key: Key | None, fn: Callable[..., Any]) -> KeyOf:
        """Return what finds the place of a call: functions that share a policy share no result."""
        try:
            hash(fn)
            owner: Hashable = fn
        except TypeError:
            owner = object()
        if key is None:
            if _takes_arguments(fn):
                raise ConfigurationError(
                    f"last_good needs to know which calls of {self.default_name(fn)} have the same "
                    "result: give key, such as key='{item}', or key=lambda: None if all have"
                )
            return lambda _args, _kwargs: (owner, None)
        key_of = compile_key(key, fn)

        def place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
            at = owner, key_of(args, kwargs)
            try:
                hash(at)
            except TypeError as error:
                raise TypeError(
                    f"key must be hashable: {error}; name a field of it, such as '{{user.id}}', "
                    "or use a callable"
                ) from None
            return at

        return place

    def handles(self, exc: Exception | None) -> bool:
        """Tell whether ``exc`` gets a fallback, and count it if not. None is for a bad result."""
        if exc is None:
            return True
        try:
            if matches(self.settings.on, exc, all):
                return True
        except Exception:
            logger.exception("on of fallback %r failed", self._name)
        self.tally.failures += 1
        return False

    def is_bad(self, result: Any) -> bool:
        """Tell whether a result is one that gets a fallback."""
        judge = self.settings.on_result
        if judge is None:
            return False
        try:
            return bool(judge(result))
        except Exception:
            logger.exception("on_result of fallback %r failed", self._name)
            return False

    def used(self, source: str, exc: Exception | None, age: float | None = None) -> None:
        """Count a call that got something else, and tell of it."""
        if source == "value":
            self.tally.from_value += 1
        elif source == "handler":
            self.tally.from_handler += 1
        else:
            self.tally.from_last_good += 1
        if events.wanted(events.FallbackUsed):
            error = "result" if exc is None else type(exc).__qualname__
            events.emit(
                events.FallbackUsed(
                    policy=self.kind, name=self.name, source=source, error=error, age=age
                )
            )

    def reset(self) -> None:
        """Forget the last good results."""
        last_good = self.last_good
        if last_good is not None:
            last_good.clear()

    def stats(self) -> FallbackStats:
        """Return the counters, and how many last good results are kept now."""
        last_good = self.last_good
        kept = 0 if last_good is None else last_good.count(time.monotonic())
        return FallbackStats(policy=self.kind, name=self.name, kept=kept, **self.tally.read())

    def longest(self, inner: float) -> float:
        """Return the time of the inside; nothing bounds that of a handler after it."""
        return math.inf if self.settings.handler else inner

    def describe(self) -> str:
        """Return kind, name and the sources."""
        settings = self.settings
        sources = []
        if settings.last_good is not None:
            sources.append(f"last good of {short(settings.last_good)} s")
        if settings.handler:
            number = len(settings.handler)
            sources.append("a handler" if number == 1 else f"{number} handlers")
        if settings.value is not None:
            sources.append("a value")
        return f"fallback({self.name!r}, {', then '.join(sources)})"


def _nowhere(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Keep nothing."""


def _takes_arguments(fn: Callable[..., Any]) -> bool:
    try:
        return bool(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return True
