"""hedge: when an answer takes long, ask a second time and take the first answer that comes.

What a call does is in ``race``; who makes the attempts is in ``tasks`` and ``threads``. Here are
the parts that all calls share: the delay, the places of extra attempts, and who may be hedged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from meshhook.budgets import counter
from meshhook.colour import is_async
from meshhook.errors import ConfigurationError
from meshhook.events import logger
from meshhook.policies.hedge import drivers
from meshhook.policies.hedge.extras import Extras
from meshhook.policies.hedge.settings import HedgeSettings
from meshhook.policies.hedge.stats import HedgeStats, Tally
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.rules.pace import Pace
from meshhook.rules.sketch import Sketch
from meshhook.stats import Latency
from meshhook.wording import short


class Hedge(Policy):
    """A second attempt for calls that are slow or fail. Made by :func:`meshhook.hedge`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "hedge"
    looks_outside = True
    why_no_streams = "what one attempt has given by then cannot be taken back for another"
    settings: HedgeSettings

    def __init__(self, settings: HedgeSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self.extras = Extras(settings.max_extra)
        self.pace: Pace | None = None  # used under _lock; other settings may take it away
        if settings.delay is None:
            self.pace = Pace(*_pace_of(settings), time.monotonic())
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs.
        self._lock = threading.RLock()

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child, where no attempt goes on."""
        self._lock = threading.RLock()
        self.extras.start_anew()

    def bind(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Make the sync driver.

        One that refuses calls, where nothing declares that they may be repeated: a policy that is
        put around this one later may say so.
        """
        calls = self._calls(call, fn, asynchronous=False)
        if not self._may_repeat(outer):
            return drivers.refused(self, fn)
        return drivers.hedged(self, calls, counter(self.settings.budget, outer))

    def bind_async(
        self,
        call: Callable[..., Awaitable[Any]],
        fn: Callable[..., Any],
        outer: tuple[Policy, ...] = (),
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver, likewise."""
        calls = self._calls(call, fn, asynchronous=True)
        if not self._may_repeat(outer):
            return drivers.refused_async(self, fn)
        return drivers.hedged_async(self, calls, counter(self.settings.budget, outer))

    def bind_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Refuse generator functions, wherever in a stack."""
        return super().bind_stream(call, fn)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any], outer: tuple[Policy, ...] = ()
    ) -> Callable[..., Any]:
        """Refuse async generator functions."""
        return super().bind_async_stream(call, fn)

    def _may_repeat(self, outer: tuple[Policy, ...]) -> bool:
        """Tell whether calls may be repeated below these policies."""
        return self.settings.idempotent or any(each.kind == "idempotent" for each in outer)

    def _calls(
        self, call: Callable[..., Any], fn: Callable[..., Any], *, asynchronous: bool
    ) -> tuple[Callable[..., Any], ...]:
        """Return what each attempt calls: the function, the alternatives, and it again."""
        others = self.settings.alternatives
        for at, each in enumerate(others):
            if is_async(each) != asynchronous:
                is_, is_not = ("sync", "async") if asynchronous else ("async", "sync")
                raise ConfigurationError(
                    f"alternatives[{at}] is {is_} and {self.default_name(fn)} is {is_not}; give "
                    f"one that is {is_not} as well"
                )
        again = self.settings.max_hedges - len(others)
        return (call, *others, *(call,) * again)

    def unrepeatable(self, fn: Any) -> ConfigurationError:
        """Build the error for a function that nothing declares safe to repeat."""
        return ConfigurationError(
            f"hedge around {self.default_name(fn)} would run it several times for one call, and "
            "nothing says that it may; give idempotent=True if it may be repeated, or put "
            "@idempotent above the hedge"
        )

    def delay(self, now: float) -> float | None:
        """Return after how many seconds a hedge starts; None for not before a failure."""
        pace = self.pace
        if pace is None:
            return self.settings.delay
        with self._lock:
            return pace.delay(now)

    def remember(self, began: float) -> None:
        """Remember that a first attempt took from then to now, where the delay is learned."""
        pace = self.pace
        if pace is not None:
            now = time.monotonic()
            with self._lock:
                pace.add(now, now - began)

    def _check(self, new: HedgeSettings) -> None:
        super()._check(new)
        if self.settings.idempotent and not new.idempotent:
            raise self._cannot_change("idempotent", "it would refuse all of its calls")

    def _adapt(self, new: HedgeSettings) -> Callable[[], object]:
        """Go by other numbers. Attempts that run keep their places, durations are remembered."""
        self.extras.most = new.max_extra
        with self._lock:
            if new.delay is not None:
                self.pace = None
            elif self.pace is None:
                self.pace = Pace(*_pace_of(new), time.monotonic())
            else:
                self.pace.change(*_pace_of(new), time.monotonic())
        return super()._adapt(new)

    def discard(self, result: Any) -> None:
        """Hand a result that nobody got to whoever cleans up."""
        self.tally.discarded += 1
        on_discard = self.settings.on_discard
        if on_discard is not None:
            try:
                on_discard(result)
            except Exception:
                logger.exception("on_discard of hedge %r failed", self.name)

    def count_error(self, exc: BaseException) -> None:
        """Count a call that raised."""
        if isinstance(exc, Exception):
            self.tally.failures += 1
        else:
            self.tally.ignored += 1

    def stats(self) -> HedgeStats:
        """Return the counters, the delay now and the latency of late."""
        now = time.monotonic()
        latency, pace = None, self.pace
        if pace is not None:
            with self._lock:
                latency = Latency.of(pace.sketch(now))
        return HedgeStats(
            policy=self.kind,
            name=self.name,
            running_on=self.extras.running_on,
            delay=self.delay(now),
            latency=latency,
            **self.tally.read(),
        )

    def durations(self) -> Sketch | None:
        """Return how long first attempts took since the start; None where the delay is fixed."""
        pace = self.pace
        if pace is None:
            return None
        with self._lock:
            return pace.since_start()

    def reset(self) -> None:
        """Forget how long calls took of late; counters since the start are kept."""
        pace = self.pace
        if pace is not None:
            with self._lock:
                pace.clear(time.monotonic())

    def longest(self, inner: float) -> float:
        """Return when the last attempt ends at the latest: each may start when one has failed."""
        delay = self.settings.delay
        apart = inner if delay is None else min(delay, inner)
        return inner + self.settings.max_hedges * apart

    def describe(self) -> str:
        """Return kind, name, when a hedge starts, and how many do."""
        settings = self.settings
        after = (
            f"the {settings.quantile * 100:g} % quantile"
            if settings.delay is None
            else f"{short(settings.delay)} s"
        )
        return f"hedge({self.name!r}, after {after}, {settings.max_hedges} more)"


def _pace_of(settings: HedgeSettings) -> tuple[float, int, float, float]:
    """Return what a delay is learned by."""
    return (
        settings.quantile,
        settings.minimum_samples,
        settings.minimum_delay,
        settings.window,
    )
