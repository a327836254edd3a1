"""What holds for a call of a circuit breaker, whichever driver it goes through."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from tests.colours import Colour
from tests.policies.breaker_paths import breaker_on, circuit_of, on_every_path
from tests.waiting import GIVE_UP, Called


def end(how: type[BaseException] | None) -> None:
    """Raise, or do not."""
    if how is not None:
        raise how


def raising(how: type[BaseException] | None) -> contextlib.AbstractContextManager[Any]:
    """Expect what :func:`end` does."""
    return contextlib.nullcontext() if how is None else pytest.raises(how)


@on_every_path
def test_results_of_every_type_pass(path: str, colour: Colour, registry: mh.Registry) -> None:
    """They are the very same objects, and each is a success, also of types never seen before."""

    class Money: ...

    fn = breaker_on(path, registry)(colour.paint(lambda value: value))
    values = [1, None, "", [], Money(), Money]
    assert all(colour.call(fn, value) is value for value in values)
    assert registry.circuit_breakers["db"].stats().successes == len(values)


@on_every_path
@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_a_sync_function_must_not_return_an_awaitable(
    path: str, state: str, registry: mh.Registry
) -> None:
    """Nothing of what it does would be guarded: an error, which counts as a failure."""

    async def later() -> None: ...

    breaker = breaker_on(path, registry, initial_state=state)
    fn = breaker(lambda: later())
    with pytest.raises(TypeError, match=r"returned an awaitable \(coroutine\)"):
        fn()
    stats = breaker.stats()
    assert (stats.calls, stats.failures, stats.last_failure) == (1, 1, "TypeError")


@on_every_path
def test_every_call_holds_something_only_while_it_runs(
    path: str, colour: Colour, registry: mh.Registry
) -> None:
    """Neither a place among the running ones, nor a key, is kept after it has ended."""
    breaker = breaker_on(path, registry, failure_threshold=100)
    circuit = circuit_of(breaker)
    endings = (None, OSError, KeyboardInterrupt)
    coming = iter(endings)
    inside: list[int] = []

    def call() -> None:
        inside.append(circuit.users)
        end(next(coming))

    fn = breaker(colour.paint(call))
    for ending in endings:
        with raising(ending):
            colour.call(fn)
    assert inside == [int(path == "keyed")] * 3
    assert circuit.users == 0
    assert getattr(circuit.phase, "running", {}) == {}


@on_every_path
def test_a_row_that_was_ended_is_over_whatever_rule_there_is(
    path: str, colour: Colour, registry: mh.Registry
) -> None:
    """Statistics tell the failures since the last success, also where a rate alone decides."""
    breaker = breaker_on(
        path, registry, **({} if path == "straight" else {"failure_rate_threshold": 1.0})
    )
    endings = [None] * 12 + [OSError, OSError, None, OSError]
    coming = iter(endings)
    fn = breaker(colour.paint(lambda: end(next(coming))))
    rows = []
    for ending in endings:
        with raising(ending):
            colour.call(fn)
        rows.append(breaker.stats().consecutive_failures)
    assert rows == [0] * 12 + [1, 2, 0, 1]


def test_a_result_that_is_a_failure_is_told(colour: Colour, registry: mh.Registry) -> None:
    """The event names no exception, for there was none."""
    breaker = mh.circuit_breaker(
        "db", failure_threshold=1, record_result=lambda result: result == 503, registry=registry
    )
    fn = breaker(colour.paint(lambda result: result))
    told: list[Any] = []
    with mh.subscribe(told.append):
        assert [colour.call(fn, 200), colour.call(fn, 503)] == [200, 503]
    changed, failed = told
    assert (type(changed), changed.reason) == (events.CircuitChanged, "1 failures in a row")
    assert (type(failed), failed.error) == (events.CallFailed, "result")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "5 failures in a row"),
        ({"failure_rate_threshold": 0.5}, "failure rate 50%"),
        ({"slow_call_rate_threshold": 0.25, "slow_call_duration": 1}, "slow call rate 25%"),
    ],
)
def test_it_describes_the_rules_that_it_has(
    settings: Any, told: str, registry: mh.Registry
) -> None:
    """And no others."""
    breaker = mh.circuit_breaker("db", registry=registry, **settings)
    assert breaker.describe() == f"circuit_breaker('db', opens at {told})"


@contextlib.contextmanager
def held_elsewhere(lock: Any) -> Iterator[None]:
    """Have another thread hold ``lock``, as one does that is reading or settling."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            free.wait(GIVE_UP)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(GIVE_UP)
    try:
        yield
    finally:
        free.set()
        thread.join()


@pytest.mark.parametrize("path", ["straight", "count window", "time window"])
def test_a_success_waits_for_nobody(path: str, colour: Colour, registry: mh.Registry) -> None:
    """A closed circuit is passed without its lock, whatever others do to it meanwhile."""
    breaker = breaker_on(path, registry)
    fn = breaker(colour.paint(lambda: "ok"))
    with held_elsewhere(breaker._lock):
        calling = Called(colour.name, fn)
        calling.thread.join(10.0)
        assert calling.ended()
    assert calling.result() == "ok"
    assert breaker.stats().successes == 1


@on_every_path
def test_a_refusal_waits_for_nobody(path: str, colour: Colour, registry: mh.Registry) -> None:
    """Nor is an open one asked twice: a storm of callers is refused side by side."""
    breaker = breaker_on(path, registry, initial_state="open")
    fn = breaker(colour.paint(lambda: "ok"))
    circuit_of(breaker)
    with held_elsewhere(breaker._lock):
        calling = Called(colour.name, fn)
        calling.thread.join(10.0)
        assert calling.ended()
    with pytest.raises(mh.CircuitOpenError):
        calling.result()
    assert breaker.stats().rejected == 1


class TestWithoutAGil:
    """Where a ``+= 1`` of one thread may be lost to another, nothing is written unlocked."""

    @pytest.fixture(autouse=True)
    def _no_gil(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guard, "GIL_ENABLED", False)

    def guarded_against_unlocked_writes(self, thing: Any, lock: Any, family: set[str]) -> None:
        """Have every write to ``thing`` fail, unless ``lock`` is held or it is the family's."""

        class Checked(type(thing)):  # type: ignore[misc]
            __slots__ = ()

            def __setattr__(self, name: str, value: Any) -> None:
                assert name in family or lock._is_owned(), f"{name} is written without the lock"
                super().__setattr__(name, value)

        thing.__class__ = Checked

    @on_every_path
    def test_outcomes_are_counted_under_the_lock(
        self, path: str, colour: Colour, registry: mh.Registry
    ) -> None:
        """Successes, failures, refusals and what is ignored; the straight path is not taken."""
        breaker = breaker_on(path, registry, failure_threshold=2)
        circuit = circuit_of(breaker)
        self.guarded_against_unlocked_writes(circuit, breaker._lock, {"users", "touched"})
        self.guarded_against_unlocked_writes(circuit.phase, breaker._lock, set())
        endings = (None, KeyboardInterrupt, None, OSError, OSError)
        coming = iter(endings)
        fn = breaker(colour.paint(lambda: end(next(coming))))
        for ending in (*endings, mh.CircuitOpenError):
            with raising(ending):
                colour.call(fn)
        stats = breaker.stats()
        assert (stats.successes, stats.failures, stats.ignored, stats.rejected) == (2, 2, 1, 1)
