"""A bulkhead under threads and tasks of several event loops, with everything that can happen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import guard
from meshhook.runtime.slots import Turn
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, Called, Held, eventually

pytestmark = pytest.mark.fault

THREADS, LOOPS, TASKS = 8, 2, 50


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


class Inside:
    """Counts who is inside, and how many of them there ever were together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.ran = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.ran += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def crowd(work: Callable[[random.Random], object], task: Callable[[random.Random], Any]) -> None:
    """Run ``work`` in threads and ``task`` in the tasks of some loops, all at once."""

    async def tasks(loop: int) -> None:
        await asyncio.gather(*(task(random.Random(loop * TASKS + each)) for each in range(TASKS)))

    calls = [Called("sync", work, random.Random(-seed)) for seed in range(1, THREADS + 1)]
    calls += [Called("async", tasks, loop) for loop in range(LOOPS)]
    for call in calls:
        call.result()


@contextlib.contextmanager
def resizing(bulkhead: mh.Bulkhead) -> Iterator[None]:
    """Resize a bulkhead again and again during the block, if its limit is no adaptive one."""
    stop = threading.Event()

    def work() -> None:
        chance = random.Random(9)
        while not bulkhead.is_adaptive and not stop.is_set():
            bulkhead.resize(chance.randint(1, 4))
            time.sleep(0.0005)

    resizer = Called("sync", work)
    try:
        yield
    finally:
        stop.set()
        resizer.result()


@pytest.mark.parametrize("settings", [{}, {"order": "lifo"}, {"key": lambda: 1}], ids=repr)
@pytest.mark.parametrize("gil", [True, False], ids=["gil", "no gil"])
def test_nobody_is_forgotten(settings: Any, monkeypatch: pytest.MonkeyPatch, *, gil: bool) -> None:
    """All wait for as long as it takes, so one lost wake-up would hang them; the limit is exact."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    inside = Inside()
    bulkhead = mh.bulkhead(
        3, max_queue=1_000, max_wait=None, name="db", registry=mh.Registry(), **settings
    )

    @bulkhead
    def call() -> None:
        with inside:
            time.sleep(0)

    @bulkhead
    async def call_async() -> None:
        with inside:
            await asyncio.sleep(0)

    def work(_: random.Random) -> None:
        for _ in range(300):
            call()

    async def task(_: random.Random) -> None:
        for _ in range(10):
            await call_async()

    crowd(work, task)
    stats = bulkhead.stats()
    assert inside.most <= 3
    assert (stats.in_use, stats.waiting, stats.rejected, stats.peak) == (0, 0, 0, 3)
    assert stats.admitted == inside.ran == THREADS * 300 + LOOPS * TASKS * 10
    assert stats.waited > 100


@pytest.mark.parametrize(
    "settings",
    [{"max_concurrent": 4}, {"limit": mh.AIMD(initial=4, max=4, latency_threshold="1us")}],
    ids=["resized", "adaptive"],
)
def test_everything_at_once(settings: Any) -> None:
    """Errors, cancellations, waits that run out, refusals, a limit that moves: it all adds up."""
    inside = Inside()
    bulkhead = mh.bulkhead(
        max_queue=20, max_wait=0.003, name="db", registry=mh.Registry(), **settings
    )
    tried, refused, cancelled = Inside(), Inside(), Inside()

    @bulkhead
    def call(seconds: float) -> None:
        with inside:
            time.sleep(seconds)
            if seconds > 0.0008:
                raise ValueError

    @bulkhead
    async def call_async(seconds: float) -> None:
        with inside:
            await asyncio.sleep(seconds)

    def work(chance: random.Random) -> None:
        for _ in range(100):
            with tried:
                try:
                    call(chance.random() / 1000)
                except mh.BulkheadFullError:
                    with refused:
                        pass
                except ValueError:
                    pass

    async def task(chance: random.Random) -> None:
        for _ in range(8):
            with tried:
                limit = chance.choice([0.0005, 0.002, 1.0])
                try:
                    async with asyncio.timeout(limit):
                        await call_async(chance.random() / 500)
                except mh.BulkheadFullError:
                    with refused:
                        pass
                except TimeoutError:
                    with cancelled:
                        pass

    with resizing(bulkhead):
        crowd(work, task)
    stats = bulkhead.stats()
    assert inside.most <= 4
    assert (stats.in_use, stats.waiting, inside.now) == (0, 0, 0)
    assert (stats.admitted, stats.rejected) == (inside.ran, refused.ran)
    assert stats.admitted + stats.rejected + stats.abandoned == tried.ran
    assert stats.abandoned <= cancelled.ran
    assert min(inside.ran, refused.ran, cancelled.ran) > 0


def test_after_a_fork_the_slots_of_other_threads_are_free() -> None:
    """In the child none of their calls will end, and nobody else will be told."""
    bulkhead = mh.bulkhead(1, max_wait=None, name="db", registry=mh.Registry())
    held = Held()
    inside = Called("sync", bulkhead(held))
    assert held.inside.wait(GIVE_UP)
    waits = Called("sync", bulkhead(int.__call__))
    assert eventually(lambda: bulkhead.stats().waiting == 1)

    @bulkhead
    def call() -> int:
        return bulkhead.stats().in_use

    def child() -> bool:
        return bulkhead.stats().in_use == 0 and call() == 1 and bulkhead.stats().waiting == 0

    assert in_a_fork(child) == 0
    held.go.set()
    assert (inside.result(), waits.result()) == ("done", 0)


@pytest.mark.parametrize(
    "settings", [{}, {"key": lambda: 1}, {"limit": mh.AIMD(initial=10)}], ids=["", "keyed", "AIMD"]
)
def test_a_fork_inside_of_a_call(settings: Any) -> None:
    """The call ends in the child as well, and no slot is made out of what it gives back."""
    bulkhead = mh.bulkhead(name="db", registry=mh.Registry(), **settings)
    fork = bulkhead(lambda: os.fork())

    def child() -> bool:
        # A child that forks again, and comes out of the guarded call in its own child.
        grandchild = fork()
        if grandchild == 0:
            stats = bulkhead.stats()
            for _ in range(10):
                assert bulkhead._places()[0].slots.take(Turn())
            full = not bulkhead._places()[0].slots.take(Turn())
            os._exit(0 if stats.in_use == 0 and full else 1)
        return os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0

    assert in_a_fork(child) == 0


@pytest.mark.parametrize("hold", [True, False])
def test_a_slot_given_back_while_the_lock_is_held(*, hold: bool) -> None:
    """By the collector, in the very thread that holds it; an other thread has to wait its turn."""
    bulkhead = mh.bulkhead(1, max_wait=None, name="db", registry=mh.Registry())

    @bulkhead
    async def suspended() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        first, second = suspended(), suspended()
        first.send(None)
        second.send(None)
        lock = bulkhead._place.slots._lock
        if hold:
            with lock:
                second.close()
                first.close()
        else:
            first.close()
            second.close()

    asyncio.run(main())
    stats = bulkhead.stats()
    assert (stats.in_use, stats.waiting) == (0, 0)
