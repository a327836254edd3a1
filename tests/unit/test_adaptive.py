"""The rules of adaptive limits, call by call."""

from __future__ import annotations

import random

import pytest

from meshhook.rules import adaptive
from meshhook.rules.adaptive import AdditiveIncrease, Gradient


def additive(**settings: float) -> AdditiveIncrease:
    """Make a rule; calls are slow from one second on."""
    given = {"initial": 10, "least": 1, "most": 100, "backoff": 0.9, "threshold": 1.0, **settings}
    return AdditiveIncrease(**given)  # type: ignore[arg-type]


def gradient(**settings: float) -> Gradient:
    """Make a rule that wants calls to be as fast as without a queue."""
    given = {"initial": 20, "least": 2, "most": 100, "tolerance": 1.0, **settings}
    return Gradient(**given)  # type: ignore[arg-type]


class Rounds:
    """Plays rounds of calls of one latency at a gradient: in eighths, which are not rounded."""

    def __init__(self, rule: Gradient) -> None:
        self.rule = rule
        self.now = 0.0

    def play(self, latency: float, *, share: float = 1.0) -> int:
        """Play one round with a share of the limit in use; return the limit after it."""
        in_use = max(1, round(share * self.rule.limit))
        began, self.now = self.now, self.now + latency
        for _ in range(adaptive.MOST_CALLS):
            self.rule.success(began, self.now, in_use)
        return self.rule.limit


def test_additive_grows_by_one_per_round_trip() -> None:
    """That is, per as many calls as the limit allows."""
    rule = additive()
    for _ in range(11):
        rule.success(0.0, 0.1, 10)
    assert rule.limit == 11


@pytest.mark.parametrize(("in_use", "limit"), [(4, 10), (5, 14)])
def test_additive_does_not_grow_while_the_application_is_the_limit(in_use: int, limit: int) -> None:
    """Fewer than half of the slots in use say nothing about the service."""
    rule = additive()
    for _ in range(50):
        rule.success(0.0, 0.1, in_use if rule.limit < 11 else in_use + rule.limit)
    assert (rule.limit == 10) is (limit == 10)


def test_additive_stays_within_its_bounds() -> None:
    """Above and below."""
    rule = additive(most=12)
    for _ in range(200):
        rule.success(0.0, 0.1, 12)
    assert rule.limit == 12
    for second in range(200):
        rule.drop(second, second + 0.5)
    assert rule.limit == 1


def test_additive_steps_back_once_per_round_trip() -> None:
    """Calls that began before the last step saw the limit before."""
    rule = additive()
    for _ in range(10):
        rule.drop(0.0, 2.0)
    assert rule.limit == 9
    rule.drop(1.9, 2.1)
    assert rule.limit == 9
    rule.drop(2.0, 2.5)
    assert rule.limit == 8


def test_a_small_limit_steps_back_too() -> None:
    """By one at least, though nine tenths of it are more."""
    rule = additive(initial=2)
    rule.drop(0.0, 1.0)
    assert rule.limit == 1
    rule.drop(2.0, 3.0)
    assert rule.limit == 1


def test_additive_bears_a_tenth_of_slow_calls() -> None:
    """More of them in one round trip are a queue."""
    rule = additive(initial=20)
    for number in range(200):
        rule.success(0.0, 2.0 if number % 20 == 0 else 0.1, 20)
    assert rule.limit > 20
    before = rule.limit
    for _ in range(3):
        rule.success(3.0, 5.0, 20)
    assert rule.limit < before


def test_slow_calls_of_before_a_step_do_not_count() -> None:
    """They are on their way since then."""
    rule = additive()
    rule.drop(0.0, 5.0)
    for _ in range(9):
        rule.success(4.0, 5.5, 9)
    assert rule.limit == 9


def test_without_a_threshold_only_drops_count() -> None:
    """However slow calls are."""
    rule = additive(threshold=float("inf"))
    for _ in range(50):
        rule.success(0.0, 1_000.0, 10)
    assert rule.limit > 10


def test_gradient_measures_first_and_then_grows() -> None:
    """At half the limit it is as fast as before, so there was no queue."""
    rounds = Rounds(gradient())
    assert rounds.play(0.125) == 10
    assert rounds.play(0.125) == 20
    assert rounds.play(0.125) == 24


