"""The retry budget: how many attempts beyond the first are allowed, as a share of the calls.

When everything fails, every retry is load that a service in trouble gets on top. A budget bounds
it: in the time that it looks back, extra attempts are at most ``ratio`` of the calls, and a few a
second that are always free, so that a caller with little traffic may retry at all. Finagle's
RetryBudget has the same three settings. It takes from the oldest of what was saved for good; here
an attempt weighs for as long as a call does, so what was used up all at once is there again, all at
once, when the time is over.
"""

from __future__ import annotations

from meshhook.rules.windows import TimeWindow


class Budget:
    """Calls and extra attempts of the last ``ttl`` seconds.

    Its owner counts the calls in ``calls``, and calls ``advance`` first whenever the time is not
    within ``window.since`` and ``window.until``. Not safe to use from several threads at once.
    """

    __slots__ = ("_ratio", "_reserve", "_ttl", "calls", "window")

    def __init__(self, ratio: float, min_per_second: float, ttl: float, now: float) -> None:
        self._ratio = ratio
        self._reserve = min_per_second * ttl
        self._ttl = ttl
        self.window = TimeWindow(ttl, now)
        self.calls = 0

    def change(self, ratio: float, min_per_second: float, ttl: float, now: float) -> None:
        """Go on with other numbers, and with the calls and attempts of the time that counts now.

        With another ``ttl`` what was taken before cannot be given back any more.
        """
        if ttl != self._ttl:
            self.window = self.window.resized(ttl, now, self.calls)
        self._ratio, self._reserve, self._ttl = ratio, min_per_second * ttl, ttl

    def advance(self, now: float) -> None:
        """Forget what is older than the budget looks back."""
        if not self.window.since <= now < self.window.until:
            self.window.advance(now, self.calls)

    def take(self, now: float) -> int | None:
        """Reserve one extra attempt; return what gives it back, or None if none was left."""
        if self.left(now) < 1.0:
            return None
        self.window.record(self.calls, failed=True, slow=False)
        return self.window.number

    def give_back(self, now: float, taken: int) -> None:
        """Take back a reservation whose attempt was not made; once for each."""
        self.advance(now)
        self.window.take_back(taken)

    def clear(self, now: float) -> None:
        """Forget everything; what was taken before gives nothing back any more."""
        self.window.advance(max(now, self.window.until) + 2.0 * self._ttl, self.calls)
        self.window.advance(now, self.calls)

    def left(self, now: float) -> float:
        """Return how many extra attempts could be reserved now."""
        allowed, used = self._allowed_and_used(now)
        return allowed - used

    def usage(self, now: float) -> float:
        """Return which share of what is allowed was used, from 0 to 1: then nothing is left."""
        allowed, used = self._allowed_and_used(now)
        if allowed - used < 1.0:
            return 1.0 if used else 0.0
        return used / allowed

    def _allowed_and_used(self, now: float) -> tuple[float, int]:
        self.advance(now)
        totals = self.window.totals(self.calls)
        calls = totals.calls - totals.failures
        return self._ratio * calls + self._reserve, totals.failures
