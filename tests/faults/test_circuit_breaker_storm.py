"""A circuit breaker under more callers than it was made for."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.rules.phases import State
from tests.policies.breaker_paths import breaker_on, on_every_path

pytestmark = pytest.mark.fault

PATIENCE = 30.0


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def start_all(works: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


class Probe:
    """What all callers try to get into: counts them, and lets nobody out before it is told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Begin a round."""
        self.inside = self.most = self.ran = self.refused = 0
        self.release = threading.Event()

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            self.ran += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1

    def refuse(self) -> None:
        with self.lock:
            self.refused += 1

    def answered(self) -> int:
        """Return how many callers are inside or were refused."""
        with self.lock:
            return self.ran + self.refused


@pytest.mark.parametrize(
    ("path", "state", "calls", "concurrent"),
    [
        ("straight", State.HALF_OPEN, 1, 1),
        ("straight", State.HALF_OPEN, 5, 3),
        ("straight", State.OPEN, 5, 3),
        ("keyed", State.OPEN, 1, 1),
    ],
)
def test_a_thousand_tasks_and_threads_at_a_half_open_circuit(
    path: str, state: State, calls: int, concurrent: int, eager_switching: None
) -> None:
    """Exactly ``half_open_max_concurrent`` of 1,000 callers run, over 200 rounds.

    An open circuit whose time is up is half-open for whoever comes first, and for all others too.
    """
    rounds, threads, tasks = 200, 50, 950
    probe = Probe()
    start, done = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    breaker = breaker_on(
        path,
        mh.Registry(),
        half_open_max_calls=calls,
        half_open_max_concurrent=concurrent,
        reset_timeout="1us",
        half_open_timeout=3600,
    )

    @breaker
    def in_thread() -> None:
        probe.enter()
        probe.release.wait(PATIENCE)
        probe.leave()

    @breaker
    async def in_task() -> None:
        probe.enter()
        while not probe.release.is_set():
            await asyncio.sleep(0.001)
        probe.leave()

    def worker() -> None:
        for _ in range(rounds):
            start.wait(PATIENCE)
            try:
                in_thread()
            except mh.CircuitOpenError:
                probe.refuse()
            done.wait(PATIENCE)

    async def call_in_task() -> None:
        try:
            await in_task()
        except mh.CircuitOpenError:
            probe.refuse()

    async def swarm() -> None:
        start.wait(PATIENCE)
        all_tasks = [asyncio.ensure_future(call_in_task()) for _ in range(tasks)]
        end = time.monotonic() + PATIENCE
        while probe.answered() < threads + tasks and time.monotonic() < end:
            await asyncio.sleep(0)
        probe.release.set()
        await asyncio.gather(*all_tasks)

    workers = start_all([worker] * threads)
    try:
        for _ in range(rounds):
            breaker._set(state)
            probe.begin()
            asyncio.run(swarm())
            done.wait(PATIENCE)
            assert (probe.ran, probe.most) == (concurrent, concurrent)
            assert probe.refused == threads + tasks - concurrent
    except BaseException:
        start.abort()
        done.abort()
        raise
    finally:
        for each in workers:
            each.join()


@on_every_path
def test_eight_threads_in_a_slow_call_run_side_by_side(path: str) -> None:
    """Eight threads in a 1 ms guarded call do at least seven times the work of one."""
    fn = breaker_on(path, mh.Registry())(lambda: time.sleep(0.001))

    def throughput(threads: int, seconds: float = 0.25) -> float:
        counts = [0] * threads
        end = time.monotonic() + seconds

        def work(index: int) -> None:
            while time.monotonic() < end:
                fn()
                counts[index] += 1

        for each in start_all([lambda index=index: work(index) for index in range(threads)]):  # type: ignore[misc]
            each.join()
        return sum(counts) / seconds

    # Another process may take the machine away for some of the time, but hardly for all of it.
    ratios = (throughput(8) / throughput(1) for _ in range(20))
    assert any(ratio >= 7.0 for ratio in ratios)


SETTINGS: dict[str, dict[str, Any]] = {
    "straight": {},
    "count window": {"failure_rate_threshold": 0.9, "window_calls": 20},
    "time window": {"failure_rate_threshold": 0.9, "window": 60, "minimum_calls": 5},
    "timed": {"slow_call_duration": 3600},
    "judged": {"record_result": lambda result: result == "bad"},
    "keyed": {"key": "{number}"},
    "keyed, evicting": {"key": "{number}", "max_keys": 5},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_counts_add_up_under_load(settings: Any, eager_switching: None) -> None:
    """What 8 threads did is what the statistics say, and no reading of them ever goes back."""
    registry = mh.Registry()
    breaker = mh.circuit_breaker(
        "db", failure_threshold=3, reset_timeout="1ms", registry=registry, **settings
    )
    told = dict.fromkeys(("successes", "failures", "ignored", "rejected"), 0)
    lock, start = threading.Lock(), threading.Barrier(8)

    @breaker
    def call(number: int, turn: int) -> str:
        if turn % 7 < 3:
            raise OSError
        if turn % 7 == 3:
            raise KeyboardInterrupt
        return "bad" if turn % 7 == 4 else "good"

    def work() -> None:
        mine = dict.fromkeys(told, 0)
        start.wait(PATIENCE)
        end = time.monotonic() + 0.3
        for turn in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
            try:
                result = call(turn % 50, turn)
            except OSError:
                mine["failures"] += 1
            except mh.CircuitOpenError:
                mine["rejected"] += 1
            except KeyboardInterrupt:
                mine["ignored"] += 1
            else:
                is_failure = "record_result" in settings and result == "bad"
                mine["failures" if is_failure else "successes"] += 1
        with lock:
            for what, number in mine.items():
                told[what] += number

    workers = start_all([work] * 8)
    readings = []
    while any(each.is_alive() for each in workers):
        readings.append(registry.stats()["db"].to_dict())
    for each in workers:
        each.join()
    last = breaker.stats().to_dict()
    readings.append(last)
    assert {what: last[what] for what in told} == told
    for each in readings:
        assert each["calls"] == each["successes"] + each["failures"] + each["ignored"]
    for what in (*told, "calls", "opened", "evicted"):
        assert all(a[what] <= b[what] for a, b in itertools.pairwise(readings)), what
    assert last["opened"] > 0
    assert last["successes"] > 0
    assert (last["evicted"] > 0) == ("max_keys" in settings)


@on_every_path
def test_successes_are_never_lost_across_transitions(path: str, eager_switching: None) -> None:
    """Those that race with transitions are each counted once, and never uncounted."""
    breaker = breaker_on(path, mh.Registry())
    fn = breaker(lambda: 0)
    stop = threading.Event()
    readings: list[int] = []
    called = [0] * 4

    def flip() -> None:
        while not stop.is_set():
            breaker.reset()
            breaker.disable()

    def read() -> None:
        while not stop.is_set():
            readings.append(breaker.stats().successes)
            time.sleep(0.00005)  # without a break nobody else would get the lock

    def call(caller: int) -> None:
        while called[caller] < 5_000 or len(readings) < 300:
            fn()
            called[caller] += 1

    others = start_all([flip, read])
    for each in start_all([functools.partial(call, caller) for caller in range(4)]):
        each.join()
    stop.set()
    for each in others:
        each.join()
    assert breaker.stats().successes == sum(called)
    assert readings == sorted(readings)
