"""Circuits that get other settings: the state stays, and what comes is judged anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshhook as mh
from meshhook import events
from meshhook.rules import phases
from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import Closed, HalfOpen, Open, Permit, Rules, State
from tests.changes.changing import settings
from tests.circuits import admit, circuit, closed, fail, is_open, refuse, succeed, totals
from tests.colours import Colour


def change(breaker: mh.CircuitBreaker, **arguments: Any) -> None:
    breaker.apply(settings(mh.circuit_breaker, "other", **arguments))


class Service:
    """A function that fails when told, under a breaker."""

    def __init__(self, colour: Colour, breaker: mh.CircuitBreaker) -> None:
        self.colour = colour
        self.fails = True
        self.fn = breaker(colour.paint(self._run))

    def _run(self) -> str:
        if self.fails:
            raise OSError
        return "row"

    def call(self, times: int = 1, *, fails: bool = True) -> None:
        self.fails = fails
        for _ in range(times):
            with contextlib.suppress(OSError):
                self.colour.call(self.fn)


def test_failures_in_a_row_count_on(colour: Colour, registry: mh.Registry) -> None:
    """The next one opens a circuit that has reached a lower number already."""
    breaker = mh.circuit_breaker("db", failure_threshold=10)
    service = Service(colour, breaker)
    service.call(4)
    change(breaker, failure_threshold=3)
    assert (breaker.state, breaker.stats().consecutive_failures) == ("closed", 4)
    service.call()
    assert breaker.state == "open"


def test_a_success_ends_the_row(colour: Colour, registry: mh.Registry) -> None:
    """Also right after the change."""
    breaker = mh.circuit_breaker("db", failure_threshold=10)
    service = Service(colour, breaker)
    service.call(4)
    change(breaker, failure_threshold=3)
    service.call(fails=False)
    service.call(2)
    assert breaker.state == "closed"
    service.call()
    assert breaker.state == "open"


def test_an_open_circuit_stays_open_for_the_time_it_has(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """The next opening takes the new time."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=60)
    service = Service(colour, breaker)
    service.call()
    frozen.tick(20)
    change(breaker, failure_threshold=1, reset_timeout=5)
    assert (breaker.state, breaker.stats().retry_after) == ("open", 40)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(service.fn)
    frozen.tick(40)
    service.call()
    assert (breaker.state, breaker.stats().retry_after) == ("open", 5)


@pytest.mark.parametrize("state", ["forced_open", "disabled", "metrics_only"])
def test_a_state_set_by_hand_stays(state: str, registry: mh.Registry) -> None:
    """And so does an isolation, which ends in the state before it."""
    breaker = mh.circuit_breaker("db", failure_threshold=10)
    {
        "forced_open": breaker.force_open,
        "disabled": breaker.disable,
        "metrics_only": breaker.metrics_only,
    }[state]()
    change(breaker, failure_threshold=1, window=20)
    assert breaker.state == state
    with breaker.isolated():
        change(breaker, failure_threshold=2)
        assert breaker.state == "forced_open"
    assert breaker.state == state


