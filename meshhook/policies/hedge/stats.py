"""What a hedge counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses

from meshhook.stats import Latency, Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStats(Stats):
    """What a hedge has seen.

    ``calls`` are those that have ended for their caller: successes + failures + ignored.
    ``ignored`` were cancelled or interrupted. ``hedges`` attempts were started beyond the first of
    each call, and ``wins`` of them gave the result. ``suppressed_by_budget`` were not started
    because the budget had nothing left, ``suppressed_by_limit`` because ``max_extra`` were running
    or there was no thread. ``running_on`` attempts that nobody waits for are running now;
    ``discarded`` ended with a result that nobody got. ``delay`` is after how many seconds a hedge
    would start now, None while too few calls are known; ``latency`` is that of the first attempts
    in the window, None where the delay is fixed.
    """

    calls: int
    successes: int
    failures: int
    ignored: int
    hedges: int
    wins: int
    discarded: int
    suppressed_by_budget: int
    suppressed_by_limit: int
    running_on: int
    delay: float | None
    latency: Latency | None


class Tally(Counters):
    """The counters of one hedge."""

    __slots__ = (
        "discarded",
        "failures",
        "hedges",
        "ignored",
        "successes",
        "suppressed_by_budget",
        "suppressed_by_limit",
        "wins",
    )

    successes: int
    failures: int
    ignored: int
    hedges: int
    wins: int
    discarded: int
    suppressed_by_budget: int
    suppressed_by_limit: int

    def read(self) -> dict[str, int]:
        """Return the counters by name, with the calls that they add up to."""
        numbers = super().read()
        calls = numbers["successes"] + numbers["failures"] + numbers["ignored"]
        return {"calls": calls, **numbers}
