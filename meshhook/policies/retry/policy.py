"""retry: call again what has failed, after a while and not too often.

The rules are in :mod:`meshhook.rules.backoff` and :mod:`meshhook.rules.budget`. A policy holds its
settings and its counters; whatever belongs to one call is in a :class:`Series` of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from meshhook.budgets import counter
from meshhook.errors import ConfigurationError
from meshhook.events import logger
from meshhook.policies.retry import drivers
from meshhook.policies.retry.blocks import AsyncBlocks, Blocks
from meshhook.policies.retry.settings import RetrySettings
from meshhook.policies.retry.stats import RetryStats, Tally
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.settings import duration
from meshhook.wording import short

_SUMMED = 1_000
"""Delays that are added up one by one; by then they have stopped growing."""


def _nothing() -> None:
    """Begin a call whose results are judged, and nothing else."""


class Retry(Policy):
    """Further attempts at calls that fail. Made by :func:`meshhook.retry`.

    Iterating over it gives the attempts of a block; see :func:`meshhook.retrying`. Safe to share
    between threads, tasks and event loops.
    """

    kind = "retry"
    looks_outside = True
    settings: RetrySettings

    def __init__(self, settings: RetrySettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self.chance: Callable[[], float] = random.random

    def bind(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Make the sync driver."""
        begin = self.beginning(outer)
        if begin is _nothing and self.settings.on_result is None:
            return drivers.straight(self, call)
        return drivers.watched(self, call, begin)

    def bind_async(
        self,
        call: Callable[..., Awaitable[Any]],
        fn: Callable[..., Any],
        outer: tuple[Policy, ...] = (),
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        begin = self.beginning(outer)
        if begin is _nothing and self.settings.on_result is None:
            return drivers.straight_async(self, call)
        return drivers.watched_async(self, call, begin)

    def bind_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.retry import stream_drivers

        self._refuse_on_result(fn)
        return stream_drivers.stream(self, call, self.beginning(outer))

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.retry import stream_drivers

        self._refuse_on_result(fn)
        return stream_drivers.stream_async(self, call, self.beginning(outer))

    def _refuse_on_result(self, fn: Callable[..., Any]) -> None:
        if self.settings.on_result is not None:
            raise ConfigurationError(
                f"on_result judges what a call returns, and {self.default_name(fn)} is a generator "
                "function: leave it out, and raise an error before the first item"
            )

    def beginning(self, outer: tuple[Policy, ...] = ()) -> Callable[[], float | None]:
        """Make what is done at the start of each call: count it, and tell the time if it counts."""
        count_call = counter(self.settings.budget, outer)
        if self.settings.max_elapsed is None:
            return count_call or _nothing

        def begin() -> float:
            if count_call is not None:
                count_call()
            return time.monotonic()

        return begin

    def delay(self, retry: int, before: float, asked: float, error: Exception | None) -> float:
        """Return the delay before retry number ``retry``.

        ``before`` is the delay of the retry before. If what was called has ``asked`` for a time,
        the delay is that time, with jitter on top.
        """
        settings = self.settings
        rule, chance = settings.rule, self.chance()
        own = None
        if settings.delay_of is not None:
            own = self._computed(settings, retry, error)
        if asked > 0:
            return asked + rule.on_top(rule.grown(retry) if own is None else own, chance)
        if own is None:
            return rule.delay(retry, before, chance)
        return rule.spread(own, chance)

    def _computed(
        self, settings: RetrySettings, retry: int, error: Exception | None
    ) -> float | None:
        """Ask the user's function for a delay; None if it has none to give."""
        compute: Any = settings.delay_of
        try:
            given = compute(retry, error) if settings.delay_of_error else compute(retry)
            return duration("backoff", given, zero=True)
        except Exception:
            logger.exception("backoff of retry %r failed", self._name)
            return None

    def __iter__(self) -> Blocks:
        self._enter()
        return Blocks(self)

    def __aiter__(self) -> AsyncBlocks:
        self._enter()
        return AsyncBlocks(self)

    def _enter(self) -> None:
        if self.settings.on_result is not None:
            raise ConfigurationError(
                "a block has no result that on_result could judge; leave it out and raise an "
                "error in the block, or use retry(...).call(fn)"
            )
        self._take_name()

    def _take_name(self) -> None:
        """Go by the name of the kind, and stay out of the registry: such retries come and go."""
        if self._name is None:
            self._name = self.kind

    def stats(self) -> RetryStats:
        """Return the counters."""
        return RetryStats(policy=self.kind, name=self.name, **self.tally.summary())

    def longest(self, inner: float) -> float:
        """Return the time of all attempts and the longest delays between them.

        What a server asks for with Retry-After may come on top. ``max_elapsed`` bounds the start
        of the last attempt.
        """
        attempts, most = self.settings.max_attempts, self.settings.max_elapsed
        in_all = float("inf") if attempts is None else attempts * inner + self._pauses(attempts - 1)
        return in_all if most is None else min(in_all, most + inner)

    def _pauses(self, retries: int) -> float:
        rule = self.settings.rule
        if self.settings.delay_of is not None:
            return retries * rule.max_delay
        total = delay = 0.0
        for retry in range(1, min(retries, _SUMMED) + 1):
            delay = rule.delay(retry, delay, 1.0)
            total += delay
        return total + max(0, retries - _SUMMED) * delay

    def describe(self) -> str:
        """Return kind, name, attempts and delays."""
        settings, rule = self.settings, self.settings.rule
        said = [repr(self.name)]
        if settings.max_attempts is not None:
            said.append(f"{settings.max_attempts} attempts")
        if settings.max_elapsed is not None:
            said.append(f"within {short(settings.max_elapsed)} s")
        curve = "computed" if settings.delay_of is not None else str(rule.curve)
        said.append(f"{curve} {short(rule.base_delay)} s to {short(rule.max_delay)} s")
        if settings.budget is not None:
            said.append(f"budget {settings.budget.name!r}")
        return f"{self.kind}({', '.join(said)})"
