"""Sleeping: what the pauses of policies do while a test has something else in their place.

Several blocks may replace them at once, and end in any order: the one that began last counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from meshhook.runtime import pauses
from meshhook.testing.scoped import scoped


class Way(NamedTuple):
    """One way of sleeping, in both colours."""

    in_thread: Callable[[float], bool]
    in_task: Callable[[float], Awaitable[None]]


_lock = threading.RLock()
_ways: list[Way] = []  # guarded by _lock; the first is what was there before the others


@contextlib.contextmanager
def sleep_by(
    in_thread: Callable[[float], bool], in_task: Callable[[float], Awaitable[None]]
) -> Iterator[None]:
    """Have every pause of a policy done by these, until the block ends."""
    way = Way(in_thread, in_task)
    with _lock:
        if not _ways:
            _ways.append(Way(pauses.in_thread, pauses.in_task))
        _ways.append(way)
        pauses.in_thread, pauses.in_task = way
    try:
        yield
    finally:
        with _lock:
            _ways[:] = [each for each in _ways if each is not way]
            pauses.in_thread, pauses.in_task = _ways[-1]
            if len(_ways) == 1:
                _ways.clear()


@scoped
def no_wait() -> Iterator[list[float]]:
    """Let no policy sleep, and list the seconds that each would have slept.

    Every sleep returns at once, in sync and async calls; an async one lets the other tasks run.
    No time passes meanwhile: what ends at a deadline or after ``max_elapsed`` goes by the real
    clock. Take :class:`FakeClock` where time matters. Holds for all threads and tasks of the
    process. Blocks may be nested: each lists what is slept while it is open.
    """
    waits: list[float] = []

    def in_thread(seconds: float) -> bool:
        _note(seconds)
        return not pauses.is_shut_down()

    async def in_task(seconds: float) -> None:
        _note(seconds)
        await asyncio.sleep(0)

    with _lock:
        _listening.append(waits)
    try:
        with sleep_by(in_thread, in_task):
            yield waits
    finally:
        with _lock:
            _listening[:] = [each for each in _listening if each is not waits]


_listening: list[list[float]] = []  # guarded by _lock


def _note(seconds: float) -> None:
    with _lock:
        for waits in _listening:
            waits.append(seconds)
