"""One checkout beside another: what a change costs, or saves.

Both packages are loaded into one process, and their cases run in the same rounds, so that what else
the machine does meanwhile weighs on both. A ratio is that of the one that is run, which is called
here, to that of the other, which is there.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import cases_setup, ours
from benchmarks.harness import Case, Options, measure, reason
from benchmarks.loops import Answered, AnsweredAsync, Call, Loop
from benchmarks.table import Missing, Row, Table

_HERE = Path(__file__).parents[1]
_PACKAGE = "meshhook"

_SUCCEEDING: dict[str, Callable[[Call], Any]] = {
    "breaker": ours.consecutive,
    "breaker, count window": ours.count_window,
    "breaker, time window": ours.time_window,
    "retry": ours.retried,
    "rate limit": ours.rate_limited,
    "bulkhead": ours.bulkheaded,
    "bulkhead, adaptive": lambda function: ours.bulkheaded(function, adaptive=True),
    "throttle": ours.throttled,
    "fallback": ours.with_fallback,
    "chaos": ours.chaotic,
    "timeout": lambda function: ours.limited(function, "cooperative"),
    "idempotent": ours.idempotent,
    "idempotent, by argument": ours.idempotent_by_argument,
    "three": ours.three,
    "eight": ours.eight,
}


def answer(order: int) -> int:
    """Return at once."""
    return order


async def answer_async(order: int) -> int:
    """Return without suspending."""
    return order


class Checkout:
    """The package as it is in one directory, beside others of the same name."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._modules: dict[str, Any] = {}
        if not (directory / _PACKAGE / "__init__.py").exists():
            raise ModuleNotFoundError(f"there is no {_PACKAGE} in {directory}")

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Have imports find this one."""
        others = _take_out()
        sys.modules.update(self._modules)
        sys.path.insert(0, self._directory)
        importlib.invalidate_caches()
        try:
            importlib.import_module(_PACKAGE)
            yield
        finally:
            sys.path.remove(self._directory)
            self._modules = _take_out()
            sys.modules.update(others)

    def wrapping(self, wrap: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return ``wrap`` with the policies of this one."""

        def wrapped(function: Any) -> Any:
            with self.in_use():
                return wrap(function)

        return wrapped


def _take_out() -> dict[str, Any]:
    names = [name for name in sys.modules if f"{name}.".startswith(f"{_PACKAGE}.")]
    return {name: sys.modules.pop(name) for name in names}


def calls(options: Options) -> Table:
    """Measure sync calls that succeed."""
    table = Table("against", f"sync calls, here to {options.against}")
    return _calls(table, answer, Answered(), options)


def calls_async(options: Options) -> Table:
    """Measure async calls that succeed."""
    table = Table("against-async", f"async calls, here to {options.against}")
    return _calls(table, answer_async, AnsweredAsync(), options)


def _calls(table: Table, function: Call, loop: Loop, options: Options) -> Table:
    here, there = Checkout(_HERE), Checkout(Path(options.against))
    cases = []
    for name, wrap in _SUCCEEDING.items():
        before, now = f"{name} there", name
        for case, checkout in ((before, there), (now, here)):
            make = checkout.wrapping(wrap)
            cases.append(Case(case, lambda make=make: make(function), against=before))
    measured = measure(table, function, cases, loop, options)
    measured.rows = [row for row in measured.rows if not row.case.endswith(" there")]
    measured.note = "ns of a call here, and ratio to there: median of the rounds, and of the minima"
    return measured


def setup(options: Options) -> Table:
    """Measure what decorating a function takes, in time and in memory."""
    table = Table("against-decoration", f"decorating one function, here to {options.against}")
    both = Checkout(_HERE), Checkout(Path(options.against))
    for name, wrap in _SUCCEEDING.items():
        times: dict[Checkout, list[float]] = {each: [] for each in both}
        try:
            for _ in range(max(3, options.rounds // 4)):
                for checkout in random.sample(both, 2):
                    with checkout.in_use():
                        times[checkout].append(cases_setup.seconds_to_decorate(wrap))
            kilobytes = []
            for checkout in both:
                with checkout.in_use():
                    kilobytes.append(cases_setup.bytes_of_decorated(wrap) / 1024)
        except Exception as error:
            table.missing.append(Missing(name, reason(error)))
            continue
        figures = _figures("us", 1e6, *times.values())
        figures |= {"KB": kilobytes[0], "KB there": kilobytes[1]}
        table.rows.append(Row(name, figures))
    return table


def imports(options: Options) -> Table:
    """Measure the import in fresh interpreters."""
    table = Table("against-import", f"importing, here to {options.against}")
    for statement in ("import meshhook", "from meshhook import circuit_breaker, retry, timeout"):
        here: list[float] = []
        there: list[float] = []
        for _ in range(3 if options.quick else max(20, options.rounds // 3)):
            for directory, times in random.sample(
                [(str(_HERE), here), (options.against, there)], 2
            ):
                times.append(cases_setup.seconds_to_import(statement, directory))
        table.rows.append(Row(statement, _figures("ms", 1e3, here, there)))
    return table


def _figures(
    unit: str, in_a_second: float, here: list[float], there: list[float]
) -> dict[str, float]:
    return {
        unit: statistics.median(here) * in_a_second,
        "ratio": statistics.median(own / other for own, other in zip(here, there, strict=True)),
        "of minima": min(here) / min(there),
    }