def test_the_window_is_kept(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """Calls of the last seconds of both windows are in it."""
    rates = {"failure_rate_threshold": 0.9, "minimum_calls": 4}
    breaker = mh.circuit_breaker("db", failure_rate_threshold=0.9, window=60)
    service = Service(colour, breaker)
    service.call(3)
    frozen.tick(30)
    service.call(2)
    service.call(2, fails=False)
    change(breaker, **rates, window=20)
    window = breaker.stats().window
    assert window is not None
    assert (window.calls, window.failures) == (4, 2)
    change(breaker, **{**rates, "failure_rate_threshold": 0.5}, window=20)
    assert breaker.state == "closed"
    service.call(fails=False)
    assert breaker.state == "closed"  # 2 of 5 are less than half
    change(breaker, **{**rates, "failure_rate_threshold": 0.4}, window=20)
    service.call()
    assert breaker.state == "open"


def test_a_success_may_be_the_call_that_makes_a_rate_count(
    colour: Colour, registry: mh.Registry
) -> None:
    """With a lower minimum_calls, and with a lower threshold."""
    breaker = mh.circuit_breaker("db", failure_rate_threshold=0.5, minimum_calls=100)
    service = Service(colour, breaker)
    service.call(5)
    service.call(2, fails=False)
    change(breaker, failure_rate_threshold=0.5, minimum_calls=5)
    service.call(fails=False)
    assert breaker.state == "open"
    breaker.reset()
    service.call(2)
    service.call(8, fails=False)
    assert closed(breaker._circuit).watch is False
    change(breaker, failure_rate_threshold=0.1, minimum_calls=5)
    service.call(fails=False)
    assert breaker.state == "open"


def test_other_kinds_of_windows(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """From seconds to calls the newest are known; from calls to seconds none, nor after none."""
    breaker = mh.circuit_breaker("db", failure_threshold=99)
    service = Service(colour, breaker)

    def window() -> tuple[int, int] | None:
        seen = breaker.stats().window
        return None if seen is None else (seen.calls, seen.failures)

    service.call(3)
    change(breaker, failure_threshold=99, window=30)
    assert window() == (0, 0)
    service.call(2)
    service.call(3, fails=False)
    change(breaker, failure_threshold=99, window_calls=4)
    assert window() == (4, 2)  # nobody knows which of those five was first
    service.call(3, fails=False)
    assert window() == (4, 1)
    change(breaker, failure_threshold=99, window_calls=8)
    service.call()
    assert window() == (5, 2)
    change(breaker, failure_threshold=99, window="1m")
    assert window() == (0, 0)
    service.call(fails=False)
    frozen.tick(50)
    service.call()
    assert window() == (2, 1)
    change(breaker, failure_threshold=99)
    assert window() is None
    stats = breaker.stats()
    assert (stats.calls, stats.successes, stats.failures, stats.opened) == (14, 7, 7, 0)


def test_calls_begin_and_cease_to_be_timed(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """With slow_call_duration; the sketch of durations begins anew."""
    breaker = mh.circuit_breaker("db", window=60)
    slow = {"slow_call_duration": 1, "slow_call_rate_threshold": 1.0, "minimum_calls": 2}

    @breaker
    @colour.paint
    def fn() -> None:
        frozen.tick(2)

    colour.call(fn)
    assert (breaker.stats().latency, breaker.durations()) == (None, None)
    change(breaker, window=60, **slow)
    colour.call(fn)
    stats = breaker.stats()
    assert stats.latency is not None
    assert stats.window is not None
    assert (stats.window.calls, stats.window.slow, stats.latency.p50) == (
        2,
        1,
        pytest.approx(2, rel=0.1),
    )
    change(breaker, window=60, **{**slow, "slow_call_duration": 3})
    colour.call(fn)
    change(breaker, window=60)
    colour.call(fn)
    stats = breaker.stats()
    assert stats.window is not None
    assert (stats.latency, stats.window.calls, stats.window.slow) == (None, 4, 1)


def test_a_stream_that_began_untimed_is_not_slow(registry: mh.Registry, frozen: Any) -> None:
    """How much of its time was that of its consumer nobody knows; and the other way round."""
    breaker = mh.circuit_breaker("db", window=60)

    @breaker
    def items() -> Iterator[int]:
        yield 1
        frozen.tick(5)
        assert phases._NO_CALLS == {}
        yield 2

    stream = items()
    next(stream)
    frozen.tick(100)
    slow = {"slow_call_duration": 1, "slow_call_rate_threshold": 1.0}
    change(breaker, window=300, **slow)
    assert list(stream) == [2]
    timed = items()
    next(timed)
    change(breaker, window=300)
    assert list(timed) == [2]
    again = items()
    next(again)
    change(breaker, window=300, **slow)
    with breaker:
        assert list(again) == [2]
    assert closed(breaker._circuit).running == {}
    stats = breaker.stats()
    assert stats.window is not None
    assert (stats.window.calls, stats.window.slow, stats.window.overdue) == (4, 1, 0)


def test_overdue_calls_are_looked_at_by_the_new_limit() -> None:
    """What is not late by it is running again."""
    asked = circuit(slow_call_duration=1.0, slow_call_rate_threshold=1.0, window=60.0)
    first, second = admit(asked, 0.0), admit(asked, 1.5)
    closed(asked).catch_up(2.0)
    assert closed(asked).totals().overdue == 1
    asked.change(Rules(slow_call_duration=5.0, slow_call_rate_threshold=1.0, window=60.0), 2.0)
    closed(asked).catch_up(2.0)
    assert closed(asked).totals().overdue == 0
    assert list(closed(asked).running) == [first, second]
    closed(asked).catch_up(5.5)
    assert closed(asked).totals().overdue == 1
    for permit in (first, second):
        asked.settle(permit, 5.6, failed=False)
    assert closed(asked).totals()[:3] == (2, 0, 1)


@pytest.mark.parametrize(
    ("successes", "failures", "allowed", "needed", "state"),
    [
        (2, 0, 5, 2, "closed"),
        (2, 0, 2, 2, "closed"),
        (1, 1, 3, 3, "open"),
        (1, 1, 3, 2, "half_open"),
        (0, 0, 1, 1, "half_open"),
    ],
)
def test_trials_that_are_enough_decide(
    successes: int, failures: int, allowed: int, needed: int, state: str
) -> None:
    """At once: no other would come."""
    asked = circuit(State.HALF_OPEN, half_open_max_calls=9, success_threshold=6)
    succeed(asked, times=successes)
    fail(asked, times=failures)
    changed = asked.change(Rules(half_open_max_calls=allowed, success_threshold=needed), 1.0)
    assert asked.phase.state == state
    assert (changed is None) == (state == "half_open")
    if state == "open":
        assert isinstance(asked.phase, Open)
        assert asked.phase.attempt == 2


def test_trials_that_run_are_counted_on() -> None:
    """They keep their places, and their outcomes decide by the new numbers."""
    asked = circuit(
        State.HALF_OPEN, half_open_max_calls=5, success_threshold=5, half_open_max_concurrent=5
    )
    trials = [admit(asked) for _ in range(3)]
    asked.change(Rules(half_open_max_calls=2, success_threshold=2), 0.0)
    refuse(asked)
    for trial in trials[:2]:
        asked.settle(trial, 1.0, failed=False)
    assert asked.phase.state is State.CLOSED
    assert totals(asked)["successes"] == 2
    asked.settle(trials[2], 1.0, failed=True)
    assert not is_open(asked)


def test_a_decision_is_told(registry: mh.Registry, frozen: Any) -> None:
    """As every transition, and reset_timeout is asked when it opens again."""
    breaker = mh.circuit_breaker(
        "db", half_open_max_calls=4, success_threshold=4, initial_state="half_open"
    )
    with breaker:
        pass
    told: list[Any] = []
    with mh.subscribe(told.append, events.CircuitChanged):
        change(breaker, half_open_max_calls=1, success_threshold=1)
        assert [(each.old, each.new) for each in told] == [("half_open", "closed")]
        breaker._set(State.HALF_OPEN)
        change(breaker, half_open_max_calls=3, success_threshold=1)
        with contextlib.suppress(OSError), breaker:
            raise OSError
        change(breaker, half_open_max_calls=3, success_threshold=3, reset_timeout=lambda *_: 7)
    assert breaker.stats().retry_after == 7
    assert told[-1].reason == "trial calls had failed"


def test_families(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """Every member goes by the new settings in its own state, and those to come as well."""
    breaker = mh.circuit_breaker("db", key="{host}", failure_threshold=2)

    @breaker
    @colour.paint
    def fn(host: str) -> None:
        if host != "c":
            raise OSError

    for host in "aabc":
        with contextlib.suppress(OSError):
            colour.call(fn, host)
    change(breaker, key="{host}", failure_threshold=3, initial_state="metrics_only")
    assert [breaker.stats(each).state for each in "abc"] == ["open", "closed", "closed"]
    assert breaker.stats("b").consecutive_failures == 1
    for _ in range(2):
        with contextlib.suppress(OSError):
            colour.call(fn, "b")
    with contextlib.suppress(OSError):
        colour.call(fn, "new")
    assert [breaker.stats(each).state for each in ("b", "new")] == ["open", "metrics_only"]
    assert breaker.stats().failures == 6


def test_fewer_keys(registry: mh.Registry) -> None:
    """Those that are idle leave; what they have counted stays."""
    breaker = mh.circuit_breaker("db", key="{host}", failure_threshold=1)

    @breaker
    def fn(host: int) -> None:
        if host % 10 == 0:
            raise OSError

    for host in range(100):
        with contextlib.suppress(OSError):
            fn(host)
    change(breaker, key="{host}", failure_threshold=1, max_keys=5)
    stats = breaker.stats()
    assert stats.states == {"open": 10}  # an open circuit is not forgotten
    assert (stats.calls, stats.failures, stats.evicted) == (100, 10, 90)
    change(breaker, key="{host}", failure_threshold=1, max_keys=50)
    for host in range(101, 110):
        fn(host)
    assert breaker.stats().states == {"open": 10, "closed": 9}


def test_the_key_stays(registry: mh.Registry) -> None:
    """Circuits are found by it."""
    breaker = mh.circuit_breaker("db")
    keyed = mh.circuit_breaker("keyed", key="{host}")
    with pytest.raises(mh.ConfigurationError, match="key of circuit_breaker 'db' cannot be"):
        change(breaker, key="{host}")
    with pytest.raises(mh.ConfigurationError, match="its state is kept by key"):
        change(keyed, key="{url}")


def test_by_other_drivers(colour: Colour, registry: mh.Registry) -> None:
    """record_result and slow_call_duration need a permit for each call."""
    breaker = mh.circuit_breaker("db", failure_threshold=2)
    fn = breaker(colour.paint(lambda: 500))
    colour.call(fn)
    change(breaker, failure_threshold=2, record_result=lambda status: status == 500)
    colour.call(fn)
    colour.call(fn)
    assert breaker.state == "open"


def test_a_circuit_that_is_made_meanwhile(registry: mh.Registry) -> None:
    """Whoever made it with the old rules brings it up to date."""
    breaker = mh.circuit_breaker("db", failure_threshold=9)
    made = breaker._make_circuit

    def make(now: float | None = None) -> Circuit:
        early = made(now)
        change(breaker, failure_threshold=1)
        return early

    breaker._make_circuit = make  # type: ignore[method-assign]
    with contextlib.suppress(OSError), breaker:
        raise OSError
    assert breaker.state == "open"


def test_what_is_shown(registry: mh.Registry) -> None:
    """describe, explain and reset go by the new settings; the code may say again what it said."""
    breaker = mh.circuit_breaker("db", failure_threshold=9)
    fn = breaker(len)
    change(breaker, failure_threshold=None, failure_rate_threshold=0.25)
    assert "opens at failure rate 25%" in repr(breaker)
    assert "failure rate 25%" in str(mh.explain(fn))
    breaker.reset()
    assert breaker.stats().window is not None
    assert mh.circuit_breaker("db", failure_threshold=9) is breaker


rules = st.builds(
    Rules,
    failure_threshold=st.none() | st.integers(1, 5),
    failure_rate_threshold=st.none() | st.floats(0.1, 1.0),
    slow_call_duration=st.none() | st.floats(0.1, 5.0),
    window=st.none() | st.floats(1.0, 50.0),
    minimum_calls=st.integers(1, 5),
    reset_timeout=st.floats(0.5, 20.0),
    half_open_max_calls=st.just(4),
    success_threshold=st.integers(1, 4),
    half_open_max_concurrent=st.integers(1, 4),
) | st.builds(Rules, window_calls=st.integers(1, 9), minimum_calls=st.just(1))


@given(
    begin=rules,
    steps=st.lists(
        st.tuples(st.sampled_from(["ok", "failed", "begin", "end", "lose"]), st.floats(0, 5))
        | st.tuples(rules, st.floats(0, 5)),
        max_size=60,
    ),
)
def test_whatever_happens_the_counts_are_exact(begin: Rules, steps: list[Any]) -> None:
    """Changes come between any calls, and the state is what it was before each of them."""
    asked, now = Circuit(begin, 0.0), 0.0
    running: list[Permit] = []
    seen = {"successes": 0, "failures": 0, "ignored": 0, "rejected": 0}
    for step, pause in steps:
        now += pause
        if isinstance(step, Rules):
            before = asked.phase
            told = asked.change(step, now)
            assert (asked.phase is before) == (told is None)
            assert told is None or isinstance(before, HalfOpen)
        elif step in ("end", "lose"):
            if running and step == "end":
                asked.settle(running.pop(0), now, failed=False)
                seen["successes"] += 1
            elif running:
                asked.ignore(running.pop(), now)
                seen["ignored"] += 1
        else:
            answer, _ = asked.admit(now)
            if not isinstance(answer, Permit):
                seen["rejected"] += 1
            elif step == "begin":
                running.append(answer)
            else:
                asked.settle(answer, now, failed=step == "failed")
                seen["failures" if step == "failed" else "successes"] += 1
        counted = totals(asked)
        assert {each: counted[each] for each in seen} == seen
        phase = asked.phase
        if isinstance(phase, Closed):
            held = phase.totals()
            assert 0 <= held.failures <= held.calls
            assert 0 <= held.slow <= held.calls
            assert set(phase.running) | set(phase.overdue) <= set(running)
        elif isinstance(phase, HalfOpen):
            assert phase.decided() is None
            assert set(phase.trials) <= set(running)
