"""A circuit: whom it admits, what an outcome does, and how it adds up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.breaker import Change, Circuit, Gone
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
from tests.circuits import admit, call, circuit, fail, refuse, succeed, totals

PASSING = (State.CLOSED, State.DISABLED, State.METRICS_ONLY)


@pytest.mark.parametrize("state", list(State))
def test_a_new_circuit_has_seen_nothing(state: State) -> None:
    """And counts as just touched, so that it is not the first to be evicted."""
    asked = circuit(state)
    assert set(totals(asked).values()) == {0}
    assert (asked.last_failure, asked.users, asked.touched) == (None, 0, True)


@pytest.mark.parametrize("state", PASSING)
def test_a_call_that_passes_holds_the_phase_and_its_beginning(state: State) -> None:
    """A permit tells which stay in which state gave it, and when; nothing has changed."""
    asked = circuit(state)
    permit, change = asked.admit(7.5)
    assert isinstance(permit, Permit)
    assert (permit.phase, permit.started, change) == (asked.phase, 7.5, None)
    assert asked.rejected == 0


@pytest.mark.parametrize("duration", [None, 1.0], ids=["untimed", "timed"])
@pytest.mark.parametrize("state", list(State))
def test_only_timed_calls_of_a_closed_circuit_are_listed(
    state: State, duration: float | None
) -> None:
    """A list of running calls is kept where it can tell that one is overdue, and nowhere else."""
    asked = circuit(state, slow_call_duration=duration)
    asked.admit(0.0)
    expected = duration is not None and state in (State.CLOSED, State.METRICS_ONLY)
    assert len(getattr(asked.phase, "running", ())) == expected


def test_an_open_circuit_refuses_and_says_for_how_long() -> None:
    """Each refusal is counted and names what is left of the time; nothing changes by it."""
    asked = circuit(State.OPEN, now=100.0, reset_timeout=60.0)
    opened = asked.phase
    assert asked.admit(100.0) == (Refusal(State.OPEN, 60.0), None)
    assert asked.admit(159.0) == (Refusal(State.OPEN, 1.0), None)
    assert (asked.phase, asked.rejected) == (opened, 2)


def test_a_forced_open_circuit_refuses_for_no_time_that_it_knows() -> None:
    """It is not a matter of waiting."""
    asked = circuit(State.FORCED_OPEN)
    assert asked.admit(1e9) == (Refusal(State.FORCED_OPEN, None), None)
    assert asked.rejected == 1


def test_a_trial_is_made_as_soon_as_the_time_is_up() -> None:
    """At the very moment, and not before; the admission tells of the change."""
    asked = circuit(State.OPEN, now=100.0, reset_timeout=60.0)
    refuse(asked, 159.999)
    permit, change = asked.admit(160.0)
    assert isinstance(permit, Permit)
    assert isinstance(asked.phase, HalfOpen)
    assert change == Change(State.OPEN, asked.phase, "time to try again")
    assert (permit.phase, permit.started, asked.phase.began) == (asked.phase, 160.0, 160.0)
    assert asked.rejected == 1


def test_a_clock_that_goes_back_prolongs_the_break_by_one_period_at_most() -> None:
    """An open circuit counts from the earliest moment that it has seen."""
    asked = circuit(State.OPEN, now=1e9, reset_timeout=60.0)
    assert refuse(asked, 50.0).retry_after == 60.0
    assert refuse(asked, 80.0).retry_after == 30.0
    assert admit(asked, 110.0).phase is asked.phase


def test_a_failure_is_counted_and_remembered() -> None:
    """The last failure is known for good; successes do not wipe it away."""
    asked = circuit()
    fail(asked)
    succeed(asked, times=3)
    assert asked.last_failure == "OSError"
    assert totals(asked) == {
        "successes": 3,
        "failures": 1,
        "ignored": 0,
        "rejected": 0,
        "opened": 0,
    }


def test_the_outcome_that_opens_a_circuit_tells_of_it() -> None:
    """The change names the old state, the new phase and the reason; other outcomes give none."""
    asked = circuit(failure_threshold=2, reset_timeout=60.0)
    first, second = admit(asked), admit(asked)
    assert asked.settle(first, 5.0, failed=True) is None
    change = asked.settle(second, 6.0, failed=True)
    opened = asked.phase
    assert change == Change(State.CLOSED, opened, "2 failures in a row")
    assert isinstance(opened, Open)
    assert (opened.began, opened.open_for, opened.attempt, asked.opened) == (6.0, 60.0, 1, 1)


def test_an_outcome_may_come_without_a_permit() -> None:
    """The straight path hands in the phase alone, and is judged all the same."""
    asked = circuit(failure_threshold=1, slow_call_duration=1.0)
    phase = asked.phase
    asked.ignore(phase, 0.0)
    assert asked.settle(phase, 0.0, failed=False) is None
    assert asked.settle(phase, 0.0, failed=True) is not None
    counted = totals(asked)
    assert (counted["successes"], counted["failures"], counted["ignored"]) == (1, 1, 1)


class TestGenerations:
    """What comes back from a phase that is over is counted, and that is all."""

    @pytest.fixture
    def asked(self) -> Circuit:
        """Make a circuit that opens at two failures in a row."""
        return circuit(failure_threshold=2, reset_timeout=10.0)

    @pytest.mark.parametrize("failed", [False, True])
    def test_open_is_left_by_time_alone(self, asked: Circuit, failed: bool) -> None:
        """A late success does not close it, a late failure neither reopens nor prolongs it."""
        late = [admit(asked), admit(asked)]
        fail(asked, times=2)
        opened = asked.phase
        assert [asked.settle(permit, 9.0, failed=failed) for permit in late] == [None, None]
        assert (asked.phase, asked.opened) == (opened, 1)
        assert refuse(asked, 9.0).retry_after == 1.0

    @pytest.mark.parametrize("failed", [False, True])
    def test_trials_are_not_mixed_up_with_it(self, asked: Circuit, failed: bool) -> None:
        """Half-open takes note of the outcomes of its own trials only."""
        late = admit(asked)
        fail(asked, times=2)
        trial = admit(asked, 10.0)
        assert asked.settle(late, 10.0, failed=failed) is None
        assert asked.phase.state is State.HALF_OPEN
        asked.settle(trial, 10.0, failed=False)
        assert asked.phase.state is State.CLOSED

    def test_a_new_window_begins_empty(self, asked: Circuit) -> None:
        """After a recovery the failures of the time before are no part of the row."""
        late = [admit(asked) for _ in range(3)]
        fail(asked, times=2)
        succeed(asked, 10.0)
        fail(asked, 10.0)
        for permit in late:
            assert asked.settle(permit, 11.0, failed=True) is None
        assert isinstance(asked.phase, Closed)
        assert asked.phase.streak == 1

    def test_a_late_success_ends_no_row(self, asked: Circuit) -> None:
        """It says nothing about the upstream of today."""
        late = admit(asked)
        fail(asked, times=2)
        succeed(asked, 10.0)
        fail(asked, 10.0)
        asked.settle(late, 11.0, failed=False)
        fail(asked, 11.0)
        assert asked.phase.state is State.OPEN

    def test_a_late_ignored_outcome_gives_no_trial_away(self, asked: Circuit) -> None:
        """Only who holds a trial can give it back."""
        late = admit(asked)
        fail(asked, times=2)
        admit(asked, 10.0)
        asked.ignore(late, 10.0)
        refuse(asked, 10.0)

    def test_a_trial_of_the_round_before_is_no_trial_of_this_one(self, asked: Circuit) -> None:
        """Two half-open rounds are two phases."""
        asked.set(State.HALF_OPEN, 0.0)
        late = admit(asked)
        asked.set(State.HALF_OPEN, 1.0)
        admit(asked, 1.0)
        asked.ignore(late, 1.0)
        assert asked.settle(late, 1.0, failed=True) is None
        refuse(asked, 1.0)

    @pytest.mark.parametrize("state", PASSING)
    def test_each_late_success_of_the_straight_path_is_counted_once(self, state: State) -> None:
        """It is added to the phase that is over, whose watch flag sends it on to the totals."""
        asked = circuit(state)
        old = asked.phase
        old.ok += 3
        asked.set(State.FORCED_OPEN, 0.0)
        assert (asked.total_successes(), old.watch) == (3, True)
        for late in (1, 2):
            old.ok += 1
            assert asked.watched_success(old, 1.0) is None
            assert asked.total_successes() == 3 + late
        assert asked.phase.state is State.FORCED_OPEN

    def test_a_window_that_is_over_does_not_move(self) -> None:
        """Bringing it up to date is for the phase that lasts."""
        asked = circuit(window=10.0)
        old = asked.phase
        asked.set(State.CLOSED, 1.0)
        asked.roll(old, 500.0)
        assert (old.since, old.until) == (0.0, 1.0)
        asked.roll(asked.phase, 500.0)
        assert asked.phase.since <= 500.0 < asked.phase.until

    @pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
    def test_states_without_a_window_have_nothing_to_move(self, state: State) -> None:
        """Time passes in them without a word."""
        asked = circuit(state)
        asked.roll(asked.phase, 500.0)
        assert asked.phase.until > 500.0


@pytest.mark.parametrize("state", PASSING)
def test_a_watched_success_of_the_current_phase_is_counted_once(state: State) -> None:
    """It is in ``ok`` already."""
    asked = circuit(state)
    for number in range(1, 4):
        asked.phase.ok += 1
        assert asked.watched_success(asked.phase, 0.0) is None
        assert asked.total_successes() == number


@pytest.mark.parametrize("initial", PASSING)
def test_no_success_is_missing_in_the_middle_of_a_transition(initial: State) -> None:
    """Who reads the totals without the lock may come between any two steps of it."""
    seen: list[int] = []

    class Read(Circuit):
        def _fold(self, phase: Phase) -> None:
            seen.append(self.total_successes())
            super()._fold(phase)
            seen.append(self.total_successes())

    read = Read(Rules(), 0.0, initial)
    read.phase.ok += 5
    read.set(State.FORCED_OPEN, 0.0)
    assert [*seen, read.total_successes()] == [5, 5, 5]


def test_a_slow_success_is_a_success_in_the_totals() -> None:
    """Slowness is a matter of the window."""
    asked = circuit(slow_call_duration=1.0)
    succeed(asked, 10.0, seconds=1.5)
    succeed(asked, 10.0, seconds=0.5)
    assert asked.total_successes() == 2


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (State.CLOSED, Closed),
        (State.OPEN, Open),
        (State.HALF_OPEN, HalfOpen),
        (State.FORCED_OPEN, ForcedOpen),
        (State.DISABLED, Disabled),
        (State.METRICS_ONLY, MetricsOnly),
    ],
)
def test_a_circuit_begins_as_it_is_told(state: State, phase: type[Phase]) -> None:
    """Each state has its phase, which begins at that moment; no opening is counted for it."""
    asked = circuit(state, now=5.0, reset_timeout=30.0)
    assert type(asked.phase) is phase
    assert (asked.phase.state, asked.phase.began, asked.opened) == (state, 5.0, 0)
    assert getattr(asked.phase, "open_for", 30.0) == 30.0
    assert getattr(asked.phase, "attempt", 1) == 1


class TestAttempts:
    """Openings in a row are numbered: a break may grow with them."""

    def attempt(self, asked: Circuit) -> Any:
        return getattr(asked.phase, "attempt", None)

    def test_each_failed_round_counts_one_more(self) -> None:
        """Half-open carries the number of the opening before it, the next opening adds one."""
        asked = circuit(failure_threshold=1, reset_timeout=10.0)
        fail(asked, 0.0)
        seen = []
        for number in range(1, 5):
            seen.append(self.attempt(asked))
            trial = admit(asked, number * 10.0)
            seen.append(self.attempt(asked))
            asked.settle(trial, number * 10.0, failed=True)
        assert seen == [1, 1, 2, 2, 3, 3, 4, 4]
        assert (self.attempt(asked), asked.opened) == (5, 5)

    def test_a_failed_trial_gives_the_reason(self) -> None:
        """The change of the second opening is told apart from the first."""
        asked = circuit(State.HALF_OPEN, reset_timeout=10.0)
        change = asked.settle(admit(asked), 3.0, failed=True, error="OSError")
        assert change == Change(State.HALF_OPEN, asked.phase, "a trial call failed")
        assert (asked.phase.began, asked.last_failure) == (3.0, "OSError")

    def test_a_recovery_starts_them_anew(self) -> None:
        """After it has closed, the next opening is the first one again."""
        asked = circuit(failure_threshold=1, reset_timeout=10.0)
        fail(asked, 0.0)
        fail(asked, 10.0)
        change = asked.settle(admit(asked, 20.0), 20.0, failed=False)
        assert change == Change(State.HALF_OPEN, asked.phase, "the trial calls succeeded")
        assert type(asked.phase) is Closed
        fail(asked, 30.0)
        assert (self.attempt(asked), asked.opened) == (1, 3)

    @pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN])
    def test_a_state_set_by_hand_starts_them_anew(self, state: State) -> None:
        """Whoever sets it begins a new story."""
        asked = circuit(failure_threshold=1, reset_timeout=10.0)
        fail(asked, 0.0)
        fail(asked, 10.0)
        asked.set(state, 11.0)
        assert self.attempt(asked) == 1


@given(st.data())
def test_totals_add_up_over_any_history(data: st.DataObject) -> None:
    """Every call that was asked for is running, has one outcome, or was rejected."""
    asked = circuit(
        failure_threshold=3, reset_timeout=2.0, half_open_max_calls=3, half_open_max_concurrent=2
    )
    running: list[Permit] = []
    calls, now = 0, 0.0
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.sampled_from([0.0, 0.5, 2.0]))
        step = data.draw(st.sampled_from(["begin", "begin", "fail", "succeed", "ignore", "set"]))
        if step == "begin":
            calls += 1
            answer, _ = asked.admit(now)
            running += [answer] if isinstance(answer, Permit) else []
        elif step == "set":
            asked.set(data.draw(st.sampled_from(list(State))), now)
        elif running:
            permit = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if step == "ignore":
                asked.ignore(permit, now)
            else:
                asked.settle(permit, now, failed=step == "fail")
        counted = totals(asked)
        opened = counted.pop("opened")
        assert sum(counted.values()) + len(running) == calls
        assert opened <= counted["failures"]


def test_a_whole_history_in_numbers() -> None:
    """Openings, refusals and outcomes of every phase are in the totals once."""
    asked = circuit(failure_threshold=2, reset_timeout=10.0)
    late = admit(asked)
    succeed(asked, times=4)
    fail(asked, times=2)
    for now in (1.0, 2.0, 3.0):
        refuse(asked, now)
    call(asked, 10.0, failed=True)
    refuse(asked, 10.0)
    asked.ignore(admit(asked, 20.0), 20.0)
    call(asked, 20.0, failed=False)
    asked.settle(late, 21.0, failed=False)
    assert totals(asked) == {
        "successes": 6,
        "failures": 3,
        "ignored": 1,
        "rejected": 4,
        "opened": 2,
    }


def test_what_has_gone_is_numbered_and_summed_up() -> None:
    """A circuit that leaves adds all that it has counted, the straight path included."""
    first, second = circuit(failure_threshold=1), circuit()
    first.phase.ok += 3
    first.ignore(admit(first), 0.0)
    fail(first)
    refuse(first)
    succeed(second)
    second.ignore(admit(second), 0.0)
    gone = second.leave(first.leave(Gone()))
    assert gone == Gone(number=2, successes=4, failures=1, ignored=2, rejected=1, opened=1)
    assert (first.gone_as, second.gone_as, circuit().gone_as) == (1, 2, None)
