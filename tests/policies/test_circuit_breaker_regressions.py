"""Faults that circuit breakers are known to have, each held out by name: what is counted as what.

Those of the open and the half-open state are in ``test_circuit_breaker_regressions_states.py``.
"""

from __future__ import annotations

import abc
import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import meshhook as mh
from tests import streams
from tests.colours import Colour
from tests.policies.breaker_paths import breaker_on, in_threads, on_every_path


class Odd(Exception, metaclass=abc.ABCMeta):  # noqa: N818 - the name says what it is
    """An exception whose class is no plain ``type``."""


@on_every_path
def test_functions_run_side_by_side(path: str, colour: Colour, registry: mh.Registry) -> None:
    """No lock is held while the function runs: five calls can be inside at one moment."""
    together = threading.Barrier(5)

    def call() -> int:
        return together.wait(timeout=10)

    fn = breaker_on(path, registry)(colour.paint(call))
    assert sorted(in_threads(colour, fn, 5)) == [0, 1, 2, 3, 4]
    assert registry.circuit_breakers["db"].stats().successes == 5


def test_trials_run_side_by_side(colour: Colour, registry: mh.Registry) -> None:
    """Nor in a half-open circuit: as many are inside as may be."""
    together = threading.Barrier(3)
    breaker = mh.circuit_breaker(
        "db",
        initial_state="half_open",
        half_open_max_calls=3,
        half_open_max_concurrent=3,
        registry=registry,
    )
    fn = breaker(colour.paint(lambda: together.wait(timeout=10)))
    assert sorted(in_threads(colour, fn, 3)) == [0, 1, 2]
    assert breaker.state == "closed"


@on_every_path
def test_async_failures_are_counted(path: str, registry: mh.Registry) -> None:
    """An ``async def`` is judged by its outcome, not by the coroutine that it returns."""
    breaker = breaker_on(path, registry, failure_threshold=3)

    @breaker
    async def call() -> None:
        await asyncio.sleep(0)
        raise ConnectionError

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await call()
        with pytest.raises(mh.CircuitOpenError):
            await call()

    asyncio.run(main())
    assert (breaker.state, breaker.stats().failures) == ("open", 3)


