"""What hedges are for: the slow end of the latencies of a service, and what that costs the service.

A service of which five answers in a hundred take forty times as long as the others. For async calls
on virtual time; for sync ones with threads that sleep for some milliseconds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

import meshhook as mh
from meshhook.testing import FakeClock
from tests.policies.hedge_service import nothing_is_held
from tests.waiting import eventually

FAST, SLOW = 0.010, 0.400
CALLS = 3_000


class Tail(NamedTuple):
    """The latencies of the calls, and the attempts beyond one for each as a share of them."""

    p50: float
    p99: float
    extra: float


def tail(latencies: list[float], attempts: int) -> Tail:
    ordered, number = sorted(latencies), len(latencies)
    return Tail(ordered[number // 2], ordered[number * 99 // 100], attempts / number - 1)


class Service:
    """Answers as a real one does: most answers are about as fast, a few are slow."""

    def __init__(self, slow: float = 0.05) -> None:
        self.random = random.Random(7)
        self.slow = slow
        self.slowness = 1.0
        self.attempts = 0

    async def __call__(self) -> None:
        self.attempts += 1
        is_slow = self.random.random() < self.slow
        typical = SLOW if is_slow else FAST
        await asyncio.sleep(self.slowness * typical * self.random.lognormvariate(0, 0.2))


def simulate(service: Service, fn: Callable[[], Any], calls: int = CALLS) -> Tail:
    """Make so many calls, five milliseconds apart on average, on virtual time."""
    latencies: list[float] = []
    attempts = service.attempts

    async def call() -> None:
        began = time.monotonic()
        await fn()
        latencies.append(time.monotonic() - began)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(call())
                await asyncio.sleep(service.random.expovariate(200))

    with FakeClock() as clock:
        clock.run(main())
    return tail(latencies, service.attempts - attempts)


def make(delay: Any = None, **settings: Any) -> mh.Hedge:
    return mh.hedge(
        delay, **{"idempotent": True, "max_extra": 1_000, "registry": mh.Registry(), **settings}
    )


@pytest.mark.parametrize("delay", [None, "30ms"], ids=["learned", "fixed"])
def test_the_tail_is_cut_at_little_cost(delay: Any) -> None:
    """The 99 % quantile is under a quarter of the plain one, for less than 7 % more load."""
    plain_service, service = Service(), Service()
    plain = simulate(plain_service, plain_service)
    fn: Any = make(delay)(service)
    hedged = simulate(service, fn)
    assert plain.p99 > 0.3
    assert hedged.p99 < plain.p99 / 4
    assert 0.03 < hedged.extra < 0.07
    assert hedged.p50 == pytest.approx(plain.p50, rel=0.05)
    stats = fn.policies[0].stats()
    assert stats.hedges == service.attempts - CALLS
    assert stats.calls == stats.successes == CALLS
    assert nothing_is_held(fn.policies[0])


@pytest.mark.parametrize("slow", [0.0, 0.02, 0.08])
def test_the_learned_delay_keeps_the_load_where_the_quantile_says(slow: float) -> None:
    """Few calls are slower than it, however many are slow: those that lost are remembered."""
    service = Service(slow)
    hedged = simulate(service, make()(service))
    assert hedged.extra < max(slow, 0.05) + 0.02
    assert hedged.p99 < SLOW / 2


def test_the_delay_follows_a_service_that_slows_down() -> None:
    """When all answers take three times as long, few are hedged after some dozens of calls."""
    service = Service()
    fn: Any = make()(service)
    simulate(service, fn)
    before = fn.policies[0].stats().delay
    service.slowness = 3.0
    simulate(service, fn, 1_000)
    assert fn.policies[0].stats().delay > 2 * before
    assert simulate(service, fn, 1_000).extra < 0.08


def test_a_budget_bounds_the_load_when_everything_is_slow() -> None:
    """A delay that is too short would double it."""
    service, budgeted = Service(), Service()
    assert simulate(service, make("1ms")(service)).extra > 0.9
    budget = mh.RetryBudget(0.1, 1, registry=mh.Registry())
    bounded = simulate(budgeted, make("1ms", budget=budget)(budgeted))
    # A tenth of the calls, and one attempt a second: the calls take 15 s.
    assert bounded.extra <= 0.1 + 30 / CALLS


@pytest.mark.fault
def test_the_tail_of_sync_calls_is_cut_as_well() -> None:
    """In threads and in real time: each twentieth call is slow at its first attempt.

    A machine that is busy with other things is slow at others, too, so there are three rounds.
    """
    slow, calls, threads = 0.4, 400, 8
    attempts: list[int] = []

    def service(number: int, seen: set[int]) -> None:
        attempts.append(number)
        is_first = number not in seen
        seen.add(number)
        time.sleep(slow if is_first and number % 20 == 0 else 0.001)

    def measure(fn: Callable[..., Any]) -> Tail:
        attempts.clear()
        seen: set[int] = set()

        def call(number: int) -> float:
            began = time.perf_counter()
            fn(number, seen)
            return time.perf_counter() - began

        with ThreadPoolExecutor(threads) as pool:
            latencies = list(pool.map(call, range(calls)))
        return tail(latencies, len(attempts))

    plain = measure(service)
    assert plain.p99 >= slow
    rounds = []
    for _ in range(3):
        fn: Any = make("60ms", max_extra=32)(service)
        hedged = measure(fn)
        assert eventually(lambda: nothing_is_held(fn.policies[0]))  # noqa: B023 - called at once
        rounds.append(hedged)
        if hedged.p99 < plain.p99 / 4 and 0.05 <= hedged.extra < 0.07:
            return
    raise AssertionError(rounds)
