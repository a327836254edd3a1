"""What a rate limit counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses

from meshhook.health import Status
from meshhook.stats import Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStats(Stats):
    """What a rate limit has seen, and how it stands.

    ``calls`` is admitted + rejected + cancelled. ``waited`` of the admitted calls waited for their
    turn; ``rejected`` ones were refused, at once or when their turn could not come in time any
    more; ``cancelled`` ones were cancelled or interrupted while they waited. ``waiting`` wait now.
    ``limit`` is the rate by now, ``remaining`` the cost that could start at once, ``retry_after``
    when the next call can, one of cost 1 where the cost is that of its arguments, and
    ``reset_after`` when nothing of what has started counts any more, in seconds. For a family
    (``key=``) these three are None, and ``keys`` is how many limits there are.
    """

    limit: str
    algorithm: str
    calls: int
    admitted: int
    rejected: int
    waited: int
    cancelled: int
    waiting: int
    remaining: int | None
    retry_after: float | None
    reset_after: float | None
    keys: int | None = None
    evicted: int = 0

    def health(self) -> tuple[Status, str]:
        """Return whether the next call has to wait. A limit that is kept is never failing.

        Of a family only those who wait are known: each key has a limit and a lock of its own.
        """
        if self.waiting or self.retry_after:
            return Status.DEGRADED, "limited"
        return Status.OK, "ok"


class Tally(Counters):
    """The counters of one rate limit."""

    __slots__ = ("admitted", "cancelled", "rejected", "waited")

    admitted: int
    rejected: int
    waited: int
    cancelled: int

    def read(self) -> dict[str, int]:
        """Return the counters by name, with the calls that they add up to."""
        numbers = super().read()
        calls = numbers["admitted"] + numbers["rejected"] + numbers["cancelled"]
        return {"calls": calls, **numbers}
