"""The verbs of a slow path: how a thread waits, and how a task does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.flights import Flight, Flights
from meshhook.stores.pending import Pending
from meshhook.stores.protocol import Acquired, Begin
from tests.colours import Colour
from tests.waiting import GIVE_UP, Called, eventually, real_time

SHORT = 0.02


def verbs(colour: Colour | str) -> Any:
    """Return the runtime of a colour."""
    return BLOCKING if str(colour) == "sync" else ASYNCIO


def run(colour: Colour, path: Coroutine[Any, Any, Any]) -> Any:
    """Run a slow path in a colour."""
    if colour.name == "sync":
        return run_blocking(path)
    return colour.call(lambda: path)


def wait_in_thread(colour: Colour, flight: Flight, timeout: float = GIVE_UP) -> Called:
    """Wait for ``flight`` in a thread of its own."""

    def wait() -> Any:
        path = verbs(colour).wait(flight, timeout)
        return run_blocking(path) if colour.name == "sync" else path

    return Called(colour.name, wait)


def a_flight() -> Flight:
    """Make a flight."""
    return Flight(Flights(), "key", None)


def waits(flight: Flight, count: int = 1) -> bool:
    """Tell whether so many wait for ``flight``."""
    return len(flight._callbacks or ()) == count


def test_ask_gives_the_answer(colour: Colour) -> None:
    """A message is sent, and its answer returned."""
    answer = run(colour, verbs(colour).ask(mh.MemoryStore(), Begin("key", "a", None, 30.0, 60.0)))
    assert type(answer) is Acquired


def test_an_answer_that_is_there_is_returned_at_once(colour: Colour) -> None:
    """Settled before anybody asks: nothing to wait for."""
    reply = Pending("command", bound=GIVE_UP)
    reply.settle("answer")
    assert run(colour, verbs(colour).answer(reply)) == "answer"


def test_an_answer_that_comes_from_another_thread_is_returned(colour: Colour) -> None:
    """Settled while somebody waits: he is woken."""
    reply = Pending("command", bound=GIVE_UP)

    def wait() -> Any:
        path = verbs(colour).answer(reply)
        return run_blocking(path) if colour.name == "sync" else path

    call = Called(colour.name, wait)
    assert eventually(lambda: reply._callbacks)
    reply.settle("answer")
    assert call.result() == "answer"


def test_an_error_that_comes_as_the_answer_is_raised(colour: Colour) -> None:
    """As whoever asks would have it."""
    reply = Pending("command", bound=GIVE_UP)
    reply.settle(error=mh.StoreError("no answer"))
    with pytest.raises(mh.StoreError, match="no answer"):
        run(colour, verbs(colour).answer(reply))


def test_an_answer_that_does_not_come_is_bounded(colour: Colour) -> None:
    """At the bound of the reply the store is unavailable, and the reply abandoned."""
    reply = Pending("command", bound=SHORT)
    with pytest.raises(mh.StoreUnavailableError, match="did not answer in time"):
        run(colour, verbs(colour).answer(reply))
    assert reply.abandoned


def test_who_stops_waiting_for_an_answer_leaves_the_message_sent() -> None:
    """A cancelled ``answer`` abandons nothing: whoever else waits for the reply gets it."""
    reply = Pending("command", bound=GIVE_UP)

    async def main() -> None:
        task = asyncio.create_task(ASYNCIO.answer(reply))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    told: list[Any] = []
    reply.add_done_callback(told.append)
    assert (reply.abandoned, reply.settle("answer"), told) == (False, True, [reply])


def test_waiting_ends_when_the_flight_lands(colour: Colour) -> None:
    """Five who wait, each in his own thread or loop, are all told that it has landed."""
    flight = a_flight()
    calls = [wait_in_thread(colour, flight) for _ in range(5)]
    assert eventually(lambda: waits(flight, 5))
    flight.land("value", 1)
    assert [call.result() for call in calls] == [True] * 5


def test_waiting_for_what_has_landed_ends_at_once(colour: Colour) -> None:
    """Also with no time to wait at all."""
    flight = a_flight()
    flight.land()
    assert run(colour, verbs(colour).wait(flight, 0.0)) is True


@pytest.mark.parametrize("timeout", [0.0, SHORT])
def test_waiting_is_bounded(timeout: float, colour: Colour) -> None:
    """When the time is over the flight is told of as not landed, and nobody waits for it."""
    flight = a_flight()
    began = time.monotonic()
    assert run(colour, verbs(colour).wait(flight, timeout)) is False
    assert timeout <= time.monotonic() - began + 0.001
    assert waits(flight, 0)


def test_any_length_of_waiting_is_accepted(colour: Colour) -> None:
    """A limit beyond what a lock can count is no error."""
    flight = a_flight()
    call = wait_in_thread(colour, flight, 1e12)
    assert eventually(lambda: waits(flight))
    flight.land()
    assert call.result() is True


def test_waiting_takes_real_time_under_a_frozen_clock(colour: Colour, frozen: Any) -> None:
    """A test that freezes time neither waits forever nor not at all."""
    began, frozen_at = real_time(), time.monotonic()
    assert run(colour, verbs(colour).wait(a_flight(), SHORT)) is False
    assert (real_time() - began >= SHORT, time.monotonic()) == (True, frozen_at)


def test_who_is_cancelled_waits_no_more() -> None:
    """No callback, no timer, no task stays behind."""
    flight = a_flight()

    async def main() -> list[Any]:
        task = asyncio.create_task(ASYNCIO.wait(flight, GIVE_UP))
        while not waits(flight):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        loop: Any = asyncio.get_running_loop()
        return [timer for timer in loop._scheduled if not timer.cancelled()]

    assert asyncio.run(main()) == []
    assert waits(flight, 0)


def test_landing_as_the_time_ends_is_no_error() -> None:
    """A waiter that is woken by both, in one turn of its loop, is woken once."""

    async def main() -> bool:
        flight = a_flight()
        task = asyncio.create_task(ASYNCIO.wait(flight, 0.0))
        await asyncio.sleep(0)
        flight.land()
        return await task

    assert asyncio.run(main()) is True


def test_landing_after_the_loop_has_ended_wakes_nobody() -> None:
    """The loop is closed and the task is gone: whoever lands the flight does not notice."""
    flight = a_flight()
    loop = asyncio.new_event_loop()
    waiting = ASYNCIO.wait(flight, GIVE_UP)
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0))
    assert waits(flight)
    # What asyncio.run would cancel is left as it is, as if the thread had been stopped.
    loop.close()
    flight.land()
    assert not task.done()
    with contextlib.suppress(RuntimeError):
        waiting.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", range(3))
def test_a_flight_that_lands_in_the_thread_that_begins_to_wait(step: int) -> None:
    """A finalizer may do that, at any step of it."""
    flight = Flight(Flights(), "key", None)
    steps = itertools.count()

    def interrupt(_frame: Any, what: str, _arg: Any) -> Any:
        if what == "line" and next(steps) == step:
            flight.land()
        return interrupt

    def wait() -> bool:
        sys.settrace(lambda frame, *_: interrupt if frame.f_code.co_name == "wait" else None)
        try:
            return run_blocking(BLOCKING.wait(flight, GIVE_UP))
        finally:
            sys.settrace(None)

    assert Called("sync", wait).result()


def test_a_thread_cannot_wait_for_itself() -> None:
    """A sync call would block the thread that a flight of the same thread goes on in."""
    flight = a_flight()
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(BLOCKING.can_wait_for(flight)))
    thread.start()
    thread.join()
    assert (BLOCKING.can_wait_for(flight), elsewhere) == (False, [True])
    assert ASYNCIO.can_wait_for(flight)


def test_sleeping_lets_time_pass(colour: Colour) -> None:
    """As long as it is told."""
    began = time.monotonic()
    assert run(colour, verbs(colour).sleep(SHORT)) is True
    assert time.monotonic() - began >= SHORT - 0.001


def test_a_slow_path_is_run_to_its_end() -> None:
    """What it returns is returned, and what it raises is raised."""

    async def path(result: Any) -> Any:
        await BLOCKING.sleep(0)
        if isinstance(result, BaseException):
            raise result
        return result

    assert run_blocking(path(5)) == 5
    for error in (ValueError("no"), KeyboardInterrupt("no")):
        with pytest.raises(type(error), match="no"):
            run_blocking(path(error))


def test_a_slow_path_must_not_suspend() -> None:
    """Nobody would resume it in a sync call; it is closed, and the error says so."""
    closed: list[bool] = []

    async def path() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="suspended in a sync call"):
        run_blocking(path())
    assert closed == [True]
