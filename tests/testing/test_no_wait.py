"""no_wait: policies that would sleep do not, and say for how long they would have."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from meshhook.runtime import pauses
from meshhook.testing import no_wait
from tests.colours import Colour
from tests.waiting import real_time


async def sleep(seconds: float) -> None:
    await pauses.pause_async(seconds)


def pause_of(colour: Colour) -> Any:
    """Return what sleeps in this colour."""
    return pauses.pause if colour.name == "sync" else sleep


def test_a_sleep_returns_at_once_and_is_listed(colour: Colour) -> None:
    """In order, with the seconds that were asked for."""
    before = real_time()
    with no_wait() as waits:
        for seconds in (60.0, 0.1, 3600):
            colour.call(pause_of(colour), seconds)
    assert waits == [60.0, 0.1, 3600]
    assert real_time() - before < 30


def test_a_sync_sleep_says_that_it_was_slept_out() -> None:
    """As a real one does, unless the process shuts down."""
    with no_wait():
        assert pauses.pause(1.0) is True


def test_a_process_that_shuts_down_lets_nobody_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sleeps is told to give up, here too."""
    monkeypatch.setattr(pauses, "_shut_down", True)
    with no_wait():
        assert pauses.pause(1.0) is False


def test_an_async_sleep_lets_others_run() -> None:
    """A task that only sleeps does not keep the loop to itself."""

    async def main() -> list[int]:
        seen: list[int] = []

        async def count() -> None:
            for number in range(3):
                seen.append(number)
                await pauses.pause_async(5.0)

        await asyncio.gather(count(), count())
        return seen

    with no_wait():
        assert asyncio.run(main()) == [0, 0, 1, 1, 2, 2]


def test_what_was_there_comes_back() -> None:
    """After the block, after an error in it too."""
    before = pauses.in_thread, pauses.in_task
    with pytest.raises(KeyError), no_wait():
        assert (pauses.in_thread, pauses.in_task) != before
        raise KeyError
    assert (pauses.in_thread, pauses.in_task) == before


def test_each_block_lists_what_is_slept_while_it_is_open() -> None:
    """Whatever is nested in whatever, and whichever ends first."""
    before = pauses.in_thread
    one, other = no_wait(), no_wait()
    outer = one.__enter__()
    pauses.pause(1.0)
    inner = other.__enter__()
    pauses.pause(2.0)
    one.__exit__(None, None, None)
    pauses.pause(3.0)
    other.__exit__(None, None, None)
    assert (outer, inner) == ([1.0, 2.0], [2.0, 3.0])
    assert pauses.in_thread is before


def test_sleeps_of_all_threads_are_listed() -> None:
    """None is lost."""
    with no_wait() as waits:
        threads = [
            threading.Thread(target=lambda: [pauses.pause(1.0) for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert waits == [1.0] * 4000


def test_it_goes_around_a_function_of_either_colour(colour: Colour) -> None:
    """The whole call is in the block, and the next one in a block of its own."""
    runs = []

    @no_wait()
    def plain() -> str:
        runs.append(pauses.pause(60.0))
        return "done"

    @no_wait()
    async def painted() -> str:
        await pauses.pause_async(60.0)
        runs.append(True)
        return "done"

    fn: Any = plain if colour.name == "sync" else painted
    assert fn.__name__ in ("plain", "painted")
    before = real_time()
    assert [colour.call(fn), colour.call(fn)] == ["done", "done"]
    assert real_time() - before < 30
    assert runs == [True, True]


def test_it_refuses_a_generator_function() -> None:
    """It would have ended before the body of that begins."""

    def items() -> Any:
        yield 1

    async def items_async() -> Any:
        yield 1

    for fn in (items, items_async):
        with pytest.raises(TypeError, match="use `with` inside of it"):
            no_wait()(fn)
