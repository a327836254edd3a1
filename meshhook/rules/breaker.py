"""The rules of a circuit breaker: when it opens, whom it tries, when it closes.

A :class:`Circuit` is in one *phase* at a time: closed, open, half-open, or one that an operator
set. Each phase is an object of its own, made new at every transition, and each admission carries
the phase that gave it: an outcome that comes back to a phase which is over is counted in the totals
and changes nothing else. That one rule keeps late successes from closing a circuit, late failures
from opening it, and permits from being given back twice.

Nothing here locks, waits or reads a clock. The owner calls these methods under its own lock, except
for the two slots that the straight path of a call touches: ``phase.ok``, which only grows, and
``phase.watch``, which tells whether a success matters to anybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

from meshhook.rules.windows import CountWindow, TimeWindow, Totals, Window


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


class Change(NamedTuple):
    """A transition that has just happened, and the phase that it led to."""

    old: State
    phase: Phase
    reason: str


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
        self.running: dict[Permit, float] = {}
        self.overdue: dict[Permit, None] = {}

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
        rules = self.rules
        watched = self.streak > 0 and rules.failure_threshold is not None
        if self.window is None:
            self.watch = watched
            return None
        totals = self.totals()
        few = totals.calls < rules.minimum_calls
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
        needed, allowed = self.rules.success_threshold, self.rules.half_open_max_calls
        if failed:
            self.failures += 1
            return State.OPEN if self.failures > allowed - needed else None
        self.successes += 1
        return State.CLOSED if self.successes >= needed else None


class Circuit:
    """One circuit: the phase it is in, and totals since it was made.

    ``successes``, ``failures`` and ``ignored`` count every call that was admitted and has ended,
    whatever phase it belongs to; ``rejected`` counts those that were not admitted.
    """

    __slots__ = (
        "failures",
        "ignored",
        "isolations",
        "last_failure",
        "opened",
        "phase",
        "rejected",
        "rules",
        "saved",
        "successes",
        "touched",
        "users",
    )

    def __init__(self, rules: Rules, now: float, initial: State = State.CLOSED) -> None:
        self.rules = rules
        self.phase: Phase = self._fresh(initial, now)
        self.successes = self.failures = self.ignored = self.rejected = self.opened = 0
        self.last_failure: str | None = None
        self.isolations = 0
        self.saved: Phase | None = None
        self.touched = True
        self.users = 0

    def admit(self, now: float) -> tuple[Permit | Refusal, Change | None]:
        """Ask for a call to pass at ``now``."""
        phase, change = self.phase, None
        if isinstance(phase, Closed) and self.rules.slow_call_duration is not None:
            reason = phase.judge_running(now)
            if reason:
                change = self._open(now, reason, attempt=1)
                phase = self.phase
            else:
                permit = Permit(phase, now)
                phase.running[permit] = now
                return permit, None
        if phase.straight:
            return Permit(phase, now), None
        if isinstance(phase, Open) and phase.remaining(now) <= 0:
            change = self._go(HalfOpen(self.rules, now, phase.attempt), "time to try again")
            phase = self.phase
        answer = self._refuse_or_lease(phase, now)
        if isinstance(answer, Refusal):
            self.rejected += 1
        return answer, change

    def _refuse_or_lease(self, phase: Phase, now: float) -> Permit | Refusal:
        if isinstance(phase, HalfOpen):
            return phase.lease(now)
        if isinstance(phase, Open):
            return Refusal(phase.state, phase.remaining(now))
        return Refusal(phase.state, None)

    def watched_success(self, phase: Phase, now: float) -> Change | None:
        """Settle a success that the straight path has added to ``phase.ok`` already."""
        if phase is not self.phase:
            self._fold(phase)
        elif isinstance(phase, Closed):
            phase.advance(now)
            reason = phase.succeeded()
            if reason:
                return self._open(now, reason, attempt=1)
        return None

    def roll(self, phase: Phase, now: float) -> None:
        """Bring the window of ``phase`` up to ``now``."""
        if phase is self.phase and isinstance(phase, Closed):
            phase.advance(now)

    def settle(
        self, permit: Permit | Phase, now: float, *, failed: bool, error: str | None = None
    ) -> Change | None:
        """Settle a call that has ended: a success or a failure."""
        phase = permit if isinstance(permit, Phase) else permit.phase
        slow = self._end(permit, now)
        current = phase is self.phase
        if current and isinstance(phase, Closed):
            # First, so that this outcome is booked at the time of its end.
            phase.catch_up(now)
        if failed:
            self.failures += 1
            self.last_failure = error
        elif current and phase.straight and not slow:
            phase.ok += 1
        else:
            self.successes += 1
        if not current:
            return None
        if isinstance(phase, Closed):
            remarkable = failed or slow
            reason = phase.remarked(failed=failed, slow=slow) if remarkable else phase.succeeded()
            return self._open(now, reason, attempt=1) if reason else None
        if isinstance(phase, HalfOpen) and isinstance(permit, Permit) and permit in phase.trials:
            too_slow = slow and self.rules.slow_call_rate_threshold is not None
            return self._settle_trial(phase, permit, now, failed=failed or too_slow)
        return None

    def ignore(self, permit: Permit | Phase, now: float) -> None:
        """Settle a call that counts as nothing: give back what it held."""
        self._end(permit, now)
        self.ignored += 1
        if isinstance(permit, Permit) and isinstance(permit.phase, HalfOpen):
            permit.phase.trials.pop(permit, None)

    def _end(self, permit: Permit | Phase, now: float) -> bool:
        """Take the call off the list of those running; tell whether it was slow."""
        limit = self.rules.slow_call_duration
        if limit is None or not isinstance(permit, Permit):
            return False
        phase = permit.phase
        if isinstance(phase, Closed):
            phase.overdue.pop(permit, None)
            permit.started = min(phase.running.pop(permit, permit.started), now)
        return now - permit.started > limit

    def _settle_trial(
        self, phase: HalfOpen, permit: Permit, now: float, *, failed: bool
    ) -> Change | None:
        del phase.trials[permit]
        verdict = phase.verdict(failed=failed)
        if verdict is State.OPEN:
            return self._open(now, "a trial call failed", attempt=phase.attempt + 1)
        if verdict is State.CLOSED:
            return self._go(Closed(self.rules, now), "the trial calls succeeded")
        return None

    def set(self, state: State, now: float) -> Change | None:
        """Go to ``state`` because somebody said so."""
        self.saved = None
        return self._go(self._fresh(state, now), "set by hand")

    def isolate(self, now: float) -> Change | None:
        """Refuse all calls until :meth:`restore` was called as often as this."""
        self.isolations += 1
        if isinstance(self.phase, ForcedOpen):
            return None
        self.saved = self.phase
        return self._go(ForcedOpen(now), "isolated")

    def restore(self, now: float) -> Change | None:
        """Undo one :meth:`isolate`; the last one brings back the state from before."""
        self.isolations -= 1
        saved = self.saved
        if self.isolations or saved is None:
            return None
        self.saved = None
        back = self._fresh(saved.state, now)
        if isinstance(saved, (Open, HalfOpen)):
            open_for = saved.open_for if isinstance(saved, Open) else 0.0
            back = Open(now, open_for, saved.attempt)
            back.began = min(saved.began, now)
        return self._go(back, "isolation ended")

    def total_successes(self) -> int:
        """Return the successes counted so far, those of the straight path included."""
        return self.successes + self.phase.ok - self.phase.folded

    def _fresh(self, state: State, now: float) -> Phase:
        if state is State.CLOSED:
            return Closed(self.rules, now)
        if state is State.METRICS_ONLY:
            return MetricsOnly(self.rules, now)
        if state is State.OPEN:
            return Open(now, self.rules.reset_timeout, 1)
        if state is State.HALF_OPEN:
            return HalfOpen(self.rules, now, 1)
        return Disabled(now) if state is State.DISABLED else ForcedOpen(now)

    def _open(self, now: float, reason: str, attempt: int) -> Change:
        self.opened += 1
        return self._go(Open(now, self.rules.reset_timeout, attempt), reason)

    def _go(self, phase: Phase, reason: str) -> Change:
        old = self.phase
        self.phase = phase
        # From here on a success of the old phase comes to us, and is added to the totals.
        old.watch = True
        self._fold(old)
        return Change(old.state, phase, reason)

    def _fold(self, phase: Phase) -> None:
        """Add to the totals what ``phase`` has counted since it was last asked."""
        fresh = phase.ok - phase.folded
        phase.folded += fresh
        self.successes += fresh
