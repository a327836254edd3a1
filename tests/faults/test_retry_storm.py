"""A service that fails every call for a minute, and 200 clients that retry: on virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

import meshhook as mh
from docs.plots import retry_budget
from meshhook.testing import FakeClock

CLIENTS = 200
MINUTE = 60.0


class Service:
    """Fails everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.attempts = 0

    async def __call__(self) -> None:
        self.attempts += 1
        await asyncio.sleep(0.05)
        raise ConnectionError


def storm(budget: mh.RetryBudget | None, registry: mh.Registry) -> tuple[int, int]:
    """Let 200 tasks call it once a second for a minute; return calls and attempts."""
    service, calls = Service(), itertools.count()
    policy = mh.retry(max_attempts=4, budget=budget, name="storm", registry=registry)
    policy.chance = random.Random(3).random
    phase = random.Random(4)

    async def client(clock: FakeClock, end: float) -> None:
        await asyncio.sleep(phase.random())
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            next(calls)
            began = loop.time()
            with pytest.raises(ConnectionError):
                await policy.acall(service)
            await asyncio.sleep(max(0.0, began + 1.0 - loop.time()))

    async def main(clock: FakeClock) -> None:
        end = asyncio.get_running_loop().time() + MINUTE
        await asyncio.gather(*(client(clock, end) for _ in range(CLIENTS)))

    with FakeClock() as clock:
        clock.run(main(clock))
    return next(calls), service.attempts


def test_a_budget_keeps_the_storm_down(registry: mh.Registry) -> None:
    """A fifth more attempts than calls, and one a second; the statistics say the same."""
    budget = mh.RetryBudget(ratio=0.2, min_per_second=1, ttl=10, registry=registry)
    calls, attempts = storm(budget, registry)
    assert calls >= CLIENTS * MINUTE * 0.9
    extra = attempts - calls
    assert 0.19 * calls <= extra <= 0.2 * calls + MINUTE + 10
    stats = registry.retries["storm"].stats()
    assert (stats.calls, stats.retries, stats.failures) == (calls, extra, calls)
    assert stats.ended_by["budget"] + stats.ended_by["attempts"] == calls
    assert (budget.stats().calls, budget.stats().taken) == (calls, extra)


def test_without_a_budget_the_storm_is_four_times_the_load(registry: mh.Registry) -> None:
    """Each call makes all of its attempts."""
    calls, attempts = storm(None, registry)
    assert attempts == 4 * calls


def test_the_storm_of_the_documentation() -> None:
    """In each stretch that the budget looks back, and beside three to four times without."""
    without = retry_budget.storm(with_budget=False)
    calls, extra = without.within(retry_budget.BROKEN, retry_budget.MENDED)
    assert 2.5 * calls < extra < 3 * calls
    load = retry_budget.storm(with_budget=True)
    window = 0.9 * retry_budget.TTL
    for tenth in range(int(10 * (retry_budget.END - window))):
        begin = tenth / 10
        # What is made in a stretch was reserved a pause earlier, with the calls before it counted.
        calls, _ = load.within(begin - 2.0, begin + window)
        _, extra = load.within(begin, begin + window)
        assert extra <= 0.2 * calls + 10 + 0.2 * 2 * CLIENTS
    calls, extra = load.within(retry_budget.BROKEN - retry_budget.TTL, retry_budget.MENDED)
    assert extra <= 0.2 * calls + retry_budget.MENDED - retry_budget.BROKEN + retry_budget.TTL
