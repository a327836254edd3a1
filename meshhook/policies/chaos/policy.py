"""chaos: faults, delays and wrong results on purpose, to see what becomes of them.

What may strike is a list of plans: those injected at run time, the last first, and the one of the
settings. All of them are asked, delays add up, and the first that has an error or a result ends the
call. The list is replaced whole, so that calls read it without a lock; each plan in it goes with
what tells whether it may strike, so that no call takes these from different settings.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from meshhook import events
from meshhook.dice import dice
from meshhook.events import logger
from meshhook.policies.chaos import drivers, switch
from meshhook.policies.chaos.plan import Delay, Fault, Plan, Rate, Strike, plan
from meshhook.policies.chaos.settings import ChaosSettings, Enabled
from meshhook.policies.chaos.stats import ChaosStats, Tally
from meshhook.policy import Policy
from meshhook.registry import Registry

Threats: TypeAlias = tuple[tuple[Plan, Enabled], ...]
"""Plans, each with what tells whether it may strike."""


def _threats(settings: ChaosSettings) -> Threats:
    """Return what may strike by these settings: one plan or none."""
    if settings.enabled is False or settings.plan.is_idle():
        return ()
    return ((settings.plan, settings.enabled),)


class Chaos(Policy):
    """What may strike calls. Made by :func:`meshhook.chaos`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "chaos"
    settings: ChaosSettings

    def __init__(self, settings: ChaosSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self._draw = dice(settings.seed)
        self._own = _threats(settings)
        self._injected: Threats = ()  # replaced under _lock
        self.active: Threats = self._own
        """What may strike a call; nothing, most of the time."""
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: a block that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        return drivers.sync_driver(self, call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        return drivers.async_driver(self, call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.chaos import stream_drivers

        return stream_drivers.stream(self, call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.chaos import stream_drivers

        return stream_drivers.stream_async(self, call)

    @contextlib.contextmanager
    def inject(
        self,
        *,
        fault: Fault | None = None,
        latency: Delay | None = None,
        result: Any = ...,
        rate: Rate = 1.0,
    ) -> Iterator[None]:
        """Have this strike all calls inside the block, on whatever thread or task they run.

        The arguments are those of :func:`meshhook.chaos`. It strikes also where ``enabled`` is
        False, but not where the kill switch is off. Blocks may be nested and overlap.
        """
        _ = self.name  # which raises for a policy that no function goes by
        more = plan(rate=rate, fault=fault, latency=latency, result=result)
        if switch.is_off():
            logger.warning(
                "chaos %r injects nothing: %s is off in the environment", self.name, switch.VARIABLE
            )
        self._replace(lambda injected: ((more, True), *injected))
        try:
            yield
        finally:
            self._replace(lambda injected: tuple(each for each in injected if each[0] is not more))

    def _replace(self, change: Callable[[Threats], Threats]) -> None:
        with self._lock:
            self._injected = change(self._injected)
            self.active = (*self._injected, *self._own)

    def _adapt(self, new: ChaosSettings) -> Callable[[], object]:
        """Strike by another plan; what was injected is in force until its block ends."""
        with self._lock:
            if new.seed != self.settings.seed:
                self._draw = dice(new.seed)
            self._own = _threats(new)
            self.active = (*self._injected, *self._own)
        return super()._adapt(new)

    def draw(self) -> Strike | None:
        """Decide what strikes a call, if anything does, and tell of its delay."""
        if switch.is_off():
            return None
        strike = Strike()
        for each, enabled in self.active:
            if not self._may_strike(enabled):
                continue
            each.strike(strike, self.name, self._draw)
            if strike.ends_the_call():
                break
        if strike.latency:
            self.tally.latencies += 1
            self._tell("latency")
        elif not strike.ends_the_call():
            return None
        self.tally.struck += 1
        return strike

    def _may_strike(self, enabled: Enabled) -> bool:
        if not callable(enabled):
            return enabled
        try:
            return bool(enabled())
        except Exception:
            logger.exception("enabled of chaos %r failed", self._name)
            return False

    def end(self, strike: Strike) -> Any:
        """Raise or return what was injected."""
        if strike.error is not None:
            self.tally.faults += 1
            self._tell("fault")
            error, strike.error = strike.error, None
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, and those that hold the strike
        self.tally.results += 1
        self._tell("result")
        return strike.result

    def _tell(self, what: str) -> None:
        if events.wanted(events.ChaosInjected):
            events.emit(events.ChaosInjected(policy=self.kind, name=self.name, what=what))

    def longest(self, inner: float) -> float:
        """Return the time of the inside and of the delays that may strike now."""
        return inner + sum(each.longest() for each, _ in self.active)

    def stats(self) -> ChaosStats:
        """Return the counters, and whether anything may strike now."""
        return ChaosStats(
            policy=self.kind,
            name=self.name,
            active=bool(self.active) and not switch.is_off(),
            injections=len(self._injected),
            **self.tally.read(),
        )

    def describe(self) -> str:
        """Return kind, name, and how often it strikes by its settings."""
        rate = self.settings.plan.rate
        often = "at a rate of its own" if callable(rate) else f"rate {rate:.3g}"
        return f"chaos({self.name!r}, {often if self._own else 'idle'})"
