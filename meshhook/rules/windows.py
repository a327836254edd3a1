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


_ROUNDING = 1e-9
"""By so much of a slice a sum of slices may be off."""


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


class Slice(NamedTuple):
    """What happened in a part of a window."""

    calls: int
    failures: int
    slow: int


_EMPTY = Slice(0, 0, 0)


class CountWindow:
    """The last ``size`` outcomes.

    Each outcome has a ticket, its number since the start. Only those of remarkable ones are stored.
    """

    __slots__ = ("_before", "_failures", "_recorded", "_size", "_slow", "since", "until")

    def __init__(self, size: int, counted: int = 0) -> None:
        """Begin empty: the first ``counted`` successes are not in it."""
        self._size = size
        self._before = counted
        """The ticket of the last outcome before all that is known."""
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
        known = min(total - self._before, self._size)
        return Totals(known, len(self._failures or ()), len(self._slow or ()))

    def resized(self, size: int, ok: int) -> CountWindow:
        """Return a window of another size with the newest of these outcomes."""
        other = CountWindow(size)
        other._recorded = self._recorded
        other._before = ok + self._recorded - self.totals(ok).calls
        other._failures = deque(self._failures or ()) or None
        other._slow = deque(self._slow or ()) or None
        return other

    @classmethod
    def of(cls, slices: list[Slice], size: int, ok: int) -> CountWindow:
        """Make a window of what happened, the oldest first; in a slice failures came last."""
        failures: deque[int] = deque()
        slow: deque[int] = deque()
        last = ok
        for part in reversed(slices):
            for tickets, number in ((failures, part.failures), (slow, part.slow)):
                tickets.extendleft(last - each for each in range(min(number, size)))
            last -= part.calls
            if last <= ok - size:
                break
        made = cls(size, max(last, ok - size))
        made._failures, made._slow = failures or None, slow or None
        return made

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
        self._past: list[Slice] = []
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
        self._past.append(self._current())
        self._slice_calls = self._slice_failures = self._slice_slow = 0
        empty = min(passed - 1, BUCKETS)
        self._past.extend([_EMPTY] * empty)
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
            self._past[-back] = Slice(calls - 1, failures - 1, slow)
        else:
            return
        self._calls -= 1
        self._failures -= 1

    def totals(self, ok: int) -> Totals:
        """Sum up the slices of the window."""
        self._count(ok)
        return Totals(self._calls, self._failures, self._slow)

    def slices(self, now: float, ok: int) -> list[Slice]:
        """Return what happened when, the oldest first; the last one is not over yet."""
        if not self.since <= now < self.until:
            self.advance(now, ok)
        self._count(ok)
        return [*self._past, self._current()]

    def resized(self, seconds: float, now: float, ok: int) -> TimeWindow:
        """Return a window of another length with what happened in the last seconds of both.

        Each slice goes as a whole to where its end is, so nothing is forgotten too early, and what
        is remembered for too long is no older than the window by more than a slice of this one.
        """
        *past, current = self.slices(now, ok)
        other = TimeWindow(seconds, now, ok)
        width = other._width
        other.since = now - math.fmod(now - self.since, width)
        other.until = other.since + width
        # Nothing that was taken from a slice of ours can be taken back from one of those.
        other.number = self.number + BUCKETS
        moved: dict[int, Slice] = {}
        for back, part in enumerate(reversed(past)):
            age = other.since - (self.since - back * self._width)
            slices_ago = int(age / width + _ROUNDING) + 1
            if slices_ago < BUCKETS:
                there = moved.get(slices_ago, _EMPTY)
                moved[slices_ago] = Slice(*map(sum, zip(there, part, strict=True)))
        other._past = [moved.get(at, _EMPTY) for at in range(max(moved, default=0), 0, -1)]
        other._slice_calls, other._slice_failures, other._slice_slow = current
        sums = map(sum, zip(*other._past, current, strict=True))
        other._calls, other._failures, other._slow = sums
        return other

    def _current(self) -> Slice:
        return Slice(self._slice_calls, self._slice_failures, self._slice_slow)

    def _count(self, ok: int) -> None:
        fresh = ok - self._counted
        self._counted = ok
        self._slice_calls += fresh
        self._calls += fresh


def refit(
    window: Window | None, *, seconds: float | None, size: int | None, now: float, ok: int
) -> Window | None:
    """Return a window of that many ``seconds``, or of ``size`` outcomes, that knows what is known.

    Of the last outcomes nobody knows when they were, so a time window begins empty after them.
    """
    if size is not None:
        if isinstance(window, CountWindow):
            return window.resized(size, ok)
        known = window.slices(now, ok) if isinstance(window, TimeWindow) else []
        return CountWindow.of(known, size, ok)
    if seconds is not None:
        if isinstance(window, TimeWindow):
            return window.resized(seconds, now, ok)
        return TimeWindow(seconds, now, ok)
    return None
