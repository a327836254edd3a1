"""Waiting for a slot: one queue for threads and tasks, its bounds, its order and its ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.runtime import pauses
from tests.colours import Colour
from tests.waiting import GIVE_UP, Called, Held, eventually, eventually_async

SOON = 0.02


def answer(value: int = 1) -> int:
    """Return what it is given."""
    return value


def waiting(bulkhead: mh.Bulkhead, count: int) -> bool:
    """Wait until so many calls wait."""
    return eventually(lambda: bulkhead.stats().waiting == count)


@pytest.fixture
def bulkhead(registry: mh.Registry) -> mh.Bulkhead:
    """Make a bulkhead with one slot, in which ten may wait for as long as they like."""
    return mh.bulkhead(1, max_queue=10, max_wait=None, name="db", registry=registry)


def test_a_call_that_waits_gets_the_slot(colour: Colour, bulkhead: mh.Bulkhead) -> None:
    """When the one that has it ends."""
    held = Held()
    inside = Called("sync", bulkhead(held))
    assert held.inside.wait(GIVE_UP)
    waits = Called(repr(colour), bulkhead(colour.paint(answer)), 7)
    assert waiting(bulkhead, 1)
    held.go.set()
    assert (inside.result(), waits.result()) == ("done", 7)
    stats = bulkhead.stats()
    assert (stats.admitted, stats.waited, stats.in_use, stats.waiting) == (2, 1, 0, 0)


@pytest.mark.parametrize("settings", [{"limit": mh.AIMD(initial=1)}, {"key": "{value}"}], ids=repr)
def test_calls_wait_on_every_path(colour: Colour, registry: mh.Registry, settings: Any) -> None:
    """Also for an adaptive limit, and for the slots of a key."""
    if "limit" not in settings:
        settings = {"max_concurrent": 1, **settings}
    bulkhead = mh.bulkhead(max_queue=5, max_wait=None, name="db", registry=registry, **settings)
    held = Held()

    def body(value: int) -> Any:
        return held(value)

    inside = Called("sync", bulkhead(body), 1)
    assert held.inside.wait(GIVE_UP)
    waits = Called(repr(colour), bulkhead(colour.paint(body)), 1)
    assert waiting(bulkhead, 1)
    held.go.set()
    assert (inside.result(), waits.result()) == ("done", "done")
    assert bulkhead.stats().waited == 1


def test_a_wait_ends_after_max_wait(colour: Colour, registry: mh.Registry) -> None:
    """And the call is refused."""
    bulkhead = mh.bulkhead(1, max_wait=SOON, name="db", registry=registry)
    fn = bulkhead(colour.paint(answer))
    with bulkhead:
        began = time.monotonic()
        with pytest.raises(mh.BulkheadFullError) as caught:
            colour.call(fn)
        assert time.monotonic() - began >= SOON - 0.002
    assert caught.value.reason == "max_wait"
    stats = bulkhead.stats()
    assert (stats.rejected, stats.waited, stats.waiting, stats.in_use) == (1, 0, 0, 0)


def test_a_wait_ends_at_the_deadline(colour: Colour, bulkhead: mh.Bulkhead) -> None:
    """Whichever is earlier."""
    fn = bulkhead(colour.paint(answer))
    with bulkhead, mh.deadline(SOON), pytest.raises(mh.BulkheadFullError) as caught:
        colour.call(fn)
    assert caught.value.reason == "deadline"


def test_no_wait_begins_after_the_deadline(colour: Colour, bulkhead: mh.Bulkhead) -> None:
    """The call is refused at once; one that finds a free slot does not wait, and passes."""
    fn = bulkhead(colour.paint(answer))
    with mh.deadline(0):
        assert colour.call(fn) == 1
        with bulkhead, pytest.raises(mh.BulkheadFullError) as caught:
            colour.call(fn)
    assert caught.value.reason == "deadline"
    assert bulkhead.stats().waited == 0


def test_the_queue_is_bounded(colour: Colour, registry: mh.Registry) -> None:
    """One too many is refused at once, with its reason."""
    bulkhead = mh.bulkhead(1, max_queue=2, max_wait=None, name="db", registry=registry)
    seen: list[Any] = []
    bulkhead.__enter__()
    waits = [Called("sync", bulkhead(answer)) for _ in range(2)]
    assert waiting(bulkhead, 2)
    with events.subscribe(seen.append), pytest.raises(mh.BulkheadFullError) as caught:
        colour.call(bulkhead(colour.paint(answer)))
    assert (caught.value.reason, caught.value.waiting) == ("queue_full", 2)
    assert [each.reason for each in seen] == ["queue_full"]
    bulkhead.__exit__(None, None, None)
    assert [each.result() for each in waits] == [1, 1]


def test_without_max_queue_as_many_may_wait_as_may_run(registry: mh.Registry) -> None:
    """That is, as the limit is by now."""
    bulkhead = mh.bulkhead(5, max_wait=None, name="db", registry=registry)
    bulkhead.resize(1)
    bulkhead.__enter__()
    waits = Called("sync", bulkhead(answer))
    assert waiting(bulkhead, 1)
    with pytest.raises(mh.BulkheadFullError) as caught:
        bulkhead.call(answer)
    assert caught.value.reason == "queue_full"
    bulkhead.__exit__(None, None, None)
    assert waits.result() == 1


@pytest.mark.parametrize(("order", "expected"), [("fifo", [0, 1, 2, 3]), ("lifo", [3, 2, 1, 0])])
def test_the_order_of_the_queue(registry: mh.Registry, order: Any, expected: list[int]) -> None:
    """Threads and tasks stand in one queue."""
    bulkhead = mh.bulkhead(1, max_queue=9, max_wait=None, order=order, name="db", registry=registry)
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    fns = {"sync": bulkhead(ran.append), "async": bulkhead(note)}
    bulkhead.__enter__()
    calls = []
    for number, colour in enumerate(("sync", "async", "sync", "async")):
        calls.append(Called(colour, fns[colour], number))
        assert waiting(bulkhead, number + 1)
    bulkhead.__exit__(None, None, None)
    for call in calls:
        call.result()
    assert ran == expected


def test_nobody_who_comes_now_goes_before_those_who_wait(bulkhead: mh.Bulkhead) -> None:
    """A slot that was given back while somebody waits is his."""
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)
        await asyncio.sleep(0)

    fn = bulkhead(note)

    async def main() -> None:
        bulkhead.__enter__()
        first = asyncio.ensure_future(fn("waits"))
        await eventually_async(lambda: bulkhead.stats().waiting == 1)
        bulkhead.__exit__(None, None, None)
        # The one who waits has the slot, and has not run yet.
        await asyncio.gather(first, fn("comes now"))

    asyncio.run(main())
    assert ran == ["waits", "comes now"]


def test_a_sync_call_does_not_block_an_event_loop(bulkhead: mh.Bulkhead) -> None:
    """It raises where it would have to wait, and says what to do; a free slot is fine."""
    fn = bulkhead(answer)

    async def main() -> None:
        assert fn() == 1
        async with bulkhead:
            with pytest.raises(RuntimeError, match=r"async form .*acall") as caught:
                fn()
            assert not isinstance(caught.value, mh.MeshHookError)
            with pytest.raises(RuntimeError, match="would block the event loop"):
                bulkhead.__enter__()
            with mh.deadline(0), pytest.raises(mh.BulkheadFullError):
                fn()

    asyncio.run(main())
    stats = bulkhead.stats()
    assert (stats.waiting, stats.in_use) == (0, 0)


def test_a_sync_call_that_may_not_wait_is_refused_on_a_loop(registry: mh.Registry) -> None:
    """As anywhere."""
    bulkhead = mh.bulkhead(1, name="db", registry=registry)

    async def main() -> None:
        with bulkhead, pytest.raises(mh.BulkheadFullError):
            bulkhead.call(answer)

    asyncio.run(main())


def test_blocks_wait_too(bulkhead: mh.Bulkhead) -> None:
    """In a thread and in a task."""

    def enter() -> str:
        with bulkhead:
            return "entered"

    async def enter_async() -> str:
        async with bulkhead:
            return "entered"

    bulkhead.__enter__()
    calls = [Called("sync", enter), Called("async", enter_async)]
    assert waiting(bulkhead, 2)
    bulkhead.__exit__(None, None, None)
    assert [call.result() for call in calls] == ["entered", "entered"]
    assert bulkhead.stats().in_use == 0


def test_hyx_12_a_cancelled_waiter_takes_no_slot_along(bulkhead: mh.Bulkhead) -> None:
    """In hyx, a task that is cancelled while it waits for a bulkhead loses a slot for good."""

    async def main() -> None:
        for use in (bulkhead(quick), None):
            async with bulkhead:
                task = asyncio.ensure_future(enter(bulkhead) if use is None else use())
                await eventually_async(lambda: bulkhead.stats().waiting == 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert bulkhead.stats().in_use == 0
            async with bulkhead:
                pass

    asyncio.run(main())
    assert bulkhead.stats().abandoned == 2


async def quick() -> str:
    """Return at once."""
    return "ran"


async def enter(bulkhead: mh.Bulkhead) -> None:
    """Enter and leave a block."""
    async with bulkhead:
        pass


def test_a_woken_and_then_cancelled_waiter_passes_its_slot_on(bulkhead: mh.Bulkhead) -> None:
    """Cancelled between the hand-over and its next step."""
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)

    fn = bulkhead(note)

    async def main() -> None:
        bulkhead.__enter__()
        tasks = [asyncio.ensure_future(fn(name)) for name in "abc"]
        await eventually_async(lambda: bulkhead.stats().waiting == 3)
        bulkhead.__exit__(None, None, None)
        assert bulkhead.stats().in_use == 1
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)

    asyncio.run(main())
    assert ran == ["b", "c"]
    stats = bulkhead.stats()
    assert (stats.in_use, stats.waiting, stats.abandoned, stats.admitted) == (0, 0, 1, 3)


def test_cancelled_at_any_await(bulkhead: mh.Bulkhead) -> None:
    """Nothing is held afterwards."""

    async def body() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    fn = bulkhead(body)

    async def main(steps: int) -> bool:
        bulkhead.__enter__()
        task = asyncio.ensure_future(fn())
        for step in range(steps):
            if step == 2:
                bulkhead.__exit__(None, None, None)
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if steps <= 2:
            bulkhead.__exit__(None, None, None)
        return ended

    for steps in range(20):
        if asyncio.run(main(steps)):
            break
        stats = bulkhead.stats()
        assert (stats.in_use, stats.waiting) == (0, 0), steps
    else:
        pytest.fail("the call never ended")


def test_a_closed_loop_does_not_swallow_the_slot(bulkhead: mh.Bulkhead) -> None:
    """It goes to the next who waits, however many loops have been closed."""
    fn = bulkhead(quick)
    bulkhead.__enter__()
    kept = []
    for number in range(3):
        loop = asyncio.new_event_loop()
        task = loop.create_task(fn())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert bulkhead.stats().waiting == number + 1
        loop.close()
        kept.append(task)
    waits = Called("sync", bulkhead(answer))
    assert waiting(bulkhead, 4)
    bulkhead.__exit__(None, None, None)
    assert waits.result() == 1
    stats = bulkhead.stats()
    assert (stats.in_use, stats.waiting) == (0, 0)
    for task in kept:
        with contextlib.suppress(RuntimeError):
            task.get_coro().close()
    kept.clear()
    gc.collect()
    assert bulkhead.stats().in_use == 0


def test_waiting_tasks_that_are_thrown_away_leave_the_queue(bulkhead: mh.Bulkhead) -> None:
    """Also one that has been given the slot."""
    fn = bulkhead(quick)

    async def main() -> None:
        bulkhead.__enter__()
        first, second = fn(), fn()
        first.send(None)
        second.send(None)
        assert bulkhead.stats().waiting == 2
        second.close()
        assert bulkhead.stats().waiting == 1
        bulkhead.__exit__(None, None, None)
        assert bulkhead.stats().in_use == 1
        del first
        gc.collect()
        assert bulkhead.stats().in_use == 0

    asyncio.run(main())


def test_a_shutdown_refuses_threads_that_wait(
    bulkhead: mh.Bulkhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those that would."""
    monkeypatch.setattr(pauses, "_shut_down", False)
    fn = bulkhead(answer)
    bulkhead.__enter__()
    call = Called("sync", fn)
    assert waiting(bulkhead, 1)
    mh.shutdown()
    for refused in (call.result, fn):
        with pytest.raises(mh.BulkheadFullError) as caught:
            refused()
        assert caught.value.reason == "shutdown"
    bulkhead.__exit__(None, None, None)
    assert fn() == 1


