"""A circuit breaker under more callers than it was made for."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import meshhook as mh

pytestmark = pytest.mark.fault


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Probe:
    """Counts how many calls are inside at one moment, and how many ever were."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = self.ran = 0

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            self.ran += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1


@pytest.mark.parametrize(("calls", "concurrent"), [(1, 1), (5, 3)])
def test_a_thousand_tasks_and_threads_at_a_half_open_circuit(
    calls: int, concurrent: int, eager_switching: None
) -> None:
    """Exactly ``half_open_max_concurrent`` of 1,000 callers run, over 200 rounds."""
    rounds, threads, tasks = 200, 8, 992
    probe, release = Probe(), threading.Event()
    start, done = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    breaker = mh.circuit_breaker(
        "db",
        half_open_max_calls=calls,
        half_open_max_concurrent=concurrent,
        initial_state="half_open",
        registry=mh.Registry(),
    )
    held = threading.Semaphore(0)

    @breaker
    def in_thread() -> None:
        probe.enter()
        held.release()
        release.wait(timeout=30)
        probe.leave()

    @breaker
    async def in_task() -> None:
        probe.enter()
        held.release()
        while not release.is_set():
            await asyncio.sleep(0.001)
        probe.leave()

    refused: list[int] = []

    def worker() -> None:
        for _ in range(rounds):
            start.wait(timeout=30)
            try:
                in_thread()
            except mh.CircuitOpenError:
                refused.append(1)
            done.wait(timeout=30)

    async def swarm() -> list[object]:
        start.wait(timeout=30)
        all_tasks = [asyncio.ensure_future(in_task()) for _ in range(tasks)]
        await asyncio.sleep(0)
        end = time.monotonic() + 20
        while len(refused) + sum(task.done() for task in all_tasks) < threads + tasks - concurrent:
            assert time.monotonic() < end, f"{probe.ran} calls were admitted"
            await asyncio.sleep(0)
        for _ in range(concurrent):
            held.acquire()
        release.set()
        return await asyncio.gather(*all_tasks, return_exceptions=True)

    workers = [threading.Thread(target=worker) for _ in range(threads)]
    for each in workers:
        each.start()
    for _ in range(rounds):
        breaker._set(mh.CircuitState.HALF_OPEN)
        release.clear()
        refused.clear()
        probe.ran = probe.most = 0
        asyncio.run(swarm())
        done.wait(timeout=30)
        assert (probe.ran, probe.most) == (concurrent, concurrent)
    for each in workers:
        each.join()


def test_eight_threads_in_a_slow_call_run_side_by_side() -> None:
    """Eight threads in a 1 ms guarded call do at least seven times the work of one."""
    fn = mh.circuit_breaker(registry=mh.Registry())(lambda: time.sleep(0.001))

    def throughput(threads: int, seconds: float = 0.4) -> float:
        counts = [0] * threads
        end = time.monotonic() + seconds

        def work(index: int) -> None:
            while time.monotonic() < end:
                fn()
                counts[index] += 1

        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        return sum(counts) / seconds

    ratios = [throughput(8) / throughput(1) for _ in range(5)]
    assert max(ratios) >= 7.0


def test_counts_add_up_under_load(eager_switching: None) -> None:
    """What 8 threads did is what the statistics say, and every reading is consistent."""
    registry = mh.Registry()
    breaker = mh.circuit_breaker("db", failure_threshold=3, reset_timeout="1ms", registry=registry)
    told = {"ok": 0, "failed": 0, "rejected": 0}
    lock = threading.Lock()

    @breaker
    def call(number: int) -> None:
        if number % 7 < 3:
            raise OSError

    def work() -> None:
        mine = dict.fromkeys(told, 0)
        for number in range(4000):
            try:
                call(number)
            except OSError:
                mine["failed"] += 1
            except mh.CircuitOpenError:
                mine["rejected"] += 1
            else:
                mine["ok"] += 1
        with lock:
            for what, number in mine.items():
                told[what] += number

    workers = [threading.Thread(target=work) for _ in range(8)]
    for each in workers:
        each.start()
    readings = []
    while any(each.is_alive() for each in workers):
        readings.append(registry.stats()["db"])
    for each in workers:
        each.join()
    last = breaker.stats()
    assert {"ok": last.successes, "failed": last.failures, "rejected": last.rejected} == told
    calls = [each.calls for each in readings]  # type: ignore[attr-defined]
    assert calls == sorted(calls)
    assert last.calls == last.successes + last.failures + last.ignored


def test_successes_are_never_lost_across_transitions(eager_switching: None) -> None:
    """Straight successes that race with transitions are each counted once."""
    breaker = mh.circuit_breaker("db", registry=mh.Registry())
    fn = breaker(lambda: 0)
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            breaker.reset()
            breaker.disable()

    flipper = threading.Thread(target=flip)
    flipper.start()
    workers = [threading.Thread(target=lambda: [fn() for _ in range(20_000)]) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    stop.set()
    flipper.join()
    assert breaker.stats().successes == 80_000
