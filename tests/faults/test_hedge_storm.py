"""Many threads and tasks at one hedge, with failures, slowness and cancellations: it adds up."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from tests.policies.hedge_service import nothing_is_held
from tests.waiting import eventually

THREADS, TASKS, CALLS = 8, 100, 20

pytestmark = pytest.mark.fault


class Storm:
    """Calls of one hedge, from threads and tasks, and what each of them came to."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lock = threading.Lock()
        self.numbers: dict[str, int] = {}
        self.hedge = mh.hedge(
            0.001,
            max_hedges=2,
            max_extra=20,
            idempotent=True,
            budget=mh.RetryBudget(1.0, 1, registry=mh.Registry()),
            on_discard=lambda _: self.add("discarded"),
            name="storm",
            registry=mh.Registry(),
        )
        self.sync_fn: Any = self.hedge(self.call)
        self.async_fn: Any = self.hedge(self.call_async)

    def add(self, what: str) -> None:
        with self.lock:
            self.numbers[what] = self.numbers.get(what, 0) + 1

    def end(self, rng: random.Random) -> str:
        if rng.random() < 0.3:
            raise ConnectionError
        self.add("returned")
        return "done"

    def call(self, rng: random.Random) -> str:
        self.add("attempts")
        time.sleep(rng.choice([0.0, 0.0, 0.003]))
        return self.end(rng)

    async def call_async(self, rng: random.Random) -> str:
        self.add("attempts")
        try:
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.003]))
        except asyncio.CancelledError:
            if rng.random() < 0.5:
                raise
        return self.end(rng)

    def in_thread(self, number: int) -> None:
        rng = random.Random(self.seed * 1_000 + number)
        for _ in range(CALLS):
            try:
                self.sync_fn(rng)
                self.add("successes")
            except ConnectionError:
                self.add("failures")

    async def in_task(self, number: int) -> None:
        rng = random.Random(self.seed * 2_000 + number)
        for _ in range(CALLS):
            call = asyncio.ensure_future(self.async_fn(rng))
            await asyncio.sleep(0)
            if rng.random() < 0.2:
                await asyncio.sleep(rng.choice([0.0, 0.001]))
                call.cancel()
            try:
                await call
                self.add("successes")
            except ConnectionError:
                self.add("failures")
            except asyncio.CancelledError:
                self.add("ignored")

    async def in_tasks(self, complaints: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.TaskGroup() as group:
            for number in range(TASKS):
                group.create_task(self.in_task(number))
        while self.hedge.extras.running_on:
            await asyncio.sleep(0.001)
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_threads_and_tasks_together(seed: int) -> None:
    """Every attempt is counted once, and nothing is left: no place, no task, no complaint."""
    storm, complaints = Storm(seed), []
    threads = [
        threading.Thread(target=storm.in_thread, args=(number,)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    asyncio.run(storm.in_tasks(complaints))
    for thread in threads:
        thread.join()
    assert eventually(lambda: nothing_is_held(storm.hedge))
    assert complaints == []

    stats, numbers = storm.hedge.stats(), storm.numbers
    assert stats.calls == (THREADS + TASKS) * CALLS
    for what in ("successes", "failures", "ignored", "discarded"):
        assert getattr(stats, what) == numbers[what], what
    # Tasks that are cancelled before their first step never run their function.
    assert stats.calls < numbers["attempts"] <= stats.calls + stats.hedges
    assert numbers["returned"] == stats.successes + stats.discarded
    assert stats.wins
    assert stats.suppressed_by_limit