def test_resizing_wakes_those_who_wait(bulkhead: mh.Bulkhead) -> None:
    """As many as there are slots."""
    held = Held()
    bulkhead.__enter__()
    calls = [Called("sync", bulkhead(held)) for _ in range(3)]
    assert waiting(bulkhead, 3)
    bulkhead.resize(3)
    assert eventually(lambda: held.runs == 2)
    stats = bulkhead.stats()
    assert (stats.in_use, stats.waiting) == (3, 1)
    bulkhead.resize(1)
    held.go.set()
    assert eventually(lambda: calls[0].ended() + calls[1].ended() + calls[2].ended() == 2)
    assert bulkhead.stats().waiting == 1
    bulkhead.__exit__(None, None, None)
    for call in calls:
        call.result()
    stats = bulkhead.stats()
    assert (stats.in_use, stats.peak) == (0, 3)


def test_a_bulkhead_around_itself_gets_stuck_no_longer_than_its_wait(
    colour: Colour, registry: mh.Registry
) -> None:
    """A recursive call needs a second slot."""
    bulkhead = mh.bulkhead(1, max_wait=SOON, name="db", registry=registry)
    fn = bulkhead(answer)
    outer = bulkhead(colour.paint(lambda: Called("sync", fn).result()))
    with pytest.raises(mh.BulkheadFullError):
        colour.call(outer)
    assert bulkhead.stats().in_use == 0


