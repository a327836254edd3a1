"""A timeout in one stack with other policies."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies.timeout import Timeout
from tests.colours import Colour

LIMIT = 0.02


def breaker(registry: mh.Registry) -> Any:
    return mh.circuit_breaker("db", failure_threshold=2, registry=registry)


async def hang() -> None:
    await asyncio.Event().wait()


def spin(release: threading.Event) -> None:
    while not release.is_set():
        time.sleep(0.001)


@pytest.mark.parametrize("mode", ["auto", "thread", "signal", "interrupt"])
def test_a_breaker_outside_counts_the_timeout(mode: Any, registry: mh.Registry) -> None:
    """To it, a call that ran out of time has failed."""
    release = threading.Event()
    fn = breaker(registry)(mh.timeout(LIMIT, mode=mode)(spin))
    for _ in range(2):
        with pytest.raises(mh.TimeoutError):
            fn(release)
    with pytest.raises(mh.CircuitOpenError):
        fn(release)
    release.set()


def test_an_async_breaker_outside_counts_the_timeout(registry: mh.Registry) -> None:
    """The same for a task."""
    fn = breaker(registry)(mh.timeout(LIMIT)(hang))

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(mh.TimeoutError):
                await fn()
        with pytest.raises(mh.CircuitOpenError):
            await fn()

    asyncio.run(main())


def test_a_breaker_outside_does_not_count_what_was_never_started(
    colour: Colour, registry: mh.Registry
) -> None:
    """A deadline that has passed says nothing about what would have been called."""
    limit = mh.timeout(5.0, registry=registry)
    fn = breaker(registry)(limit(colour.paint(lambda: "called")))
    told: list[Any] = []
    with mh.subscribe(told.append), mh.deadline(0):
        for _ in range(5):
            with pytest.raises(mh.NoTimeLeftError) as caught:
                colour.call(fn)
    assert isinstance(caught.value, mh.TimeoutError)
    assert isinstance(caught.value, mh.RejectedError)
    assert (caught.value.timeout, caught.value.policy) == (0.0, "timeout")
    outer, inner = fn.policies
    assert (outer.state, outer.stats().ignored) == ("closed", 5)
    assert (inner.stats().rejected, inner.stats().calls) == (5, 0)
    assert [(event.policy, event.reason) for event in told] == [("timeout", "deadline")] * 5
    assert colour.call(fn) == "called"


def test_an_async_breaker_inside_sees_a_cancellation(registry: mh.Registry) -> None:
    """It counts nothing: who was out of time says nothing about what was called."""
    fn = mh.timeout(LIMIT)(breaker(registry)(hang))

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(mh.TimeoutError):
                await fn()

    asyncio.run(main())
    stats = registry.circuit_breakers["db"].stats()
    assert (stats.state, stats.ignored, stats.failures) == ("closed", 3, 0)


@pytest.mark.parametrize("mode", ["signal", "interrupt"])
def test_a_breaker_inside_sees_an_interruption(mode: Any, registry: mh.Registry) -> None:
    """It gives its permit back and counts nothing, half-open too."""
    release = threading.Event()
    fn = mh.timeout(LIMIT, mode=mode)(breaker(registry)(spin))
    for _ in range(3):
        with pytest.raises(mh.TimeoutError):
            fn(release)
    stats = registry.circuit_breakers["db"].stats()
    assert (stats.state, stats.ignored) == ("closed", 3)


def test_a_breaker_inside_a_thread_runs_in_the_worker(registry: mh.Registry) -> None:
    """It judges the call when that really ends, though the caller has gone."""
    release = threading.Event()
    fn = mh.timeout(LIMIT, mode="thread")(breaker(registry)(spin))
    with pytest.raises(mh.TimeoutError):
        fn(release)
    circuit = registry.circuit_breakers["db"]
    assert circuit.stats().calls == 0
    release.set()
    for _ in range(1_000):
        if circuit.stats().successes:
            break
        time.sleep(0.001)
    assert circuit.stats().successes == 1


def test_a_breaker_inside_a_worker_sees_the_frozen_clock(
    registry: mh.Registry, frozen: Any
) -> None:
    """A clock that a test moves moves in worker threads too."""
    quick = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=60.0, registry=registry)
    outcomes: list[BaseException | None] = [ValueError("down"), None]

    def call() -> str:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return "up"

    fn = mh.timeout(5.0, mode="thread")(quick(call))
    with pytest.raises(ValueError, match="down"):
        fn()
    with pytest.raises(mh.CircuitOpenError) as caught:
        fn()
    assert caught.value.retry_after == pytest.approx(60.0)
    frozen.tick(61.0)
    assert fn() == "up"


def test_total_and_attempt_limits_in_one_stack() -> None:
    """The inner one ends an attempt, the outer one the whole."""
    attempt = mh.timeout(LIMIT)(hang)
    attempts = 0

    async def persist() -> None:
        nonlocal attempts
        while True:
            with contextlib.suppress(mh.TimeoutError):
                attempts += 1
                await attempt()

    async def main() -> None:
        with pytest.raises(mh.TimeoutError) as caught:
            await mh.timeout(3.5 * LIMIT).acall(persist)
        assert caught.value.timeout == 3.5 * LIMIT

    asyncio.run(asyncio.wait_for(main(), 5.0))
    assert attempts >= 2


def test_stacked_timeouts_are_one_wrapper(registry: mh.Registry) -> None:
    """Two limits around one function compile into one chain, outermost first."""
    total = mh.timeout(5.0, name="total", registry=registry)
    each = mh.timeout(1.0, name="each", registry=registry)
    fn = total(each(mh.remaining))
    assert [policy.name for policy in fn.policies] == ["total", "each"]  # type: ignore[attr-defined]
    assert all(isinstance(policy, Timeout) for policy in fn.policies)  # type: ignore[attr-defined]
    left = fn()
    assert left is not None
    assert left <= 1.0
