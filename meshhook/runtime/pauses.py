"""Pauses: how a policy lets time pass, in a thread or in a task.

Every sleep of a policy is one of these two, so that tests can replace them, and so that a sync one
can be woken: :func:`shutdown` ends the pauses of all threads, now and from then on. Threads wait on
locks, which keep real time whatever the clock of the process says.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

from meshhook import forks

_sleepers: set[threading.Lock] = set()
_shut_down = False


def shutdown() -> None:
    """Wake every thread that sleeps in a policy, and let none sleep any more.

    A retry whose sleep is cut short raises the error that it has; a call that waits for a limit or
    a slot is refused. For the end of a process: nothing sleeps again in it. Tasks are not woken:
    cancel them. Safe to call from any thread and from a signal handler, and more than once.
    """
    global _shut_down  # noqa: PLW0603 - one flag, read by whoever is about to sleep
    _shut_down = True
    for gate in tuple(_sleepers):
        _open(gate)


def is_shut_down() -> bool:
    """Tell whether the process has been told to shut down."""
    return _shut_down


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # it is open already
        gate.release()


def wait_at(gate: threading.Lock, seconds: float) -> None:
    """Wait at a lock that is held until somebody releases it, at most so many seconds.

    :func:`shutdown` releases it as well: ask :func:`is_shut_down`.
    """
    # First in, then look: who shuts down in between opens the gate.
    _sleepers.add(gate)
    try:
        if not _shut_down:
            gate.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))
    finally:
        _sleepers.discard(gate)


def _sleep(seconds: float) -> bool:
    gate = threading.Lock()
    gate.acquire()
    wait_at(gate, seconds)
    return not _shut_down


async def _sleep_async(seconds: float) -> None:
    await asyncio.sleep(seconds)


in_thread: Callable[[float], bool] = _sleep
"""What :func:`pause` does; tests put something else here."""
in_task: Callable[[float], Awaitable[None]] = _sleep_async
"""What :func:`pause_async` does; tests put something else here."""


def are_replaced() -> bool:
    """Tell whether a test has put something else in the place of sleeping."""
    return in_thread is not _sleep or in_task is not _sleep_async


def pause(seconds: float) -> bool:
    """Sleep in this thread; False if it was woken by :func:`shutdown`."""
    return in_thread(seconds)


async def pause_async(seconds: float) -> None:
    """Sleep in this task."""
    await in_task(seconds)


def _forget_sleepers() -> None:
    _sleepers.clear()


forks.after_in_child(_forget_sleepers)
