"""Client-side throttling: what is dropped, and what an overloaded service then gets."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.throttling import Throttling


def throttling(
    k: float = 2.0, window: float = 120.0, minimum: int = 20, most: float = 0.9
) -> Throttling:
    return Throttling(k, window, minimum, most, now=0.0)


def count(rule: Throttling, now: float, requests: int, accepted: int) -> None:
    rule.advance(now)
    rule.requests += requests
    rule.accepted += accepted
    for _ in range(requests - accepted):
        rule.refuse()


def test_nothing_is_dropped_while_half_is_accepted() -> None:
    """With k of 2, up to twice as much is asked for as is accepted."""
    rule = throttling()
    count(rule, 0.0, requests=100, accepted=50)
    assert rule.chance(0.0) == 0.0
    count(rule, 0.0, requests=1, accepted=0)
    assert rule.chance(0.0) == 1 / 102


def test_few_requests_say_nothing() -> None:
    """One failure of the only call is no overload."""
    rule = throttling(minimum=20)
    count(rule, 0.0, requests=19, accepted=0)
    assert rule.chance(0.0) == 0.0
    count(rule, 0.0, requests=1, accepted=0)
    assert rule.chance(0.0) == 0.9


def test_some_are_always_sent() -> None:
    """However long nothing was accepted."""
    rule = throttling(most=0.75)
    count(rule, 0.0, requests=10_000, accepted=0)
    assert rule.chance(0.0) == 0.75


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """The failures of two minutes ago drop nothing any more."""
    rule = throttling(window=120.0)
    count(rule, 0.0, requests=100, accepted=0)
    assert rule.chance(119.9) == 0.9
    assert rule.chance(120.0) == 0.0


def test_a_request_counts_when_it_begins() -> None:
    """Those that hang weigh as much as those that fail; late acceptances count when they come."""
    rule = throttling(window=120.0)
    count(rule, 0.0, requests=1, accepted=0)
    rule.requests += 39
    assert rule.chance(0.0) == 0.9
    rule.advance(60.0)
    rule.accepted += 20
    assert rule.chance(60.0) == 0.0


def test_requests_that_are_under_way_prove_nothing() -> None:
    """A hundred at once are no overload, nor while the first answers are good enough."""
    rule = throttling()
    rule.requests += 100
    assert rule.chance(0.0) == 0.0
    rule.accepted += 9
    rule.refuse()
    assert rule.chance(0.0) == 0.0
    for _ in range(9):
        rule.refuse()
    assert rule.chance(0.0) == (100 - 18) / 101


def test_trouble_is_known_as_soon_as_it_is_there() -> None:
    """Whoever looks at the flag alone misses nothing: failures and time raise it."""
    rule = throttling(window=100.0)
    count(rule, 0.0, requests=100, accepted=100)
    count(rule, 50.0, requests=60, accepted=0)
    assert not rule.is_troubled
    rule.advance(99.0)
    assert not rule.is_troubled
    rule.advance(100.0)
    assert rule.is_troubled
    assert rule.chance(100.0) == 0.9
    rule.accepted += 60
    assert rule.chance(100.0) == 0.0
    assert not rule.is_troubled


def test_an_answer_may_outlive_its_request() -> None:
    """A call that began before the window counts with its answer, in both numbers."""
    rule = throttling(window=100.0)
    rule.requests += 30
    rule.advance(95.0)
    rule.accepted += 10
    for _ in range(20):
        rule.refuse()
    rule.advance(105.0)
    assert rule.totals() == (30, 10, 20)
    assert rule.chance(105.0) == 10 / 31


def test_forgetting_begins_anew() -> None:
    """The window is empty, and the counters go on."""
    rule = throttling()
    count(rule, 0.0, requests=100, accepted=10)
    rule.forget(5.0)
    assert (rule.totals(), rule.is_troubled, rule.chance(5.0)) == ((0, 0, 0), False, 0.0)
    assert (rule.requests, rule.accepted) == (100, 10)
    count(rule, 6.0, requests=3, accepted=2)
    assert rule.totals() == (3, 2, 1)


@given(
    k=st.floats(1.0, 10.0),
    most=st.floats(0.0, 1.0),
    history=st.lists(
        st.tuples(st.floats(0.0, 200.0), st.integers(0, 50), st.integers(0, 50)), max_size=30
    ),
)
def test_the_share_is_a_share(k: float, most: float, history: list[tuple[float, int, int]]) -> None:
    """Whatever was counted when, and nothing is dropped where everything is accepted."""
    rule, healthy = throttling(k, most=most), throttling(k, most=most)
    now = 0.0
    for passed, requests, accepted in history:
        now += passed
        count(rule, now, requests, accepted)
        count(healthy, now, requests, requests)
        assert 0.0 <= rule.chance(now) <= most
        assert healthy.chance(now) == 0.0


def test_an_overloaded_service_gets_about_twice_what_it_can_take() -> None:
    """1,000 calls a second, of which it accepts the first 100; then it is well again."""
    chance = random.Random(1)
    rule = throttling(most=0.98)

    def send(second: float, capacity: int) -> int:
        sent = 0
        for _ in range(1_000):
            drop = rule.chance(second)
            rule.requests += 1
            sent += (is_sent := chance.random() >= drop)
            if is_sent and sent <= capacity:
                rule.accepted += 1
            else:
                rule.refuse()
        return sent

    load = [send(float(second), 100) for second in range(240)]
    assert 190 < sum(load[120:]) / 120 < 210
    assert send(500.0, 1_000) == 1_000
