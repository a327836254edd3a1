"""A half-open circuit: how many trials it makes, and when their outcomes have decided."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import HalfOpen, Permit, Refusal, State
from tests.circuits import admit, circuit, fail, refuse, succeed, totals


def half_open(calls: int = 1, needed: int | None = None, at_once: int = 1, **rules: Any) -> Circuit:
    """Make a circuit whose round has so many trials, so many of them at once."""
    return circuit(
        State.HALF_OPEN,
        half_open_max_calls=calls,
        success_threshold=calls if needed is None else needed,
        half_open_max_concurrent=at_once,
        **rules,
    )


def state(asked: Circuit) -> State:
    return asked.phase.state


ROUNDS = [
    (calls, needed, at_once)
    for calls in range(1, 5)
    for needed in range(1, calls + 1)
    for at_once in range(1, calls + 1)
]


@pytest.mark.parametrize(("calls", "needed", "at_once"), ROUNDS)
def test_the_verdict_falls_as_soon_as_arithmetic_has_decided(
    calls: int, needed: int, at_once: int
) -> None:
    """Not before, and not later: when all that may still come leads to the same end."""
    for outcomes in itertools.product((True, False), repeat=calls):
        asked = half_open(calls, needed, at_once, reset_timeout=10.0)
        for made in range(1, calls + 1):
            permits = [admit(asked) for _ in range(min(at_once, calls - made + 1))]
            for permit in permits[1:]:
                asked.ignore(permit, 0.0)
            asked.settle(permits[0], 0.0, failed=not outcomes[made - 1])
            rest = itertools.product((True, False), repeat=calls - made)
            ends = {sum(outcomes[:made]) + sum(end) >= needed for end in rest}
            expected = State.HALF_OPEN
            if len(ends) == 1:
                expected = State.CLOSED if ends == {True} else State.OPEN
            assert state(asked) is expected
            if expected is not State.HALF_OPEN:
                break


@pytest.mark.parametrize(("calls", "needed", "at_once"), ROUNDS)
def test_no_more_trials_are_made_than_allowed(calls: int, needed: int, at_once: int) -> None:
    """At one moment, and in a round, whatever order the outcomes come in."""
    for seed in range(20):
        chance = random.Random(seed)
        asked = half_open(calls, needed, at_once)
        out: list[Permit] = []
        settled = 0
        while state(asked) is State.HALF_OPEN:
            answer, _ = asked.admit(0.0)
            expected = len(out) < at_once and settled + len(out) < calls
            assert isinstance(answer, Permit) is expected
            if isinstance(answer, Permit):
                out.append(answer)
            if out and chance.random() < 0.5:
                asked.settle(out.pop(chance.randrange(len(out))), 0.0, failed=chance.random() < 0.4)
                settled += 1
        assert settled <= calls


def test_trials_that_run_when_the_verdict_falls_change_nothing() -> None:
    """The others of a round come too late for it, whatever they say."""
    asked = half_open(calls=3, needed=1, at_once=3)
    first, second, third = (admit(asked) for _ in range(3))
    asked.settle(first, 0.0, failed=False)
    assert state(asked) is State.CLOSED
    closed = asked.phase
    asked.settle(second, 0.0, failed=True)
    asked.ignore(third, 0.0)
    assert (asked.phase, getattr(closed, "streak", None)) == (closed, 0)
    assert totals(asked) == {
        "successes": 1,
        "failures": 1,
        "ignored": 1,
        "rejected": 0,
        "opened": 0,
    }


def test_an_ignored_trial_gives_its_place_back_and_counts_as_nothing() -> None:
    """However often that happens, the round goes on as if there had been no such trial."""
    asked = half_open(calls=2, at_once=1)
    for _ in range(10):
        asked.ignore(admit(asked), 0.0)
    asked.settle(admit(asked), 0.0, failed=False)
    asked.ignore(admit(asked), 0.0)
    assert state(asked) is State.HALF_OPEN
    asked.settle(admit(asked), 0.0, failed=False)
    assert state(asked) is State.CLOSED


@pytest.mark.parametrize("first", ["settle", "ignore"])
@pytest.mark.parametrize("second", ["settle", "ignore"])
def test_a_trial_is_given_back_once(first: str, second: str) -> None:
    """A permit that comes back twice frees one place and has one say."""
    asked = half_open(calls=5, at_once=2)
    mine, other = admit(asked), admit(asked)
    for step in (first, second):
        if step == "ignore":
            asked.ignore(mine, 0.0)
        else:
            asked.settle(mine, 0.0, failed=False)
    assert isinstance(asked.phase, HalfOpen)
    assert asked.phase.successes == (1 if first == "settle" else 0)
    assert list(asked.phase.trials) == [other]
    admit(asked)
    refuse(asked)


class TestLeases:
    """A trial that hangs loses its place after ``half_open_timeout``."""

    def test_the_place_is_free_at_the_very_moment(self) -> None:
        """And not before; until then the refusal says when it will be."""
        asked = half_open(half_open_timeout=5.0)
        admit(asked, 100.0)
        assert refuse(asked, 100.0) == Refusal(State.HALF_OPEN, 5.0)
        assert refuse(asked, 104.0) == Refusal(State.HALF_OPEN, 1.0)
        admit(asked, 105.0)
        assert refuse(asked, 105.0) == Refusal(State.HALF_OPEN, 5.0)
        assert asked.rejected == 3

    @pytest.mark.parametrize("outcome", ["success", "failure", "ignored"])
    def test_the_late_outcome_of_a_lost_trial_changes_nothing(self, outcome: str) -> None:
        """It is counted in the totals; the one that has its place decides."""
        asked = half_open(half_open_timeout=5.0)
        lost = admit(asked)
        kept = admit(asked, 5.0)
        round_of_both = asked.phase
        if outcome == "ignored":
            asked.ignore(lost, 6.0)
        else:
            assert asked.settle(lost, 6.0, failed=outcome == "failure") is None
        assert asked.phase is round_of_both
        refuse(asked, 6.0)
        asked.settle(kept, 6.0, failed=False)
        assert state(asked) is State.CLOSED
        counted = totals(asked)
        assert counted["successes"] == (2 if outcome == "success" else 1)
        assert counted["failures"] == (outcome == "failure")
        assert counted["ignored"] == (outcome == "ignored")

    def test_an_overdue_trial_that_ends_before_anybody_asks_still_counts(self) -> None:
        """Its place was not needed, so it has not lost it."""
        asked = half_open(half_open_timeout=5.0)
        asked.settle(admit(asked), 60.0, failed=False)
        assert state(asked) is State.CLOSED

    def test_hung_trials_never_wedge_it(self) -> None:
        """Round after round of trials that all hang, there is always another one."""
        asked = half_open(calls=3, at_once=2, half_open_timeout=5.0)
        for number in range(50):
            now = number * 5.0
            admit(asked, now)
            admit(asked, now)
            refuse(asked, now)
        for _ in range(3):
            asked.settle(admit(asked, 250.0), 250.0, failed=False)
        assert state(asked) is State.CLOSED

    def test_each_trial_has_a_time_of_its_own(self) -> None:
        """The refusal names the place that will be free first."""
        asked = half_open(calls=3, at_once=2, half_open_timeout=5.0)
        admit(asked, 0.0)
        second = admit(asked, 2.0)
        assert refuse(asked, 3.0).retry_after == 2.0
        admit(asked, 5.0)
        assert refuse(asked, 5.0).retry_after == 2.0
        asked.settle(second, 6.0, failed=False)
        admit(asked, 6.0)

    def test_a_place_is_free_again_when_its_trial_has_ended(self) -> None:
        """Its lease is not waited for."""
        asked = half_open(calls=2, at_once=1, half_open_timeout=5.0)
        asked.settle(admit(asked, 0.0), 1.0, failed=False)
        admit(asked, 1.0)

    def test_a_clock_that_goes_back_prolongs_a_lease_by_one_period_at_most(self) -> None:
        """A trial counts from the earliest moment at which anybody asked."""
        asked = half_open(half_open_timeout=5.0)
        admit(asked, 1e9)
        assert refuse(asked, 10.0).retry_after == 5.0
        assert refuse(asked, 12.0).retry_after == 3.0
        admit(asked, 15.0)


class TestSlowTrials:
    """A trial that takes too long fails where slow calls open the circuit, and nowhere else."""

    @pytest.mark.parametrize(
        ("threshold", "seconds", "expected"),
        [
            (0.5, 1.0, State.CLOSED),
            (0.5, 1.001, State.OPEN),
            (None, 60.0, State.CLOSED),
        ],
    )
    def test_it_is_judged_as_a_call_is(
        self, threshold: float | None, seconds: float, expected: State
    ) -> None:
        """Slow means more than ``slow_call_duration``, as in a closed circuit."""
        asked = half_open(slow_call_duration=1.0, slow_call_rate_threshold=threshold)
        asked.settle(admit(asked, 10.0), 10.0 + seconds, failed=False)
        assert state(asked) is expected

    def test_a_success_that_is_too_slow_is_no_failure_in_the_totals(self) -> None:
        """It says that the upstream is slow, and not that the call failed."""
        asked = half_open(slow_call_duration=1.0, slow_call_rate_threshold=0.5)
        asked.settle(admit(asked, 10.0), 12.0, failed=False)
        counted = totals(asked)
        assert (counted["successes"], counted["failures"], counted["opened"]) == (1, 0, 1)

    def test_a_failure_that_is_slow_as_well_fails_once(self) -> None:
        """One trial has one say."""
        asked = half_open(calls=3, needed=2, slow_call_duration=1.0, slow_call_rate_threshold=0.5)
        asked.settle(admit(asked, 10.0), 12.0, failed=True)
        assert isinstance(asked.phase, HalfOpen)
        assert (asked.phase.failures, asked.phase.successes) == (1, 0)


def test_a_round_begins_with_nothing_of_the_round_before() -> None:
    """Each half-open phase counts its own successes and failures."""
    asked = circuit(
        failure_threshold=1, reset_timeout=10.0, half_open_max_calls=3, success_threshold=2
    )
    fail(asked, 0.0)
    succeed(asked, 10.0)
    fail(asked, 10.0)
    assert state(asked) is State.HALF_OPEN
    fail(asked, 10.0)
    assert state(asked) is State.OPEN
    succeed(asked, 20.0)
    assert state(asked) is State.HALF_OPEN
    succeed(asked, 20.0)
    assert state(asked) is State.CLOSED
