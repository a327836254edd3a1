"""The circuit against a model that keeps every outcome and adds them up anew each time."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import Permit, Rules, State

QUARTER = 0.25
reached: Counter[str] = Counter()


class Model:
    """One circuit, told in the plainest way: lists of what happened since the state began."""

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self.ended = Counter[str]()
        self.opened = 0
        self.enter(State.CLOSED, now)

    def enter(self, state: State, now: float, attempt: int = 1) -> None:
        self.state, self.began, self.attempt = state, now, attempt
        self.opened += state is State.OPEN
        self.era = object()
        self.outcomes: list[tuple[float, bool, bool]] = []
        self.running: dict[Any, float] = {}
        self.verdicts: list[bool] = []

    def admit(self, now: float) -> Any:
        """Return a ticket, or None if the call is refused."""
        if self.state is State.OPEN and now - self.began >= self.rules.reset_timeout:
            self.enter(State.HALF_OPEN, now, self.attempt)
        if self.state is State.CLOSED and self._overdue(now) and self.too_slow(now):
            self.enter(State.OPEN, now)
        if self.state is State.HALF_OPEN:
            self.running = {
                ticket: at
                for ticket, at in self.running.items()
                if now - at < self.rules.half_open_timeout
            }
            if (
                len(self.running) >= self.rules.half_open_max_concurrent
                or len(self.running) + len(self.verdicts) >= self.rules.half_open_max_calls
            ):
                self.ended["rejected"] += 1
                return None
        elif self.state in (State.OPEN, State.FORCED_OPEN):
            self.ended["rejected"] += 1
            return None
        ticket = (object(), self.era, now)
        self.running[ticket] = now
        return ticket

    def _overdue(self, now: float) -> int:
        limit = self.rules.slow_call_duration
        return 0 if limit is None else sum(now - at > limit for at in self.running.values())

    def settle(self, ticket: Any, now: float, outcome: str) -> None:
        self.ended[outcome] += 1
        _, era, started = ticket
        known = self.running.pop(ticket, None) is not None
        if era is not self.era or outcome == "ignored":
            return
        limit = self.rules.slow_call_duration
        failed, slow = outcome == "failure", limit is not None and now - started > limit
        if self.state in (State.CLOSED, State.METRICS_ONLY):
            self.outcomes.append((now, failed, slow))
            if self.state is State.CLOSED and self.too_bad(now):
                self.enter(State.OPEN, now)
        elif self.state is State.HALF_OPEN and known:
            too_slow = slow and self.rules.slow_call_rate_threshold is not None
            self.verdicts.append(failed or too_slow)
            bad = sum(self.verdicts)
            spare = self.rules.half_open_max_calls - self.rules.success_threshold
            if bad > spare:
                self.enter(State.OPEN, now, self.attempt + 1)
            elif len(self.verdicts) - bad >= self.rules.success_threshold:
                self.enter(State.CLOSED, now)

    def in_window(self, now: float) -> list[tuple[float, bool, bool]]:
        if self.rules.window_calls is not None:
            return self.outcomes[-self.rules.window_calls :]
        if self.rules.window is None:
            return []
        width = self.rules.window / 10
        current = math.floor((now - self.began) / width)
        return [
            each
            for each in self.outcomes
            if math.floor((each[0] - self.began) / width) > current - 10
        ]

    def streak(self) -> int:
        count = 0
        for _, failed, _slow in reversed(self.outcomes):
            if not failed:
                break
            count += 1
        return count

    def too_bad(self, now: float) -> bool:
        """Judge an outcome that has just come in."""
        rules = self.rules
        if rules.failure_threshold is not None and self.streak() >= rules.failure_threshold:
            return True
        failures = [failed for _, failed, _ in self.in_window(now)]
        return self.too_slow(now) or self.reaches(rules.failure_rate_threshold, failures)

    def too_slow(self, now: float) -> bool:
        """Judge what is slow by now, running calls included."""
        slow = [slow for _, _, slow in self.in_window(now)] + [True] * self._overdue(now)
        return self.reaches(self.rules.slow_call_rate_threshold, slow)

    def reaches(self, threshold: float | None, marks: list[bool]) -> bool:
        if threshold is None or len(marks) < max(1, self.rules.minimum_calls):
            return False
        return sum(marks) / len(marks) >= threshold


rules = st.builds(
    lambda window, slow, trials, **kw: Rules(**window, **slow, **trials, **kw),
    window=st.sampled_from(
        [
            {"failure_threshold": 2},
            {"failure_threshold": 3},
            {"failure_threshold": None, "failure_rate_threshold": 0.5, "window_calls": 6},
            {"failure_threshold": None, "failure_rate_threshold": 0.75, "window": 10.0},
            {"failure_threshold": 4, "failure_rate_threshold": 0.5, "window": 10.0},
        ]
    ),
    slow=st.sampled_from(
        [
            {},
            {"slow_call_duration": 1.0},
            {"slow_call_duration": 1.0, "slow_call_rate_threshold": 0.5},
        ]
    ),
    trials=st.sampled_from(
        [
            {"half_open_max_calls": 1, "success_threshold": 1, "half_open_max_concurrent": 1},
            {"half_open_max_calls": 3, "success_threshold": 2, "half_open_max_concurrent": 2},
        ]
    ),
    minimum_calls=st.sampled_from([1, 3, 5]),
    reset_timeout=st.just(2.0),
    half_open_timeout=st.just(1.5),
).filter(
    # The settings of a breaker see to it: a rate comes with a window.
    lambda rules: rules.slow_call_rate_threshold is None or rules.window or rules.window_calls
)


class CircuitMachine(RuleBasedStateMachine):
    """Drives both with the same calls and looks for a difference."""

    @initialize(chosen=rules, is_down=st.booleans())
    def begin(self, chosen: Rules, is_down: bool) -> None:
        self.now = 1000.0
        self.circuit = Circuit(chosen, self.now)
        self.model = Model(chosen, self.now)
        self.out: list[tuple[Permit, Any]] = []
        self.been: set[str] = set()
        if is_down:
            # Half of the runs begin in trouble, for most are too short to get there by chance.
            self.outage(6)
            if self.circuit.phase.state is State.OPEN:
                self.wait_and_try()

    def teardown(self) -> None:
        reached["runs"] += 1
        for state in getattr(self, "been", ()):
            reached[state] += 1

    @rule()
    def try_a_call(self) -> None:
        self.admit()

    def admit(self) -> None:
        answer, _ = self.circuit.admit(self.now)
        ticket = self.model.admit(self.now)
        assert isinstance(answer, Permit) == (ticket is not None)
        if isinstance(answer, Permit):
            self.out.append((answer, ticket))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(["failure", "failure", "success", "ignored"]))
    def settle(self, data: st.DataObject, outcome: str) -> None:
        at = data.draw(st.integers(0, len(self.out) - 1))
        permit, ticket = self.out.pop(at)
        if outcome == "ignored":
            self.circuit.ignore(permit, self.now)
        else:
            self.circuit.settle(permit, self.now, failed=outcome == "failure")
        self.model.settle(ticket, self.now, outcome)

    @rule(outcome=st.sampled_from(["failure", "failure", "success"]))
    def call(self, outcome: str) -> None:
        self.whole_call(outcome)

    def whole_call(self, outcome: str) -> None:
        """A call from admission to end; a success of a straight call as the driver counts it."""
        answer, _ = self.circuit.admit(self.now)
        ticket = self.model.admit(self.now)
        assert isinstance(answer, Permit) == (ticket is not None)
        if not isinstance(answer, Permit):
            return
        phase = answer.phase
        straight = phase.straight and self.circuit.rules.slow_call_duration is None
        if outcome == "success" and straight:
            if not phase.since <= self.now < phase.until:
                self.circuit.roll(phase, self.now)
            phase.ok += 1
            if phase.watch:
                self.circuit.watched_success(phase, self.now)
        else:
            self.circuit.settle(answer, self.now, failed=outcome == "failure")
        self.model.settle(ticket, self.now, outcome)

    @rule(times=st.integers(2, 6))
    def outage(self, times: int) -> None:
        """Several failures in a row, as an upstream that is down gives."""
        for _ in range(times):
            self.whole_call("failure")

    @precondition(lambda self: self.circuit.phase.state is State.OPEN)
    @rule()
    def wait_and_try(self) -> None:
        """What a client does that heeds retry_after."""
        self.now += 2.0
        self.admit()

    @rule(quarters=st.sampled_from([1, 2, 4, 6, 8, 9, 40]))
    def wait(self, quarters: int) -> None:
        self.now += quarters * QUARTER

    @precondition(lambda self: self.now > 1010)
    @rule(state=st.sampled_from([State.CLOSED, State.METRICS_ONLY, State.FORCED_OPEN]))
    def set_by_hand(self, state: State) -> None:
        self.circuit.set(state, self.now)
        self.model.enter(state, self.now)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "circuit"):
            return
        circuit, model = self.circuit, self.model
        self.been.add(str(circuit.phase.state))
        assert circuit.phase.state == model.state
        assert (
            circuit.total_successes(),
            circuit.failures,
            circuit.ignored,
            circuit.rejected,
            circuit.opened,
        ) == (
            model.ended["success"],
            model.ended["failure"],
            model.ended["ignored"],
            model.ended["rejected"],
            model.opened,
        )


@pytest.mark.parametrize("examples", [400])
def test_the_circuit_agrees_with_the_model(examples: int) -> None:
    """No sequence of calls, outcomes and waits tells the circuit from its model."""
    reached.clear()
    run_state_machine_as_test(
        CircuitMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert reached["half_open"] / reached["runs"] >= 0.3
