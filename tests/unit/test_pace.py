"""The pace of calls: after how long one is slow, learned from those of late."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.pace import Pace
from meshhook.rules.sketch import Sketch


def pace(quantile: float = 0.95, samples: int = 20, least: float = 0.0, window: float = 60) -> Pace:
    return Pace(quantile, samples, least, window, now=100.0)


def test_too_few_are_no_pace() -> None:
    """The delay is there with the first one that is enough."""
    made = pace(samples=3)
    delays = []
    for _ in range(3):
        made.add(100.0, 1.0)
        delays.append(made.delay(100.0))
    assert delays[:2] == [None, None]
    assert delays[2] is not None


@given(st.floats(1e-5, 1e5))
def test_calls_that_all_take_the_same_time_are_not_slow(seconds: float) -> None:
    """The delay is above that time, though by no more than a fifth."""
    made = pace()
    for _ in range(20):
        made.add(100.0, seconds)
    delay = made.delay(100.0)
    assert delay is not None
    assert seconds <= delay * (1 + 1e-9)
    assert delay <= seconds * 1.2001


@given(
    durations=st.lists(st.floats(1e-4, 1e4), min_size=20, max_size=200),
    quantile=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_no_more_than_the_rest_exceed_it(durations: list[float], quantile: float) -> None:
    """The delay is rounded up, so that the load is what the quantile says."""
    made = pace(quantile)
    for each in durations:
        made.add(100.0, each)
    made._work_out()
    delay = made.delay(100.0)
    assert delay is not None
    slower = sum(each > delay * (1 + 1e-9) for each in durations)
    assert slower <= (1 - quantile) * len(durations) + 1e-9


def test_the_least_delay() -> None:
    """What is quicker than that is not worth a second attempt."""
    made = pace(least=0.5, samples=1)
    made.add(100.0, 0.001)
    assert made.delay(100.0) == 0.5
    made.add(100.0, 10.0)
    assert made.delay(100.0) > 10.0


@pytest.mark.parametrize(
    ("passed", "is_known"), [(0.0, True), (29.9, True), (30.0, True), (59.9, True), (60.0, False)]
)
def test_what_is_older_than_the_window_is_forgotten(passed: float, is_known: bool) -> None:
    """At least half of the window is remembered, and never more than all of it."""
    made = pace(samples=1)
    made.add(100.0, 1.0)
    assert (made.delay(100.0 + passed) is not None) == is_known
    assert made.sketch(100.0 + passed).count == is_known


def test_halves_follow_each_other() -> None:
    """The current one becomes the old one, and the old one goes."""
    made = pace(samples=1)
    counts = []
    for now in (100.0, 131.0, 162.0, 193.0, 300.0):
        made.add(now, 1.0)
        counts.append(made.sketch(now).count)
    assert counts == [1, 2, 2, 2, 1]


def test_a_clock_that_goes_back_begins_the_half_anew() -> None:
    """Nothing is lost, and nothing is remembered for good."""
    made = pace(samples=1)
    made.add(100.0, 1.0)
    assert made.delay(50.0) is not None
    assert made.delay(79.0) is not None
    assert made.delay(111.0) is None or made.sketch(111.0).count == 1
    assert made.delay(171.0) is None


def test_it_follows_what_changes() -> None:
    """A twentieth of slower calls is enough."""
    made = pace()
    rng = random.Random(1)
    for _ in range(1_000):
        made.add(100.0, rng.uniform(0.9, 1.0))
    for _ in range(100):
        made.add(100.0, 3.0)
    assert made.delay(100.0) == pytest.approx(3.0, rel=0.2)


def test_clear_forgets_everything() -> None:
    """As if it were new."""
    made = pace(samples=1)
    made.add(100.0, 1.0)
    made.clear(100.0)
    assert made.delay(100.0) is None
    assert made.sketch(100.0).count == 0


def test_two_sketches_make_a_third() -> None:
    """Neither of them changes."""
    one, other = Sketch(), Sketch()
    one.add(1.0)
    other.add(1.0)
    other.add(9.0)
    both = one.with_those_of(other)
    assert (one.count, other.count, both.count) == (1, 2, 3)
    assert both.quantile(1.0) == other.quantile(1.0)
    assert both.quantile(0.5) == one.quantile(0.5)
    assert Sketch().ceiling(0.5) is None


def test_what_was_ever_remembered_is_there_since_the_start() -> None:
    """Whatever has left the window, and after clear and a clock that went back."""
    made = pace(window=10.0)
    now = 100.0
    for number, passed in enumerate((0.0, 1.0, 6.0, 4.9, 5.1, 30.0, -50.0, 7.0, 10.0), start=1):
        now += passed
        made.add(now, 1.0)
        assert made.since_start().count == number
        if number == 4:
            made.clear(now)
            assert made.since_start().count == number
    assert made.sketch(now).count < 3
