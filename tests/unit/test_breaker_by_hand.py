"""What an operator does to a circuit: set its state, and isolate it for a while."""

from __future__ import annotations

import pytest

from meshhook.rules.breaker import Change, Circuit
from meshhook.rules.phases import Closed, HalfOpen, Open, Refusal, State
from tests.circuits import admit, circuit, fail, refuse, succeed, totals

PASSING = (State.CLOSED, State.DISABLED, State.METRICS_ONLY)


@pytest.mark.parametrize("old", list(State))
@pytest.mark.parametrize("new", list(State))
def test_any_state_can_be_set_from_any_other(old: State, new: State) -> None:
    """The change names both; it is no opening that outcomes brought about."""
    asked = circuit(old)
    change = asked.set(new, 5.0)
    assert change == Change(old, asked.phase, "set by hand")
    assert (asked.phase.state, asked.phase.began, asked.opened) == (new, 5.0, 0)


def test_setting_the_state_that_it_is_in_begins_it_anew() -> None:
    """A reset empties the window, and forgets the row of failures."""
    asked = circuit(failure_threshold=3, window_calls=10)
    fail(asked, times=2)
    asked.set(State.CLOSED, 0.0)
    assert isinstance(asked.phase, Closed)
    assert (asked.phase.streak, asked.phase.totals().calls) == (0, 0)
    fail(asked, times=2)
    assert asked.phase.state is State.CLOSED


def test_what_was_counted_stays_counted() -> None:
    """Totals are since the circuit was made, whatever is set."""
    asked = circuit(failure_threshold=1)
    succeed(asked, times=3)
    fail(asked)
    refuse(asked)
    before = totals(asked)
    for state in State:
        asked.set(state, 1.0)
    assert totals(asked) == before
    assert asked.last_failure == "OSError"


@pytest.mark.parametrize("state", [State.DISABLED, State.METRICS_ONLY])
def test_states_that_let_pass_never_open(state: State) -> None:
    """However bad it gets, by any rule; both count the totals."""
    asked = circuit(
        state,
        failure_threshold=1,
        failure_rate_threshold=0.1,
        slow_call_rate_threshold=0.1,
        slow_call_duration=1.0,
        window_calls=10,
        minimum_calls=1,
    )
    hung = [admit(asked) for _ in range(3)]
    fail(asked, 10.0, times=20, seconds=2.0)
    asked.ignore(hung[0], 10.0)
    assert (asked.phase.state, asked.failures, asked.ignored) == (state, 20, 1)


def test_metrics_only_keeps_judging_what_disabled_does_not() -> None:
    """It has the window and the row that a closed circuit would have."""
    asked = circuit(State.METRICS_ONLY, window_calls=4, failure_rate_threshold=0.5)
    succeed(asked, times=3)
    fail(asked, times=2)
    assert isinstance(asked.phase, Closed)
    window = asked.phase.totals()
    assert (asked.phase.streak, window.calls, window.failures) == (2, 4, 2)
    asked.set(State.DISABLED, 0.0)
    assert not isinstance(asked.phase, Closed)


@pytest.mark.parametrize("state", [State.OPEN, State.FORCED_OPEN])
def test_a_call_that_ends_after_it_was_set_changes_nothing(state: State) -> None:
    """It belongs to the state before."""
    asked = circuit(failure_threshold=1)
    running = admit(asked)
    asked.set(state, 0.0)
    assert asked.settle(running, 1.0, failed=False) is None
    assert asked.phase.state is state