@on_every_path
@pytest.mark.parametrize("raised", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_interrupts_are_no_failures(
    path: str, raised: type[BaseException], colour: Colour, registry: mh.Registry
) -> None:
    """KeyboardInterrupt and GeneratorExit never open a circuit, and end no row of failures."""
    breaker = breaker_on(path, registry, failure_threshold=2)
    errors: list[type[BaseException]] = [OSError, raised, raised, raised]

    def call() -> None:
        raise errors.pop(0)

    fn = breaker(colour.paint(call))
    with pytest.raises(OSError):
        colour.call(fn)
    for _ in range(3):
        with pytest.raises(raised):
            colour.call(fn)
    stats = breaker.stats()
    assert (stats.state, stats.failures, stats.ignored) == ("closed", 1, 3)
    assert stats.consecutive_failures == 1


def test_a_generator_that_is_closed_early_is_no_failure(
    colour: Colour, registry: mh.Registry
) -> None:
    """Whoever stops iterating says nothing about the upstream that the block calls."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    def rows() -> Iterator[int]:
        with breaker:
            yield 1
            yield 2

    async def rows_async() -> AsyncIterator[int]:
        async with breaker:
            yield 1
            yield 2

    def read() -> None:
        reading: Any = rows()
        assert next(reading) == 1
        reading.close()

    async def read_async() -> None:
        reading: Any = rows_async()
        assert await anext(reading) == 1
        await reading.aclose()

    colour.call(read if colour.name == "sync" else read_async)
    stats = breaker.stats()
    assert (stats.state, stats.failures, stats.ignored) == ("closed", 0, 1)


def test_a_generator_is_no_instant_success(colour: Colour, registry: mh.Registry) -> None:
    """To call one does nothing yet, which is no success of what it will do; nor is an item."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    rows = breaker(streams.paint(colour, streams.failing([1], OSError("gone"))))
    reader = streams.Reader(colour, rows())
    assert breaker.stats().calls == 0
    assert reader.next() == 1
    assert breaker.stats().calls == 0
    with pytest.raises(OSError, match="gone"):
        reader.next()
    stats = breaker.stats()
    assert (stats.state, stats.successes, stats.failures) == ("open", 0, 1)


@pytest.mark.parametrize("given", [Odd, (Odd,), [Odd, KeyError]], ids=["bare", "tuple", "list"])
def test_ignoring_a_type_with_a_metaclass_ignores_that_type_only(
    given: Any, colour: Colour, registry: mh.Registry
) -> None:
    """``ignore`` takes types of any metaclass, and nothing else is ignored for it."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, ignore=given, registry=registry)
    errors: list[Exception] = [Odd(), ValueError("x")]

    def call() -> None:
        raise errors.pop(0)

    fn = breaker(colour.paint(call))
    with pytest.raises(Odd):
        colour.call(fn)
    assert breaker.state == "closed"
    with pytest.raises(ValueError, match="x"):
        colour.call(fn)
    assert breaker.state == "open"


@pytest.mark.parametrize("given", [Odd, (Odd,)], ids=["bare", "tuple"])
def test_recording_a_type_with_a_metaclass_records_that_type_only(
    given: Any, registry: mh.Registry
) -> None:
    """The same for ``record``."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, record=given, registry=registry)
    with pytest.raises(ValueError, match="x"), breaker:
        raise ValueError("x")
    assert breaker.state == "closed"
    with pytest.raises(Odd), breaker:
        raise Odd
    assert breaker.state == "open"


@on_every_path
def test_an_ignored_exception_does_not_reset_the_count(
    path: str, colour: Colour, registry: mh.Registry
) -> None:
    """Three failures and an ignored one are still three failures in a row."""
    breaker = breaker_on(path, registry, failure_threshold=4, ignore=KeyError)
    kinds = (OSError, OSError, OSError, KeyError)
    coming = iter(kinds)

    def call() -> None:
        raise next(coming)

    fn = breaker(colour.paint(call))
    for kind in kinds:
        with pytest.raises(kind):
            colour.call(fn)
    assert (breaker.stats().consecutive_failures, breaker.stats().ignored) == (3, 1)


def test_an_ignored_exception_does_not_close_a_half_open_circuit(
    colour: Colour, registry: mh.Registry
) -> None:
    """It is no success either: the next one is the trial that counts."""
    breaker = mh.circuit_breaker(
        "db", initial_state="half_open", ignore=KeyError, registry=registry
    )
    errors: list[type[Exception]] = [KeyError, KeyError, OSError]

    def call() -> None:
        raise errors.pop(0)

    fn = breaker(colour.paint(call))
    for kind, state in ((KeyError, "half_open"), (KeyError, "half_open"), (OSError, "open")):
        with pytest.raises(kind):
            colour.call(fn)
        assert breaker.state == state


@on_every_path
@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_cancelled_calls_are_no_failures(path: str, state: str, registry: mh.Registry) -> None:
    """Cancelling calls opens no circuit, closes none, and holds no trial."""
    breaker = breaker_on(
        path,
        registry,
        failure_threshold=1,
        initial_state=state,
        half_open_max_calls=5,
        half_open_max_concurrent=5,
    )

    @breaker
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        for _ in range(2):
            tasks = [asyncio.create_task(hang()) for _ in range(5)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ends] == [asyncio.CancelledError] * 5

    asyncio.run(main())
    stats = breaker.stats()
    assert (stats.state, stats.ignored, stats.failures) == (state, 10, 0)


@on_every_path
def test_concurrent_failures_all_count(path: str, colour: Colour, registry: mh.Registry) -> None:
    """Twenty calls that were all admitted before the first failed still make the threshold."""
    breaker = breaker_on(path, registry, failure_threshold=20)
    admitted = threading.Barrier(20)

    def fail() -> None:
        admitted.wait(timeout=10)
        raise OSError

    results = in_threads(colour, breaker(colour.paint(fail)), 20)
    assert [type(each) for each in results] == [OSError] * 20
    stats = breaker.stats()
    assert (stats.state, stats.failures, stats.opened) == ("open", 20, 1)


def test_failures_of_tasks_on_one_loop_all_count(registry: mh.Registry) -> None:
    """The same where they take turns."""
    breaker = mh.circuit_breaker("db", failure_threshold=20, registry=registry)
    admitted = asyncio.Event()

    @breaker
    async def fail() -> None:
        await admitted.wait()
        raise OSError

    async def main() -> None:
        tasks = [asyncio.create_task(fail()) for _ in range(20)]
        await asyncio.sleep(0)
        admitted.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert (breaker.state, breaker.stats().failures) == ("open", 20)


@on_every_path
def test_an_inner_timeout_error_is_judged_as_what_it_is(
    path: str, colour: Colour, registry: mh.Registry
) -> None:
    """A TimeoutError of the function's own reaches the caller untouched, and is a failure."""
    breaker = breaker_on(path, registry)
    own = TimeoutError("upstream said 504")

    def fail() -> None:
        raise own

    fn = breaker(colour.paint(fail))
    with pytest.raises(TimeoutError) as raised:
        colour.call(fn)
    assert raised.value is own
    assert (breaker.stats().failures, breaker.stats().last_failure) == (1, "TimeoutError")
