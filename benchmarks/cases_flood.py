"""Ten thousand async calls in flight: what each costs in processor time and in memory."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Options, reason
from benchmarks.loops import Call
from benchmarks.table import Missing, Row, Table

_IN_FLIGHT = 10_000
_CPU_GOAL = 1.6
_BYTES_GOAL = 1.2 * 1024


async def wait(seconds: float) -> None:
    """Wait as a call to another service does."""
    await asyncio.sleep(seconds)


def flood(options: Options) -> Table:
    """Measure many calls at once, through a breaker, retries and a timeout."""
    table = Table("flood", f"{_IN_FLIGHT:,} async calls in flight")
    goal = f"<= {_CPU_GOAL:g} and {_BYTES_GOAL:,.0f} B"
    wrappers: dict[str, Callable[[Any], Any]] = {
        "direct": lambda fn: fn,
        "closure": plain.closure_async,
        "meshhook breaker + retry + timeout": ours.stacked,
        "asyncio.timeout": _asyncio_timeout,
        "hyx breaker + timeout": _hyx,
    }
    with asyncio.Runner() as runner:
        made: dict[str, Call] = {}
        for name, wrap in wrappers.items():
            try:
                made[name] = runner.run(_made(wrap))
                runner.run(made[name](0))
            except Exception as error:
                made.pop(name, None)
                table.missing.append(
                    Missing(name, reason(error), goal if name.startswith("meshhook") else "")
                )
        times = _times(made, runner, options)
        sizes = {name: runner.run(_bytes_in_flight(call)) for name, call in made.items()}
    for name, own in times.items():
        table.rows.append(_row(name, own, times["direct"], sizes[name] - sizes["direct"], goal))
    table.note = "CPU us of a call, ratio to direct (median, of the minima), bytes over direct"
    return table


def _row(name: str, own: list[float], base: list[float], extra: float, goal: str) -> Row:
    median = statistics.median(a / b for a, b in zip(own, base, strict=True))
    least = min(own) / min(base)
    figures = {"CPU us": min(own) * 1e6, "ratio": median, "of minima": least, "bytes": extra}
    if not name.startswith("meshhook"):
        return Row(name, figures)
    return Row(name, figures, goal, min(median, least) <= _CPU_GOAL and extra <= _BYTES_GOAL)


async def _made(wrap: Callable[[Any], Any]) -> Any:
    return wrap(wait)


def _times(
    made: dict[str, Call], runner: asyncio.Runner, options: Options
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in made}
    names = list(made)
    for _ in range(3 if options.quick else max(5, options.rounds // 4)):
        random.shuffle(names)
        for name in names:
            gc.collect()
            gc.disable()
            times[name].append(runner.run(_processor_seconds(made[name])))
            gc.enable()
    return times


async def _processor_seconds(call: Call) -> float:
    start = time.process_time()
    tasks = [asyncio.create_task(call(0.5)) for _ in range(_IN_FLIGHT)]
    for task in tasks:
        await task
    return (time.process_time() - start) / _IN_FLIGHT


async def _bytes_in_flight(call: Call) -> float:
    await call(0)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.create_task(call(60)) for _ in range(_IN_FLIGHT)]
    await asyncio.sleep(0.05)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / _IN_FLIGHT


def _asyncio_timeout(function: Any) -> Call:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(100.0):
            return await function(*args, **kwargs)

    return call


def _hyx(function: Any) -> Any:
    from hyx.circuitbreaker import consecutive_breaker
    from hyx.timeout import timeout

    return consecutive_breaker(failure_threshold=5)(timeout(100.0)(function))