class TestIsolation:
    """All calls are refused while anybody isolates; then the state of before comes back."""

    def test_it_refuses_and_tells_of_both_changes(self) -> None:
        """What it goes to and what it comes back to are changes like others."""
        asked = circuit()
        assert asked.isolate(1, 5.0) == Change(State.CLOSED, asked.phase, "isolated")
        assert refuse(asked, 5.0) == Refusal(State.FORCED_OPEN, None)
        assert asked.phase.began == 5.0
        assert asked.isolate(0, 6.0) == Change(State.FORCED_OPEN, asked.phase, "isolation ended")
        assert asked.phase.began == 6.0
        admit(asked, 6.0)

    def test_it_is_counted(self) -> None:
        """Only the first of several begins it, and only the end of the last ends it."""
        asked = circuit()
        asked.isolate(1, 0.0)
        for times in (2, 3, 2, 1):
            assert asked.isolate(times, 0.0) is None
            refuse(asked)
        assert asked.isolate(0, 0.0) is not None
        admit(asked)

    @pytest.mark.parametrize("state", PASSING)
    def test_states_that_let_pass_come_back_with_an_empty_window(self, state: State) -> None:
        """Nothing was called meanwhile, so there is nothing to go by."""
        asked = circuit(state, failure_threshold=3, window_calls=5)
        fail(asked, times=2)
        before = asked.phase
        asked.isolate(1, 0.0)
        asked.isolate(0, 7.0)
        assert asked.phase is not before
        assert (asked.phase.state, asked.phase.began) == (state, 7.0)
        assert getattr(asked.phase, "streak", 0) == 0

    def test_forced_open_stays_forced_open(self) -> None:
        """There is nothing to change at either end."""
        asked = circuit(State.FORCED_OPEN)
        before = asked.phase
        assert [asked.isolate(1, 0.0), asked.isolate(0, 0.0)] == [None, None]
        assert asked.phase is before

    def test_the_break_of_an_open_circuit_goes_on(self) -> None:
        """It has as long to wait as it would have had, and as many openings behind it."""
        asked = circuit(failure_threshold=1, reset_timeout=10.0)
        fail(asked, 0.0)
        fail(asked, 10.0)
        opened = asked.phase
        assert isinstance(opened, Open)
        opened.open_for = 40.0
        asked.isolate(1, 15.0)
        asked.isolate(0, 20.0)
        back = asked.phase
        assert isinstance(back, Open)
        assert (back.began, back.open_for, back.attempt, asked.opened) == (10.0, 40.0, 2, 2)
        assert refuse(asked, 20.0).retry_after == 30.0
        fail(asked, 50.0)
        assert getattr(asked.phase, "attempt", None) == 3

    def test_a_half_open_circuit_is_ready_for_its_next_trial(self) -> None:
        """At once, in a round of its own: trials of the one before are over."""
        asked = circuit(failure_threshold=1, reset_timeout=10.0)
        fail(asked, 0.0)
        fail(asked, 10.0)
        late = admit(asked, 20.0)
        asked.isolate(1, 20.0)
        asked.isolate(0, 20.0)
        assert (asked.phase.state, asked.phase.began) == (State.OPEN, 20.0)
        trial = admit(asked, 20.0)
        assert isinstance(asked.phase, HalfOpen)
        assert asked.phase.attempt == 2
        assert asked.settle(late, 20.0, failed=True) is None
        asked.settle(trial, 20.0, failed=False)
        assert asked.phase.state is State.CLOSED

    def test_a_clock_that_goes_back_meanwhile_prolongs_the_break_by_one_period_at_most(
        self,
    ) -> None:
        """The open circuit that comes back cannot have begun in the future."""
        asked = circuit(State.OPEN, now=1e9, reset_timeout=60.0)
        asked.isolate(1, 1e9)
        asked.isolate(0, 50.0)
        assert asked.phase.began == 50.0
        assert refuse(asked, 50.0).retry_after == 60.0

    def test_what_is_set_meanwhile_stays(self) -> None:
        """The end of the isolation has nothing to bring back."""
        asked = circuit()
        asked.isolate(1, 0.0)
        asked.set(State.DISABLED, 0.0)
        assert asked.isolate(0, 0.0) is None
        assert asked.phase.state is State.DISABLED

    def test_isolating_once_more_isolates_what_was_set_meanwhile(self) -> None:
        """That is what comes back, when the last of them ends and not before."""
        asked = circuit()
        asked.isolate(1, 0.0)
        asked.set(State.METRICS_ONLY, 0.0)
        assert asked.isolate(2, 0.0) == Change(State.METRICS_ONLY, asked.phase, "isolated")
        assert asked.isolate(1, 0.0) is None
        refuse(asked)
        asked.isolate(0, 0.0)
        assert asked.phase.state is State.METRICS_ONLY

    def test_the_end_of_one_does_not_isolate_what_was_set_meanwhile(self) -> None:
        """Fewer than before is no reason to refuse."""
        asked = circuit()
        asked.isolate(2, 0.0)
        asked.set(State.CLOSED, 0.0)
        assert asked.isolate(1, 0.0) is None
        admit(asked)

    def test_it_can_be_isolated_again(self) -> None:
        """What was saved for the first time is not brought back at the end of the second."""
        asked = circuit()
        asked.isolate(1, 0.0)
        asked.isolate(0, 0.0)
        asked.set(State.DISABLED, 0.0)
        asked.isolate(1, 0.0)
        asked.isolate(0, 0.0)
        assert asked.phase.state is State.DISABLED
        assert asked.isolate(0, 0.0) is None

    def test_outcomes_of_calls_from_before_change_nothing(self) -> None:
        """Neither the isolation, nor what comes back after it."""
        asked = circuit(failure_threshold=1)
        early = [admit(asked) for _ in range(2)]
        asked.isolate(1, 0.0)
        assert asked.settle(early[0], 0.0, failed=True) is None
        assert asked.phase.state is State.FORCED_OPEN
        asked.isolate(0, 0.0)
        assert asked.settle(early[1], 0.0, failed=True) is None
        assert asked.phase.state is State.CLOSED
        assert totals(asked)["failures"] == 2


