"""What a policy says about itself: frozen dataclasses that turn into JSON as they are.

Counters run since the policy was made. Durations are seconds. Keys, arguments and results are never
in here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from meshhook.health import Status
from meshhook.rules.sketch import Sketch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Base of all statistics: which policy they are of."""

    policy: str
    name: str

    def health(self) -> tuple[Status, str]:
        """Return the status by these statistics, and the condition in a word.

        It tells what would become of a call that came now: see :mod:`meshhook.health`.
        """
        return Status.OK, "ok"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers, text and None, fit for ``json.dumps``."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Durations of calls in seconds, each within 10 %."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, sketch: Sketch) -> Latency:
        """Read the quantiles of ``sketch``."""
        return cls(p50=sketch.quantile(0.5), p95=sketch.quantile(0.95), p99=sketch.quantile(0.99))