def test_gradient_looks_further_down_while_that_is_faster() -> None:
    """The limit was far too high: there was a queue at each step."""
    rounds = Rounds(gradient(initial=80))
    assert rounds.play(1.0) == 40
    assert rounds.play(0.5) == 20
    assert rounds.play(0.25) == 10
    assert rounds.play(0.125) == 5
    assert rounds.play(0.125) == 10


def test_gradient_goes_no_further_down_than_its_least() -> None:
    """Also while it measures, and however slow calls are."""
    rounds = Rounds(gradient(initial=4, least=3))
    assert rounds.play(1.0) == 3
    assert rounds.play(0.25) == 4
    assert [rounds.play(2.0) for _ in range(5)] == [3] * 5


def test_gradient_takes_what_fills_the_service() -> None:
    """A quarter more time than without a queue: a fifth of the calls is queueing."""
    rounds = Rounds(gradient())
    rounds.play(0.125)
    rounds.play(0.125)
    assert rounds.play(0.15625) == 16
    assert rounds.play(0.125) == 20


def test_gradient_halves_the_limit_at_most() -> None:
    """However slow calls have become."""
    rounds = Rounds(gradient())
    rounds.play(0.125)
    rounds.play(0.125)
    assert rounds.play(9.0) == 10


def test_gradient_does_not_grow_while_the_application_is_the_limit() -> None:
    """It steps back all the same."""
    rounds = Rounds(gradient())
    rounds.play(0.125)
    rounds.play(0.125)
    for _ in range(5):
        assert rounds.play(0.125, share=0.4) == 20
    assert rounds.play(0.25, share=0.4) == 10


def test_gradient_does_not_creep_up_under_steady_overload() -> None:
    """What calls take without a queue is measured again and again, and is no mean."""
    rule = gradient()
    rounds = Rounds(rule)
    limits = [rounds.play(0.125 * max(1.0, rule.limit / 20)) for _ in range(1_000)]
    assert max(limits) <= 25
    assert sum(limits[500:]) / 500 == pytest.approx(21, abs=2)


def test_gradient_learns_that_a_service_has_become_slower() -> None:
    """At any load: the next probe finds it so, and the limit comes back."""
    rule = gradient()
    rounds = Rounds(rule)
    for _ in range(10):
        rounds.play(0.125 * max(1.0, rule.limit / 20))
    limits = [rounds.play(0.375 * max(1.0, rule.limit / 20)) for _ in range(100)]
    assert min(limits[:30]) < 10
    assert 15 < sum(limits[60:]) / 40 < 25


def test_gradient_learns_that_a_service_has_become_faster() -> None:
    """At once."""
    rounds = Rounds(gradient())
    rounds.play(0.125)
    rounds.play(0.125)
    assert rounds.play(0.0625) == 24
    assert rounds.play(0.125) == 12


def test_chance_alone_does_not_bring_the_limit_down() -> None:
    """The median of a few calls that scatter is no surer than they let it be."""
    rule, chance, now = gradient(), random.Random(1), 0.0
    limits = []
    for _ in range(300):
        now += 10.0
        for _ in range(adaptive.LEAST_CALLS):
            rule.success(now - chance.expovariate(1.0), now, rule.limit)
        limits.append(rule.limit)
    assert sum(limits) / len(limits) > 20


def test_a_drop_halves_the_limit_once_per_round_trip() -> None:
    """And ends a probe that was going on."""
    rounds = Rounds(gradient())
    rounds.play(0.125)
    for _ in range(5):
        rounds.rule.drop(rounds.now, rounds.now + 3.0)
    assert rounds.rule.limit == 5
    rounds.now += 3.0
    assert [rounds.play(0.125) for _ in range(2)] == [7, 9]


def test_what_is_faster_than_a_millisecond_is_as_fast() -> None:
    """Differences down there are those of our own machine; a clock may stand still, too."""
    rounds = Rounds(gradient())
    for latency in (0.0, 0.0, 0.0009, 0.0, 0.0002):
        rounds.play(latency)
    assert rounds.rule.limit > 20


def test_few_calls_are_a_round_when_time_is_up() -> None:
    """Some dozens are enough then."""
    rule = gradient()
    for number in range(adaptive.LEAST_CALLS - 1):
        rule.success(number * 1.0, number + 0.1, 20)
    assert rule.limit == 20
    rule.success(30.0, 30.1, 20)
    assert rule.limit == 10
