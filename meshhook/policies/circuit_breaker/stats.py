"""The statistics of a circuit breaker: frozen, and fit for JSON."""

from __future__ import annotations

import dataclasses

from meshhook.health import Status
from meshhook.rules.breaker import Circuit, Gone
from meshhook.rules.phases import Closed, HalfOpen, Open, State
from meshhook.rules.sketch import Sketch
from meshhook.stats import Latency, Stats

_GRAVITY = (
    State.FORCED_OPEN,
    State.OPEN,
    State.HALF_OPEN,
    State.METRICS_ONLY,
    State.DISABLED,
    State.CLOSED,
)


_REFUSING = frozenset({str(State.FORCED_OPEN), str(State.OPEN)})
_STATUS = {
    State.CLOSED: Status.OK,
    State.METRICS_ONLY: Status.OK,
    State.DISABLED: Status.DEGRADED,
    State.HALF_OPEN: Status.DEGRADED,
    State.OPEN: Status.FAILING,
    State.FORCED_OPEN: Status.FAILING,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowStats:
    """The live window: ``calls`` have ended, ``overdue`` ones run past ``slow_call_duration``.

    Rates are shares from 0 to 1, None while there are no calls; overdue ones are among the slow.
    """

    calls: int
    failures: int
    slow: int
    overdue: int
    failure_rate: float | None
    slow_rate: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStats(Stats):
    """What a circuit breaker has seen.

    ``calls`` are those that were admitted and have ended: successes + failures + ignored.
    ``seconds_in_state`` is for how long the circuit has been in its ``state``. For a family
    (``key=``) counters are summed up, those of evicted circuits included, ``state`` is the gravest
    one, ``states`` says how many circuits are in each, ``retry_after`` is the soonest, and
    ``window`` is None. One that has no circuit yet is in the ``state`` that the first would be in.
    """

    state: str
    seconds_in_state: float
    calls: int
    successes: int
    failures: int
    ignored: int
    rejected: int
    opened: int
    consecutive_failures: int
    retry_after: float | None
    last_failure: str | None
    window: WindowStats | None
    latency: Latency | None
    states: dict[str, int] | None = None
    evicted: int = 0

    def health(self) -> tuple[Status, str]:
        """Return the state, as far as calls are refused; a family fails when all circuits do.

        An open circuit whose time is over lets the next call try. If it counted as failing, a
        service that gets no calls while it is not ready would never be ready again.
        """
        if self.state in _REFUSING:
            if self.states is not None and self.states.keys() - _REFUSING:
                return Status.DEGRADED, "partly_open"
            if self.retry_after == 0 or (self.state == State.OPEN and self.retry_after is None):
                # The latter for circuits to come, whose time begins with their first call.
                return Status.DEGRADED, "trial_due"
        return _STATUS[State(self.state)], self.state


def circuit_stats(name: str, circuit: Circuit, now: float, sketch: Sketch | None) -> BreakerStats:
    """Read one circuit. The caller holds its lock."""
    phase = circuit.phase
    successes = circuit.total_successes()
    retry_after = None
    if isinstance(phase, Open):
        retry_after = max(0.0, phase.remaining(now))
    window = None
    if isinstance(phase, Closed) and phase.window is not None:
        phase.catch_up(now)
        totals = phase.totals()
        window = WindowStats(
            **totals._asdict(), failure_rate=totals.failure_rate, slow_rate=totals.slow_rate
        )
    return BreakerStats(
        policy="circuit_breaker",
        name=name,
        state=str(phase.state),
        seconds_in_state=max(0.0, now - phase.began),
        calls=successes + circuit.failures + circuit.ignored,
        successes=successes,
        failures=circuit.failures,
        ignored=circuit.ignored,
        rejected=circuit.rejected,
        opened=circuit.opened,
        consecutive_failures=_streak(phase),
        retry_after=retry_after,
        last_failure=circuit.last_failure,
        window=window,
        latency=None if sketch is None else Latency.of(sketch),
    )


def family_stats(
    name: str,
    members: list[Circuit],
    gone: Gone,
    now: float,
    sketch: Sketch | None,
    to_come: State,
) -> BreakerStats:
    """Sum up the circuits of a family, without a lock: each number is read at once.

    ``to_come`` is the state in which new ones begin.
    """
    circuits = [each for each in members if each.gone_as is None or each.gone_as > gone.number]
    states: dict[str, int] = {}
    for circuit in circuits:
        state = str(circuit.phase.state)
        states[state] = states.get(state, 0) + 1
    successes = gone.successes + sum(circuit.total_successes() for circuit in circuits)
    failures = gone.failures + sum(circuit.failures for circuit in circuits)
    ignored = gone.ignored + sum(circuit.ignored for circuit in circuits)
    gravest = next((state for state in _GRAVITY if state in states), to_come)
    return BreakerStats(
        policy="circuit_breaker",
        name=name,
        state=str(gravest),
        seconds_in_state=max(
            (now - each.phase.began for each in circuits if each.phase.state is gravest),
            default=0.0,
        ),
        calls=successes + failures + ignored,
        successes=successes,
        failures=failures,
        ignored=ignored,
        rejected=gone.rejected + sum(circuit.rejected for circuit in circuits),
        opened=gone.opened + sum(circuit.opened for circuit in circuits),
        consecutive_failures=max((_streak(each.phase) for each in circuits), default=0),
        retry_after=min(
            (
                max(0.0, phase.remaining(now))
                for phase in (each.phase for each in circuits)
                if isinstance(phase, Open)
            ),
            default=None,
        ),
        last_failure=next((each.last_failure for each in circuits if each.last_failure), None),
        window=None,
        latency=None if sketch is None else Latency.of(sketch),
        states=states,
        evicted=gone.number,
    )


def _streak(phase: object) -> int:
    if isinstance(phase, Closed):
        return phase.streak
    return phase.failures if isinstance(phase, HalfOpen) else 0
