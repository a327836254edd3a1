"""FakeClock: time that passes for sleeps of both colours when the test says so, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime import pauses
from meshhook.testing import FakeClock, no_wait
from tests.colours import Colour
from tests.waiting import real_time


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Open a clock that sleeps move."""
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def manual() -> Iterator[FakeClock]:
    """Open a clock that only the test moves."""
    with FakeClock(auto=False) as clock:
        yield clock


async def nap(clock: FakeClock, seconds: float, woken: list[tuple[float, float]]) -> None:
    """Sleep, and note at what time it was over."""
    await pauses.pause_async(seconds)
    woken.append((seconds, clock.elapsed))


def test_time_stands_still_until_it_is_moved(clock: FakeClock) -> None:
    """All readings of the standard library go together."""
    read: Callable[[], list[float]] = lambda: [  # noqa: E731
        time.monotonic(),
        time.monotonic_ns() / 1e9,
        time.time(),
        time.time_ns() / 1e9,
    ]
    before = read()
    assert read() == before
    clock.tick(2.5)
    assert [round(now - then, 3) for now, then in zip(read(), before, strict=True)] == [2.5] * 4
    assert clock.elapsed == 2.5


def test_it_counts_in_whole_nanoseconds(clock: FakeClock) -> None:
    """Tenths of a second add up; a tick is never shorter than was asked for."""
    for _ in range(10):
        clock.tick(0.1)
    assert clock.elapsed == 1.0
    clock.tick(1e-10)
    assert clock.elapsed == 1.000000001
    clock.tick(0)
    assert clock.elapsed == 1.000000001


def test_it_goes_on_from_the_real_time() -> None:
    """So that what was there before is not in the future; then the real clock is back."""
    before = real_time()
    kept = time.monotonic, time.time, time.sleep, asyncio.BaseEventLoop.time, pauses.in_thread
    with FakeClock() as clock:
        assert before <= time.monotonic() <= before + 2
        clock.tick(1000)
    assert time.monotonic() < before + 500
    assert kept == (
        time.monotonic,
        time.time,
        time.sleep,
        asyncio.BaseEventLoop.time,
        pauses.in_thread,
    )


def test_time_does_not_go_back(clock: FakeClock) -> None:
    """Neither by a tick nor by an advance; a sleep of less than nothing is none."""
    with pytest.raises(
        ValueError, match="time does not go back: seconds must be 0 or more, got -1"
    ):
        clock.tick(-1)
    with pytest.raises(ValueError, match="got -1"):
        asyncio.run(clock.advance(-1))
    assert pauses.pause(-1)
    asyncio.run(pauses.pause_async(-1))
    clock.run(pauses.pause_async(-1))
    assert clock.elapsed == 0


def test_one_clock_is_open_at_a_time(frozen: Any) -> None:
    """Beside another one, or one of freezegun, nobody would know what time it is."""
    with pytest.raises(RuntimeError, match="time.monotonic is replaced already: end the other"):
        FakeClock().__enter__()


def test_two_clocks_do_not_nest(clock: FakeClock) -> None:
    """The inner one says so; it may be opened afterwards."""
    other = FakeClock()
    with pytest.raises(RuntimeError, match="end the other clock first"):
        other.__enter__()
    clock.__exit__()
    with other:
        pauses.pause(5)
    assert (clock.elapsed, other.elapsed) == (0, 5)
    other.__exit__()  # once more does nothing


def test_sync_sleeps_move_the_clock(clock: FakeClock) -> None:
    """Those of policies and those of the code that they guard."""
    before = real_time()
    assert pauses.pause(60) is True
    time.sleep(30)
    assert clock.elapsed == 90
    assert real_time() - before < 30


