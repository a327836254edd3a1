"""What a retry counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses
from typing import Any

from meshhook.stats import Stats
from meshhook.tally import Tally as Counters

REASONS = (
    "attempts",
    "aborted",
    "deadline",
    "max_elapsed",
    "budget",
    "retry_after",
    "shutdown",
)
"""Why a call that had been, or could have been, tried again was not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetryStats(Stats):
    """What a retry has seen.

    ``calls`` are those that have ended: successes + failures + ignored; ``attempts`` is how often
    the function was called for them, ``retries`` of these beyond the first. ``recovered`` of the
    successes needed more than one attempt. ``ended_by`` says why failures were not tried again:
    ``attempts``, ``aborted``, ``deadline``, ``max_elapsed``, ``budget``, ``retry_after`` or
    ``shutdown``; failures that were none to be retried from the beginning are not in there.
    """

    calls: int
    successes: int
    recovered: int
    failures: int
    ignored: int
    attempts: int
    retries: int
    ended_by: dict[str, int]


class Tally(Counters):
    """The counters of one retry."""

    __slots__ = ("failures", "ignored", "recovered", "retries", "successes", *REASONS)

    successes: int
    recovered: int
    failures: int
    ignored: int
    retries: int

    def end(self, reason: str) -> None:
        """Count why there was no further attempt."""
        setattr(self, reason, getattr(self, reason) + 1)

    def summary(self) -> dict[str, Any]:
        """Return the counters by name, with what they add up to."""
        numbers = self.read()
        calls = numbers["successes"] + numbers["failures"] + numbers["ignored"]
        ended_by = {reason: numbers.pop(reason) for reason in REASONS}
        return {
            **numbers,
            "calls": calls,
            "attempts": calls + numbers["retries"],
            "ended_by": ended_by,
        }
