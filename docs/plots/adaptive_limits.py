"""Adaptive limits in front of a service with a knee, on virtual time.

The service has so many servers, and a queue in front of them. It is sent three times as many calls
as it can take, and after a minute half of its servers go. Run it to draw the plot:
``python -m docs.plots.adaptive_limits``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import meshhook as mh
from docs.plots.svg import Band, Line, chart

IMAGE = Path(__file__).parents[1] / "images" / "adaptive-limits.svg"
SERVERS = 40
LATENCY = 0.1
LOAD = 3.0
HALVED, END = 60.0, 120.0


class Limiter(Protocol):
    """What lets calls pass: a bulkhead, or the rule of one."""

    limit: int

    def enter(self) -> Any:
        """Return what the call holds, or None for a call that is refused."""

    def leave(self, held: Any) -> None:
        """End a call."""


class Simulation:
    """A service of ``servers``, each busy with one call at a time, and calls that come by chance.

    A call takes ``LATENCY`` seconds on a server, give or take ``noise``. With ``shared`` there is
    no queue: all calls run at once, and more calls than servers slow each other down.
    """

    def __init__(self, *, seed: int, noise: float = 0.1, shared: bool = False) -> None:
        self.now = 0.0
        self.servers = SERVERS
        self.ended: list[tuple[float, float]] = []
        self.limits: list[tuple[float, int]] = []
        self._chance = random.Random(seed)  # noqa: S311 - chance, no secret
        self._noise = noise
        self._shared = shared
        self._running = 0
        self._queue: deque[tuple[float, Any]] = deque()
        self._events: list[tuple[float, int, str, Any]] = []
        self._order = itertools.count()

    def run(self, limiter: Limiter, until: float, halved: float | None = None) -> None:
        """Let calls come until then; half of the servers go at ``halved``."""
        rate = LOAD * SERVERS / LATENCY
        self._at(0.0, "arrive")
        if halved is not None:
            self._at(halved, "halve")
        while self._events[0][0] < until:
            self.now, _, what, call = heapq.heappop(self._events)
            if what == "arrive":
                self._at(self.now + self._chance.expovariate(rate), "arrive")
                held = limiter.enter()
                if held is not None:
                    self._begin((self.now, held))
            elif what == "halve":
                self.servers //= 2
            else:
                self._end(limiter, *call)

    def _at(self, moment: float, what: str, call: Any = None) -> None:
        heapq.heappush(self._events, (moment, next(self._order), what, call))

    def _begin(self, call: tuple[float, Any]) -> None:
        if self._running >= self.servers and not self._shared:
            self._queue.append(call)
            return
        self._running += 1
        seconds = LATENCY * self._chance.lognormvariate(0.0, self._noise)
        if self._shared:
            seconds *= max(1.0, self._running / self.servers)
        self._at(self.now + seconds, "end", call)

    def _end(self, limiter: Limiter, began: float, held: Any) -> None:
        limiter.leave(held)
        self.ended.append((self.now, self.now - began))
        self.limits.append((self.now, limiter.limit))
        self._running -= 1
        while self._queue and self._running < self.servers:
            self._begin(self._queue.popleft())


class Fixed:
    """A limit that stays as it is."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_use = 0

    def enter(self) -> bool | None:
        """Take a slot."""
        if self._in_use >= self.limit:
            return None
        self._in_use += 1
        return True

    def leave(self, _: object) -> None:
        """Give it back."""
        self._in_use -= 1


class Ruled:
    """The rule of an adaptive limit."""

    def __init__(self, limit: mh.AIMD | mh.Gradient, simulation: Simulation) -> None:
        self._rule = limit.start()
        self._simulation = simulation
        self._in_use = 0

    @property
    def limit(self) -> int:
        """The limit now."""
        return self._rule.limit

    def enter(self) -> float | None:
        """Take a slot; hold when that was."""
        if self._in_use >= self.limit:
            return None
        self._in_use += 1
        return self._simulation.now

    def leave(self, began: float) -> None:
        """Give it back, and learn."""
        self._rule.success(began, self._simulation.now, self._in_use)
        self._in_use -= 1


class Measured(NamedTuple):
    """A stretch of a simulation."""

    limit: float
    throughput: float
    p50: float
    p99: float


def measure(simulation: Simulation, begin: float, end: float) -> Measured:
    """Return the mean limit, calls per second and quantiles of latency of a stretch of time."""
    latencies = sorted(seconds for moment, seconds in simulation.ended if begin <= moment < end)
    limits = [limit for moment, limit in simulation.limits if begin <= moment < end]
    return Measured(
        sum(limits) / len(limits),
        len(latencies) / (end - begin),
        latencies[len(latencies) // 2],
        latencies[int(0.99 * len(latencies))],
    )


def play(limit: mh.AIMD | mh.Gradient) -> list[tuple[float, float]]:
    """Return the mean limit of each half second."""
    simulation = Simulation(seed=5)
    simulation.run(Ruled(limit, simulation), END, HALVED)
    return [
        (half / 2 + 0.25, measure(simulation, half / 2, half / 2 + 0.5).limit)
        for half in range(round(2 * END))
    ]


def draw() -> str:
    """Draw the limits of both algorithms, and the number of servers."""
    servers = [(0.0, SERVERS), (HALVED, SERVERS), (HALVED, SERVERS // 2), (END, SERVERS // 2)]
    return chart(
        "Adaptive limits, and the servers of the service behind them",
        "seconds",
        "calls at a time",
        [
            Line("servers", "grey", servers, dashed=True),
            Line("AIMD(latency_threshold=0.13)", "red", play(mh.AIMD(latency_threshold=0.13))),
            Line("Gradient()", "blue", play(mh.Gradient())),
        ],
        [Band("half of the servers have gone", HALVED, END)],
    )


if __name__ == "__main__":
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(draw(), encoding="utf-8")
