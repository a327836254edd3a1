"""Eight threads in one guarded function: whether a lock is held while the function runs."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks import cases_breaker, ours, plain
from benchmarks.harness import Options, reason
from benchmarks.loops import Call
from benchmarks.table import Missing, Row, Table

_THREADS = 8


def sleep_a_millisecond(value: int) -> int:
    """Wait as a call to another service does."""
    time.sleep(0.001)
    return value


def waiting(options: Options) -> Table:
    """Measure what eight threads do in the time of one, in a call that waits for 1 ms."""
    table = Table("threads", "8 threads in a guarded call of 1 ms")
    return _scale(table, sleep_a_millisecond, 40, 7.0, options)


def busy(options: Options) -> Table:
    """Measure the same in a call that does nothing, so that the guard is all there is."""
    table = Table("threads-busy", "8 threads in a guarded call that does nothing")
    return _scale(table, plain.answer, 20_000, 0.8, options)


def _scale(table: Table, function: Call, calls: int, goal: float, options: Options) -> Table:
    wrappers: dict[str, tuple[Callable[[Call], Any], bool]] = {
        "direct": (lambda fn: fn, False),
        "closure": (plain.closure, False),
        "meshhook consecutive": (ours.consecutive, True),
        "meshhook count window": (ours.count_window, True),
        "meshhook time window": (ours.time_window, True),
        "meshhook timeout (thread)": (lambda fn: ours.limited(fn, "thread"), False),
        "circuitbreaker": (cases_breaker.circuitbreaker, False),
        "purgatory": (cases_breaker.purgatory, False),
        "pybreaker": (cases_breaker.pybreaker, False),
    }
    made: dict[str, Call] = {}
    for name, (wrap, ours_to_prove) in wrappers.items():
        try:
            made[name] = wrap(function)
            made[name](1)
        except Exception as error:
            made.pop(name, None)
            goal_text = f">= {goal:g}" if ours_to_prove else ""
            table.missing.append(Missing(name, reason(error), goal_text))
    measured = _measure(made, calls, options)
    for name, pairs in measured.items():
        alone, together = zip(*pairs, strict=True)
        median = statistics.median(eight / one for one, eight in pairs)
        best = max(together) / max(alone)
        figures = {"calls/s, 1 thread": max(alone), "8 threads / 1": median, "of the best": best}
        judged = wrappers[name][1]
        met = max(median, best) >= goal if judged else None
        table.rows.append(Row(name, figures, f">= {goal:g}" if judged else "", met))
    table.note = "throughput of 8 threads to that of one: median of the rounds, and of the best"
    return table


def _measure(
    made: dict[str, Call], calls: int, options: Options
) -> dict[str, list[tuple[float, float]]]:
    """Return the throughput of one thread and of eight, for each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    names = list(made)
    for _ in range(max(3, options.rounds // 4)):
        random.shuffle(names)
        for name in names:
            alone = _throughput(made[name], calls, 1)
            found[name].append((alone, _throughput(made[name], calls, _THREADS)))
    return found


def _throughput(call: Call, calls: int, threads: int) -> float:
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        ready.wait()
        for _ in range(calls):
            call(1)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return calls * threads / (time.perf_counter() - start)
