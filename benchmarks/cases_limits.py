"""Limits that let every call through: rates that are never reached, slots that are free."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call
from benchmarks.table import Table

_A_SECOND = 10_000_000
_SLOTS = 10


def rate(options: Options) -> Table:
    """Measure sync calls within their rate."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("meshhook gcra", lambda: ours.rate_limited(function), goal=3.0),
        Case("meshhook sliding log", lambda: ours.rate_limited(function, "sliding_log")),
        Case("meshhook fixed window", lambda: ours.rate_limited(function, "fixed_window")),
        Case("limits fixed window", lambda: _limits(function)),
        Case("throttled-py", lambda: _throttled(function)),
        Case("pyrate-limiter", lambda: _pyrate(function)),
    ]
    table = Table("rate", "a rate limit around a sync call within it")
    return measure(table, function, cases, Answered(), options)


def rate_async(options: Options) -> Table:
    """Measure async calls within their rate."""
    function = plain.answer_async
    cases = [
        *plain.baselines(function),
        Case("meshhook gcra", lambda: ours.rate_limited(function), goal=2.2),
        Case("meshhook sliding log", lambda: ours.rate_limited(function, "sliding_log")),
        Case("meshhook fixed window", lambda: ours.rate_limited(function, "fixed_window")),
        Case("hyx token bucket", lambda: hyx_rate(function)),
        Case("aiolimiter", lambda: _aiolimiter(function)),
        Case("pyrate-limiter", lambda: _pyrate(function)),
    ]
    table = Table("rate-async", "a rate limit around an async call within it")
    return measure(table, function, cases, AnsweredAsync(), options)


def slots(options: Options) -> Table:
    """Measure sync calls that find a free slot."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.bulkheaded(function), goal=2.1),
        Case("meshhook AIMD", lambda: ours.bulkheaded(function, adaptive=True)),
        Case("BoundedSemaphore", lambda: _semaphore(function)),
        Case("interlock", lambda: _interlock(function)),
    ]
    table = Table("bulkhead", "a bulkhead with a free slot around a sync call")
    return measure(table, function, cases, Answered(), options)


def slots_async(options: Options) -> Table:
    """Measure async calls that find a free slot."""
    function = plain.answer_async
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.bulkheaded(function), goal=2.0),
        Case("meshhook AIMD", lambda: ours.bulkheaded(function, adaptive=True)),
        Case("asyncio.Semaphore", lambda: _semaphore_async(function)),
        Case("hyx", lambda: _hyx_bulkhead(function)),
    ]
    table = Table("bulkhead-async", "a bulkhead with a free slot around an async call")
    return measure(table, function, cases, AnsweredAsync(), options)


def _limits(function: Call) -> Call:
    import limits

    limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerSecond(_A_SECOND)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not limiter.hit(item, "benchmark"):
            raise RuntimeError
        return function(*args, **kwargs)

    return call


def _throttled(function: Call) -> Any:
    import throttled

    quota = throttled.rate_limiter.per_sec(_A_SECOND, burst=_A_SECOND)
    return throttled.Throttled(key="benchmark", using="gcra", quota=quota)(function)


def _pyrate(function: Call) -> Any:
    import pyrate_limiter

    bucket = pyrate_limiter.Rate(1_000_000_000, pyrate_limiter.Duration.SECOND * 100)
    state = pyrate_limiter.StateBucket(
        [bucket], pyrate_limiter.GCRA(), pyrate_limiter.InMemoryStateStore()
    )
    return pyrate_limiter.Limiter(state).as_decorator(name="benchmark")(function)


def hyx_rate(function: Call) -> Any:
    """Limit ``function`` with hyx."""
    from hyx.ratelimit import tokenbucket

    return tokenbucket(max_executions=_A_SECOND, per_time_secs=1, bucket_size=_A_SECOND)(function)


def _aiolimiter(function: Call) -> Call:
    import aiolimiter

    limiter = aiolimiter.AsyncLimiter(_A_SECOND, 1)

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with limiter:
            return await function(*args, **kwargs)

    return call


def _semaphore(function: Call) -> Call:
    semaphore = threading.BoundedSemaphore(_SLOTS)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with semaphore:
            return function(*args, **kwargs)

    return call


def _semaphore_async(function: Call) -> Call:
    semaphore = asyncio.Semaphore(_SLOTS)

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with semaphore:
            return await function(*args, **kwargs)

    return call


def _interlock(function: Call) -> Call:
    import interlock

    pipeline = interlock.Pipeline(interlock.BulkheadStrategy(_SLOTS))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return pipeline.call(function, *args, **kwargs)

    return call


def _hyx_bulkhead(function: Call) -> Any:
    from hyx.bulkhead import bulkhead

    return bulkhead(max_concurrency=_SLOTS, max_capacity=2 * _SLOTS)(function)
