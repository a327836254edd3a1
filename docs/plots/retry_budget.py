"""A storm of retries on virtual time, with a retry budget and without.

200 clients in one process call a service once a second each. For a minute the service fails every
call. Run it to draw the plot: ``python -m docs.plots.retry_budget``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from pathlib import Path
from typing import NamedTuple

from docs.plots.svg import Band, Line, chart
from meshhook.rules.backoff import Backoff, Curve, Jitter
from meshhook.rules.budget import Budget

IMAGE = Path(__file__).parents[1] / "images" / "retry-budget.svg"
CLIENTS = 200
ATTEMPTS = 4
BROKEN, MENDED, END = 20.0, 80.0, 100.0
RATIO, MIN_PER_SECOND, TTL = 0.2, 1.0, 10.0
LATENCY = 0.05
BACKOFF = Backoff(Curve.EXPONENTIAL, 0.1, 5.0, 2.0, Jitter.FULL)


class Load(NamedTuple):
    """When calls began, and when attempts beyond the first were made."""

    calls: list[float]
    extra: list[float]

    def within(self, begin: float, end: float) -> tuple[int, int]:
        """Return how many calls and how many extra attempts there were in a stretch of time."""
        return _count(self.calls, begin, end), _count(self.extra, begin, end)


def _count(moments: list[float], begin: float, end: float) -> int:
    return sum(begin <= moment < end for moment in moments)


def storm(*, with_budget: bool, seed: int = 5) -> Load:
    """Play the storm with the rules that retries go by, attempt after attempt in order of time."""
    chance = random.Random(seed).random  # noqa: S311 - the same plot each time
    budget = Budget(RATIO, MIN_PER_SECOND, TTL, 0.0)
    load = Load([], [])
    order = itertools.count()
    # Due, a number to keep the order, the attempt that is made then, and when its call began.
    due = [(chance(), next(order), 1, 0.0) for _ in range(CLIENTS)]
    heapq.heapify(due)
    while due[0][0] < END:
        now, _, attempt, began = heapq.heappop(due)
        if attempt == 1:
            began = now
            load.calls.append(now)
            budget.advance(now)
            budget.calls += 1
        else:
            load.extra.append(now)
        ended = now + LATENCY
        fails = BROKEN <= now < MENDED
        if fails and attempt < ATTEMPTS and (not with_budget or budget.take(ended) is not None):
            after = ended + BACKOFF.delay(attempt, 0.0, chance())
            heapq.heappush(due, (after, next(order), attempt + 1, began))
        else:
            after = max(began + 0.5 + chance(), ended)
            heapq.heappush(due, (after, next(order), 1, 0.0))
    return load


def per_second(load: Load) -> list[tuple[float, float]]:
    """Return what the service was sent in each second."""
    counts = [0] * round(END)
    for moment in (*load.calls, *load.extra):
        counts[int(moment)] += 1
    return [(second + 0.5, float(count)) for second, count in enumerate(counts)]


def draw() -> str:
    """Draw both storms."""
    without, budgeted = storm(with_budget=False), storm(with_budget=True)
    return chart(
        f"{CLIENTS} clients, up to {ATTEMPTS} attempts, a service that fails for a minute",
        "seconds",
        "attempts per second",
        [
            Line("without a budget", "red", per_second(without)),
            Line("with RetryBudget(ratio=0.2, min_per_second=1)", "blue", per_second(budgeted)),
        ],
        [Band("every call fails", BROKEN, MENDED)],
    )


if __name__ == "__main__":
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(draw(), encoding="utf-8")
