"""Rules of adaptive limits: how many calls at a time a service takes, learnt from its latency.

A rule is told of each call that ended: when it began, how long it took, how many were running with
it. It answers with a limit. ``now`` is an argument, and nothing here waits or draws a number.

Two things are the same in both rules. A limit does not grow while fewer than half of its slots are
in use, for then the application is the limit and the latency says nothing. And a call that began
before the last change of the limit saw the limit before, so it does not count against this one:
there is one decrease per round trip, however many calls were slow in it.
"""

from __future__ import annotations

import math
import statistics
from typing import Protocol

SLOW_SHARE = 0.1
"""AIMD steps back when more than this share of the calls of one round trip was slow."""

MOST_CALLS, LEAST_CALLS, ROUND_SECONDS = 200, 20, 0.5
"""Gradient looks at the median latency of so many calls; of fewer, when time is up."""
NOISE = 1.5
"""How sure a median is: its error is about this times the spread over the root of the calls."""
LEAST_LATENCY = 0.001
"""What is faster than that differs by the machine that runs us, and not by the service."""
PROBE_SHARE = 0.5
"""A probe lets so much of the limit pass, to see what latency is without a queue."""
PROBE_ROUNDS = 25
"""How many rounds there are from one probe to the next."""
BETTER = 0.9
"""A probe goes further down while that takes latency below this share of what it was."""
HARDEST_STEP = 0.5
"""A limit is at least this share of the one before, however slow the calls have become."""


class Rule(Protocol):
    """An adaptive limit while it works. Not safe to share: its owner has a lock."""

    limit: int

    @property
    def settled(self) -> int:
        """The limit, but for a change that is about to be taken back."""

    def success(self, began: float, now: float, in_use: int) -> None:
        """Learn of a call that returned; ``in_use`` counts it as well."""

    def drop(self, began: float, now: float) -> None:
        """Learn of a call that ran out of time."""


class AdditiveIncrease:
    """Grow by one per round trip, and step back by a factor when calls are slow or time out."""

    def __init__(
        self,
        *,
        initial: int,
        least: int,
        most: int,
        backoff: float,
        threshold: float,
    ) -> None:
        self.limit = initial
        self._exact = float(initial)
        self._least = least
        self._most = most
        self._backoff = backoff
        self._threshold = threshold
        self._changed_at = -math.inf
        self._slow = 0
        self._seen = 0

    def change(self, *, least: int, most: int, backoff: float, threshold: float) -> None:
        """Go on with other numbers, from the limit there is."""
        self._least, self._most = least, most
        self._backoff, self._threshold = backoff, threshold
        self._set(self._exact)

    @property
    def settled(self) -> int:
        """The limit."""
        return self.limit

    def success(self, began: float, now: float, in_use: int) -> None:
        """Grow a little, or count a slow call."""
        if now - began > self._threshold:
            self._count_slow(began, now)
        elif 2 * in_use >= self.limit:
            self._set(self._exact + 1 / self._exact)
        if began >= self._changed_at:
            self._seen += 1
            if self._seen >= self.limit:
                self._seen = self._slow = 0

    def _count_slow(self, began: float, now: float) -> None:
        if began >= self._changed_at:
            self._slow += 1
            if self._slow > SLOW_SHARE * self.limit:
                self._step_back(now)

    def drop(self, began: float, now: float) -> None:
        """Step back, unless that was done since the call began."""
        if began >= self._changed_at:
            self._step_back(now)

    def _step_back(self, now: float) -> None:
        # Below the next whole number in any case, or a small limit would never go down.
        self._set(min(self._exact * self._backoff, math.ceil(self._exact) - 1.0))
        self._changed_at = now
        self._seen = self._slow = 0

    def _set(self, exact: float) -> None:
        self._exact = min(max(exact, self._least), self._most)
        self.limit = int(self._exact)


class Gradient:
    """Set the limit by how much slower calls are than they are without a queue.

    What fills the service without a queue is ``limit * unloaded / latency``. The unloaded latency
    is measured at half the limit every so often, and further down as long as that is better. A
    long-running mean in its place would creep up under steady overload, and the limit with it.
    """

    def __init__(self, *, initial: int, least: int, most: int, tolerance: float) -> None:
        self.limit = initial
        self._exact = float(initial)
        self._least = least
        self._most = most
        self._tolerance = tolerance
        self._changed_at = -math.inf
        self._latencies: list[float] = []
        self._most_in_use = 0
        self._unloaded: float | None = None
        self._probing_from: float | None = None
        self._rounds = 0

    def change(self, *, least: int, most: int, tolerance: float) -> None:
        """Go on with other numbers, from the limit there is."""
        self._least, self._most, self._tolerance = least, most, tolerance
        self._set(self._exact)

    @property
    def settled(self) -> int:
        """The limit; while a probe is made, the one before it."""
        return self.limit if self._probing_from is None else int(self._probing_from)

    def success(self, began: float, now: float, in_use: int) -> None:
        """Note the latency; decide when there is a round of them."""
        if began < self._changed_at:
            return
        self._latencies.append(now - began)
        self._most_in_use = max(self._most_in_use, in_use)
        calls = len(self._latencies)
        if calls < LEAST_CALLS or (calls < MOST_CALLS and now < self._changed_at + ROUND_SECONDS):
            return
        lower, middle, upper = statistics.quantiles(self._latencies)
        latency = max(middle, LEAST_LATENCY)
        slack = NOISE * (upper - lower) / math.sqrt(calls)
        is_used = 2 * self._most_in_use >= self.limit
        self._begin_round(now)
        if self._probing_from is not None:
            self._end_probe(latency, slack, self._probing_from)
        else:
            self._follow(latency, slack, is_used=is_used)

    def drop(self, began: float, now: float) -> None:
        """Step back hard, unless that was done since the call began."""
        if began >= self._changed_at:
            self._probing_from = None
            self._set(self._exact * HARDEST_STEP)
            self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._latencies.clear()
        self._most_in_use = 0
        self._changed_at = now

    def _follow(self, latency: float, slack: float, *, is_used: bool) -> None:
        if self._unloaded is None:
            self._unloaded = latency
            self._probe()
            return
        if latency + slack < self._unloaded:
            self._unloaded = latency
        share = self._tolerance * self._unloaded / max(latency - slack, LEAST_LATENCY)
        if share < 1:
            self._set(self._exact * max(share, HARDEST_STEP))
        elif is_used:
            self._set(self._exact + math.sqrt(self._exact))
        self._rounds += 1
        if self._rounds >= PROBE_ROUNDS:
            self._probe()

    def _probe(self) -> None:
        self._rounds = 0
        self._probing_from = self._exact
        self._set(self._exact * PROBE_SHARE)

    def _end_probe(self, latency: float, slack: float, came_from: float) -> None:
        is_better = self._unloaded is not None and latency + slack < BETTER * self._unloaded
        self._unloaded = latency
        if is_better and self.limit > self._least:
            # There was a queue at the limit before, so there may be one here.
            self._probe()
            return
        self._probing_from = None
        self._set(came_from)

    def _set(self, exact: float) -> None:
        self._exact = min(max(exact, self._least), self._most)
        self.limit = int(self._exact)
