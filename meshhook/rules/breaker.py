"""The rules of a circuit breaker: when it opens, whom it tries, when it closes.

A :class:`Circuit` is in one phase at a time. Each phase is made new at every transition, and each
admission carries the phase that gave it: an outcome that comes back to a phase which is over is
counted in the totals and changes nothing else. That one rule keeps late successes from closing a
circuit, late failures from opening it, and permits from being given back twice.

Nothing here locks, waits or reads a clock. The owner calls these methods under its own lock.
"""

from __future__ import annotations

from typing import NamedTuple

from meshhook.rules.phases import (
    Closed,
    Disabled,
    ForcedOpen,
    HalfOpen,
    MetricsOnly,
    Open,
    Permit,
    Phase,
    Refusal,
    Rules,
    State,
)


class Change(NamedTuple):
    """A transition that has just happened, and the phase that it led to."""

    old: State
    phase: Phase
    reason: str


class Gone(NamedTuple):
    """What circuits have counted that were evicted from their family; ``number`` is how many."""

    number: int = 0
    successes: int = 0
    failures: int = 0
    ignored: int = 0
    rejected: int = 0
    opened: int = 0


NONE_GONE = Gone()


class Circuit:
    """One circuit: the phase it is in, and totals since it was made.

    ``successes``, ``failures`` and ``ignored`` count every call that was admitted and has ended,
    whatever phase it belongs to; ``rejected`` counts those that were not admitted.
    """

    __slots__ = (
        "failures",
        "gone_as",
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
        self.gone_as: int | None = None

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

    def pause(self, permit: Permit, now: float) -> float:
        """Stop the clock of a call that others hold up; return the time that it has taken."""
        if isinstance(permit.phase, Closed):
            permit.started = permit.phase.running.pop(permit, permit.started)
        return max(0.0, now - permit.started)

    def resume(self, permit: Permit, taken: float, now: float) -> None:
        """Let the clock of a call go on from the time that it had taken."""
        permit.started = now - taken
        if isinstance(permit.phase, Closed):
            permit.phase.run(permit)

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
        return self._end_trials(phase, phase.verdict(failed=failed), now, "a trial call failed")

    def _end_trials(
        self, phase: HalfOpen, verdict: State | None, now: float, why_open: str
    ) -> Change | None:
        if verdict is State.OPEN:
            return self._open(now, why_open, attempt=phase.attempt + 1)
        if verdict is State.CLOSED:
            return self._go(Closed(self.rules, now), "the trial calls succeeded")
        return None

    def change(self, rules: Rules, now: float) -> Change | None:
        """Go on by other rules, in the same state.

        A circuit that is open stays so for as long as was said when it opened. Trials that have
        ended may be enough by other rules, and then they decide now.
        """
        self.rules = rules
        phase = self.phase
        if isinstance(phase, Closed):
            phase.change(rules, now)
        elif isinstance(phase, HalfOpen):
            phase.rules = rules
            return self._end_trials(phase, phase.decided(), now, "trial calls had failed")
        return None

    def set(self, state: State, now: float) -> Change | None:
        """Go to ``state`` because somebody said so."""
        self.saved = None
        return self._go(self._fresh(state, now), "set by hand")

    def isolate(self, times: int, now: float) -> Change | None:
        """Refuse all calls while ``times`` is above 0; at 0 the state from before comes back.

        More times than before isolate again what was set by hand since.
        """
        more, self.isolations = times > self.isolations, times
        if more:
            if isinstance(self.phase, ForcedOpen):
                return None
            self.saved = self.phase
            return self._go(ForcedOpen(now), "isolated")
        saved = self.saved
        if times or saved is None:
            return None
        self.saved = None
        back = self._fresh(saved.state, now)
        if isinstance(saved, (Open, HalfOpen)):
            open_for = saved.open_for if isinstance(saved, Open) else 0.0
            back = Open(now, open_for, saved.attempt)
            back.began = min(saved.began, now)
        return self._go(back, "isolation ended")

    def relieve(self, state: State, back: State, now: float) -> Change | None:
        """Go from ``state``, which was set for a time, back to another; else stay as it is."""
        if self.phase.state is state:
            return self._go(self._fresh(back, now), "its time is over")
        if self.saved is not None and self.saved.state is state:
            self.saved = self._fresh(back, now)
        return None

    def forget_calls(self) -> None:
        """Expect none of the running calls to end: they run in another process."""
        self.users = 0
        for phase in (self.phase, self.saved):
            if isinstance(phase, Closed):
                phase.running.clear()
                phase.overdue.clear()
            elif isinstance(phase, HalfOpen):
                phase.trials.clear()

    def total_successes(self) -> int:
        """Return the successes counted so far, those of the straight path included."""
        return self.successes + self.phase.ok - self.phase.folded

    def leave(self, gone: Gone) -> Gone:
        """Leave the family; return ``gone`` with what this circuit has counted.

        The circuit is numbered first, so that a reader who finds it among the members still can
        tell whether it is in what has gone already.
        """
        self.gone_as = gone.number + 1
        return Gone(
            self.gone_as,
            gone.successes + self.total_successes(),
            gone.failures + self.failures,
            gone.ignored + self.ignored,
            gone.rejected + self.rejected,
            gone.opened + self.opened,
        )

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
        # From here on a success of the old phase comes to us, and is added to the totals.
        old.watch = True
        # Before the phase changes, so that who reads the totals without a lock misses none.
        self._fold(old)
        self.phase = phase
        return Change(old.state, phase, reason)

    def _fold(self, phase: Phase) -> None:
        """Add to the totals what ``phase`` has counted since it was last asked."""
        fresh = phase.ok - phase.folded
        phase.folded += fresh
        self.successes += fresh
