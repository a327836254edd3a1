"""The sliding log and the fixed window, against lists of all calls that they let start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.fixed_window import FixedWindow
from meshhook.rules.gcra import Gcra
from meshhook.rules.rates import OneRate, Rate, Together
from meshhook.rules.sliding_log import SlidingLog

SECOND = 1_000_000
KINDS = [SlidingLog, FixedWindow]
Kind: TypeAlias = type[SlidingLog] | type[FixedWindow]

RATES = st.builds(
    lambda limit, period: Rate(limit, period, limit), st.integers(1, 20), st.integers(1, 10**10)
)
STEPS = st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 4)), max_size=60)


def start(rule: OneRate, now: int, cost: int = 1) -> bool:
    """Start a call, if it may start now, as its wait and what remains say."""
    waits, fits = rule.wait(now, cost), rule.remaining(now) >= cost
    starts = rule.start(now, cost)
    assert starts is (waits == 0) is fits
    return starts


def reserve(rule: OneRate, now: int, cost: int = 1) -> int:
    """Take a call for the moment at which it may start, and return that."""
    at = now + rule.wait(now, cost)
    assert at == now or rule.wait(at - 1, cost) == 1
    rule.take(at, cost)
    return at


def units(starts: list[tuple[int, int]]) -> list[int]:
    """Return the time of each unit of cost."""
    return [at for at, cost in starts for _ in range(cost)]


def calls(rate: Rate, steps: list[tuple[float, int]], began: int) -> list[tuple[int, int]]:
    """Return when calls come, and what they cost."""
    made, now = [], began
    for share, cost in steps:
        now += int(share * rate.period / rate.limit)
        made.append((now, min(cost, rate.limit)))
    return made


@given(rate=RATES, steps=STEPS, began=st.integers(0, 10**13), waiting=st.booleans())
def test_no_period_holds_more_than_the_limit(
    *, rate: Rate, steps: list[tuple[float, int]], began: int, waiting: bool
) -> None:
    """Wherever it begins: a call starts a period after the one that is the limit before it."""
    rule = SlidingLog(rate, began)
    starts, latest = [], 0
    for now, cost in calls(rate, steps, began):
        if waiting:
            latest = reserve(rule, max(now, latest), cost)
            starts.append((latest, cost))
        elif start(rule, now, cost):
            starts.append((now, cost))
    times = units(starts)
    for earlier, later in zip(times, times[rate.limit :], strict=False):
        assert later - earlier >= rate.period


@given(rate=RATES, steps=STEPS, began=st.integers(0, 10**13))
def test_the_sliding_log_refuses_nothing_that_fits(
    rate: Rate, steps: list[tuple[float, int]], began: int
) -> None:
    """A model that keeps all times says the same."""
    rule = SlidingLog(rate, began)
    times: list[int] = []
    for now, cost in calls(rate, steps, began):
        used = sum(at > now - rate.period for at in times)
        assert start(rule, now, cost) is (used + cost <= rate.limit)
        if used + cost <= rate.limit:
            times += [now] * cost
        left = times[-1] + rate.period - now if times else 0
        assert rule.reset_after(now) == max(0, left)


@given(rate=RATES, steps=STEPS, began=st.integers(0, 10**13))
def test_no_window_holds_more_than_the_limit(
    rate: Rate, steps: list[tuple[float, int]], began: int
) -> None:
    """It begins with the first call after the last was over, and what fits in it starts."""
    rule = FixedWindow(rate, began)
    ends, used = began, 0
    for now, cost in calls(rate, steps, began):
        fits = now >= ends or used + cost <= rate.limit
        assert start(rule, now, cost) is fits
        if fits and now >= ends:
            ends, used = now + rate.period, 0
        used += cost if fits else 0
        assert rule.reset_after(now) == max(0, ends - now)


def test_between_two_windows_twice_the_limit_may_start() -> None:
    """That is what it does not promise; the sliding log does."""
    window, log = FixedWindow(Rate(5, SECOND, 5), 0), SlidingLog(Rate(5, SECOND, 5), 0)
    for rule, most in ((window, 9), (log, 5)):
        assert start(rule, 0)
        at_the_end = sum(start(rule, 999_999) for _ in range(9))
        assert at_the_end + sum(start(rule, SECOND) for _ in range(9)) == most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crowd", [1, 3, 4, 10, 25])
@pytest.mark.parametrize("before", [0, 1, 3, 4])
def test_a_crowd_waits_until_the_last_of_it_may_start(kind: Kind, crowd: int, before: int) -> None:
    """As long as if they were started one by one."""
    rule = kind(Rate(4, SECOND, 4), 0)
    for number in range(before):
        start(rule, number * 1_000)
    now = latest = 10_000
    expected = rule.wait(now, crowd)
    for _ in range(crowd):
        latest = reserve(rule, latest)
    assert latest == now + expected


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_starts_in_a_pause(kind: Kind) -> None:
    """A shorter one does not end a longer one; what was used up before stays so."""
    rule = kind(Rate(3, SECOND, 3), 0)
    start(rule, 0)
    rule.pause(5 * SECOND)
    rule.pause(2 * SECOND)
    assert not start(rule, 0)
    assert (rule.wait(0), rule.remaining(0), rule.reset_after(0)) == (5 * SECOND, 0, 5 * SECOND)
    assert rule.wait(0, 7) == 7 * SECOND
    assert [start(rule, 5 * SECOND) for _ in range(4)] == [True] * 3 + [False]


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_started_counts_on_after_a_change(kind: Kind) -> None:
    """Two of three; of ten then, of one then. A pause goes on as well."""
    rule = kind(Rate(3, SECOND, 3), 0)
    start(rule, 0, 2)
    more = rule.change(Rate(10, SECOND, 10), 0)
    assert more.remaining(0) == 8
    start(more, 100, 2)
    less = more.change(Rate(1, SECOND, 1), 200)
    assert (less.remaining(200), start(less, 200)) == (0, False)
    assert less.wait(200) == (SECOND - 100 if kind is SlidingLog else SECOND - 200)
    less.pause(3 * SECOND)
    assert less.change(Rate(5, SECOND, 5), 300).wait(300) == 3 * SECOND - 300
    less.close()


def test_a_log_that_was_full_goes_on_in_a_greater_ring() -> None:
    """In the order of time, wherever the oldest was."""
    rule = SlidingLog(Rate(3, SECOND, 3), 0)
    for at in (0, 1, 2, SECOND, SECOND + 1):
        start(rule, at)
    changed = rule.change(Rate(4, SECOND, 4), SECOND + 1)
    assert [reserve(changed, SECOND + 1) for _ in range(3)] == [SECOND + 1, SECOND + 2, 2 * SECOND]


def test_shorter_windows_end_earlier() -> None:
    """And longer ones do not prolong the one that is."""
    rule = FixedWindow(Rate(1, 10 * SECOND, 1), 0)
    start(rule, 0)
    shorter = rule.change(Rate(1, SECOND, 1), 5 * SECOND)
    assert shorter.wait(5 * SECOND) == SECOND
    assert shorter.change(Rate(1, 60 * SECOND, 1), 5 * SECOND).wait(5 * SECOND) == SECOND


def test_rules_of_all_kinds_go_together() -> None:
    """What one refuses counts in none; a pause and an end hold for all."""
    makes: list[Callable[[Rate, int], OneRate]] = [Gcra, SlidingLog, FixedWindow]
    rates = [Rate(5, SECOND, 5), Rate(2, SECOND, 2), Rate(3, SECOND, 3)]
    rules = [make(rate, 0) for make, rate in zip(makes, rates, strict=True)]
    both = Together(rules)
    assert [both.start(0) for _ in range(4)] == [True, True, False, False]
    assert [rule.remaining(0) for rule in rules] == [3, 0, 1]
    assert (both.remaining(0), both.wait(0), both.reset_after(0)) == (0, SECOND, SECOND)
    both.pause(4 * SECOND)
    assert both.wait(0) == 4 * SECOND
    both.close()
    assert not rules[0].start(10 * SECOND)
