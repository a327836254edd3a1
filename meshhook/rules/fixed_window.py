"""The fixed window: so many calls, and then none until the window is over.

A window begins with the first call after the last one was over. In each, at most ``limit`` calls
start; but the end of one and the beginning of the next may hold twice as many between them. It is
how quotas are counted, and the cheapest to understand.
"""

from __future__ import annotations

from typing import Self

from meshhook.rules.rates import Rate


class FixedWindow:
    """What is used up of the window of one rate."""

    __slots__ = ("_ends", "_not_before", "_used", "rate")

    def __init__(self, rate: Rate, now: int) -> None:
        self.rate = rate
        self._used = 0
        self._ends = now
        self._not_before = now

    def wait(self, now: int, cost: int = 1) -> int:
        """Return the microseconds after which a call of ``cost`` may start; 0 for at once."""
        due = max(now, self._not_before)
        over = cost
        if due < self._ends:
            over -= max(0, self.rate.limit - self._used)
            if over > 0:
                due = self._ends
        return due + max(0, over - 1) // self.rate.limit * self.rate.period - now

    def start(self, now: int, cost: int = 1) -> bool:
        """Count a call of ``cost`` that starts now, if it may."""
        if self.wait(now, cost):
            return False
        self.take(now, cost)
        return True

    def take(self, at: int, cost: int = 1) -> None:
        """Count a call of ``cost`` that starts at ``at``; it may begin a window."""
        if at >= self._ends:
            self._ends = at + self.rate.period
            self._used = 0
        self._used += cost

    def remaining(self, now: int) -> int:
        """Return the cost that could start at once."""
        if now < self._not_before:
            return 0
        return max(0, self.rate.limit - (self._used if now < self._ends else 0))

    def reset_after(self, now: int) -> int:
        """Return the microseconds until the window is over."""
        return max(0, self._ends - now, self._not_before - now)

    def pause(self, until: int) -> None:
        """Let no call start before ``until``."""
        self._not_before = max(self._not_before, until)

    def change(self, rate: Rate, now: int, paused_until: int = 0) -> Self:
        """Go on with another rate: what is used up of the window stays so until it ends.

        That is when it would have ended, or earlier if windows are shorter now.
        """
        changed = type(self)(rate, self._not_before)
        changed._used = self._used
        changed._ends = min(self._ends, now + rate.period)
        return changed

    def hand_over(self, now: int, paused_until: int = 0) -> int:
        """Return what is used up of the window; there is nothing to be closed."""
        return self._used if now < self._ends else 0

    def close(self) -> None:
        """Do nothing: whoever starts calls asks the rule that has taken the place of this one."""
