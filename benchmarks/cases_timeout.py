"""Timeouts that do not fire."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call
from benchmarks.table import Table

_POOL = "pool submit + result"


def limited(options: Options) -> Table:
    """Measure sync calls that return in time."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("deadline by hand", lambda: _deadline_by_hand(function)),
        Case("alarm by hand", lambda: _alarm_by_hand(function)),
        Case(_POOL, lambda: _pool(function)),
        Case("meshhook cooperative", lambda: ours.limited(function, "cooperative"), goal=3.0),
        Case("meshhook interrupt", lambda: ours.limited(function, "interrupt"), goal=4.5),
        Case("meshhook signal", lambda: ours.limited(function, "signal"), goal=12.0),
        Case("meshhook thread", lambda: ours.limited(function, "thread"), goal=1.3, against=_POOL),
        Case("wrapt-timeout-decorator (signal)", lambda: _wrapt_timeout_decorator(function)),
        Case("interlock (thread)", lambda: _interlock(function)),
    ]
    table = Table("timeout", "a timeout around a sync call that returns at once")
    return measure(table, function, cases, Answered(), options)


def limited_async(options: Options) -> Table:
    """Measure async calls that return in time without suspending."""
    table = Table("timeout-async", "a timeout around an async call that does not suspend")
    return _async(table, plain.answer_async, 5.8, options)


def limited_suspending(options: Options) -> Table:
    """Measure async calls that return in time after suspending once."""
    table = Table("timeout-suspending", "a timeout around an async call that suspends once")
    return _async(table, plain.answer_later, 1.7, options)


def _async(table: Table, function: Call, goal: float, options: Options) -> Table:
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.limited(function), goal=goal),
        Case("asyncio.timeout", lambda: _asyncio_timeout(function)),
        Case("asyncio.wait_for", lambda: _wait_for(function)),
        Case("hyx", lambda: _hyx(function)),
        Case("interlock", lambda: _interlock_async(function)),
    ]
    return measure(table, function, cases, AnsweredAsync(), options)


def _deadline_by_hand(function: Call) -> Call:
    """Do what every limit has to: read the clock, and keep the deadline in the context."""
    current: ContextVar[float | None] = ContextVar("deadline", default=None)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        latest = time.monotonic() + 10.0
        outer = current.get()
        token = current.set(latest if outer is None else min(latest, outer))
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return call


def _alarm_by_hand(function: Call) -> Call:
    """Do what every limit by signal has to: set an alarm, and leave no trace of it."""

    def ring(*_: Any) -> None:
        raise TimeoutError

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 10.0)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)

    return call


def _pool(function: Call) -> Call:
    pool = ThreadPoolExecutor(1)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return pool.submit(function, *args, **kwargs).result(10.0)

    return call


def _asyncio_timeout(function: Call) -> Call:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(10.0):
            return await function(*args, **kwargs)

    return call


def _wait_for(function: Call) -> Call:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.wait_for(function(*args, **kwargs), 10.0)

    return call


def _wrapt_timeout_decorator(function: Call) -> Any:
    from wrapt_timeout_decorator import timeout

    return timeout(10.0)(function)


def _hyx(function: Call) -> Any:
    from hyx.timeout import timeout

    return timeout(10.0)(function)


def _interlock(function: Call) -> Any:
    from interlock import sync_timeout

    return sync_timeout(10.0)(function)


def _interlock_async(function: Call) -> Call:
    from interlock import timeout

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with timeout(10.0):
            return await function(*args, **kwargs)

    return call
