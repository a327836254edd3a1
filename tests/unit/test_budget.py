"""The retry budget against a list of all that happened, and in a storm of failures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.budget import Budget


def budget(ratio: float = 0.2, min_per_second: float = 0.0, ttl: float = 10.0) -> Budget:
    return Budget(ratio, min_per_second, ttl, now=0.0)


def call(rule: Budget, now: float, times: int = 1) -> None:
    rule.advance(now)
    rule.calls += times


def takes(rule: Budget, now: float) -> int:
    """Reserve until there is nothing left, and return how often that went."""
    taken = 0
    while rule.take(now) is not None:
        taken += 1
    return taken


def test_a_share_of_the_calls_may_be_tried_again() -> None:
    """A fifth of them, and not one more."""
    rule = budget(ratio=0.2)
    call(rule, 0.0, times=100)
    assert takes(rule, 0.0) == 20
    call(rule, 0.5, times=4)
    assert takes(rule, 0.5) == 0
    call(rule, 0.5)
    assert takes(rule, 0.5) == 1


def test_a_few_a_second_are_always_free() -> None:
    """Without any call as well."""
    rule = budget(ratio=0.0, min_per_second=1.0, ttl=10.0)
    assert rule.left(0.0) == 10.0
    assert takes(rule, 0.0) == 10
    assert takes(rule, 8.9) == 0
    assert takes(rule, 10.0) == 10


def test_no_ratio_and_no_minimum_allow_nothing() -> None:
    """A budget of nothing is a budget."""
    rule = budget(ratio=0.0)
    call(rule, 0.0, times=1_000)
    assert rule.take(0.0) is None


def test_calls_and_attempts_are_forgotten_together() -> None:
    """What was long ago allows nothing any more, and weighs nothing."""
    rule = budget(ratio=0.5)
    call(rule, 0.0, times=10)
    assert takes(rule, 9.9) == 5
    call(rule, 9.9, times=2)
    assert takes(rule, 9.9) == 1
    assert takes(rule, 10.0) == 0
    call(rule, 25.0, times=2)
    assert takes(rule, 25.0) == 1


def reserve(rule: Budget, now: float) -> int:
    """Reserve one that must be there."""
    taken = rule.take(now)
    assert taken is not None
    return taken


def test_what_was_given_back_may_be_taken_again() -> None:
    """An attempt that was cancelled before it began costs nothing, soon or later."""
    rule = budget(ratio=0.0, min_per_second=0.1)
    rule.give_back(0.5, reserve(rule, 0.0))
    rule.give_back(3.0, reserve(rule, 0.5))
    assert takes(rule, 3.0) == 1


def test_what_is_given_back_late_allows_nothing_more() -> None:
    """The reservation no longer counts: one that was made since is not taken for it."""
    rule = budget(ratio=0.0, min_per_second=0.1)
    old = reserve(rule, 0.0)
    reserve(rule, 20.0)
    rule.give_back(20.5, old)
    assert takes(rule, 20.5) == 0


def test_what_takes_the_place_of_a_reservation_counts_for_as_long_as_any() -> None:
    """Not only for as long as the one that was given back would have counted."""
    rule = budget(ratio=0.0, min_per_second=0.1)
    rule.give_back(1.0, reserve(rule, 0.0))
    reserve(rule, 9.0)
    assert takes(rule, 12.0) == 0


def test_a_clock_that_goes_back_keeps_the_budget() -> None:
    """Nothing is allowed twice, and nothing is lost."""
    rule = budget(ratio=0.2)
    call(rule, 5.0, times=10)
    assert rule.take(5.0) is not None
    assert rule.left(-1_000.0) == 1.0


@given(
    ratio=st.floats(0.0, 1.0),
    min_per_second=st.floats(0.0, 3.0),
    ttl=st.floats(0.5, 60.0),
    steps=st.lists(
        st.tuples(st.floats(0.0, 0.4), st.integers(0, 9), st.integers(0, 5), st.integers(0, 2))
    ),
)
def test_extra_attempts_stay_within_the_share_of_the_calls(
    ratio: float,
    min_per_second: float,
    ttl: float,
    steps: list[tuple[float, int, int, int]],
) -> None:
    """Whenever one is allowed or refused, a list of all that happened agrees."""
    rule = Budget(ratio, min_per_second, ttl, 0.0)
    calls: list[float] = []
    taken: list[tuple[float, int]] = []
    now = 0.0

    def count(moments: list[float], seconds: float) -> int:
        return sum(now - at < seconds for at in moments)

    for share, called, tried, cancelled in steps:
        now += share * ttl
        for _ in range(min(cancelled, len(taken))):
            rule.give_back(now, taken.pop(len(taken) // 2)[1])
        call(rule, now, called)
        calls += [now] * called
        blur = 1e-6 * ttl + 64 * math.ulp(now)
        for _ in range(tried):
            reservation = rule.take(now)
            if reservation is not None:
                taken.append((now, reservation))
                most = ratio * count(calls, ttl + blur) + min_per_second * ttl
                assert count([at for at, _ in taken], 0.9 * ttl - blur) <= most + 1e-9
            else:
                most = ratio * count(calls, 0.9 * ttl - blur) + min_per_second * ttl
                assert count([at for at, _ in taken], ttl + blur) + 1 > most - 1e-9


def load_of_a_storm(rule: Budget | None, clients: int = 200, seconds: int = 60) -> tuple[int, int]:
    """Let every call fail, and try each up to three more times; return calls and attempts."""
    calls = attempts = 0
    for tick in range(seconds * 10):
        now = tick / 10
        for _ in range(clients):
            calls += 1
            attempts += 1
            if rule is not None:
                call(rule, now)
            for _ in range(3):
                if rule is not None and rule.take(now) is None:
                    break
                attempts += 1
    return calls, attempts


def test_a_storm_of_failures_costs_a_fifth_more_and_not_four_times_as_much() -> None:
    """200 clients, a service that fails every call for a minute."""
    calls, attempts = load_of_a_storm(budget(ratio=0.2, min_per_second=1.0))
    assert calls * 1.19 <= attempts <= calls * 1.2 + 60 + 10
    calls, attempts = load_of_a_storm(None)
    assert attempts == 4 * calls


def test_usage_is_the_share_of_what_is_allowed() -> None:
    """From 0 to 1, which it is when nothing is left; also where nothing is allowed at all."""
    rule = budget(ratio=0.0, min_per_second=1.0)
    assert rule.usage(0.0) == 0.0
    for taken in range(1, 11):
        assert rule.take(0.0) is not None
        assert rule.usage(0.0) == pytest.approx(taken / 10)
    assert rule.usage(30.0) == 0.0
    few = budget(ratio=0.5, min_per_second=0.0)
    assert few.usage(0.0) == 0.0
    few.calls += 3
    assert few.take(0.0) is not None
    assert few.usage(0.0) == 1.0
    assert budget(min_per_second=math.inf).usage(0.0) == 0.0
