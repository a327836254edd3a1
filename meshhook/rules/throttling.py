"""Client-side throttling: send an overloaded service only a little more than it accepts.

Each caller compares what it has asked for with what was accepted, and drops the difference before
it is sent: the rule of "Site Reliability Engineering" (O'Reilly, 2016), chapter 21. Nothing opens
or closes, so there is no moment at which everybody comes back.

A request counts from its beginning on, so that those that hang weigh as much as those that fail.
But requests that are under way prove nothing by themselves, or a hundred calls at once would be
taken for an overload before the first of them is answered: nothing is dropped while the answers
that have come are good enough.
"""

from __future__ import annotations

from meshhook.rules.windows import TimeWindow


class Throttling:
    """Requests and answers of the last ``window`` seconds.

    Its owner calls ``advance`` when ``now`` is not in ``since <= now < until``, before it counts: a
    request in ``requests`` when it begins, those that are then dropped included; in ``accepted``
    when the service has taken it; by ``refuse`` when it was dropped or has failed. Whether there
    is anything to ask ``chance`` for is in ``is_troubled``. Not safe to use from several threads at
    once, but for the two counters.
    """

    __slots__ = (
        "_answers",
        "_k",
        "_minimum",
        "_most",
        "_requests",
        "_window",
        "accepted",
        "is_troubled",
        "requests",
        "since",
        "until",
    )

    _requests: TimeWindow
    _answers: TimeWindow

    def __init__(self, k: float, window: float, minimum: int, most: float, *, now: float) -> None:
        self._k = k
        self._window = window
        self._minimum = minimum
        self._most = most
        self.requests = 0
        self.accepted = 0
        self.forget(now)

    def change(self, k: float, window: float, minimum: int, most: float, *, now: float) -> None:
        """Go on with other numbers, and with what is in the window of both lengths."""
        self._k, self._minimum, self._most = k, minimum, most
        self.advance(now)
        if window != self._window:
            self._window = window
            self._requests = self._requests.resized(window, now, self.requests)
            self._answers = self._answers.resized(window, now, self.accepted)
            self.since, self.until = self._requests.since, self._requests.until
        self._look_for_trouble()

    def forget(self, now: float) -> None:
        """Begin anew, with an empty window; the two counters go on."""
        self._requests = TimeWindow(self._window, now, self.requests)
        self._answers = TimeWindow(self._window, now, self.accepted)
        self.is_troubled = False
        self.since, self.until = self._requests.since, self._requests.until

    def advance(self, now: float) -> None:
        """Forget what is older than the window."""
        if not self.since <= now < self.until:
            self._requests.advance(now, self.requests)
            self._answers.advance(now, self.accepted)
            self.since, self.until = self._requests.since, self._requests.until
            self._look_for_trouble()

    def refuse(self) -> None:
        """Count an answer that says that the service has not taken a request."""
        self._answers.record(self.accepted, failed=True, slow=False)
        self._look_for_trouble()

    def _look_for_trouble(self) -> None:
        _, accepted, refused = self.totals()
        self.is_troubled = refused > (self._k - 1) * accepted

    def totals(self) -> tuple[int, int, int]:
        """Return the requests in the window, those accepted and those refused."""
        calls, refused, *_ = self._answers.totals(self.accepted)
        requests = self._requests.totals(self.requests).calls
        # A call may be answered long after its beginning has left the window.
        return max(requests, calls), calls - refused, refused

    def chance(self, now: float) -> float:
        """Return the share of requests to drop now: none until ``minimum`` requests were counted.

        Never more than ``most``, so that some go on asking whether the service is well again.
        """
        self.advance(now)
        self._look_for_trouble()
        requests, accepted, _ = self.totals()
        if requests < self._minimum or not self.is_troubled:
            return 0.0
        return min(max(0.0, (requests - self._k * accepted) / (requests + 1)), self._most)