def test_a_wait_without_end_needs_no_timer(bulkhead: mh.Bulkhead) -> None:
    """``max_wait=None`` and no deadline."""
    assert bulkhead.longest(1.0) == math.inf
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        task = asyncio.ensure_future(bulkhead(quick)())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bulkhead.stats().waiting == 1
        assert not loop._scheduled  # type: ignore[attr-defined]
        bulkhead.__exit__(None, None, None)
        await task

    bulkhead.__enter__()
    asyncio.run(main())


def test_time_runs_out_while_the_slot_is_handed_over(registry: mh.Registry) -> None:
    """The one who was given the slot keeps it, or nobody has it: it is never lost."""
    bulkhead = mh.bulkhead(1, max_queue=4, max_wait=0.0005, name="db", registry=registry)
    fn = bulkhead(answer)
    refused = 0
    for _ in range(200):
        bulkhead.__enter__()
        call = Called("sync", fn)
        eventually(lambda: bulkhead.stats().waiting == 1, 0.0004)
        bulkhead.__exit__(None, None, None)
        try:
            assert call.result() == 1
        except mh.BulkheadFullError:
            refused += 1
        stats = bulkhead.stats()
        assert (stats.in_use, stats.waiting) == (0, 0)
    stats = bulkhead.stats()
    assert (stats.admitted, stats.rejected) == (400 - refused, refused)


def test_an_interrupt_while_a_thread_waits(
    bulkhead: mh.Bulkhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the queue."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pauses, "wait_at", interrupt)
    with bulkhead, pytest.raises(KeyboardInterrupt):
        bulkhead.call(answer)
    stats = bulkhead.stats()
    assert (stats.in_use, stats.waiting, stats.abandoned) == (0, 0, 1)


def test_other_threads_go_on_while_one_waits(bulkhead: mh.Bulkhead) -> None:
    """Statistics, resizing and refusals take no time."""
    bulkhead.__enter__()
    call = Called("sync", bulkhead(answer))
    assert waiting(bulkhead, 1)
    done = threading.Event()

    def look() -> None:
        bulkhead.stats()
        bulkhead.resize(2)
        done.set()

    threading.Thread(target=look, daemon=True).start()
    assert done.wait(GIVE_UP)
    assert call.result() == 1
    bulkhead.__exit__(None, None, None)
