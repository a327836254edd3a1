"""The promise of a limit, under threads and tasks that all want to start at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import guard
from tests.waiting import GIVE_UP

THREADS = 8
TASKS = 100
SECONDS = 0.25
ENOUGH = 101
"""Calls that a storm has seen at the least, however slow the machine is."""


class Readings:
    """A clock that remembers for each thread when it was last asked.

    The last time before a call starts is when it was let start.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = time.monotonic
        self._last = threading.local()
        self.starts: list[float] = []
        monkeypatch.setattr(time, "monotonic", self._read)

    def _read(self) -> float:
        self._last.reading = reading = self._clock()
        return reading

    def start(self, *_: Any) -> None:
        """Be the function that is limited."""
        self.starts.append(self._last.reading)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Readings]:
    """Watch the clock, and switch threads as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield Readings(monkeypatch)
    sys.setswitchinterval(before)


def excess(starts: list[float], rate: float, burst: int) -> float:
    """Return by how much the fullest of all stretches of time is above ``burst + rate * T``."""
    worst = fullest = float("-inf")
    for number, at in enumerate(sorted(starts)):
        fullest = max(fullest, at * rate - number)
        worst = max(worst, number + 1 - at * rate + fullest - burst)
    return worst


def storm(limit: mh.RateLimit, start: Callable[..., None], seconds: float = SECONDS) -> None:
    """Call from threads and tasks at once; tasks give up at random while they wait.

    Where the machine is too slow for that, they leave each other some room after a while.
    """
    fn = limit(start)
    end = time.perf_counter() + seconds

    def goes_on() -> bool:
        now = time.perf_counter()
        return now < end or (now < end + GIVE_UP and limit.stats().admitted < ENOUGH)

    @limit
    async def later(cost: int) -> None:
        start(cost)

    def thread(number: int) -> None:
        dice = random.Random(number)
        while goes_on():
            try:
                fn(dice.choice((1, 1, 2)))
            except mh.RateLimitedError:
                if time.perf_counter() > end:
                    time.sleep(0.001)

    async def task(number: int) -> None:
        dice = random.Random(number)
        while goes_on():
            await asyncio.sleep(dice.uniform(0, 0.01))
            with contextlib.suppress(mh.RateLimitedError, TimeoutError):
                patience = 0.02 if time.perf_counter() < end else 1.0
                async with asyncio.timeout(dice.uniform(0, patience)):
                    await later(dice.choice((1, 1, 2)))

    async def tasks() -> None:
        await asyncio.gather(*map(task, range(TASKS)))

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(THREADS)]
    for each in threads:
        each.start()
    asyncio.run(tasks())
    for each in threads:
        each.join()


@pytest.mark.parametrize("max_wait", [0, "10ms"], ids=["refused", "waiting"])
@pytest.mark.parametrize(("rate", "burst"), [(2_000, 20), (500, 1), (3_333, 2), (20_000, 500)])
@pytest.mark.parametrize("gil", [True, False], ids=["inlined", "locked"])
def test_no_stretch_of_time_holds_more_than_burst_and_rate(
    *,
    rate: int,
    burst: int,
    max_wait: Any,
    gil: bool,
    readings: Readings,
    monkeypatch: pytest.MonkeyPatch,
    registry: mh.Registry,
) -> None:
    """To the microsecond, however late who waits wakes up; nothing is lost or left behind."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    limit = mh.rate_limit(rate, 1, burst=burst, max_wait=max_wait, name="storm", registry=registry)
    storm(limit, readings.start)
    stats = limit.stats()
    assert excess(readings.starts, rate, burst) <= rate * 1.1e-6
    assert stats.admitted == len(readings.starts)
    assert stats.calls == stats.admitted + stats.rejected + stats.cancelled
    assert (stats.waiting, limit._limiter._queued) == (0, 0)
    assert limit._limiter.gate is (limit._limiter.rule)
    assert stats.admitted >= min(burst, stats.calls - stats.cancelled)


@pytest.mark.parametrize("algorithm", ["gcra", "sliding_log", "fixed_window"])
@pytest.mark.parametrize("max_wait", [0, "10ms"], ids=["refused", "waiting"])
def test_the_other_ways_of_counting_keep_their_promises(
    *, algorithm: Any, max_wait: Any, readings: Readings, registry: mh.Registry
) -> None:
    """With two rates at once, and calls that count for two."""
    limit = mh.rate_limit(
        "40/20ms; 150/100ms",
        algorithm=algorithm,
        cost=lambda cost: cost,
        max_wait=max_wait,
        name="storm",
        registry=registry,
    )

    def start(cost: int) -> None:
        for _ in range(cost):
            readings.start()

    storm(limit, start)
    starts = sorted(readings.starts)
    assert len(starts) > 100
    for most, period in ((40, 0.02), (150, 0.1)):
        if algorithm == "gcra":
            assert excess(starts, most / period, most) <= most / period * 1.1e-6
        times = 2 if algorithm == "fixed_window" else 1
        if algorithm != "gcra":
            for earlier, later in zip(starts, starts[most * times :], strict=False):
                assert later - earlier >= period - 1.1e-6
    stats = limit.stats()
    assert stats.calls == stats.admitted + stats.rejected + stats.cancelled
    assert (stats.waiting, limit._limiter._queued) == (0, 0)


@pytest.mark.parametrize("gil", [True, False], ids=["inlined", "locked"])
def test_nothing_is_refused_that_is_far_within_the_limit(
    *, gil: bool, monkeypatch: pytest.MonkeyPatch, registry: mh.Registry
) -> None:
    """A reading of the clock may be old by the time it is used: who is refused is asked again."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        fn = mh.rate_limit("10000000/s burst 3", name="storm", registry=registry)(lambda: None)
        refused: list[Exception] = []

        def thread() -> None:
            for _ in range(10_000):
                try:
                    fn()
                except mh.RateLimitedError as error:
                    refused.append(error)

        threads = [threading.Thread(target=thread) for _ in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    assert refused == []
    assert registry.rate_limits["storm"].stats().admitted == THREADS * 10_000


def test_the_rate_changes_while_calls_start(readings: Readings, registry: mh.Registry) -> None:
    """The greatest of the rates is never exceeded, nor is any call lost."""
    limit = mh.rate_limit("1000/s burst 10", max_wait="5ms", name="storm", registry=registry)
    ended = threading.Event()

    def change() -> None:
        dice = random.Random(1)
        while not ended.is_set():
            limit.change(dice.choice((700, 1_000, 333)), 1, burst=10)
            limit.pause_for(0.001)
            ended.wait(dice.uniform(0, 0.005))

    changer = threading.Thread(target=change)
    changer.start()
    storm(limit, readings.start)
    ended.set()
    changer.join()
    assert excess(readings.starts, 1_000, 10) <= 1_000 * 1.1e-6
    stats = limit.stats()
    assert stats.admitted == len(readings.starts)
    assert (stats.waiting, limit._limiter._queued) == (0, 0)
