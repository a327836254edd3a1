"""What a bulkhead counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from meshhook.health import Status
from meshhook.stats import Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadStats(Stats):
    """What a bulkhead has seen, and how full it is.

    ``max_concurrent`` calls may run at a time by now; ``in_use`` do, ``waiting`` more wait, and
    ``peak`` is the most that ever ran together. ``admitted`` calls got a slot, ``waited`` of them
    after a wait. ``rejected`` calls were refused; ``abandoned`` ones were cancelled or interrupted
    while they waited. For a family (``key=``) all but ``max_concurrent`` and ``peak``, which are
    the highest of any key, are summed up, and counters include those of evicted keys.

    ``max_queue`` is how many calls may wait, and ``full`` how many keys would refuse the next call;
    without keys it is 1 or 0.
    """

    max_concurrent: int
    in_use: int
    waiting: int
    peak: int
    admitted: int
    waited: int
    rejected: int
    abandoned: int
    keys: int | None = None
    evicted: int = 0
    max_queue: int = 0
    full: int = 0

    def health(self) -> tuple[Status, str]:
        """Return whether the next call would be refused, or have to wait."""
        if self.full and self.full == (self.keys or 1):
            return Status.FAILING, "full"
        if self.full:
            return Status.DEGRADED, "partly_full"
        if self.waiting or (self.keys is None and self.in_use >= self.max_concurrent):
            return Status.DEGRADED, "busy"
        return Status.OK, "ok"


class Tally(Counters):
    """The counters of one set of slots."""

    __slots__ = ("abandoned", "admitted", "rejected", "waited")

    admitted: int
    waited: int
    rejected: int
    abandoned: int


@dataclasses.dataclass(frozen=True, slots=True)
class Gone:
    """What the evicted keys of a family have counted; ``number`` of them have gone."""

    number: int = 0
    counters: tuple[int, ...] = (0,) * len(Tally.__slots__)
    peak: int = 0

    def and_one(self, counters: dict[str, int], peak: int) -> Gone:
        """Return this with one key more."""
        return Gone(
            self.number + 1,
            tuple(
                there + counters[name]
                for there, name in zip(self.counters, Tally.__slots__, strict=True)
            ),
            max(self.peak, peak),
        )


def summed(tallies: Iterable[Tally], gone: Gone) -> dict[str, int]:
    """Add the counters up."""
    numbers = dict(zip(Tally.__slots__, gone.counters, strict=True))
    for tally in tallies:
        for name, number in tally.read().items():
            numbers[name] += number
    return numbers
