"""Slow calls: when one counts as slow, those that still run included."""

from __future__ import annotations

from typing import Any

import pytest

from meshhook.rules.breaker import Change, Circuit
from meshhook.rules.phases import Permit, Refusal, State
from meshhook.rules.windows import Totals
from tests.circuits import admit, by_rate, circuit, closed, fail, is_open, refuse, succeed


class TestSlowCalls:
    def slow(self, **rules: Any) -> Circuit:
        settings: dict[str, Any] = {
            "slow_call_rate_threshold": 0.5,
            "slow_call_duration": 1.0,
            "window_calls": 10,
            "minimum_calls": 4,
        }
        return by_rate(**{**settings, **rules})

    @pytest.mark.parametrize("failed", [False, True])
    def test_a_call_is_slow_above_the_limit(self, failed: bool) -> None:
        """One that takes exactly so long is not; whether it failed is another matter."""
        asked = self.slow()
        for seconds in (0.5, 1.0, 1.001, 7.0):
            asked.settle(admit(asked, 100.0), 100.0 + seconds, failed=failed)
        assert is_open(asked)
        asked = self.slow()
        for seconds in (0.5, 1.0, 1.0, 7.0):
            asked.settle(admit(asked, 100.0), 100.0 + seconds, failed=failed)
        assert closed(asked).totals() == Totals(4, 4 * failed, 1)

    def test_a_slow_success_can_open(self) -> None:
        """It is judged as any outcome, and the change says why."""
        asked = self.slow()
        succeed(asked, 10.0, times=3, seconds=2.0)
        change = asked.settle(admit(asked, 10.0), 12.0, failed=False)
        assert change == Change(State.CLOSED, asked.phase, "slow call rate 100% of 4 calls")

    def test_a_quick_success_can_open(self) -> None:
        """It may be the one that makes the minimum full."""
        asked = self.slow()
        succeed(asked, 10.0, times=3, seconds=2.0)
        succeed(asked, 10.0)
        assert is_open(asked)

    def test_the_window_opens_nothing_by_forgetting(self) -> None:
        """A rate that has risen by itself is found by the next outcome, not by an admission."""
        asked = self.slow(window_calls=None, window=10.0, minimum_calls=2)
        succeed(asked, 0.0, times=4)
        succeed(asked, 5.0, times=2, seconds=2.0)
        admit(asked, 10.5)
        assert not is_open(asked)
        succeed(asked, 10.5)
        assert is_open(asked)

    def test_without_a_threshold_slow_calls_are_only_counted(self) -> None:
        """The window tells how many there were."""
        asked = self.slow(slow_call_rate_threshold=None)
        succeed(asked, 10.0, times=9, seconds=2.0)
        assert closed(asked).totals() == Totals(9, 0, 9)

    def test_running_calls_count_when_they_are_overdue(self) -> None:
        """The next one that comes is refused, for what hangs will not come back soon."""
        asked = self.slow()
        for _ in range(4):
            admit(asked, 100.0)
        admit(asked, 101.0)
        answer, change = asked.admit(101.001)
        assert answer == Refusal(State.OPEN, 60.0)
        assert change == Change(State.CLOSED, asked.phase, "slow call rate 100% of 4 calls")
        assert (asked.rejected, asked.opened) == (1, 1)
        assert getattr(asked.phase, "attempt", None) == 1

    def test_what_runs_in_time_is_admitted_and_listed(self) -> None:
        """Each call is one more that may become overdue."""
        asked = self.slow()
        permits = [admit(asked, 100.0 + number / 10) for number in range(10)]
        assert list(closed(asked).running) == permits
        assert closed(asked).totals().overdue == 0

    def test_overdue_calls_are_no_failures_and_no_calls_that_could_have_failed(self) -> None:
        """They are in neither number of the failure rate."""
        asked = self.slow(failure_rate_threshold=0.5, slow_call_rate_threshold=None)
        for _ in range(20):
            admit(asked, 100.0)
        succeed(asked, 110.0, times=3)
        totals = closed(asked).totals()
        assert totals == Totals(3, 0, 0, overdue=20)
        assert (totals.failure_rate, totals.slow_rate) == (0.0, 20 / 23)
        fail(asked, 110.0, times=2)
        assert not is_open(asked)
        fail(asked, 110.0)
        assert is_open(asked)

    def test_overdue_calls_do_not_make_the_minimum_of_the_failure_rate_full(self) -> None:
        """Only calls that have ended do."""
        asked = self.slow(failure_rate_threshold=0.5, slow_call_rate_threshold=None)
        for _ in range(20):
            admit(asked, 100.0)
        fail(asked, 110.0, times=3)
        assert not is_open(asked)

    def test_overdue_calls_make_the_minimum_of_the_slow_rate_full(self) -> None:
        """Together with those that have ended."""
        asked = self.slow()
        succeed(asked, 100.0, times=2)
        for _ in range(2):
            admit(asked, 100.0)
        refuse(asked, 102.0)

    def test_an_outcome_is_judged_with_what_is_overdue_by_then(self) -> None:
        """A call that ends well opens the circuit if all others hang."""
        asked = self.slow()
        for _ in range(3):
            admit(asked, 100.0)
        change = asked.settle(admit(asked, 101.0), 101.5, failed=False)
        assert change is not None
        assert change.reason == "slow call rate 75% of 4 calls"

    def test_an_overdue_call_that_ends_is_counted_once(self) -> None:
        """As a slow one that has ended."""
        asked = self.slow(slow_call_rate_threshold=None)
        permit = admit(asked, 100.0)
        admit(asked, 105.0)
        assert closed(asked).totals() == Totals(0, 0, 0, overdue=1)
        asked.settle(permit, 106.0, failed=False)
        assert closed(asked).totals() == Totals(1, 0, 1, overdue=0)

    def test_an_overdue_call_that_is_ignored_is_forgotten(self) -> None:
        """Overdue or not, it counts as nothing, and nothing of it is kept."""
        asked = self.slow(slow_call_rate_threshold=None)
        permits = [admit(asked, 100.0), admit(asked, 105.0)]
        for permit in permits:
            asked.ignore(permit, 105.5)
        phase = closed(asked)
        assert (phase.totals(), phase.running, phase.overdue) == (Totals(0, 0, 0), {}, {})

    def test_calls_that_end_leave_nothing_behind(self) -> None:
        """In whatever order they end, and whatever has become of the circuit."""
        asked = self.slow(minimum_calls=10)
        phase = closed(asked)
        permits = [admit(asked, 100.0 + number) for number in range(6)]
        asked.set(State.DISABLED, 106.0)
        for permit in reversed(permits):
            asked.settle(permit, 107.0, failed=False)
        assert (phase.running, phase.overdue) == ({}, {})

    @pytest.mark.parametrize("ends", [True, False], ids=["ends", "goes on"])
    def test_a_clock_that_goes_back_makes_no_call_slow(self, ends: bool) -> None:
        """A call counts from the earliest moment that anybody has seen, as any other."""
        asked = self.slow(slow_call_rate_threshold=None)
        permit = admit(asked, 1e9)
        admit(asked, 50.0)
        if ends:
            asked.settle(permit, 51.0, failed=False)
            assert closed(asked).totals() == Totals(1, 0, 0)
            return
        admit(asked, 51.0)
        assert closed(asked).totals().overdue == 0
        admit(asked, 51.5)
        assert closed(asked).totals().overdue == 2

    def test_calls_that_ended_after_a_leap_of_the_clock_are_judged_by_it(self) -> None:
        """Whoever moves the clock by hand means it."""
        asked = self.slow(slow_call_rate_threshold=None)
        asked.settle(admit(asked, 0.0), 1e9, failed=False)
        assert closed(asked).totals() == Totals(1, 0, 1)


def test_permits_are_told_apart() -> None:
    """Two calls that began at one moment are two calls."""
    asked = circuit(slow_call_duration=1.0)
    first, second = admit(asked, 5.0), admit(asked, 5.0)
    assert first != second
    assert isinstance(first, Permit)
    asked.ignore(first, 5.0)
    assert list(closed(asked).running) == [second]
