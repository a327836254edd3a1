"""The phases of a circuit: closed, open, half-open, and those that an operator sets.

A phase is one stay in one state, an object of its own. It knows what a call may do while it lasts,
and what the outcomes of its calls say; which phase comes next is decided in
:mod:`meshhook.rules.breaker`.

The straight path of a call touches two slots without a lock: ``phase.ok``, which only grows, and
``phase.watch``, which tells whether a success matters to anybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from meshhook.rules.windows import CountWindow, TimeWindow, Totals, Window, refit


class State(StrEnum):
    """The states of a circuit. The last three are set by hand and stay until they are changed."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers that decide. Durations are seconds, rates are shares from 0 to 1."""

    failure_threshold: int | None = 5
    failure_rate_threshold: float | None = None
    slow_call_rate_threshold: float | None = None
    slow_call_duration: float | None = None
    window: float | None = None
    window_calls: int | None = None
    minimum_calls: int = 10
    reset_timeout: float = 60.0
    half_open_max_calls: int = 1
    success_threshold: int = 1
    half_open_max_concurrent: int = 1
    half_open_timeout: float = 60.0


class Permit:
    """What an admitted call holds until its outcome is settled: the phase and when it began."""

    __slots__ = ("phase", "started")

    def __init__(self, phase: Phase, started: float) -> None:
        self.phase = phase
        self.started = started


class Refusal(NamedTuple):
    """Which state refused a call; ``retry_after`` is None where nobody can know."""

    state: State
    retry_after: float | None


class Phase:
    """One stay in one state. ``straight``: calls pass without asking."""

    # ``straight`` is a slot and no class attribute because every call reads it.
    __slots__ = ("began", "folded", "ok", "since", "straight", "until", "watch")
    state: ClassVar[State]

    def __init__(self, now: float, *, straight: bool = False) -> None:
        self.began = now
        self.straight = straight
        self.ok = 0
        self.folded = 0
        self.watch = False
        self.since = -math.inf
        self.until = math.inf


_NO_CALLS: dict[Permit, Any] = {}
"""Of a circuit that looks for no slow calls; shared by all of these, and never written."""


class Closed(Phase):
    """Calls pass; their outcomes are judged by the rules."""

    __slots__ = ("overdue", "rules", "running", "streak", "window")
    state = State.CLOSED
    trips: ClassVar[bool] = True

    def __init__(self, rules: Rules, now: float) -> None:
        super().__init__(now, straight=True)
        self.rules = rules
        self.streak = 0
        self.window: Window | None = None
        if rules.window_calls is not None:
            self.window = CountWindow(rules.window_calls)
        elif rules.window is not None:
            self.window = TimeWindow(rules.window, now)
            self.since, self.until = self.window.since, self.window.until
        watches_running = rules.slow_call_duration is not None
        self.running: dict[Permit, float] = {} if watches_running else _NO_CALLS
        self.overdue: dict[Permit, None] = {} if watches_running else _NO_CALLS

    def change(self, rules: Rules, now: float) -> None:
        """Go on by other rules, with what is known by now. The next outcome is judged by them."""
        old, self.rules = self.rules, rules
        if (rules.window, rules.window_calls) != (old.window, old.window_calls):
            self.window = refit(
                self.window, seconds=rules.window, size=rules.window_calls, now=now, ok=self.ok
            )
            self.since, self.until = -math.inf, math.inf
            if self.window is not None:
                self.since, self.until = self.window.since, self.window.until
        if rules.slow_call_duration is None:
            self.running = self.overdue = _NO_CALLS
        elif rules.slow_call_duration != old.slow_call_duration:
            self.running = {permit: permit.started for permit in self.overdue} | self.running
            self.overdue = {}
        self.watch = True

    def run(self, permit: Permit) -> None:
        """Have the clock of a call run on, if calls are timed."""
        # Calls that began later may be before it: then it is found overdue a little later.
        if self.running is not _NO_CALLS and permit not in self.overdue:
            self.running[permit] = permit.started

    def advance(self, now: float) -> None:
        """Bring the window up to ``now``; what it forgot may make the next success matter."""
        if self.window is not None and not self.since <= now < self.until:
            self.window.advance(now, self.ok)
            self.since, self.until = self.window.since, self.window.until
            self.watch = self.watch or self._remarkable()

    def catch_up(self, now: float) -> None:
        """Bring the window up to ``now``, and count as slow what runs for too long by then."""
        self.advance(now)
        limit = self.rules.slow_call_duration
        while limit is not None and self.running:
            permit = next(iter(self.running))
            started = self.running[permit] = min(self.running[permit], now)
            if now - started <= limit:
                break
            del self.running[permit]
            self.overdue[permit] = None

    def judge_running(self, now: float) -> str | None:
        """Judge by the calls that are slow before they have returned."""
        self.catch_up(now)
        return self._too_slow(self.totals()) if self.overdue else None

    def succeeded(self) -> str | None:
        """Judge after a success that is in ``ok`` already; return the reason to open, if any."""
        self.streak = 0
        return self._judge()

    def remarked(self, *, failed: bool, slow: bool) -> str | None:
        """Take in a failure or a slow call; return the reason to open, if there is one."""
        # A success that comes beside us is judged after us, unless it turns out not to matter.
        self.watch = True
        self.streak = self.streak + 1 if failed else 0
        if self.window is not None:
            self.window.record(self.ok, failed=failed, slow=slow)
        threshold = self.rules.failure_threshold
        if self.trips and threshold is not None and self.streak >= threshold:
            return f"{self.streak} failures in a row"
        return self._judge()

    def totals(self) -> Totals:
        """Sum up the window."""
        if self.window is None:
            return Totals(0, 0, 0)
        return self.window.totals(self.ok)._replace(overdue=len(self.overdue))

    def _remarkable(self) -> bool:
        totals = self.totals()
        return totals.failures > 0 or totals.slow > 0

    def _judge(self) -> str | None:
        # The next success ends the row, whether that may open the circuit or is only told.
        watched = self.streak > 0
        if self.window is None:
            self.watch = watched
            return None
        totals = self.totals()
        few = totals.calls < self.rules.minimum_calls
        # A success only ever lowers the rates, except that it may be the one that makes them count.
        self.watch = watched or (few and (totals.failures > 0 or totals.slow > 0))
        return self._too_many_failures(totals) or self._too_slow(totals)

    def _too_many_failures(self, totals: Totals) -> str | None:
        # Of calls that still run nobody knows yet whether they fail.
        threshold = self.rules.failure_rate_threshold
        return self._too_high("failure rate", totals.failure_rate, totals.calls, threshold)

    def _too_slow(self, totals: Totals) -> str | None:
        threshold = self.rules.slow_call_rate_threshold
        calls = totals.calls + totals.overdue
        return self._too_high("slow call rate", totals.slow_rate, calls, threshold)

    def _too_high(
        self, what: str, rate: float | None, calls: int, threshold: float | None
    ) -> str | None:
        if not self.trips or calls < self.rules.minimum_calls:
            return None
        if threshold is None or rate is None or rate < threshold:
            return None
        return f"{what} {rate:.0%} of {calls} calls"


