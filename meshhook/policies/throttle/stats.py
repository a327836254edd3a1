"""The statistics of a throttle: frozen, and fit for JSON."""

from __future__ import annotations

import dataclasses

from meshhook.health import Status
from meshhook.stats import Stats

MOST = 0.5
"""A throttle that drops this share of the calls, or more, is failing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStats(Stats):
    """What a throttle has seen.

    ``calls`` are those that were sent and have ended: accepted + failures + ignored; ``rejected``
    ones were dropped. ``window_requests`` and ``window_accepted`` are those of the window, requests
    under way and dropped ones included, and ``chance`` is the share that is dropped now. For a
    family (``key=``) numbers are summed up, ``chance`` is the highest and ``lowest_chance`` the
    lowest of any key; ``evicted`` keys have made room for others.
    """

    calls: int
    accepted: int
    failures: int
    ignored: int
    rejected: int
    window_requests: int
    window_accepted: int
    chance: float
    evicted: int = 0
    lowest_chance: float = 0.0

    def health(self) -> tuple[Status, str]:
        """Return whether calls are dropped, and whether most are; of a family, for all keys."""
        if self.lowest_chance >= MOST:
            return Status.FAILING, "dropping_most"
        if self.chance > 0:
            return Status.DEGRADED, "throttling"
        return Status.OK, "ok"
