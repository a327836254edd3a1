"""Each promise of the demo can be broken, and is only broken by what breaks it."""

from __future__ import annotations

import pytest

from meshhook.demo.invariants import (
    TOLERANCE,
    Prices,
    charged_once,
    ended_in_time,
    judge,
    open_means_open,
    open_periods,
    times,
    within_budget,
    within_rate,
    within_slots,
)
from meshhook.demo.journal import ANSWERED, Call, Change

CLOSED_TO_OPEN = Change(10.0, "closed", "open", "5 failures in a row")
OPEN_TO_HALF_OPEN = Change(11.0, "open", "half_open", "time to try again")
HALF_OPEN_TO_CLOSED = Change(11.2, "half_open", "closed", "the trial calls succeeded")
HISTORY = [CLOSED_TO_OPEN, OPEN_TO_HALF_OPEN, HALF_OPEN_TO_CLOSED]


def call(entered: float, reached: float | None, *, took: float = 0.1, limit: float = 0.4) -> Call:
    return Call("quote", "threads", entered, limit, reached, entered + took, ANSWERED)


def test_each_order_charged_once_keeps_the_promise() -> None:
    """One charge an order, confirmed with one receipt or not confirmed, is as it should be."""
    assert charged_once({"a": 1, "b": 1}, {"a": {"r1"}}).kept


@pytest.mark.parametrize(
    ("executed", "confirmed", "evidence"),
    [
        ({"a": 2, "b": 1}, {}, "1 charged more than once"),
        ({"a": 1}, {"a": {"r1"}, "b": {"r2"}}, "1 confirmed but never charged"),
        ({"a": 1}, {"a": {"r1", "r2"}}, "1 with differing receipts"),
    ],
)
def test_a_wrong_charge_breaks_the_promise(
    executed: dict[str, int], confirmed: dict[str, set[str]], evidence: str
) -> None:
    """A second charge, a charge made up and two receipts for one order are each found."""
    verdict = charged_once(executed, confirmed)
    assert not verdict.kept
    assert evidence in verdict.evidence


def test_a_call_may_end_a_little_late() -> None:
    """Up to the tolerance past its timeout a call is in time."""
    assert ended_in_time([call(1.0, 1.0, took=0.4 + TOLERANCE - 0.01)]).kept


def test_a_call_that_outlived_its_timeout_breaks_the_promise() -> None:
    """One call past the tolerance is enough, however many were in time."""
    verdict = ended_in_time([call(1.0, 1.0), call(2.0, 2.0, took=0.4 + TOLERANCE + 0.01)])
    assert not verdict.kept
    assert "1 too late" in verdict.evidence


def test_no_call_at_all_is_in_time() -> None:
    """A demo that was interrupted at once has kept its promises."""
    assert all(verdict.kept for verdict in judge([], [], {}, {}, Prices()))


@pytest.mark.parametrize(
    ("entered", "reached"),
    [
        pytest.param(9.0, 9.1, id="before the opening"),
        pytest.param(9.999, 10.001, id="admitted just before the opening"),
        pytest.param(9.999, 11.5, id="admitted before, at the network after everything"),
        pytest.param(10.5, None, id="refused"),
        pytest.param(10.999, 11.001, id="the trial call"),
        pytest.param(11.3, 11.3, id="after the closing"),
    ],
)
def test_calls_that_an_open_circuit_has_nothing_to_do_with(
    entered: float, reached: float | None
) -> None:
    """Calls from before, after and in between, refused and trial calls break no promise."""
    assert open_means_open([call(entered, reached)], HISTORY).kept


def test_a_call_that_began_while_open_and_passed_breaks_the_promise() -> None:
    """A call that began after the opening and was at the network before half-open got through."""
    verdict = open_means_open([call(10.5, 10.501)], HISTORY)
    assert not verdict.kept
    assert "1 passed while it was open" in verdict.evidence


def test_a_circuit_that_is_still_open_lets_nobody_through() -> None:
    """The last opening lasts until the end of the demo."""
    assert not open_means_open([call(10.5, 10.501)], [CLOSED_TO_OPEN]).kept


def test_a_failed_trial_begins_another_open_period() -> None:
    """Each opening has its end, also when the circuit goes from half-open to open."""
    changes = [
        CLOSED_TO_OPEN,
        OPEN_TO_HALF_OPEN,
        Change(11.1, "half_open", "open", "a trial call failed"),
        Change(12.1, "open", "half_open", "time to try again"),
    ]
    assert open_periods(changes) == [(10.0, 11.0), (11.1, 12.1)]


def test_an_event_told_late_ends_no_period_that_is_not_its_own() -> None:
    """A closing that is told after the next opening does not end it."""
    late = [OPEN_TO_HALF_OPEN, CLOSED_TO_OPEN, HALF_OPEN_TO_CLOSED]
    assert open_periods(late) == [(10.0, float("inf"))]


def test_how_often_in_words() -> None:
    """Once is a word of its own."""
    assert [times(0), times(1), times(1200)] == ["0 times", "once", "1,200 times"]


def test_attempts_within_the_rate_keep_the_promise() -> None:
    """A burst, and then one for each tenth of a second, is what ten a second allows."""
    starts = [0.0] * 20 + [0.1 * number for number in range(1, 50)]
    assert within_rate(starts, 10.0, 20).kept
    assert within_rate([], 10.0, 20).kept


def test_a_burst_too_many_breaks_the_promise() -> None:
    """Also long after the beginning, when the first burst is forgotten."""
    starts = [float(second) for second in range(10)] + [10.0] * 24
    assert not within_rate(starts, 10.0, 20).kept


def test_slots_and_budget_are_counted() -> None:
    """One more than there are breaks either promise."""
    assert within_slots(6, 6).kept
    assert not within_slots(7, 6).kept
    prices = Prices(asked=100, extra=60, seconds=10.0)
    assert within_budget(prices, 0.2, 2.0).kept
    assert not within_budget(Prices(asked=100, extra=61, seconds=10.0), 0.2, 2.0).kept