class MetricsOnly(Closed):
    """Calls pass and are judged, and nothing follows from it."""

    __slots__ = ()
    state = State.METRICS_ONLY
    trips = False


class Disabled(Phase):
    """Calls pass and only the totals count them."""

    __slots__ = ()
    state = State.DISABLED

    def __init__(self, now: float) -> None:
        super().__init__(now, straight=True)


class ForcedOpen(Phase):
    """Calls are refused until somebody changes the state."""

    __slots__ = ()
    state = State.FORCED_OPEN


class Open(Phase):
    """Calls are refused for ``open_for`` seconds; ``attempt`` counts openings in a row."""

    __slots__ = ("attempt", "open_for")
    state = State.OPEN

    def __init__(self, now: float, open_for: float, attempt: int) -> None:
        super().__init__(now)
        self.open_for = open_for
        self.attempt = attempt

    def remaining(self, now: float) -> float:
        """Return the seconds until a trial may be made; 0 or less when it may."""
        self.began = min(self.began, now)
        return self.open_for - (now - self.began)


class HalfOpen(Phase):
    """A few trial calls pass, each on a lease; their outcomes decide as soon as they can."""

    __slots__ = ("attempt", "failures", "rules", "successes", "trials")
    state = State.HALF_OPEN

    def __init__(self, rules: Rules, now: float, attempt: int) -> None:
        super().__init__(now)
        self.rules = rules
        self.attempt = attempt
        self.successes = 0
        self.failures = 0
        self.trials: dict[Permit, float] = {}

    def lease(self, now: float) -> Permit | Refusal:
        """Give a trial if one is free. A trial that hangs past its lease is as good as lost."""
        shortest = self.rules.half_open_timeout
        for permit, leased in list(self.trials.items()):
            started = self.trials[permit] = min(leased, now)
            left = self.rules.half_open_timeout - (now - started)
            if left <= 0:
                del self.trials[permit]
            else:
                shortest = min(shortest, left)
        taken = self.successes + self.failures + len(self.trials)
        if (
            len(self.trials) < self.rules.half_open_max_concurrent
            and taken < self.rules.half_open_max_calls
        ):
            permit = Permit(self, now)
            self.trials[permit] = now
            return permit
        return Refusal(self.state, shortest)

    def verdict(self, *, failed: bool) -> State | None:
        """Take in one trial; return the state that follows, once arithmetic has decided it."""
        if failed:
            self.failures += 1
        else:
            self.successes += 1
        return self.decided()

    def decided(self) -> State | None:
        """Return the state that follows, if those that have ended decide it."""
        needed, allowed = self.rules.success_threshold, self.rules.half_open_max_calls
        if self.failures > allowed - needed:
            return State.OPEN
        return State.CLOSED if self.successes >= needed else None
