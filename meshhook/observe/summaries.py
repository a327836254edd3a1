"""Counted summaries: how often something happened to each policy, told now and then.

There is no thread that waits for the time to come. A count is told with the next event after its
interval, whichever policy that is of; when its circuit changes its state; and at the end.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from dataclasses import dataclass

from meshhook import forks
from meshhook.events import Event

MOST_COUNTS = 10_000
"""More counts than these are not kept: the oldest is told before its time."""
AT_ONCE = 10
"""A call whose event comes when others are due writes so many of them at most."""
MOST_REASONS = 20
"""Reasons beyond these are counted together, as ``other``."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What happened to one policy in the last ``seconds``: how often, and for which reasons."""

    kind: type[Event]
    policy: str
    name: str
    seconds: float
    reasons: dict[str, int]

    @property
    def count(self) -> int:
        """How often it happened."""
        return sum(self.reasons.values())


class _Count:
    __slots__ = ("began", "reasons")

    def __init__(self, began: float) -> None:
        self.began = began
        self.reasons: defaultdict[str, int] = defaultdict(int)


class Summaries:
    """Counts by kind of event and policy, each for an interval. Safe to use from any thread."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._forget()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Begin anew in a forked child: the parent tells of what it has counted."""
        self._forget()

    def _forget(self) -> None:
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        # In the order in which they began. Guarded by _lock.
        self._counts: dict[tuple[type[Event], str, str], _Count] = {}
        self._since, self._until = -math.inf, math.inf

    def is_due(self, now: float) -> bool:
        """Tell whether :meth:`due` has something to give. Takes no lock."""
        # Before its beginning, too: then the clock was set back, and would not come for long.
        return not self._since <= now < self._until

    def add(self, event: Event, reason: str, now: float) -> None:
        """Count one more."""
        at = type(event), event.policy, event.name
        with self._lock:
            count = self._counts.get(at)
            if count is None:
                count = self._counts.setdefault(at, _Count(now))
                if len(self._counts) == 1 or len(self._counts) > MOST_COUNTS:
                    self._look_ahead()
            if len(count.reasons) >= MOST_REASONS and reason not in count.reasons:
                reason = "other"
            count.reasons[reason] += 1

    def due(self, now: float) -> list[Summary]:
        """Take some of the counts whose interval is over, or that are too many."""
        found: list[Summary] = []
        with self._lock:
            while self._counts and len(found) < AT_ONCE:
                at, count = next(iter(self._counts.items()))
                is_young = count.began <= now < count.began + self._every
                if is_young and len(self._counts) <= MOST_COUNTS:
                    break
                found.append(self._take(at, now))
            self._look_ahead()
        return found

    def of(
        self, policy: str, name: str, kinds: tuple[type[Event], ...], now: float
    ) -> list[Summary]:
        """Take the counts of one policy."""
        with self._lock:
            at = [each for kind in kinds if (each := (kind, policy, name)) in self._counts]
            found = [self._take(each, now) for each in at]
            self._look_ahead()
        return found

    def everything(self, now: float) -> list[Summary]:
        """Take all counts."""
        with self._lock:
            found = [self._take(at, now) for at in list(self._counts)]
            self._look_ahead()
        return found

    def _take(self, at: tuple[type[Event], str, str], now: float) -> Summary:
        count = self._counts.pop(at)
        return Summary(*at, max(0.0, now - count.began), dict(count.reasons))

    def _look_ahead(self) -> None:
        """Find out when the first count is due."""
        first = next(iter(self._counts.values()), None)
        if first is None:
            self._since, self._until = -math.inf, math.inf
        elif len(self._counts) > MOST_COUNTS:
            self._since, self._until = math.inf, -math.inf
        else:
            self._since, self._until = first.began, first.began + self._every
