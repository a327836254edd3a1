"""Which numbers of the statistics are counters: they only grow, and make sense as sums.

The others are gauges and settings, or look back at a window.
"""

from __future__ import annotations

from typing import Final

from meshhook.observe.remote.untrusted import Seen, number, part, whole

COUNTERS: Final[dict[str, tuple[str, ...]]] = {
    "bulkhead": ("admitted", "waited", "rejected", "abandoned", "evicted"),
    "chaos": ("struck", "latencies", "faults", "results"),
    "circuit_breaker": (
        *("calls", "successes", "failures", "ignored", "rejected", "opened", "evicted"),
    ),
    "fallback": (
        *("calls", "successes", "used", "from_value", "from_handler", "from_last_good"),
        *("failures", "ignored", "handler_failures"),
    ),
    "hedge": (
        *("calls", "successes", "failures", "ignored", "hedges", "wins", "discarded"),
        *("suppressed_by_budget", "suppressed_by_limit"),
    ),
    "idempotent": (
        *("calls", "executed", "replayed", "rejected", "released", "lost", "waited"),
        *("unprotected", "store_errors"),
    ),
    "rate_limit": ("calls", "admitted", "rejected", "waited", "cancelled", "evicted"),
    "retry": ("calls", "successes", "recovered", "failures", "ignored", "attempts", "retries"),
    "retry_budget": ("calls", "taken", "given_back", "refused"),
    "throttle": ("calls", "accepted", "failures", "ignored", "rejected", "evicted"),
    "timeout": (
        *("calls", "successes", "failures", "ignored", "timed_out", "rejected"),
        "abandoned_total",
    ),
}
"""By kind of policy."""

_OF_ANY_KIND = ("calls", "successes", "failures", "rejected")

_PASSED = {"bulkhead": "admitted", "rate_limit": "admitted", "chaos": "struck"}
_FAILED = {"timeout": ("failures", "timed_out"), "idempotent": ("released",)}


def counters(policy: Seen) -> dict[str, int]:
    """Return the counters of a policy; of a kind that is not known, those that many have."""
    found = {}
    for field in COUNTERS.get(policy.kind, _OF_ANY_KIND):
        value = whole(policy.stats, field)
        if value is not None:
            found[field] = value
    return found


def passed(kind: str, numbers: dict[str, int]) -> int | None:
    """Return how many calls a policy let through, by its counters."""
    return numbers.get(_PASSED.get(kind, "calls"))


def failed(kind: str, numbers: dict[str, int]) -> int | None:
    """Return how many of these failed; None where a policy does not tell."""
    if kind in _PASSED or kind == "retry_budget":
        return None
    found = [numbers[field] for field in _FAILED.get(kind, ("failures",)) if field in numbers]
    return sum(found) if found else None


def refused(kind: str, numbers: dict[str, int]) -> int | None:
    """Return how many calls a policy refused."""
    return numbers.get("refused" if kind == "retry_budget" else "rejected")


def share(part_of: int | None, whole_of: int | None) -> float | None:
    """Return the one as a share of the other, None where there is nothing to share."""
    return None if part_of is None or not whole_of else min(1.0, part_of / whole_of)


def failure_share(policy: Seen) -> float | None:
    """Return which share of the calls fails, in the window or else since the start."""
    window = number(part(policy.stats, "window"), "failure_rate")
    if window is not None:
        return window
    numbers = counters(policy)
    return share(failed(policy.kind, numbers), passed(policy.kind, numbers))


def slow_share(policy: Seen) -> float | None:
    """Return which share of the calls in the window is slow."""
    return number(part(policy.stats, "window"), "slow_rate")


def quantile(policy: Seen, name: str) -> float | None:
    """Return a quantile of the latency, such as ``p99``, in seconds."""
    return number(part(policy.stats, "latency"), name)
