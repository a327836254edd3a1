"""The generic cell rate algorithm against lists of all calls that it let start."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.gcra import CLOSED, Gcra
from meshhook.rules.rates import Rate, Rule, Together

SECOND = 1_000_000

RATES = st.builds(
    Rate,
    limit=st.integers(1, 5_000_000),
    period=st.integers(1, 3_600 * SECOND),
    burst=st.integers(1, 50),
)


def gcra(rates: list[Rate], now: int) -> Rule:
    """Make the rule of one rate, or of several together."""
    rules = [Gcra(rate, now) for rate in rates]
    return rules[0] if len(rules) == 1 else Together(rules)


def start(rule: Rule, now: int, cost: int = 1) -> bool:
    """Start a call, if it may start now, as its wait says."""
    waits = rule.wait(now, cost)
    starts = rule.start(now, cost)
    assert starts is (waits == 0)
    return starts


def reserve(rule: Rule, now: int, cost: int = 1) -> int:
    """Take a call for the moment at which it may start, and return that."""
    at = now + rule.wait(now, cost)
    rule.take(at, cost)
    return at


def most_at_once(rate: Rate, starts: list[tuple[int, int]]) -> Fraction:
    """Return by how much the fullest of all stretches of time is above what ``rate`` allows."""
    excess = Fraction(-(10**9))
    for first, (begin, _) in enumerate(starts):
        total = 0
        for end, cost in starts[first:]:
            total += cost
            allowed = rate.burst + Fraction((end - begin) * rate.limit, rate.period)
            excess = max(excess, total - allowed)
    return excess


def test_the_burst_starts_at_once_and_the_rest_at_its_pace() -> None:
    """Two at once, then one every 250 ms."""
    rule = gcra([Rate(4, SECOND, 2)], 0)
    assert [start(rule, 0) for _ in range(3)] == [True, True, False]
    assert rule.wait(0) == 250_000
    assert not start(rule, 249_999)
    assert start(rule, 250_000)
    assert not start(rule, 250_000)


def test_a_pace_that_is_no_whole_number_of_microseconds_is_exact() -> None:
    """Three a second for 1,000 seconds are 3,000, not one more or less."""
    rule = gcra([Rate(3, SECOND, 2)], 0)
    starts = [reserve(rule, 0) for _ in range(3_002)]
    assert starts[:5] == [0, 0, 333_334, 666_667, 1_000_000]
    assert starts[3_001] == 1_000 * SECOND


def test_without_a_burst_two_calls_are_never_nearer_than_the_rate_says() -> None:
    """So each starts at the first whole microsecond at which the one before allows it."""
    rule = gcra([Rate(3, SECOND, 1)], 0)
    assert [reserve(rule, 0) for _ in range(4)] == [0, 333_334, 666_668, 1_000_002]


def test_more_calls_than_microseconds() -> None:
    """Ten million a second are ten in a microsecond."""
    rule = gcra([Rate(10_000_000, SECOND, 10)], 0)
    assert sum(start(rule, 0) for _ in range(50)) == 10
    assert sum(start(rule, 1) for _ in range(50)) == 10


def test_rest_gives_no_more_than_the_burst() -> None:
    """However long nothing was called."""
    rule = gcra([Rate(1, SECOND, 5)], 0)
    assert sum(start(rule, 10**15) for _ in range(50)) == 5


def test_all_rates_are_taken_together_or_none_is() -> None:
    """What the strict rate refuses costs the other one nothing."""
    rule = gcra([Rate(10, SECOND, 10), Rate(2, 60 * SECOND, 2)], 0)
    assert [start(rule, 0) for _ in range(5)] == [True, True, False, False, False]
    assert rule.remaining(0) == 0
    assert rule.wait(0) == 30 * SECOND
    assert rule.reset_after(0) == 60 * SECOND


def test_what_one_rate_holds_up_does_not_come_all_at_once_through_another() -> None:
    """Reserved calls keep to every rate at the moment when they start."""
    slow, fast = Rate(1, SECOND, 5), Rate(100, SECOND, 1)
    rule = gcra([slow, fast], 0)
    rule.pause(10 * SECOND)
    starts = [(reserve(rule, n * 10_000), 1) for n in range(30)]
    assert most_at_once(slow, starts) <= 0
    assert most_at_once(fast, starts) <= 0
    assert starts[0][0] == 10 * SECOND


def test_a_cost_takes_as_much_as_so_many_calls() -> None:
    """And waits until so many would have been allowed."""
    rule = gcra([Rate(10, SECOND, 10)], 0)
    assert start(rule, 0, cost=7)
    assert rule.remaining(0) == 3
    assert rule.wait(0, cost=5) == 200_000
    assert start(rule, 0, cost=3)


def test_remaining_and_reset_say_what_is_left() -> None:
    """A call that is paid back in part does not count as back."""
    rule = gcra([Rate(1, SECOND, 3)], 0)
    start(rule, 0)
    assert (rule.remaining(0), rule.reset_after(0)) == (2, SECOND)
    assert (rule.remaining(999_999), rule.reset_after(999_999)) == (2, 1)
    assert (rule.remaining(SECOND), rule.reset_after(SECOND)) == (3, 0)
    assert (rule.remaining(5 * SECOND), rule.reset_after(5 * SECOND)) == (3, 0)


def test_a_pause_ends_without_a_burst() -> None:
    """One call at its end, the next at the pace of the rate."""
    rule = gcra([Rate(10, SECOND, 5)], 0)
    rule.pause(3 * SECOND)
    assert rule.wait(0) == 3 * SECOND
    assert [start(rule, 3 * SECOND) for _ in range(2)] == [True, False]
    assert start(rule, 3 * SECOND + 100_000)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """The latest moment counts."""
    rule = gcra([Rate(10, SECOND, 1)], 0)
    rule.pause(3 * SECOND)
    rule.pause(1 * SECOND)
    assert rule.wait(0) == 3 * SECOND


def test_another_rate_keeps_what_is_owed() -> None:
    """Three calls of a burst of four have been made, also at ten times the pace."""
    first = Gcra(Rate(1, SECOND, 4), 0)
    for _ in range(3):
        start(first, 0)
    faster = first.change(Rate(10, SECOND, 4), 0)
    assert faster.remaining(0) == 1
    assert faster.reset_after(0) == 300_000
    slower = faster.change(Rate(1, SECOND, 2), 0)
    assert slower.wait(0) == 2 * SECOND


def test_who_still_holds_a_rule_that_was_replaced_starts_nothing() -> None:
    """A driver may have looked at it just before."""
    rule = Gcra(Rate(10, SECOND, 10), 0)
    changed = rule.change(Rate(10, SECOND, 10), 0)
    assert not rule.start(10 * SECOND)
    assert changed.start(0)
    assert not CLOSED.start(10**15)


def test_a_change_in_the_middle_of_a_call_that_is_paid_back_rounds_up() -> None:
    """Never more than the new rate allows."""
    rule = Gcra(Rate(3, SECOND, 1), 0)
    start(rule, 0)
    assert rule.change(Rate(7, SECOND, 1), 333_333).wait(333_333) == 1


@pytest.mark.parametrize("crowd", [1, 2, 5, 11, 30])
def test_a_crowd_waits_until_the_last_of_it_may_start(crowd: int) -> None:
    """As long as if they were started one by one."""
    for rates in ([Rate(3, SECOND, 2)], [Rate(10, SECOND, 5), Rate(20, 5 * SECOND, 20)]):
        rule = gcra(rates, 0)
        reserve(rule, 0)
        expected = rule.wait(0, crowd)
        assert [reserve(rule, 0) for _ in range(crowd)][-1] == expected


def test_small_numbers_are_floats_and_great_ones_ints_and_both_are_exact() -> None:
    """A driver may inline the small ones; the great ones would be rounded."""
    light, heavy = Gcra(Rate(3, SECOND, 2), 10**9), Gcra(Rate(3, SECOND, 2), 10**15)
    assert (light.may_be_inlined, heavy.may_be_inlined) == (True, True)
    heavy = Gcra(Rate(4_999_999, SECOND, 2), 10**13)
    assert (type(light.ready), type(heavy.ready), heavy.may_be_inlined) == (float, int, False)


@pytest.mark.parametrize("waiting", [False, True], ids=["refused", "reserved"])
@given(
    rates=st.lists(RATES, min_size=1, max_size=3),
    began=st.integers(0, 10**13),
    steps=st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(1, 3)), max_size=60),
)
def test_no_stretch_of_time_holds_more_than_burst_and_rate(
    *, waiting: bool, rates: list[Rate], began: int, steps: list[tuple[float, int]]
) -> None:
    """For every rate, whether calls are refused or wait for their turn."""
    rule = gcra(rates, began)
    starts: list[tuple[int, int]] = []
    now = began
    for share, cost in steps:
        now += int(share * rates[0].period / rates[0].limit)
        if cost > min(rate.burst for rate in rates):
            continue
        wait = rule.wait(now, cost)
        assert wait >= 0
        if waiting or not wait:
            if wait:
                assert rule.wait(now + wait - 1, cost) == 1
            assert rule.wait(now + wait, cost) == 0
            starts.append((now + wait, cost))
            rule.take(now + wait, cost)
    for rate in rates:
        assert not starts or most_at_once(rate, sorted(starts)) <= 0


def bridges_a_microsecond(rate: Rate) -> bool:
    return (rate.burst - 1) * rate.period >= rate.limit


@given(rate=RATES.filter(bridges_a_microsecond), times=st.integers(1, 200))
def test_nothing_is_refused_that_the_rate_allows(rate: Rate, times: int) -> None:
    """The n-th call after the burst starts in the microsecond in which it is due."""
    rule = gcra([rate], 0)
    starts = [reserve(rule, 0) for _ in range(rate.burst + times)]
    due = [-(-number * rate.period // rate.limit) for number in range(1, times + 1)]
    assert starts == [0] * rate.burst + due
