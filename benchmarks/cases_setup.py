"""What is paid once: for a decorated function, for a key, for the import."""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks import cases_breaker, ours, plain
from benchmarks.harness import Options, reason
from benchmarks.table import Missing, Row, Table

_FUNCTIONS = 200
_KEYS = 100_000


def decoration(options: Options) -> Table:
    """Measure the time and the memory that decorating a function takes."""
    table = Table("decoration", "decorating one function with one policy")
    goal = "<= 40 us and 4 KB"
    wrappers: dict[str, Callable[[Any], Any]] = {
        "closure": plain.closure,
        "wrapt.FunctionWrapper": _function_wrapper,
        "meshhook breaker": ours.consecutive,
        "meshhook breaker (window)": ours.time_window,
        "meshhook timeout": ours.limited,
        "meshhook retry": ours.retried,
        "meshhook rate limit": ours.rate_limited,
        "meshhook bulkhead": ours.bulkheaded,
        "meshhook fallback": ours.with_fallback,
        "meshhook throttle": ours.throttled,
        "meshhook chaos": ours.chaotic,
        "meshhook hedge": ours.hedged,
        "meshhook idempotent": ours.idempotent_by_argument,
        "circuitbreaker": cases_breaker.circuitbreaker,
        "pybreaker": cases_breaker.pybreaker,
    }
    times: dict[str, list[float]] = {name: [] for name in wrappers}
    for _ in range(max(3, options.rounds // 4)):
        for name in random.sample(list(times), len(times)):
            try:
                times[name].append(seconds_to_decorate(wrappers[name]))
            except Exception as error:
                del times[name]
                ours_to_prove = name.startswith("meshhook")
                table.missing.append(Missing(name, reason(error), goal if ours_to_prove else ""))
    for name, own in times.items():
        micros = statistics.median(own) * 1e6
        least = min(own) * 1e6
        kilobytes = bytes_of_decorated(wrappers[name]) / 1024
        figures = {"us": micros, "min us": least, "KB": kilobytes}
        judged = name.startswith("meshhook")
        met = least <= 40 and kilobytes <= 4 if judged else None
        table.rows.append(Row(name, figures, goal if judged else "", met))
    return table


def _functions() -> list[Any]:
    """Return functions that have names of their own, as those of a program do."""
    made = []
    for number in range(_FUNCTIONS):

        def function(order: int) -> int:
            return order

        function.__qualname__ = f"function_{number}"
        made.append(function)
    return made


def seconds_to_decorate(wrap: Callable[[Any], Any]) -> float:
    """Return how long it takes to decorate one function."""
    functions = _functions()
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    decorated = [wrap(function) for function in functions]
    taken = time.perf_counter() - start
    gc.enable()
    return taken / len(decorated)


def bytes_of_decorated(wrap: Callable[[Any], Any]) -> float:
    """Return how much memory stays taken by one decorated function."""
    functions = _functions()
    gc.collect()
    tracemalloc.start()
    decorated = [wrap(function) for function in functions]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(decorated)


def _function_wrapper(function: Any) -> Any:
    import wrapt

    return wrapt.FunctionWrapper(
        function, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)
    )


def keys(_options: Options) -> Table:
    """Measure the memory of a hundred thousand breakers, one for each key."""
    table = Table("keys", f"{_KEYS:,} breakers, one for each key")
    goal = "<= 100 MB"
    try:
        fetch = ours.breaker_for_each_host(_KEYS)
        fetch("first.example.org")
        gc.collect()
        tracemalloc.start()
        for number in range(_KEYS):
            fetch(f"host-{number}.example.org")
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    except Exception as error:
        table.missing.append(Missing("meshhook", reason(error), goal))
        return table
    megabytes = size / 1e6
    figures = {"MB": megabytes, "bytes a key": size / _KEYS}
    table.rows.append(Row("meshhook", figures, goal, megabytes <= 100))
    return table


def imports(options: Options) -> Table:
    """Measure the import in fresh interpreters, beside that of what it stands on."""
    table = Table("import", "importing in a fresh interpreter")
    statements = {
        "wrapt, asyncio, threading": "import wrapt, asyncio, threading",
        "meshhook": "import meshhook",
        "meshhook, three policies": "from meshhook import circuit_breaker, retry, timeout",
        "meshhook, all of it": "from meshhook import *",
    }
    times: dict[str, list[float]] = {name: [] for name in statements}
    try:
        for statement in statements.values():
            seconds_to_import(statement)  # which writes the bytecode
        for _ in range(3 if options.quick else max(20, options.rounds // 3)):
            for name in random.sample(list(statements), len(statements)):
                times[name].append(seconds_to_import(statements[name]))
    except subprocess.CalledProcessError as error:
        table.missing.append(Missing("meshhook", error.stderr.strip().splitlines()[-1], "<= 1.5"))
        return table
    base = times["wrapt, asyncio, threading"]
    for name, own in times.items():
        median = statistics.median(a / b for a, b in zip(own, base, strict=True))
        least = min(own) / min(base)
        figures = {"ms": statistics.median(own) * 1e3, "ratio": median, "of minima": least}
        judged = name == "meshhook"
        met = min(median, least) <= 1.5 if judged else None
        table.rows.append(Row(name, figures, "<= 1.5" if judged else "", met))
    return table


def seconds_to_import(statement: str, directory: str = ".") -> float:
    """Return how long ``statement`` takes in a fresh interpreter that starts in ``directory``."""
    program = (
        f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    )
    # With the bytecode kept, as it is wherever a program starts twice.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=env,
        cwd=directory,
    )
    return float(finished.stdout)
