"""Client-side throttling: send an overloaded service only a little more than it accepts.

Each caller compares what it has asked for with what was accepted, and drops the difference before
it is sent: the rule of "Site Reliability Engineering" (O'Reilly, 2016), chapter 21. Nothing opens
or closes, so there is no moment at which everybody comes back.
"""

from __future__ import annotations

from meshhook.rules.windows import TimeWindow


class Throttling:
    """Requests and acceptances of the last ``window`` seconds.

    Its owner calls ``advance`` before it counts: a request in ``requests`` when it begins, those
    that are then dropped included, and in ``accepted`` when the service has taken it. Not safe to
    use from several threads at once.
    """

    __slots__ = ("_accepted", "_k", "_minimum", "_most", "_requests", "accepted", "requests")

    def __init__(self, k: float, window: float, minimum: int, most: float, *, now: float) -> None:
        self._k = k
        self._minimum = minimum
        self._most = most
        self._requests = TimeWindow(window, now)
        self._accepted = TimeWindow(window, now)
        self.requests = 0
        self.accepted = 0

    def advance(self, now: float) -> None:
        """Forget what is older than the window."""
        if not self._requests.since <= now < self._requests.until:
            self._requests.advance(now, self.requests)
            self._accepted.advance(now, self.accepted)

    def chance(self, now: float) -> float:
        """Return the share of requests to drop now: none until ``minimum`` requests were counted.

        Never more than ``most``, so that some go on asking whether the service is well again.
        """
        self.advance(now)
        requests = self._requests.totals(self.requests).calls
        accepted = self._accepted.totals(self.accepted).calls
        if requests < self._minimum:
            return 0.0
        return min(max(0.0, (requests - self._k * accepted) / (requests + 1)), self._most)
