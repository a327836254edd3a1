"""What other libraries get wrong about retries, one test for each.

The numbers are those of the list of faults that this project keeps of its peers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.policies.retry_calls import Flaky, Pauses, slept

__all__ = ["slept"]


@pytest.mark.parametrize(
    "settings",
    [
        {"on": lambda error: not isinstance(error, ValueError)},
        {"on": BaseException},
        {"abort_on": ValueError},
        {"abort_on": lambda error: isinstance(error, ValueError)},
    ],
)
@pytest.mark.parametrize("form", ["decorator", "block"])
def test_bug_16_a_negative_list_does_not_swallow_cancellation(settings: Any, form: str) -> None:
    """All but some errors: the task is cancelled after one attempt, and is done."""
    attempts = 0
    inside = asyncio.Event()

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        inside.set()
        await asyncio.sleep(60)

    async def call() -> None:
        if form == "decorator":
            await mh.retry(base_delay=0, **settings).acall(work)
            return
        async for attempt in mh.retrying(base_delay=0, **settings):
            with attempt:
                await work()

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(call())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        return task

    task = asyncio.run(main())
    assert task.cancelled()
    assert attempts == 1


def test_bug_16_the_default_has_an_end_and_waits(colour: Colour, slept: Pauses) -> None:
    """Bare, it neither goes on for ever nor hammers."""
    call = Flaky(OSError)
    with pytest.raises(OSError):
        colour.call(mh.retry(colour.paint(call)))
    assert call.calls == 3
    assert len(slept) == 2
    assert sum(slept) > 0


def numbers() -> Iterator[int]:
    """Give two items and fail."""
    yield 0
    yield 1
    raise OSError


async def numbers_async() -> AsyncIterator[int]:
    """Give two items and fail, async."""
    for number in numbers():
        yield number


def test_bug_16_and_17_a_generator_gives_no_item_twice() -> None:
    """It is retried until the first item is there; what fails later goes through."""
    given: list[int] = []
    policy = mh.retry(base_delay=0)
    stream, stream_async = policy(numbers), policy(numbers_async)
    with pytest.raises(OSError):
        for item in stream():
            given.append(item)  # noqa: PERF402 - what came before the error counts

    async def iterate() -> None:
        async for item in stream_async():
            given.append(item)  # noqa: PERF401 - as above

    with pytest.raises(OSError):
        asyncio.run(iterate())
    assert given == [0, 1, 0, 1]


def test_bug_16_statistics_of_calls_do_not_mix(registry: mh.Registry) -> None:
    """Calls of one function at the same time: each has its own attempts."""
    policy = mh.retry(max_attempts=4, base_delay=0, registry=registry)
    together = threading.Barrier(8)

    def work(number: int) -> tuple[int, int]:
        def fail() -> None:
            raise OSError(number)

        together.wait()
        with pytest.raises(OSError) as caught:
            policy.call(fail)
        errors = mh.attempts_of(caught.value)
        return len(errors), len({error.args for error in errors})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [(4, 1)] * 8


def test_bug_17_the_limit_of_time_is_that_of_all_attempts(colour: Colour, slept: Pauses) -> None:
    """And it says so: ``max_elapsed`` interrupts nothing, a timeout inside stops each attempt."""
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError

    fn = mh.retry(max_attempts=None, max_elapsed=1, base_delay=0.3, jitter=None, factor=1)
    with pytest.raises(OSError) as caught:
        colour.call(fn(colour.paint(fail)))
    assert calls == 4
    assert "would not end within max_elapsed=1" in caught.value.__notes__[0]


def test_the_cap_is_a_cap(slept: Pauses) -> None:
    """Jitter comes before the cut, and attempt ten thousand overflows nothing."""
    policy = mh.retry(max_attempts=10_001, max_delay=2, jitter=0.5)
    with pytest.raises(OSError):
        policy.call(Flaky(OSError))
    assert max(slept) <= 2.0
    assert len(slept) == 10_000


def test_a_refusal_is_not_hammered(colour: Colour, slept: Pauses, registry: mh.Registry) -> None:
    """An open circuit inside of the retry is asked once."""
    breaker = mh.circuit_breaker("db", initial_state="forced_open", registry=registry)
    fn = mh.retry(registry=registry)(breaker(colour.paint(lambda: None)))
    with pytest.raises(mh.CircuitOpenError):
        colour.call(fn)
    assert breaker.stats().rejected == 1
    assert slept == []
