"""Rows: one policy each, in the numbers that a table shows, from one process or from a fleet."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.commands.words import seconds, spaced
from meshhook.health import Status
from meshhook.observe.fleet.counters import (
    counters,
    failed,
    failure_share,
    passed,
    quantile,
    refused,
    share,
    slow_share,
)
from meshhook.observe.remote.untrusted import Seen, number, text, whole

At: TypeAlias = tuple[str, str]
Numbers: TypeAlias = dict[str, int]

_SPAN = 5.0
_LIMIT = re.compile(r"(\d+)/.*?(?: burst (\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy. Shares and the usage are from 0 to 1; None is what is not known, or not there."""

    kind: str
    name: str
    status: Status
    condition: str
    critical: bool
    calls: int | None
    rate: float | None
    failures: float | None
    slow: float | None
    p50: float | None
    p99: float | None
    rejected: int | None
    rejecting: float | None
    usage: float | None
    members: str
    outliers: tuple[tuple[str, str], ...]


class Rates:
    """What was counted in the last seconds, from readings of the counters."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Mapping[At, Numbers]]] = deque()

    def add(self, moment: float, numbers: Mapping[At, Numbers]) -> None:
        """Add a reading."""
        self._readings.append((moment, numbers))
        while len(self._readings) > 2 and self._readings[1][0] <= moment - _SPAN:  # noqa: PLR2004
            self._readings.popleft()

    def lately(self, at: At) -> tuple[float, Numbers] | None:
        """Return the seconds between the first reading and the last, and what was counted then.

        None where there are no two readings, or where the counters began anew between them.
        """
        if not self._readings:
            return None
        first, last = self._readings[0], self._readings[-1]
        before, now = first[1].get(at), last[1].get(at)
        if before is None or now is None or last[0] <= first[0]:
            return None
        growth = {field: value - before.get(field, 0) for field, value in now.items()}
        return None if min(growth.values(), default=0) < 0 else (last[0] - first[0], growth)


def rows_of_one(policies: Iterable[Seen], rates: Rates) -> list[Row]:
    """Make the rows of one process; the rates have seen the same reading already."""
    return [_row_of_one(each, rates) for each in policies]


def _row_of_one(seen: Seen, rates: Rates) -> Row:
    condition = spaced(seen.condition)
    left = seen.until if seen.until is not None else number(seen.stats, "retry_after")
    if left and (seen.until is not None or seen.kind == "circuit_breaker"):
        condition += f" {seconds(left)}"
    numbers = counters(seen)
    rate, failures, rejecting = _lately(seen.kind, rates.lately(seen.at))
    return Row(
        kind=seen.kind,
        name=seen.name,
        status=seen.status,
        condition=condition,
        critical=seen.critical,
        calls=passed(seen.kind, numbers),
        rate=rate,
        failures=failure_share(seen) if failures is None else failures,
        slow=slow_share(seen),
        p50=quantile(seen, "p50"),
        p99=quantile(seen, "p99"),
        rejected=refused(seen.kind, numbers),
        rejecting=rejecting,
        usage=_usage(seen),
        members="",
        outliers=(),
    )


def rows_of_fleet(document: dict[str, Any], rates: Rates) -> list[Row]:
    """Make the rows of a fleet, as :meth:`meshhook.observe.fleet.fleet.Fleet.read` tells of it."""
    reachable = len(document["members"]) - document["unreachable"]
    return [_row_of_many(each, reachable, rates) for each in document["policies"]]


def _row_of_many(policy: dict[str, Any], reachable: int, rates: Rates) -> Row:
    kind, name, sums = policy["policy"], policy["name"], policy["sums"]
    members = policy["by_member"].values()
    rate, failures, rejecting = _lately(kind, rates.lately((kind, name)))
    if failures is None:
        failures = share(failed(kind, sums), passed(kind, sums))
    condition = spaced(policy["condition"])
    as_it = sum(each["condition"] == policy["condition"] for each in members)
    if policy["differing"]:
        condition += f" on {as_it}"
    return Row(
        kind=kind,
        name=name,
        status=Status(policy["status"]),
        condition=condition,
        critical=policy["critical"],
        calls=passed(kind, sums),
        rate=rate,
        failures=failures,
        slow=None,
        p50=None,
        p99=max((each["p99"] for each in members if each["p99"] is not None), default=None),
        rejected=refused(kind, sums),
        rejecting=rejecting,
        usage=None,
        members=f"{policy['members']} of {reachable}",
        outliers=tuple((each["id"], each["why"]) for each in policy["outliers"]),
    )


def _lately(
    kind: str, lately: tuple[float, Numbers] | None
) -> tuple[float | None, float | None, float | None]:
    """Return calls a second, the share of them that failed, and refusals a second."""
    if lately is None:
        return None, None, None
    span, growth = lately
    through, refusals = passed(kind, growth), refused(kind, growth)
    return (
        None if through is None else through / span,
        share(failed(kind, growth), through),
        None if refusals is None else refusals / span,
    )


def _usage(seen: Seen) -> float | None:
    """Return which share is used of what a policy has to give."""
    stats = seen.stats
    match seen.kind:
        case "bulkhead":
            return share(whole(stats, "in_use"), whole(stats, "max_concurrent"))
        case "rate_limit":
            return _used_of_limit(text(stats, "limit"), whole(stats, "remaining"))
        case "retry_budget":
            return number(stats, "usage")
        case "throttle":
            return number(stats, "chance")
        case _:
            return None


def _used_of_limit(limit: str, remaining: int | None) -> float | None:
    found = _LIMIT.fullmatch(limit)
    if found is None or remaining is None:
        return None
    left = share(remaining, int(found[2] or found[1]))
    return None if left is None else 1 - left
