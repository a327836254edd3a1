"""The statistics of a throttle: frozen, and fit for JSON."""

from __future__ import annotations

import dataclasses

from meshhook.stats import Stats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStats(Stats):
    """What a throttle has seen.

    ``calls`` are those that were sent and have ended: accepted + failures + ignored; ``rejected``
    ones were dropped. ``window_requests`` and ``window_accepted`` are those of the window, requests
    under way and dropped ones included, and ``chance`` is the share that is dropped now. For a
    family (``key=``) numbers are summed up, and ``chance`` is the highest; ``evicted`` keys have
    made room for others.
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
