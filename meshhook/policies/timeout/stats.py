"""What a timeout counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses

from meshhook.health import Status
from meshhook.stats import Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutStats(Stats):
    """What a timeout has seen.

    ``calls`` are those that have ended for their caller: successes + failures + ignored +
    timed_out. ``failures`` raised an exception of their own within the limit; ``ignored`` were
    cancelled or interrupted from outside. ``rejected`` calls never started. ``abandoned`` of the
    calls whose caller has gone are still running; ``abandoned_total`` says how many ever were.
    A stream is one call; ``seconds`` is None if there is only a limit ``per_item``. With
    ``max_abandoned`` of them running, calls that would need a thread are refused.
    """

    seconds: float | None
    mode: str
    calls: int
    successes: int
    failures: int
    ignored: int
    timed_out: int
    rejected: int
    abandoned: int
    abandoned_total: int
    per_item: float | None = None
    max_abandoned: int | None = None

    def health(self) -> tuple[Status, str]:
        """Return how near it is to refusing calls, because so many go on past their time."""
        most = self.max_abandoned
        if most is None or 2 * self.abandoned < most:
            return Status.OK, "ok"
        if self.abandoned < most:
            return Status.DEGRADED, "abandoning"
        return Status.FAILING, "full"


class Tally(Counters):
    """The counters of one timeout."""

    __slots__ = ("failures", "ignored", "rejected", "successes", "timed_out")

    successes: int
    failures: int
    ignored: int
    timed_out: int
    rejected: int

    def read(self) -> dict[str, int]:
        """Return the counters by name, with the calls that they add up to."""
        numbers = super().read()
        return {"calls": sum(numbers.values()) - numbers["rejected"], **numbers}