def test_totals_of_an_isolated_circuit_lose_no_success() -> None:
    """What the straight path has added before, meanwhile and after is counted once."""
    asked = Circuit(circuit().rules, 0.0)
    straight = asked.phase
    straight.ok += 2
    asked.isolate(1, 0.0)
    straight.ok += 1
    asked.watched_success(straight, 0.0)
    asked.isolate(0, 0.0)
    asked.phase.ok += 4
    assert asked.total_successes() == 7


class TestForATime:
    """What was set for a time is set back, unless something else is in its place."""

    @pytest.mark.parametrize("state", [State.DISABLED, State.METRICS_ONLY])
    def test_it_goes_back(self, state: State) -> None:
        """To what is said, anew, and tells why."""
        asked = circuit()
        asked.set(state, 1.0)
        change = asked.relieve(state, State.CLOSED, 5.0)
        assert change == Change(state, asked.phase, "its time is over")
        assert (asked.phase.state, asked.phase.began) == (State.CLOSED, 5.0)

    @pytest.mark.parametrize("state", [each for each in State if each is not State.DISABLED])
    def test_another_state_stays(self, state: State) -> None:
        """Whoever has set it."""
        asked = circuit(state)
        before = asked.phase
        assert asked.relieve(State.DISABLED, State.CLOSED, 5.0) is None
        assert asked.phase is before

    def test_under_an_isolation_it_goes_back_later(self) -> None:
        """When that ends."""
        asked = circuit()
        asked.set(State.DISABLED, 1.0)
        asked.isolate(1, 2.0)
        assert asked.relieve(State.DISABLED, State.METRICS_ONLY, 5.0) is None
        refuse(asked, 5.0)
        asked.isolate(0, 6.0)
        assert (asked.phase.state, asked.phase.began) == (State.METRICS_ONLY, 6.0)

    def test_another_state_under_an_isolation_stays(self) -> None:
        """As without one."""
        asked = circuit(State.METRICS_ONLY)
        asked.isolate(1, 2.0)
        asked.relieve(State.DISABLED, State.CLOSED, 5.0)
        asked.isolate(0, 6.0)
        assert asked.phase.state is State.METRICS_ONLY
