"""What a fallback counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses

from meshhook.stats import Stats
from meshhook.tally import Tally as Counters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FallbackStats(Stats):
    """What a fallback has seen.

    ``calls`` are those that have ended: successes + used + failures + ignored. ``used`` is how many
    got something else, by source: from_value + from_handler + from_last_good. ``failures`` got
    their error, or their bad result, in spite of the fallback; ``ignored`` were cancelled or
    interrupted. ``handler_failures`` counts handlers that raised, also where the next one helped.
    ``kept`` last good results are held now.
    """

    calls: int
    successes: int
    used: int
    from_value: int
    from_handler: int
    from_last_good: int
    failures: int
    ignored: int
    handler_failures: int
    kept: int


class Tally(Counters):
    """The counters of one fallback."""

    __slots__ = (
        "failures",
        "from_handler",
        "from_last_good",
        "from_value",
        "handler_failures",
        "ignored",
        "successes",
    )

    successes: int
    from_value: int
    from_handler: int
    from_last_good: int
    failures: int
    ignored: int
    handler_failures: int

    def read(self) -> dict[str, int]:
        """Return the counters by name, with those that they add up to."""
        numbers = super().read()
        used = numbers["from_value"] + numbers["from_handler"] + numbers["from_last_good"]
        calls = numbers["successes"] + used + numbers["failures"] + numbers["ignored"]
        return {"calls": calls, "used": used, **numbers}
