"""Interleaved rounds: how the cost of a call is measured on a machine that does other things too.

All cases of a group run in one process, in a new random order in every round, each for about two
milliseconds, with the cyclic garbage collector off. A ratio is formed inside a round, between two
measurements a few milliseconds apart. The result is the median of the ratios over all rounds, with
the ratio of the minima beside it. A goal is missed only if both exceed it.
"""

from __future__ import annotations

import gc
import itertools
import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.loops import Call, Loop, empty
from benchmarks.table import Missing, Row, Table

_WARM_UP = 20


@dataclass(frozen=True)
class Options:
    """How thoroughly to measure. ``slice`` is how long a case runs in a round, in seconds.

    ``against`` is the directory of another checkout, for the groups that compare with one.
    """

    rounds: int = 90
    slice: float = 0.002
    quick: bool = False
    against: str = ""


@dataclass(frozen=True)
class Case:
    """One way to make the call. ``goal`` is the highest ratio to the case named ``against``.

    A ``fresh`` case is called with a value that it has not seen before, every time. The result of a
    ``plain`` one is not checked: it is what the others are compared with.
    """

    name: str
    make: Callable[[], Call]
    goal: float | None = None
    against: str = "closure"
    fresh: bool = False
    plain: bool = False

    def goal_text(self) -> str:
        """Return the goal as the table shows it."""
        if self.goal is None:
            return ""
        return f"<= {self.goal:g}" + ("" if self.against == "closure" else f" x {self.against}")


class _Prepared:
    """A case that works, with the times it took in each round, in seconds a call."""

    _unused_values = itertools.count()

    def __init__(self, case: Case, loop: Loop, function: Call, options: Options) -> None:
        self.case = case
        self.times: list[float] = []
        self._loop = loop
        self._call = loop.make(case.make)
        loop.run(self._call, self._values(_WARM_UP))
        if not case.plain:
            loop.check(self._call, function, self._values(1)[0])
        self._count = self._calls_in(options.slice)
        self._same = self._values(self._count)

    def _values(self, count: int) -> list[int]:
        if self.case.fresh:
            return list(itertools.islice(self._unused_values, count))
        return [1] * count

    def _calls_in(self, seconds: float) -> int:
        """Return how many calls take about ``seconds``."""
        count = 1
        while (taken := self._loop.run(self._call, self._values(count))) < seconds / 2:
            count *= 2
        return max(1, round(count * seconds / taken))

    def run(self) -> None:
        """Measure one round."""
        values = self._values(self._count) if self.case.fresh else self._same
        # A pause of the machine in here would make the call look cheaper than it is, or free.
        nothing = min(empty(values) for _ in range(3))
        self.times.append((self._loop.run(self._call, values) - nothing) / self._count)


def measure(
    table: Table, function: Call, cases: Iterable[Case], loop: Loop, options: Options
) -> Table:
    """Fill ``table`` with what each of ``cases`` costs around ``function``."""
    prepared: dict[str, _Prepared] = {}
    for case in cases:
        try:
            prepared[case.name] = _Prepared(case, loop, function, options)
        except Exception as error:
            table.missing.append(Missing(case.name, reason(error), case.goal_text()))
    for case, failure in _rounds(prepared, options):
        table.missing.append(Missing(case.name, reason(failure), case.goal_text()))
        del prepared[case.name]
    table.rows += [_row(each, prepared) for each in prepared.values()]
    table.note = "ns of a call, ratio to a plain closure: median of the rounds, and of the minima"
    return table


def _rounds(prepared: dict[str, _Prepared], options: Options) -> list[tuple[Case, Exception]]:
    failed: list[tuple[Case, Exception]] = []
    order = list(prepared.values())
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(options.rounds):
            random.shuffle(order)
            for each in list(order):
                try:
                    each.run()
                except Exception as error:
                    order.remove(each)
                    failed.append((each.case, error))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return failed


def _row(measured: _Prepared, all_of_them: dict[str, _Prepared]) -> Row:
    case, times = measured.case, measured.times
    figures = {"ns": statistics.median(times) * 1e9, "min ns": min(times) * 1e9}
    base = all_of_them[case.against].times
    ratios = [own / other for own, other in zip(times, base, strict=True)]
    tenths = statistics.quantiles(ratios, n=10)
    median, least = statistics.median(ratios), min(times) / min(base)
    figures |= {"ratio": median, "of minima": least, "p10": tenths[0], "p90": tenths[-1]}
    met = None if case.goal is None else min(median, least) <= case.goal
    return Row(case.name, figures, case.goal_text(), met)


def reason(error: Exception) -> str:
    """Say in one line why a case could not be measured."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]
