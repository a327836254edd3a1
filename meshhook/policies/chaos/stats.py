"""What chaos counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses

from meshhook.health import Status
from meshhook.stats import Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChaosStats(Stats):
    """What chaos has done.

    ``active``: something may strike now. ``injections`` are the blocks of ``inject`` that are open.
    ``struck`` is how many calls were hit; of these, ``latencies`` were delayed, ``faults`` raised
    what was injected and ``results`` returned it. Calls that were let alone are not counted.
    """

    active: bool
    injections: int
    struck: int
    latencies: int
    faults: int
    results: int

    def health(self) -> tuple[Status, str]:
        """Return whether it may strike: whoever looks for what is wrong has to see that."""
        return (Status.DEGRADED, "active") if self.active else (Status.OK, "ok")


class Tally(Counters):
    """The counters of one policy."""

    __slots__ = ("faults", "latencies", "results", "struck")

    struck: int
    latencies: int
    faults: int
    results: int
