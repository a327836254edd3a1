"""Retry budgets: how many attempts beyond the first all users of one budget may make.

The rules are in :mod:`meshhook.rules.budget`; here they get a lock, a clock and a name. One budget
stands for one thing that is called: retries and hedges that share it share what is left.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from meshhook import forks, guard
from meshhook.changes import Changeable, nothing_to_tell
from meshhook.errors import ConfigurationError
from meshhook.health import Status
from meshhook.recipes import Recipe, Recipes
from meshhook.registry import Registry
from meshhook.rules.budget import Budget
from meshhook.settings import Duration, duration, printable, share, wrong
from meshhook.stats import Stats
from meshhook.wording import short

if TYPE_CHECKING:
    from meshhook.policy import Policy

_MOST = 1e9
"""More attempts a second than this are no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """What a budget was given, checked."""

    ratio: float
    min_per_second: float
    ttl: float


def budget_settings(*, ratio: float, min_per_second: float, ttl: Duration) -> BudgetSettings:
    """Check all settings of a budget."""
    settings = BudgetSettings(
        ratio=_ratio(ratio),
        min_per_second=_rate(min_per_second),
        ttl=duration("ttl", ttl),
    )
    if not settings.ratio and not settings.min_per_second:
        raise ConfigurationError(
            "ratio=0 and min_per_second=0 allow no extra attempt ever; raise one of them, or "
            "use max_attempts=1"
        )
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetStats(Stats):
    """What a budget has seen. ``left`` is how many extra attempts could be made now.

    ``usage`` is the share of all that are allowed which was used, in the time that it looks back.
    ``calls`` have been counted since the start; of the extra attempts ``taken`` were reserved,
    ``given_back`` of them not made after all, and ``refused`` are those that it had nothing for.
    """

    ratio: float
    min_per_second: float
    ttl: float
    left: int
    usage: float
    calls: int
    taken: int
    given_back: int
    refused: int

    def health(self) -> tuple[Status, str]:
        """Return whether a call that fails now could not be tried again.

        One that nobody has taken from is not exhausted: where nothing is free, there is nothing
        left before the first calls either.
        """
        if self.usage and not self.left:
            return Status.DEGRADED, "exhausted"
        return Status.OK, "ok"


class RetryBudget(Changeable):
    """A bound on extra attempts, as a share of the calls: for retries and hedges together.

    In the last ``ttl`` seconds extra attempts are at most ``ratio`` of the calls, and
    ``min_per_second`` for each second, which are free. Budgets of one name in a registry are one
    object. A budget without a name is its own; give the object to all that are to share it.

    Args:
        ratio: extra attempts as a share of the calls, 0 to 1. Default 0.2.
        min_per_second: extra attempts that are free in each second, for little traffic. Default 1.
        ttl: how many seconds the budget looks back. Default 10.
        name: shared by all budgets of that name in the registry.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        ConfigurationError: when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops.
    """

    kind: ClassVar[str] = "retry_budget"
    settings: BudgetSettings
    recipe: Recipe | None
    _name: str | None
    _lock: Any
    _rule: Budget  # changed under _lock, but for `calls` where that is atomic
    _taken: int  # guarded by _lock, as the next two
    _given_back: int
    _refused: int

    def __new__(
        cls,
        ratio: float = 0.2,
        min_per_second: float = 1.0,
        ttl: Duration = 10.0,
        *,
        name: str | None = None,
        registry: Registry | None = None,
    ) -> Self:
        """Return the budget of that name; make it if there is none."""
        recipe = recipes(ratio=ratio, min_per_second=min_per_second, ttl=ttl)
        registry = Registry.given(registry)
        if name is None:
            return registry.make(cls.kind, cls.kind, recipe, cls._make)
        printable("name", name)
        return registry.share(cls.kind, name, recipe, cls._make)

    @classmethod
    def _make(cls, settings: BudgetSettings) -> Self:
        made = object.__new__(cls)
        made.settings = settings
        made.recipe = None
        made._name = None
        made._rule = Budget(settings.ratio, settings.min_per_second, settings.ttl, time.monotonic())
        made._taken = made._given_back = made._refused = 0
        made.renew_locks()
        forks.enrol(made)
        return made

    @property
    def name(self) -> str:
        """The name in the registry; a budget without one goes by the name of its kind."""
        return self._name or self.kind

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: a coroutine that is thrown away gives back wherever the collector runs.
        self._lock = threading.RLock()

    def count_call(self) -> None:
        """Count one call: a first attempt."""
        rule = self._rule
        window = rule.window
        if window.since <= time.monotonic() < window.until and guard.GIL_ENABLED:
            rule.calls += 1
            return
        with self._lock:
            rule.advance(time.monotonic())
            rule.calls += 1

    def take(self) -> int | None:
        """Reserve one extra attempt; return what gives it back, or None if nothing is left."""
        with self._lock:
            taken = self._rule.take(time.monotonic())
            if taken is None:
                self._refused += 1
            else:
                self._taken += 1
            return taken

    def give_back(self, taken: int) -> None:
        """Give back what :meth:`take` returned, for an attempt that was not made; once for each."""
        with self._lock:
            self._given_back += 1
            self._rule.give_back(time.monotonic(), taken)

    def left(self) -> int:
        """Return how many extra attempts could be made now."""
        with self._lock:
            # A reserve beyond all measure is infinite, and there is no such number of attempts.
            return max(0, math.floor(min(self._rule.left(time.monotonic()), sys.maxsize)))

    def stats(self) -> RetryBudgetStats:
        """Return what the budget has counted."""
        with self._lock:
            return RetryBudgetStats(
                policy=self.kind,
                name=self.name,
                ratio=self.settings.ratio,
                min_per_second=self.settings.min_per_second,
                ttl=self.settings.ttl,
                left=self.left(),
                usage=self._rule.usage(time.monotonic()),
                calls=self._rule.calls,
                taken=self._taken,
                given_back=self._given_back,
                refused=self._refused,
            )

    def _adapt(self, new: BudgetSettings) -> Callable[[], object]:
        """Go by other numbers. Calls and attempts count on, for as long as is looked back now."""
        with self._lock:
            self._rule.change(new.ratio, new.min_per_second, new.ttl, time.monotonic())
            self.settings = new
        return nothing_to_tell

    def reset(self) -> None:
        """Forget the calls and attempts of the last seconds; counters since the start are kept."""
        with self._lock:
            self._rule.clear(time.monotonic())

    def describe(self) -> str:
        """Return the budget in a few words."""
        ratio, least, ttl = self.settings.ratio, self.settings.min_per_second, self.settings.ttl
        return (
            f"{self.kind}({self.name!r}, {ratio:.3g} of calls, {least:.3g}/s free, {short(ttl)} s)"
        )

    def __repr__(self) -> str:
        return f"<{self.describe()}>"


recipes = Recipes(budget_settings, RetryBudget.__new__)


def counter(budget: RetryBudget | None, outer: Iterable[Policy]) -> Callable[[], None] | None:
    """Return what a policy below ``outer`` tells its budget of a call with; None if it does not.

    Of the policies of one stack that share a budget, the outermost counts the call.
    """
    if budget is None or any(getattr(each.settings, "budget", None) is budget for each in outer):
        return None
    return budget.count_call


def _ratio(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and value == 0:
        return 0.0
    return share("ratio", value)


def _rate(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MOST:
        raise wrong("min_per_second", value, "a number of attempts, 0 or more")
    return float(value)
