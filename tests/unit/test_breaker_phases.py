"""A closed circuit: which outcomes open it, by the row, the rates and the window."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import meshhook as mh
from meshhook.rules.breaker import Change
from meshhook.rules.phases import Rules, State
from meshhook.rules.windows import Totals
from tests.circuits import admit, by_rate, circuit, closed, fail, is_open, succeed, succeed_straight


def test_rules_have_the_defaults_of_the_decorator() -> None:
    """Which are those that are documented, and stay as they are."""
    assert Rules() == Rules(
        failure_threshold=5,
        failure_rate_threshold=None,
        slow_call_rate_threshold=None,
        slow_call_duration=None,
        window=None,
        window_calls=None,
        minimum_calls=10,
        reset_timeout=60.0,
        half_open_max_calls=1,
        success_threshold=1,
        half_open_max_concurrent=1,
        half_open_timeout=60.0,
    )
    assert mh.circuit_breaker(registry=mh.Registry()).settings.rules == Rules()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rules().minimum_calls = 1  # type: ignore[misc]


class TestConsecutive:
    @pytest.mark.parametrize("threshold", [1, 2, 5])
    def test_it_opens_at_the_threshold(self, threshold: int) -> None:
        """Not one failure earlier."""
        asked = circuit(failure_threshold=threshold)
        fail(asked, times=threshold - 1)
        assert not is_open(asked)
        fail(asked)
        assert is_open(asked)

    @pytest.mark.parametrize("seconds", [0.0, 9.0], ids=["quick", "slow"])
    def test_a_success_ends_the_row(self, seconds: float) -> None:
        """A slow one too."""
        asked = circuit(failure_threshold=2, slow_call_duration=1.0)
        for _ in range(5):
            fail(asked, 10.0)
            succeed(asked, 10.0, seconds=seconds)
        assert not is_open(asked)
        assert closed(asked).streak == 0

    def test_an_ignored_call_does_not(self) -> None:
        """It counts as nothing."""
        asked = circuit(failure_threshold=2)
        fail(asked)
        asked.ignore(admit(asked), 0.0)
        fail(asked)
        assert is_open(asked)

    def test_no_window_is_kept(self) -> None:
        """There is nothing to sum up where only the row counts."""
        asked = circuit()
        fail(asked, times=3)
        assert closed(asked).totals() == Totals(0, 0, 0)

    def test_without_the_rule_no_row_is_too_long(self) -> None:
        """It is known all the same, and the next success ends it."""
        asked = by_rate()
        fail(asked, times=100)
        assert (is_open(asked), closed(asked).streak) == (False, 100)
        succeed_straight(asked, 0.0)
        assert closed(asked).streak == 0


@pytest.mark.parametrize("window", [{"window_calls": 10}, {"window": 10.0}], ids=str)
class TestFailureRate:
    @pytest.mark.parametrize(
        ("successes", "failures", "expected"),
        [(4, 3, False), (4, 4, True), (1, 1, True), (2, 1, False)],
    )
    def test_it_opens_at_the_threshold(
        self, window: Any, successes: int, failures: int, expected: bool
    ) -> None:
        """A rate that is equal to it is enough."""
        asked = by_rate(failure_rate_threshold=0.5, minimum_calls=1, **window)
        succeed(asked, times=successes)
        fail(asked, times=failures)
        assert is_open(asked) is expected

    def test_a_rate_of_too_few_calls_is_no_rate(self, window: Any) -> None:
        """The call that makes the minimum full is judged with the others."""
        asked = by_rate(failure_rate_threshold=0.5, minimum_calls=6, **window)
        fail(asked, times=5)
        assert not is_open(asked)
        fail(asked)
        assert is_open(asked)

    def test_a_success_may_be_what_makes_the_minimum_full(self, window: Any) -> None:
        """Every outcome is judged, and the change tells the rate and the calls."""
        asked = by_rate(failure_rate_threshold=0.75, minimum_calls=4, **window)
        fail(asked, times=3)
        change = asked.settle(admit(asked), 0.0, failed=False)
        assert change == Change(State.CLOSED, asked.phase, "failure rate 75% of 4 calls")

    def test_a_success_of_the_straight_path_may_too(self, window: Any) -> None:
        """While it may, every success is watched."""
        asked = by_rate(failure_rate_threshold=0.75, minimum_calls=4, **window)
        phase = asked.phase
        assert not phase.watch
        fail(asked, times=3)
        assert phase.watch
        phase.ok += 1
        change = asked.watched_success(phase, 0.0)
        assert change == Change(State.CLOSED, asked.phase, "failure rate 75% of 4 calls")
        assert getattr(asked.phase, "attempt", None) == 1

    def test_ignored_calls_are_no_calls(self, window: Any) -> None:
        """They are in neither number of the rate."""
        asked = by_rate(failure_rate_threshold=1.0, minimum_calls=2, **window)
        fail(asked)
        for _ in range(5):
            asked.ignore(admit(asked), 0.0)
        assert closed(asked).totals() == Totals(1, 1, 0)

    def test_slow_calls_are_no_failures(self, window: Any) -> None:
        """A slow success lowers the failure rate like any other."""
        asked = by_rate(
            failure_rate_threshold=0.5, slow_call_duration=1.0, minimum_calls=3, **window
        )
        succeed(asked, 0.0, times=2, seconds=5.0)
        fail(asked)
        assert not is_open(asked)
        fail(asked)
        assert is_open(asked)

    def test_without_a_threshold_no_rate_is_too_high(self, window: Any) -> None:
        """The window is kept to be looked at."""
        asked = by_rate(minimum_calls=1, **window)
        fail(asked, times=5)
        assert not is_open(asked)
        assert closed(asked).totals() == Totals(5, 5, 0)


class TestWindows:
    def test_the_last_calls_are_judged(self) -> None:
        """What a count window has forgotten cannot open the circuit."""
        asked = by_rate(failure_rate_threshold=0.5, window_calls=4, minimum_calls=4)
        fail(asked)
        succeed(asked, times=4)
        fail(asked)
        assert not is_open(asked)
        fail(asked)
        assert is_open(asked)

    def test_the_last_seconds_are_judged(self) -> None:
        """What a time window has forgotten cannot open it either."""
        asked = by_rate(failure_rate_threshold=0.5, window=10.0, minimum_calls=3)
        fail(asked, 0.0)
        succeed(asked, 5.0)
        succeed(asked, 9.9)
        fail(asked, 10.0)
        assert closed(asked).totals() == Totals(3, 1, 0)
        fail(asked, 10.0)
        assert is_open(asked)

    def test_an_outcome_is_booked_when_it_comes(self) -> None:
        """Not when the call began: what takes half a minute and fails is news."""
        asked = by_rate(failure_rate_threshold=0.5, window=10.0, minimum_calls=2)
        calls = [admit(asked, 0.0) for _ in range(2)]
        for permit in calls:
            asked.settle(permit, 30.0, failed=True)
        assert is_open(asked)

    @pytest.mark.parametrize("failed", [False, True])
    def test_the_window_is_brought_up_to_date_before_it_is_judged(self, failed: bool) -> None:
        """An outcome after a long silence is judged by itself."""
        asked = by_rate(failure_rate_threshold=0.6, window=10.0, minimum_calls=1)
        succeed(asked, 0.0)
        fail(asked, 0.0)
        asked.settle(admit(asked, 50.0), 50.0, failed=failed)
        assert is_open(asked) is failed

    def test_successes_that_are_forgotten_make_the_next_one_matter(self) -> None:
        """A rate may rise without a failure, and the next success finds it."""
        asked = by_rate(failure_rate_threshold=0.5, window=10.0, minimum_calls=2)
        succeed(asked, 0.0, times=4)
        fail(asked, 5.0, times=2)
        succeed(asked, 5.0)
        phase = asked.phase
        assert not phase.watch
        asked.roll(phase, 10.5)
        assert phase.watch
        phase.ok += 1
        change = asked.watched_success(phase, 10.5)
        assert change == Change(State.CLOSED, asked.phase, "failure rate 50% of 4 calls")

    def test_a_watched_success_is_judged_by_the_window_of_that_moment(self) -> None:
        """Even if nobody has brought it up to date before."""
        asked = by_rate(failure_rate_threshold=0.5, window=10.0, minimum_calls=2)
        fail(asked, 0.0)
        phase = asked.phase
        phase.ok += 1
        assert asked.watched_success(phase, 60.0) is None
        assert closed(asked).totals().failures == 0

    def test_forgetting_what_was_unremarkable_makes_nothing_matter(self) -> None:
        """Without failures there is nothing that a success could decide."""
        asked = by_rate(failure_rate_threshold=0.5, window=10.0)
        succeed(asked, 0.0, times=4)
        asked.roll(asked.phase, 30.0)
        assert not asked.phase.watch

    def test_a_row_outlives_the_window(self) -> None:
        """Failures in a row are in a row however long they are apart; a success still ends it."""
        asked = circuit(failure_threshold=3, failure_rate_threshold=0.5, window=10.0)
        fail(asked, 0.0)
        asked.roll(asked.phase, 60.0)
        assert asked.phase.watch
        succeed_straight(asked, 60.0)
        fail(asked, 60.0, times=2)
        assert not is_open(asked)
        fail(asked, 120.0)
        assert is_open(asked)

    def test_the_straight_path_knows_how_long_its_window_lasts(self) -> None:
        """``since`` and ``until`` are those of the slice; without a time window, for ever."""
        timed, counted, plain = by_rate(window=10.0), by_rate(window_calls=5), circuit()
        assert (timed.phase.since, timed.phase.until) == (0.0, 1.0)
        timed.roll(timed.phase, 3.5)
        assert (timed.phase.since, timed.phase.until) == (3.0, 4.0)
        for asked in (counted, plain):
            assert asked.phase.since <= -1e300
            assert asked.phase.until >= 1e300

    def test_several_rules_are_one_after_the_other(self) -> None:
        """The first that is broken gives the reason: the row, the failures, the slow calls."""
        rules: dict[str, Any] = {
            "failure_threshold": 2,
            "failure_rate_threshold": 1.0,
            "slow_call_rate_threshold": 1.0,
            "slow_call_duration": 1.0,
            "window_calls": 4,
            "minimum_calls": 2,
        }
        for given_rules, reason in (
            (rules, "2 failures in a row"),
            ({**rules, "failure_threshold": 3}, "failure rate 100% of 2 calls"),
            ({**rules, "failure_rate_threshold": None, "failure_threshold": None}, "slow call"),
        ):
            asked = circuit(**given_rules)
            fail(asked, 10.0, seconds=2.0)
            change = asked.settle(admit(asked, 10.0), 12.0, failed=True)
            assert change is not None
            assert change.reason.startswith(reason)
