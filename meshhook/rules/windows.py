"""Sliding windows over the outcomes of calls: the last N of them, or those of the last seconds.

Successes are counted by their owner in one number that only grows, ``ok``, so that the straight
path of a call adds one to it and touches nothing here. A window stores what was remarkable
(failures, slow calls) and works out the rest from ``ok``: it holds a few numbers however many calls
there are.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple, Protocol

BUCKETS = 10
"""Slices of a time window: what is forgotten at once is a tenth of it."""
SHORTEST = 1e-9
"""The shortest slice, in seconds: no clock tells less apart."""


class Totals(NamedTuple):
    """What a window holds at one moment: calls that have ended, and overdue ones that still run."""

    calls: int
    failures: int
    slow: int
    overdue: int = 0

    @property
    def failure_rate(self) -> float | None:
        """Failures as a share of calls, or None without calls."""
        return self.failures / self.calls if self.calls else None

    @property
    def slow_rate(self) -> float | None:
        """Slow and overdue calls as a share of all, or None without any."""
        calls = self.calls + self.overdue
        return (self.slow + self.overdue) / calls if calls else None


class Window(Protocol):
    """What both kinds of window can do."""

    since: float
    until: float

    def advance(self, now: float, ok: int) -> None:
        """Forget what is too old; call it whenever ``now`` is outside ``since <= now < until``."""

    def record(self, ok: int, *, failed: bool, slow: bool) -> None:
        """Add one remarkable outcome."""

    def totals(self, ok: int) -> Totals:
        """Sum up the window."""


class CountWindow:
    """The last ``size`` outcomes.

    Each outcome has a ticket, its number since the start. Only those of remarkable ones are stored.
    """

    __slots__ = ("_failures", "_recorded", "_size", "_slow", "since", "until")

    def __init__(self, size: int) -> None:
        self._size = size
        self._recorded = 0
        self._failures: deque[int] | None = None
        self._slow: deque[int] | None = None
        self.since = -math.inf
        self.until = math.inf

    def advance(self, now: float, ok: int) -> None:
        """Do nothing: time does not pass in a count window."""

    def record(self, ok: int, *, failed: bool, slow: bool) -> None:
        """Add one remarkable outcome after ``ok`` unremarkable ones."""
        self._recorded += 1
        ticket = ok + self._recorded
        if failed:
            self._failures = self._failures or deque()
            self._failures.append(ticket)
        if slow:
            self._slow = self._slow or deque()
            self._slow.append(ticket)
        self._forget(ticket)

    def totals(self, ok: int) -> Totals:
        """Sum up the last ``size`` outcomes."""
        total = ok + self._recorded
        self._forget(total)
        return Totals(min(total, self._size), len(self._failures or ()), len(self._slow or ()))

    def _forget(self, total: int) -> None:
        oldest = total - self._size
        for tickets in (self._failures, self._slow):
            while tickets and tickets[0] <= oldest:
                tickets.popleft()


class TimeWindow:
    """The outcomes of the last ``seconds``, in ten slices; sums are kept, never added up anew."""

    __slots__ = (
        "_calls",
        "_counted",
        "_failures",
        "_past",
        "_slice_calls",
        "_slice_failures",
        "_slice_slow",
        "_slow",
        "_width",
        "number",
        "since",
        "until",
    )

    def __init__(self, seconds: float, now: float, counted: int = 0) -> None:
        """Begin empty at ``now``: the first ``counted`` successes are not in it."""
        self._width = max(seconds / BUCKETS, SHORTEST)
        self._past: list[tuple[int, int, int]] = []
        self._slice_calls = self._slice_failures = self._slice_slow = 0
        self._calls = self._failures = self._slow = 0
        self._counted = counted
        self.number = 0
        """The number of the current slice."""
        self.since = now
        self.until = now + self._width

    def advance(self, now: float, ok: int) -> None:
        """Close the current slice and drop the slices that have left the window."""
        if now < self.since:
            # The clock went back: nothing is known of the time between, so the slice begins anew.
            self.since, self.until = now, now + self._width
            return
        passed = int((now - self.since) / self._width)
        since = self.since + passed * self._width
        if now >= since + self._width > since:
            passed += 1  # at the very end of a slice the division may have been rounded down
        if passed <= 0:
            return
        self._count(ok)
        self._past.append((self._slice_calls, self._slice_failures, self._slice_slow))
        self._slice_calls = self._slice_failures = self._slice_slow = 0
        empty = min(passed - 1, BUCKETS)
        self._past.extend([(0, 0, 0)] * empty)
        while len(self._past) > BUCKETS - 1:
            calls, failures, slow = self._past.pop(0)
            self._calls -= calls
            self._failures -= failures
            self._slow -= slow
        self.number += passed
        self.since += passed * self._width
        self.until = self.since + self._width
        if not self.since <= now < self.until:
            # So far along that adding slices has lost its precision.
            self.since, self.until = now, now + self._width

    def record(self, ok: int, *, failed: bool, slow: bool) -> None:
        """Add one remarkable outcome to the current slice."""
        self._slice_calls += 1
        self._calls += 1
        if failed:
            self._slice_failures += 1
            self._failures += 1
        if slow:
            self._slice_slow += 1
            self._slow += 1

    def take_back(self, number: int) -> None:
        """Remove one failure of slice ``number``, if that is still in the window."""
        back = self.number - number
        if back == 0:
            self._slice_calls -= 1
            self._slice_failures -= 1
        elif back <= len(self._past):
            calls, failures, slow = self._past[-back]
            self._past[-back] = calls - 1, failures - 1, slow
        else:
            return
        self._calls -= 1
        self._failures -= 1

    def totals(self, ok: int) -> Totals:
        """Sum up the slices of the window."""
        self._count(ok)
        return Totals(self._calls, self._failures, self._slow)

    def _count(self, ok: int) -> None:
        fresh = ok - self._counted
        self._counted = ok
        self._slice_calls += fresh
        self._calls += fresh
