"""The sliding log: the times of the last calls, so that no stretch of a period holds too many.

A call may start when the one that is ``limit`` calls before it started a period ago. So in any
period, wherever it begins, at most ``limit`` calls start. The price is memory: one number for each
call of the limit.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Self

from meshhook.rules.rates import Rate


class SlidingLog:
    """The starts that count for one rate, in a ring: the oldest is overwritten by the next."""

    __slots__ = ("_next", "_not_before", "_times", "rate")

    def __init__(self, rate: Rate, now: int) -> None:
        self.rate = rate
        self._times: list[int] = []
        self._next = 0  # where the oldest is, once the ring is full
        self._not_before = now

    def wait(self, now: int, cost: int = 1) -> int:
        """Return the microseconds after which a call of ``cost`` may start; 0 for at once."""
        rounds, rest = divmod(cost - 1, self.rate.limit)
        free = self.rate.limit - len(self._times)
        due = max(now, self._not_before)
        if rest >= free:
            due = max(due, self._nth(rest - free) + self.rate.period)
        return due + rounds * self.rate.period - now

    def start(self, now: int, cost: int = 1) -> bool:
        """Count a call of ``cost`` that starts now, if it may."""
        if self.wait(now, cost):
            return False
        self.take(now, cost)
        return True

    def take(self, at: int, cost: int = 1) -> None:
        """Write a call down, once for each unit of its cost."""
        for _ in range(cost):
            if len(self._times) < self.rate.limit:
                self._times.append(at)
            else:
                self._times[self._next] = at
                self._next = (self._next + 1) % self.rate.limit

    def remaining(self, now: int) -> int:
        """Return the cost that could start at once."""
        return 0 if now < self._not_before else self.rate.limit - self.hand_over(now)

    def reset_after(self, now: int) -> int:
        """Return the microseconds until none of the calls counts any more."""
        due = self._not_before
        if self._times:
            due = max(due, self._nth(len(self._times) - 1) + self.rate.period)
        return max(0, due - now)

    def pause(self, until: int) -> None:
        """Let no call start before ``until``."""
        self._not_before = max(self._not_before, until)

    def change(self, rate: Rate, now: int, paused_until: int = 0) -> Self:
        """Go on with another rate; the calls that count for this one count on."""
        changed = type(self)(rate, self._not_before)
        changed._times = [self._nth(number) for number in range(len(self._times))][-rate.limit :]
        return changed

    def hand_over(self, now: int, paused_until: int = 0) -> int:
        """Return how many calls count; there is nothing to be closed."""
        numbers = range(len(self._times))
        over = bisect_right(numbers, now - self.rate.period, key=self._nth)
        return len(self._times) - over

    def close(self) -> None:
        """Do nothing: whoever starts calls asks the rule that has taken the place of this one."""

    def _nth(self, number: int) -> int:
        """Return the time of a call, the oldest of them being number 0."""
        return self._times[(self._next + number) % len(self._times)]
