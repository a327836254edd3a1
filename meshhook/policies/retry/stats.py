"""What a retry counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses
from typing import Any

from meshhook import guard
from meshhook.stats import Stats
from meshhook.tally import LockedNumber
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


class _Ends(Counters):
    """The counters by reason, in a dict, where adding to one named by a variable loses none."""

    __slots__ = ("ended_by",)

    ended_by: dict[str, Any]


class Tally(_Ends):
    """The counters of one retry."""

    __slots__ = ("failures", "ignored", "recovered", "retries", "successes")

    successes: int
    recovered: int
    failures: int
    ignored: int
    retries: int

    def __init__(self) -> None:
        super().__init__()
        number: Any = int if guard.GIL_ENABLED else LockedNumber
        self.ended_by = {reason: number() for reason in REASONS}

    def summary(self) -> dict[str, Any]:
        """Return the counters by name, with what they add up to."""
        numbers = self.read()
        calls = numbers["successes"] + numbers["failures"] + numbers["ignored"]
        return {
            **numbers,
            "calls": calls,
            "attempts": calls + numbers["retries"],
            "ended_by": {reason: int(count) for reason, count in self.ended_by.items()},
        }
