"""The shared timer of asyncio, by itself."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from meshhook.runtime import timer
from meshhook.runtime.timer import Timer, Timers
from tests.forking import in_a_fork
from tests.watched import in_flight


def run(main: Any) -> None:
    asyncio.run(main())


def test_an_entry_out_of_order_has_a_timer_of_its_own() -> None:
    """It ends before one that is watched already, and does not wait for that one."""
    timers = Timers()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        now = time.monotonic()
        long = timers.start(now, now + 30.0)
        short = timers.start(now, now + 20.0)
        assert in_flight(timers) == 1
        assert len(loop._scheduled) == 2
        assert short.end() is False
        assert sum(not handle.cancelled() for handle in loop._scheduled) == 1
        assert long.end() is False
        assert in_flight(timers) == 0

    run(main)


def test_the_timer_goes_on_with_the_next_entry() -> None:
    """After the first call has run out of time it waits for the second one, and then for none."""
    timers = Timers()

    async def wait(seconds: float) -> None:
        now = time.monotonic()
        entry = timers.start(now, now + seconds)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(5)
        assert entry.fired
        assert entry.end() is True

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(0.01))
            group.create_task(wait(0.02))
        assert in_flight(timers) == 0
        assert loop._scheduled == []

    run(main)


def test_a_timer_without_entries_rings_once_and_is_gone() -> None:
    """Nothing keeps it when its calls have ended, and the next call gets a new one."""
    timers = Timers()

    async def main() -> None:
        def start() -> Any:
            now = time.monotonic()
            return timers.start(now, now + 0.005)

        entry = start()
        ref = weakref.ref(entry._timer)
        entry.end()
        del entry
        await asyncio.sleep(0.01)
        gc.collect()
        assert ref() is None
        entry = start()
        assert in_flight(timers) == 1
        entry.end()

    run(main)


def test_a_loop_that_rings_early_fires_all_the_same() -> None:
    """Its clock may be coarser than its timers."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        timer = Timer(loop)
        from meshhook.runtime.timer import Entry

        entry = Entry(timer, task, loop.time() + 5.0)
        timer.live[entry] = None
        timer.rings_at = entry.when
        timer._ring()
        assert entry.fired
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert entry.end() is True

    run(main)


def test_loops_that_take_turns_keep_a_timer_each() -> None:
    """Going from one loop to the other and back makes no second timer on the first."""
    timers = Timers()
    loops = [asyncio.new_event_loop() for _ in range(2)]
    entries: list[Any] = []

    async def start() -> None:
        now = time.monotonic()
        entries.append(timers.start(now, now + 20.0))

    for _ in range(3):
        for loop in loops:
            loop.run_until_complete(start())
    assert [len({id(entry._timer) for entry in entries[place::2]}) for place in (0, 1)] == [1, 1]
    assert entries[0]._timer is not entries[1]._timer
    scheduled = [len(loop._scheduled) for loop in loops]  # type: ignore[attr-defined]
    assert (scheduled, in_flight(timers)) == ([1, 1], 6)
    for entry in entries:
        entry.end()
    assert in_flight(timers) == 0
    for loop in loops:
        loop.close()


@pytest.mark.fault
def test_a_forked_child_watches_its_own_loop() -> None:
    """The loop of the parent seems to run on in it, with the task that has forked."""
    timers = Timers()

    async def is_cancelled() -> bool:
        now = time.monotonic()
        entry = timers.start(now, now + 0.01)
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            return entry.end()
        return False

    async def main() -> int:
        now = time.monotonic()
        entry = timers.start(now, now + 20.0)
        asyncio.events._set_running_loop(None)
        try:
            return in_a_fork(lambda: asyncio.run(is_cancelled()))
        finally:
            asyncio.events._set_running_loop(entry._timer.loop)
            entry.end()

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("dear", [True, False])
def test_the_loop_that_runs_is_found_either_way(dear: bool, monkeypatch: Any) -> None:
    """By the thread, or by asking for it: loops may follow each other in a thread."""
    monkeypatch.setattr(timer, "ASKING_IS_DEAR", dear)
    timers = Timers()

    async def start_twice() -> list[Any]:
        loop, now = asyncio.get_running_loop(), time.monotonic()
        entries = [timers.start(now, now + 20.0) for _ in range(2)]
        assert [entry._timer.loop for entry in entries] == [loop, loop]
        assert entries[0]._timer is entries[1]._timer
        for entry in entries:
            entry.end()
        return entries

    for _ in range(2):
        asyncio.run(start_twice())
