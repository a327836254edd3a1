"""Pauses of policies: they end in time, when the process shuts down, or with their task."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from meshhook.runtime import pauses


@pytest.fixture(autouse=True)
def _open_again() -> Iterator[None]:
    """Let other tests sleep."""
    yield
    pauses._shut_down = False


def test_a_pause_ends_by_itself() -> None:
    """And says that nobody woke it."""
    began = time.perf_counter()
    assert pauses.pause(0.01)
    assert time.perf_counter() - began >= 0.01
    assert not pauses._sleepers


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_pause_of_nothing_is_over(seconds: float) -> None:
    """Without an error from the lock underneath."""
    assert pauses.pause(seconds)


def test_shutting_down_wakes_every_thread() -> None:
    """However long they meant to sleep; who comes later does not sleep at all."""
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(pauses.pause(600))) for _ in range(5)]
    for thread in threads:
        thread.start()
    while len(pauses._sleepers) < 5:
        time.sleep(0.001)
    pauses.shutdown()
    for thread in threads:
        thread.join(10)
    pauses.shutdown()
    assert woken == [False] * 5
    assert not pauses.pause(600)
    assert pauses.is_shut_down()


def test_a_signal_handler_may_shut_down_the_thread_that_it_interrupts() -> None:
    """It is the main thread that sleeps and that the handler runs in."""
    before = signal.signal(signal.SIGUSR1, lambda *_: pauses.shutdown())
    try:
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGUSR1)).start()
        assert not pauses.pause(600)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_task_that_sleeps_is_cancelled() -> None:
    """As any other task, and at once."""

    async def main() -> None:
        task = asyncio.ensure_future(pauses.pause_async(600))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
