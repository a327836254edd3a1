"""Settings that change hundreds of times while threads and tasks call: nothing is lost or stuck."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import changes, guard
from meshhook.budgets import BudgetSettings
from tests.changes.changing import settings
from tests.faults.test_rate_limit_storm import Readings, excess

THREADS = 8
TASKS = 100
ROUNDS = 300


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Storm:
    """Calls from threads and tasks for as long as settings are applied."""

    def __init__(self, *variants: Callable[[], object]) -> None:
        self._variants = variants
        self._is_over = threading.Event()
        self.applied = 0

    def _apply(self) -> None:
        try:
            for apply in itertools.islice(itertools.cycle(self._variants), ROUNDS):
                apply()
                self.applied += 1
                time.sleep(random.uniform(0, 0.001))
        finally:
            self._is_over.set()

    def run(self, call: Callable[[], None], call_async: Callable[[], Any]) -> None:
        """Make calls until all is applied; tasks are cancelled now and then."""
        failed: list[BaseException] = []

        def thread(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as exc:
                failed.append(exc)
                self._is_over.set()

        def calling() -> None:
            while not self._is_over.is_set():
                call()

        async def task(number: int) -> None:
            dice = random.Random(number)
            while not self._is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(dice.uniform(0.0005, 0.02)):
                        await call_async()
                await asyncio.sleep(dice.uniform(0, 0.003))

        async def tasks() -> None:
            await asyncio.gather(*map(task, range(TASKS)))

        threads = [threading.Thread(target=thread, args=(calling,)) for _ in range(THREADS)]
        threads.append(threading.Thread(target=thread, args=(self._apply,)))
        for each in threads:
            each.start()
        asyncio.run(tasks())
        for each in threads:
            each.join(30)
            assert not each.is_alive(), "a call is stuck"
        if failed:
            raise failed[0]
        assert self.applied == ROUNDS


class Seen:
    """What callers and functions have seen, counted without losses."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.counts: Counter[str] = Counter()

    def add(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def __getitem__(self, what: str) -> int:
        return self.counts[what]


def applying(policy: Any, *variants: Any) -> list[Callable[[], object]]:
    return [lambda new=new: policy.apply(new) for new in variants]


def test_circuits(registry: mh.Registry) -> None:
    """Through all drivers, windows and thresholds: every call is counted once."""
    breaker = mh.circuit_breaker("db", failure_threshold=3, reset_timeout=0.001)
    seen = Seen()

    def work() -> None:
        if random.random() < 0.3:
            seen.add("failures")
            raise OSError
        if random.random() < 0.1:
            seen.add("ignored")
            raise KeyboardInterrupt
        seen.add("successes")

    @breaker
    def fn() -> None:
        work()

    @breaker
    async def fn_async() -> None:
        try:
            await asyncio.sleep(random.uniform(0, 0.002))
        except asyncio.CancelledError:
            seen.add("ignored")
            raise
        work()

    def call() -> None:
        try:
            fn()
        except (OSError, KeyboardInterrupt):
            pass
        except mh.CircuitOpenError:
            seen.add("rejected")

    async def call_async() -> None:
        try:
            await fn_async()
        except (OSError, KeyboardInterrupt):
            pass
        except mh.CircuitOpenError:
            seen.add("rejected")

    quick = {"reset_timeout": 0.001, "half_open_timeout": 0.01}
    storm = Storm(
        *applying(
            breaker,
            settings(mh.circuit_breaker, "x", failure_threshold=2, **quick),
            settings(mh.circuit_breaker, "x", failure_rate_threshold=0.5, window=0.01, **quick),
            settings(mh.circuit_breaker, "x", failure_threshold=4, window_calls=7, **quick),
            settings(
                mh.circuit_breaker,
                "x",
                slow_call_duration=0.001,
                slow_call_rate_threshold=0.9,
                window_calls=30,
                half_open_max_calls=5,
                success_threshold=2,
                half_open_max_concurrent=3,
                **quick,
            ),
            settings(mh.circuit_breaker, "x", record_result=bool, window=1, **quick),
            settings(mh.circuit_breaker, "x", failure_threshold=50, **quick),
        )
    )
    storm.run(call, call_async)
    stats = breaker.stats()
    counted = {each: getattr(stats, each) for each in seen.counts}
    assert counted == dict(seen.counts)
    assert stats.opened > 0
    breaker.reset()
    fn.policies[0].apply(settings(mh.circuit_breaker, "x"))  # type: ignore[attr-defined]
    phase: Any = breaker._circuit.phase
    assert not phase.running
    assert not phase.overdue


@pytest.mark.parametrize("gil", [True, False], ids=["inlined", "locked"])
def test_bulkheads(gil: bool, monkeypatch: pytest.MonkeyPatch, registry: mh.Registry) -> None:
    """No slot is lost, none is taken twice, and who waits gets his."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    most = 9
    bulkhead = mh.bulkhead(3, name="pool")
    seen = Seen()
    inside: list[int] = []
    highest: list[int] = []

    def enter() -> None:
        inside.append(1)
        highest.append(len(inside))
        seen.add("admitted")

    @bulkhead
    def fn() -> None:
        enter()
        try:
            time.sleep(random.choice((0, 0, 0.0005)))
        finally:
            inside.pop()

    @bulkhead
    async def fn_async() -> None:
        enter()
        try:
            await asyncio.sleep(random.uniform(0, 0.001))
        finally:
            inside.pop()

    def call() -> None:
        with contextlib.suppress(mh.BulkheadFullError):
            if random.random() < 0.2:
                with bulkhead:
                    enter()
                    inside.pop()
            else:
                fn()

    async def call_async() -> None:
        with contextlib.suppress(mh.BulkheadFullError):
            await fn_async()

    storm = Storm(
        *applying(
            bulkhead,
            settings(mh.bulkhead, 1, max_wait=None, max_queue=500),
            settings(mh.bulkhead, 5),
            settings(mh.bulkhead, limit=mh.AIMD(initial=4, max=most, latency_threshold=0.001)),
            settings(mh.bulkhead, 2, max_wait=0.01, order="lifo"),
            settings(mh.bulkhead, limit=mh.Gradient(initial=4, max=most), max_wait=0.001),
            settings(mh.bulkhead, most, max_wait=None),
        )
    )
    storm.run(call, call_async)
    stats = bulkhead.stats()
    assert max(highest) <= most
    assert (stats.in_use, stats.waiting, len(inside)) == (0, 0, 0)
    assert stats.admitted == seen["admitted"]
    bulkhead.apply(settings(mh.bulkhead, 4))
    slots = bulkhead._place.slots
    assert (len(slots.free), slots.limit, slots._debt, slots.watch) == (4, 4, 0, [])


@pytest.mark.parametrize("gil", [True, False], ids=["inlined", "locked"])
def test_rate_limits(gil: bool, monkeypatch: pytest.MonkeyPatch, registry: mh.Registry) -> None:
    """No debt is lost: whatever is set, no more start than the highest rate lets."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    readings = Readings(monkeypatch)
    rate, burst = 2_000, 20
    limit = mh.rate_limit(rate, 1, burst=burst, name="api")
    seen = Seen()

    @limit
    def fn() -> None:
        readings.start()

    @limit
    async def fn_async() -> None:
        readings.start()

    def call() -> None:
        try:
            fn()
        except mh.RateLimitedError:
            seen.add("rejected")

    async def call_async() -> None:
        try:
            await fn_async()
        except mh.RateLimitedError:
            seen.add("rejected")

    storm = Storm(
        *applying(
            limit,
            settings(mh.rate_limit, rate, 1, burst=burst, max_wait=0.005),
            settings(mh.rate_limit, f"{rate}/s burst {burst}; 1000000/h"),
            settings(mh.rate_limit, rate, 1, burst=burst, cost=lambda: 1),
            settings(mh.rate_limit, f"{burst}/10ms", algorithm="sliding_log", max_wait=0.005),
            settings(mh.rate_limit, 1_500, 1, burst=10, max_wait=0.01),
            settings(mh.rate_limit, rate, 1, burst=burst),
        )
    )
    storm.run(call, call_async)
    stats = limit.stats()
    assert excess(readings.starts, rate, burst) <= burst + rate * 1.1e-6  # of the sliding log
    assert stats.admitted == len(readings.starts)
    assert stats.rejected == seen["rejected"]
    assert (stats.waiting, limit._limiter._queued) == (0, 0)
    assert stats.admitted > burst


def test_all_the_others(registry: mh.Registry) -> None:
    """In one stack, and changed in one go: each counts what it has seen."""
    budget = mh.RetryBudget(1.0, 100, 1, name="db")
    retry = mh.retry(max_attempts=2, base_delay=0, budget=budget, name="db")
    throttle = mh.throttle(2, name="db", seed=1)
    timeout = mh.timeout(5, mode="cooperative", name="db")
    chaos = mh.chaos("db", rate=0.0)
    fallback = mh.fallback("value", name="db")
    pipeline = mh.Pipeline(fallback, retry, throttle, timeout, chaos)
    seen = Seen()

    def work() -> int:
        seen.add("calls")
        if random.random() < 0.2:
            raise OSError
        return 1

    fn = pipeline(work)

    @pipeline
    async def fn_async() -> int:
        await asyncio.sleep(random.uniform(0, 0.001))
        return work()

    def call() -> None:
        seen.add("begun")
        assert fn() in (1, "value", "odd")

    async def call_async() -> None:
        seen.add("begun")
        assert await fn_async() in (1, "value", "odd")

    sets: list[list[changes.Change]] = [
        [
            (budget, BudgetSettings(ratio=0.1, min_per_second=10.0, ttl=0.5)),
            (retry, settings(mh.retry, max_attempts=4, base_delay=0, max_elapsed=1)),
            (throttle, settings(mh.throttle, 3, window=0.1)),
            (timeout, settings(mh.timeout, 3, mode="cooperative")),
            (chaos, settings(mh.chaos, "x", rate=0.1)),
            (fallback, settings(mh.fallback, handler=lambda _error: "value")),
        ],
        [
            (budget, BudgetSettings(ratio=1.0, min_per_second=100.0, ttl=5.0)),
            (retry, settings(mh.retry, max_attempts=1, base_delay=0, budget=budget)),
            (throttle, settings(mh.throttle, 1.5, minimum_calls=1)),
            (timeout, settings(mh.timeout, 9, mode="cooperative")),
            (chaos, settings(mh.chaos, "x", rate=0.1, result="odd")),
            (fallback, settings(mh.fallback, "value", last_good=1, key=lambda: 1)),
        ],
        [
            (retry, settings(mh.retry, max_attempts=3, base_delay=0, on_result=lambda _: False)),
            (timeout, settings(mh.timeout, 9)),
            (chaos, settings(mh.chaos, "x", rate=0.0)),
            (fallback, settings(mh.fallback, "value", on_result=lambda result: result == "odd")),
        ],
    ]
    storm = Storm(*[lambda each=each: changes.apply(each) for each in sets])
    storm.run(call, call_async)
    of_fallback, of_retry = fallback.stats(), retry.stats()
    answered = of_fallback.from_value + of_fallback.from_handler + of_fallback.from_last_good
    assert seen["begun"] == of_fallback.successes + of_fallback.ignored + answered
    assert seen["begun"] == of_retry.successes + of_retry.failures + of_retry.ignored
    of_throttle, of_timeout = throttle.stats(), timeout.stats()
    assert seen["begun"] + of_retry.retries == of_throttle.calls + of_throttle.rejected
    ended = of_timeout.successes + of_timeout.failures + of_timeout.ignored + of_timeout.timed_out
    assert ended == of_throttle.calls
    assert chaos.stats().struck > 0
    of_budget = budget.stats()
    assert of_budget.taken - of_budget.given_back <= of_retry.retries


def test_hedges_and_idempotent_functions(registry: mh.Registry) -> None:
    """Each call has one answer, each key one result, and no place is kept."""
    store = mh.MemoryStore()
    hedge = mh.hedge(0, idempotent=True, max_hedges=2, name="read", budget=None)
    once = mh.idempotent("{order}", store=store, name="pay")
    numbers = itertools.count()
    seen = Seen()
    results: dict[int, set[int]] = {}

    @once
    @hedge
    def fn(order: int) -> int:
        return next(numbers)

    @once
    @hedge
    async def fn_async(order: int) -> int:
        await asyncio.sleep(random.uniform(0, 0.001))
        return next(numbers)

    def note(order: int, result: int) -> None:
        seen.add("answers")
        results.setdefault(order, set()).add(result)

    def call() -> None:
        order = random.randrange(20)
        note(order, fn(order))

    async def call_async() -> None:
        order = random.randrange(100, 120)
        note(order, await fn_async(order))

    storm = Storm(
        *applying(
            hedge,
            settings(mh.hedge, 0, idempotent=True, max_hedges=4, max_extra=2, budget=None),
            settings(mh.hedge, idempotent=True, minimum_samples=1),
            settings(mh.hedge, 0.001, idempotent=True, max_hedges=1),
        ),
        *applying(
            once,
            settings(mh.idempotent, "{order}", store=store, ttl=1000, wait_timeout=9),
            settings(mh.idempotent, "{order}", store=store, ttl=500, max_run=60, wait_timeout=9),
        ),
    )
    storm.run(call, call_async)
    assert all(len(each) == 1 for each in results.values())
    assert hedge.extras._waited_for == set()
    assert once.stats().executed <= 40
    assert seen["answers"] > ROUNDS
