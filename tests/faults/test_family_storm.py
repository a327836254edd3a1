"""Breaker, retries, rate, slots and timeout around one function, under more than it can bear."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

import meshhook as mh
from tests.waiting import eventually

pytestmark = pytest.mark.fault

SLOTS = 64
LIMIT = 0.05


class Flaky:
    """A service that answers, fails, hangs, or is asked for nonsense; it knows who is in it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.entered = self.inside = self.most = 0

    def enter(self) -> float:
        with self.lock:
            self.entered += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            return self.rng.random()

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1

    @staticmethod
    def seconds(fate: float) -> float:
        return 3 * LIMIT if fate < 0.03 else 0.001

    @staticmethod
    def end(fate: float) -> str:
        if fate > 0.8:
            raise ConnectionError
        if fate > 0.75:
            raise ValueError
        return "done"

    async def call_async(self) -> str:
        fate = self.enter()
        try:
            await asyncio.sleep(self.seconds(fate))
            return self.end(fate)
        finally:
            self.leave()

    def call(self) -> str:
        fate = self.enter()
        try:
            time.sleep(self.seconds(fate))
            return self.end(fate)
        finally:
            self.leave()


class Storm:
    """Callers in threads and tasks, each of whom writes down what came of every call."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.registry = mh.Registry()
        self.flaky = Flaky(1)
        named: dict[str, Any] = {"name": "storm", "registry": self.registry}
        self.stack = mh.Pipeline(
            mh.retry(max_attempts=3, base_delay=0.002, abort_on=ValueError, **named),
            mh.circuit_breaker(
                "storm",
                failure_rate_threshold=0.6,
                window=1.0,
                reset_timeout=0.05,
                registry=self.registry,
            ),
            mh.rate_limit("4000/s burst 100", max_wait=0.1, **named),
            mh.bulkhead(SLOTS, max_queue=200, max_wait=0.1, **named),
            mh.timeout(LIMIT, **named),
        )
        self.call = self.stack(self.flaky.call)
        self.call_async = self.stack(self.flaky.call_async)
        self.lock = threading.Lock()
        self.came_to: Counter[str] = Counter()

    def note(self, outcome: str) -> None:
        with self.lock:
            self.came_to[outcome] += 1

    def work(self) -> None:
        """Call again and again from a thread."""
        while time.monotonic() < self.until:
            try:
                self.note(self.call())
            except Exception as exc:
                self.note(type(exc).__name__)
                time.sleep(0.002)

    async def work_async(self, rng: random.Random) -> None:
        """Call again and again from a task, and give some calls up."""
        while time.monotonic() < self.until:
            call = asyncio.ensure_future(self.call_async())
            if rng.random() < 0.1:
                await asyncio.sleep(rng.random() * 0.02)
                call.cancel()
            try:
                self.note(await call)
            except asyncio.CancelledError:
                self.note("cancelled")
            except Exception as exc:
                self.note(type(exc).__name__)
                await asyncio.sleep(rng.random() * 0.2)

    async def tasks(self, number: int) -> int:
        """Run so many tasks; return how many are left when they have ended."""
        await asyncio.gather(*(self.work_async(random.Random(each)) for each in range(number)))
        await asyncio.sleep(4 * LIMIT)
        return len(asyncio.all_tasks()) - 1


def run(seconds: float, threads: int, tasks: int) -> Storm:
    """Let it blow; return what is left."""
    storm = Storm(seconds)
    workers = [threading.Thread(target=storm.work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    left = asyncio.run(storm.tasks(tasks))
    for worker in workers:
        worker.join(30)
    assert left == 0
    assert not any(worker.is_alive() for worker in workers)
    return storm


def nothing_is_held(storm: Storm, threads: set[str]) -> None:
    """No slot, turn, permit, thread or call is left behind."""
    registry = storm.registry
    eventually(lambda: storm.flaky.inside == 0)
    bulkhead = registry.bulkheads["storm"].stats()
    assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)
    assert registry.rate_limits["storm"].stats().waiting == 0
    assert registry.timeouts["storm"].stats().abandoned == 0
    kept = ("meshhook-worker", "meshhook-watchdog")

    def strangers() -> set[str]:
        own = {each.name for each in threading.enumerate()} - threads
        return {name for name in own if not name.startswith(kept)}

    eventually(lambda: not strangers())


def it_adds_up(storm: Storm) -> None:
    """What one policy lets through is what the next has seen, down to the function."""
    registry, came_to = storm.registry, storm.came_to
    retry = registry.retries["storm"].stats()
    breaker = registry.circuit_breakers["storm"].stats()
    rate = registry.rate_limits["storm"].stats()
    slots = registry.bulkheads["storm"].stats()
    timeout = registry.timeouts["storm"].stats()
    assert retry.calls == sum(came_to.values())
    assert retry.successes == came_to["done"]
    assert retry.attempts == breaker.calls + breaker.rejected
    assert breaker.calls == rate.calls
    assert rate.admitted == slots.admitted + slots.rejected + slots.abandoned
    assert slots.admitted == timeout.calls + timeout.rejected
    assert timeout.calls == storm.flaky.entered


def storm_of(seconds: float, threads: int, tasks: int) -> Storm:
    before = {each.name for each in threading.enumerate()}
    storm = run(seconds, threads, tasks)
    gc.collect()
    nothing_is_held(storm, before)
    it_adds_up(storm)
    # A thread that was given up keeps on for a while after its slot is free.
    assert storm.flaky.most <= SLOTS + registry_abandoned(storm)
    return storm


def registry_abandoned(storm: Storm) -> int:
    """Return how many calls went on in their threads after their caller had left."""
    return storm.registry.timeouts["storm"].stats().abandoned_total


def test_a_short_storm_leaves_nothing_behind() -> None:
    """Threads and tasks together, failures, slowness and cancellations: everything adds up."""
    storm = storm_of(1.5, threads=16, tasks=500)
    assert storm.came_to["done"] > 100


@pytest.mark.soak
def test_ten_thousand_tasks_and_sixty_four_threads_leave_nothing_behind() -> None:
    """For twenty seconds; no permit, task, timer or thread is leaked."""
    storm = storm_of(20.0, threads=64, tasks=10_000)
    assert storm.came_to["done"] > 1_000
