"""Streams under all policies that take them at once, in the canonical order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import cancel_everywhere
from tests.colours import Colour
from tests.policies.test_streams_again import Flaky
from tests.streams import Reader, paint, read


def all_of_them(registry: mh.Registry, fn: Any, **bulkhead: Any) -> Any:
    """Put the whole stack around ``fn``."""
    for policy in (
        mh.chaos(name="chaos", registry=registry),
        mh.timeout(None, per_item=20, mode="auto", name="attempt", registry=registry),
        mh.bulkhead(**{"max_concurrent": 8, **bulkhead}, name="slots", registry=registry),
        mh.rate_limit("100000/s", name="rate", registry=registry),
        mh.throttle(minimum_calls=1_000_000, name="throttle", registry=registry),
        mh.circuit_breaker("db", failure_threshold=1_000_000, registry=registry),
        mh.retry(base_delay=0, jitter=None, name="again", registry=registry),
        mh.timeout(30, mode="cooperative", name="total", registry=registry),
        mh.fallback([7], on=ConnectionError, name="instead", registry=registry),
    ):
        fn = policy(fn)
    return fn


def numbers(registry: mh.Registry, name: str) -> dict[str, Any]:
    """Return the counters of one policy."""
    return registry[name].stats().to_dict()


def test_counts_of_a_whole_stack(colour: Colour, registry: mh.Registry) -> None:
    """Attempts are made inside, the stream is one outside, and everything is given back."""
    fn = all_of_them(registry, paint(colour, Flaky(2).body))
    assert read(colour, fn) == [0, 1, 2]
    assert numbers(registry, "again")["attempts"] == 3
    assert (numbers(registry, "db")["failures"], numbers(registry, "db")["successes"]) == (2, 1)
    assert numbers(registry, "slots")["admitted"] == numbers(registry, "rate")["admitted"] == 3
    assert numbers(registry, "slots")["in_use"] == 0
    assert numbers(registry, "total")["successes"] == 1
    assert numbers(registry, "instead")["successes"] == 1
    fn = all_of_them(registry, paint(colour, Flaky(3).body))
    assert read(colour, fn) == [7]
    assert numbers(registry, "instead")["from_value"] == 1
    # To the timeout below it, a fallback that was needed is a failure.
    assert numbers(registry, "total")["failures"] == 1


def test_a_whole_stack_speaks_both_ways(colour: Colour, registry: mh.Registry) -> None:
    """What is sent, thrown in and returned goes through nine policies."""
    heard: list[Any] = []

    def body() -> Any:
        try:
            heard.append((yield 1))
            with contextlib.suppress(KeyError):
                yield 2
            yield 3
        finally:
            heard.append("closed")

    reader = Reader(colour, all_of_them(registry, paint(colour, body))())
    assert reader.next() == 1
    assert reader.send("a") == 2
    assert reader.throw(KeyError()) == 3
    assert numbers(registry, "slots")["in_use"] == 1
    reader.close()
    assert heard == ["a", "closed"]
    assert numbers(registry, "slots")["in_use"] == 0
    for name in ("db", "total", "attempt", "again", "instead"):
        assert (numbers(registry, name)["ignored"], numbers(registry, name)["failures"]) == (1, 0)


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancellation_at_any_await_leaves_nothing(registry: mh.Registry, times: int) -> None:
    """In an attempt, in a pause, at an item, in a cleanup: all slots are free after each run."""

    def make() -> Any:
        flaky = Flaky(1)

        async def body() -> AsyncIterator[int]:
            await asyncio.sleep(0)
            inner = flaky.body()
            try:
                for item in inner:
                    await asyncio.sleep(0)
                    yield item
            finally:
                await asyncio.sleep(0)

        fn = all_of_them(registry, body)

        async def consume() -> list[int]:
            async with contextlib.aclosing(fn()) as stream:
                return [item async for item in stream]

        return consume()

    def check(run: Any) -> None:
        assert run.was_cancelled or run.result == [0, 1, 2]
        assert numbers(registry, "slots")["in_use"] == 0
        assert mh.remaining() is None

    points = asyncio.run(cancel_everywhere(make, check, times=times))
    assert points > 5
    assert not asyncio.run(_timers_that_are_left())
    for name in ("attempt", "total", "db"):
        assert numbers(registry, name).get("timed_out", 0) == 0


async def _timers_that_are_left() -> list[Any]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def test_threads_and_tasks_together(registry: mh.Registry) -> None:
    """Whatever their streams come to, counts add up and no slot is lost."""
    dice = random.Random(5)
    outcomes: list[str] = []

    def body(fate: float) -> Iterator[int]:
        if fate < 0.2:
            raise OSError
        yield 1
        if fate < 0.4:
            raise OSError
        yield 2

    async def body_async(fate: float) -> AsyncIterator[int]:
        for item in body(fate):
            await asyncio.sleep(0)
            yield item

    big = {"max_concurrent": 500}
    sync, made = all_of_them(registry, body, **big), all_of_them(registry, body_async, **big)
    fates = [[dice.random() for _ in range(40)] for _ in range(8)]

    def in_thread(own: list[float]) -> None:
        for fate in own:
            try:
                for _ in sync(fate):
                    if fate > 0.8:
                        break
                outcomes.append("left" if fate > 0.8 else "done")
            except OSError:
                outcomes.append("failed")

    async def in_task(fate: float) -> None:
        try:
            async with contextlib.aclosing(made(fate)) as stream:
                async for _ in stream:
                    if fate > 0.8:
                        break
            outcomes.append("left" if fate > 0.8 else "done")
        except OSError:
            outcomes.append("failed")

    async def main() -> None:
        await asyncio.gather(*(in_task(dice.random()) for _ in range(100)))

    threads = [threading.Thread(target=in_thread, args=(own,)) for own in fates]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    gc.collect()
    for name in ("total", "instead", "again"):
        stats = numbers(registry, name)
        assert stats["calls"] == len(outcomes) == 8 * 40 + 100
        assert stats["successes"] == outcomes.count("done")
        assert stats["failures"] == outcomes.count("failed")
        assert stats["ignored"] == outcomes.count("left")
    assert numbers(registry, "slots")["in_use"] == 0
    assert numbers(registry, "slots")["admitted"] == numbers(registry, "again")["attempts"]