@pytest.mark.parametrize("auto", [True, False])
def test_a_process_that_shuts_down_wakes_sync_sleeps(
    auto: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And lets none begin."""
    monkeypatch.setattr(pauses, "_shut_down", False)
    with FakeClock(auto=auto) as clock:
        slept: list[bool] = []
        thread = threading.Thread(target=lambda: slept.append(pauses.pause(60)))
        if not auto:
            thread.start()
            clock.wait_until_asleep()
        pauses.shutdown()
        if auto:
            thread.start()
        thread.join()
        assert slept == [False]
        assert pauses.pause(60) is False


def test_async_sleeps_move_the_clock_when_nobody_is_busy(clock: FakeClock) -> None:
    """In the order in which they are due, on any event loop; each wakes at its time."""
    woken: list[tuple[float, float]] = []

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (3, 1, 2, 1):
                group.create_task(nap(clock, seconds, woken))

    asyncio.run(main())
    assert woken == [(1, 1), (1, 1), (2, 2), (3, 3)]
    asyncio.run(nap(clock, 2, woken))
    assert woken[-1] == (2, 5)
    assert clock.sleeping == 0


def test_a_busy_task_goes_first(clock: FakeClock) -> None:
    """Time does not pass while another task of the loop has anything to do."""
    woken: list[tuple[float, float]] = []

    async def busy() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        assert clock.elapsed == 0
        await nap(clock, 1, woken)

    async def main() -> None:
        await asyncio.gather(nap(clock, 2, woken), busy())

    asyncio.run(main())
    assert woken == [(1, 1), (2, 2)]


def test_a_sync_sleep_wakes_the_tasks_that_are_due(clock: FakeClock) -> None:
    """It is the same clock."""
    woken: list[tuple[float, float]] = []

    async def main() -> None:
        task = asyncio.ensure_future(nap(clock, 5, woken))
        await asyncio.sleep(0)
        time.sleep(7)  # noqa: ASYNC251 - it blocks nobody here
        await task

    asyncio.run(main())
    assert woken == [(5, 7)]


def test_a_cancelled_sleep_is_no_sleep(clock: FakeClock) -> None:
    """Nobody waits for it any more, and the clock does not go there."""

    async def main() -> None:
        for timed in (False, True):
            task = asyncio.ensure_future(pauses.pause_async(60))
            await asyncio.sleep(0)
            if timed:
                await pauses.pause_async(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert (clock.elapsed, clock.sleeping) == (1, 0)
    clock.run(main())
    assert (clock.elapsed, clock.sleeping) == (2, 0)


def test_the_test_moves_tasks(manual: FakeClock) -> None:
    """Each wakes at its time and goes on, before the next one does."""
    woken: list[tuple[float, float]] = []

    async def repeat(*times: float) -> None:
        for seconds in times:
            await nap(manual, seconds, woken)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(2, 0.5, 9))
            group.create_task(repeat(1, 1.2))
            await manual.advance(0.9)
            assert (woken, manual.elapsed, manual.sleeping) == ([], 0.9, 2)
            await manual.advance(2)
            assert woken == [(1, 1), (2, 2), (1.2, 2.2), (0.5, 2.5)]
            assert manual.elapsed == 2.9
            await manual.advance(8.6)
        assert woken[-1] == (9, 11.5)

    asyncio.run(main())


def test_a_task_that_is_busy_for_ever_holds_nothing_up(manual: FakeClock) -> None:
    """Time goes on regardless after some turns of the loop."""

    async def main() -> None:
        async def spin() -> None:
            while True:
                await asyncio.sleep(0)

        task = asyncio.ensure_future(spin())
        await manual.advance(5)
        task.cancel()

    asyncio.run(main())
    assert manual.elapsed == 5


def test_the_test_moves_threads(manual: FakeClock) -> None:
    """Who is due wakes, the others sleep on."""
    woken: list[float] = []

    def sleep(seconds: float, how: Callable[[float], object]) -> None:
        how(seconds)
        woken.append(seconds)

    threads = [
        threading.Thread(target=sleep, args=each)
        for each in ((1, pauses.pause), (2, time.sleep), (3, pauses.pause))
    ]
    for thread in threads:
        thread.start()
    manual.wait_until_asleep(3)
    assert repr(manual) == "<FakeClock at 0 s, 3 sleeping>"
    manual.tick(2)
    assert manual.sleeping == 1
    for thread in threads[:2]:
        thread.join()
    assert sorted(woken) == [1, 2]
    manual.tick(1)
    threads[2].join()
    assert pauses.pause(0)


def test_it_says_so_if_nobody_goes_to_sleep(manual: FakeClock) -> None:
    """A test that waits for a sleeper that never comes ends."""
    with pytest.raises(AssertionError, match="0 of 2 sleep after 0.01 s"):
        manual.wait_until_asleep(2, within=0.01)


def test_the_end_of_the_clock_wakes_everybody() -> None:
    """Nobody sleeps for ever on a clock that is gone."""
    woken: list[tuple[float, float]] = []

    async def main() -> None:
        with FakeClock(auto=False) as clock:
            task = asyncio.ensure_future(nap(clock, 60, woken))
            thread = threading.Thread(target=pauses.pause, args=(60,))
            thread.start()
            while clock.sleeping < 2:
                await asyncio.sleep(0)
        await task
        thread.join()

    asyncio.run(main())
    assert woken == [(60, 0)]


def test_who_sleeps_on_a_loop_that_has_ended_wakes_nobody(manual: FakeClock) -> None:
    """The clock goes on all the same."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(pauses.pause_async(5))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    manual.tick(10)
    assert manual.elapsed == 10
    with contextlib.suppress(RuntimeError):
        task.cancel()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_loops_keep_real_time(clock: FakeClock) -> None:
    """Unless they are of the clock: what waits in them is not waited for by anybody else."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        clock.tick(1000)
        await asyncio.sleep(0.001)
        return loop.time() - began

    assert 0.001 <= asyncio.run(main()) < 500
    assert clock.elapsed == 1000


def test_a_loop_of_the_clock_waits_for_nothing(clock: FakeClock) -> None:
    """Sleeps and timeouts of asyncio, pauses of policies and time.sleep: one time for all."""
    before = real_time()
    woken: list[tuple[float, float]] = []

    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(30)
        assert clock.elapsed == 10
        await asyncio.gather(*[nap(clock, seconds, woken) for seconds in (3, 1, 2)])
        time.sleep(7)  # noqa: ASYNC251 - it blocks nobody here
        assert clock.elapsed == 20
        await clock.advance(5)
        assert clock.elapsed == 25
        return "done"

    assert clock.run(main()) == "done"
    assert woken == [(1, 11), (2, 12), (3, 13)]
    assert real_time() - before < 30


def test_advance_in_a_loop_of_the_clock_lets_the_others_go_first(clock: FakeClock) -> None:
    """Who is due at the same moment has gone on when it returns."""
    woken: list[tuple[float, float]] = []

    async def main() -> None:
        advance = asyncio.ensure_future(clock.advance(5))
        task = asyncio.ensure_future(nap(clock, 5, woken))
        await advance
        assert woken == [(5, 5)]
        await task

    clock.run(main())


def test_a_timeout_of_ours_is_on_the_clock_in_its_loop(clock: FakeClock) -> None:
    """A call is cancelled when its time is over on the clock."""

    @mh.timeout(30, name="limit", registry=mh.Registry())
    async def slow() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(3600)

    async def main() -> None:
        with pytest.raises(mh.TimeoutError, match="did not end within 30 s"):
            await slow()

    clock.run(main())
    assert clock.elapsed == 30


def test_work_in_a_thread_takes_no_time(clock: FakeClock) -> None:
    """A loop of the clock waits for it really, and its timers keep that pace meanwhile."""

    async def main() -> None:
        gate = threading.Event()
        work = asyncio.ensure_future(asyncio.to_thread(gate.wait))
        await asyncio.sleep(0.001)
        assert not work.done()
        gate.set()
        assert await asyncio.wait_for(work, 60) is True
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)

    clock.run(main())
    assert clock.elapsed == 0.001


def test_sockets_are_waited_for_in_real_time(clock: FakeClock) -> None:
    """Who reads with a limit gets what comes before the limit."""

    async def main() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return line

    assert clock.run(main()) == b"hello\n"
    assert clock.elapsed < 60


def test_a_loop_of_the_clock_wakes_threads_that_sleep_on_it(manual: FakeClock) -> None:
    """A thread and a loop go to the next moment together."""
    woken: list[float] = []

    def sleep() -> None:
        pauses.pause(2)
        woken.append(manual.elapsed)

    thread = threading.Thread(target=sleep)
    thread.start()
    manual.wait_until_asleep()

    async def main() -> None:
        await asyncio.sleep(1)
        assert manual.sleeping == 1
        await asyncio.sleep(9)

    manual.run(main())
    thread.join()
    assert manual.elapsed == 10
    assert len(woken) == 1


def test_a_loop_without_timers_waits_for_other_threads(clock: FakeClock) -> None:
    """There is nowhere to go on the clock."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        threading.Timer(0.001, loop.call_soon_threadsafe, (future.set_result, "done")).start()
        return await future

    assert clock.run(main()) == "done"
    assert clock.elapsed == 0


def test_a_loop_of_a_clock_needs_the_clock() -> None:
    """The clock has to be open, or its time would stand still."""
    clock = FakeClock()
    with pytest.raises(RuntimeError, match="the clock is not open: use it inside of `with clock:`"):
        clock.new_event_loop()
    with clock:
        clock.new_event_loop().close()


def test_no_wait_may_be_inside_of_it(clock: FakeClock, colour: Colour) -> None:
    """The block that began last says what a sleep is."""
    with no_wait() as waits:
        pauses.pause(5)
    pauses.pause(7)
    assert (waits, clock.elapsed) == ([5], 7)


def test_policies_go_by_it(colour: Colour, clock: FakeClock) -> None:
    """A circuit waits for its time to be over; one call of it is slow."""
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=1,
        reset_timeout=60,
        slow_call_duration=5,
        slow_call_rate_threshold=1.0,
        window_calls=1,
        minimum_calls=1,
        registry=mh.Registry(),
    )

    @breaker
    @colour.paint
    def load(seconds: float) -> str:
        time.sleep(seconds)
        return "row"

    assert colour.call(load, 1) == "row"
    assert colour.call(load, 6) == "row"
    assert breaker.state == "open"
    clock.tick(59)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(load, 1)
    clock.tick(1)
    assert colour.call(load, 1) == "row"
    assert breaker.state == "closed"


def test_ticks_from_many_threads_add_up(clock: FakeClock) -> None:
    """None is lost."""
    threads = [
        threading.Thread(target=lambda: [pauses.pause(0.001) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.elapsed == 4.0
