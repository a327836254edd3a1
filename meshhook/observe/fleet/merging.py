"""What the members of a fleet say, put together: sums, the worst of each, and who is different."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from meshhook.health import Status
from meshhook.observe.fleet.counters import counters, failure_share, passed, quantile
from meshhook.observe.remote.asking import NotInTimeError
from meshhook.observe.remote.client import RemoteError
from meshhook.observe.remote.untrusted import Seen, Told
from meshhook.wording import short

_FEWEST_MEMBERS = 3
"""Fewer than this have no median that one of them could be far from."""

_FEWEST_CALLS = 20
_TIMES = 3.0
_SHARE_APART, _SECONDS_APART = 0.2, 0.05
"""Far from the median is so many times of it, and so much more."""


@dataclass(frozen=True, slots=True)
class Line:
    """One policy on one member, with the numbers that are put together."""

    seen: Seen
    sums: dict[str, int]
    failure_share: float | None
    p99: float | None

    @classmethod
    def of(cls, seen: Seen) -> Line:
        """Read the numbers; those that cannot be are an error of the member."""
        sums = counters(seen)
        enough = (passed(seen.kind, sums) or 0) >= _FEWEST_CALLS
        share = failure_share(seen) if enough else None
        return cls(seen, sums, share, quantile(seen, "p99"))


@dataclass(frozen=True, slots=True)
class Answered:
    """What a member told, its policies as lines, and how many seconds that took."""

    told: Told
    lines: list[Line]
    seconds: float


_ByMember: TypeAlias = dict[str, Line]


def merge(answers: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Put together what each URL answered: an ``Answered``, or an error instead."""
    members: list[dict[str, Any]] = []
    urls: dict[str, str] = {}
    found: dict[tuple[str, str], _ByMember] = {}
    for url, answer in answers:
        if not isinstance(answer, Answered):
            members.append(_NOBODY | {"url": url, "error": _in_words(answer)})
            continue
        own = answer.told.id
        members.append(_member(url, answer, urls.get(own)))
        if urls.setdefault(own, url) == url:
            for line in answer.lines:
                found.setdefault(line.seen.at, {})[own] = line
    policies = [_policy(by_member) for by_member in found.values()]
    policies.sort(key=_trouble)
    unreachable = sum(not each["reachable"] for each in members)
    return {"members": members, "policies": policies, "unreachable": unreachable}


_NOBODY: Final[dict[str, Any]] = {
    "url": "",
    "id": None,
    "reachable": False,
    "error": None,
    "status": None,
    "ready": None,
    "policies": 0,
    "seconds": None,
}


def _in_words(error: Any) -> str:
    match error:
        case RemoteError():
            return str(error)
        case NotInTimeError():
            return "timed out" if error.asked else "not asked in time: too many do not answer"
        case _:
            return f"could not be asked: {type(error).__name__}"


def _member(url: str, answer: Answered, same: str | None) -> dict[str, Any]:
    """Describe a member that answered; one that was counted as ``same`` already has an error."""
    told = answer.told
    return _NOBODY | {
        "url": url,
        "id": told.id,
        "reachable": True,
        "error": None if same is None else f"the same process as {same}, not counted again",
        "status": str(told.status),
        "ready": told.ready,
        "policies": len(told.policies),
        "seconds": round(answer.seconds, 6),
    }


def _policy(by_member: _ByMember) -> dict[str, Any]:
    worst = max(by_member.values(), key=lambda line: line.seen.status.gravity).seen
    sums: Counter[str] = Counter()
    for line in by_member.values():
        sums.update(line.sums)
    return {
        "policy": worst.kind,
        "name": worst.name,
        "status": str(worst.status),
        "condition": worst.condition,
        "critical": any(line.seen.critical for line in by_member.values()),
        "members": len(by_member),
        "differing": len({line.seen.condition for line in by_member.values()}) > 1,
        "outliers": [{"id": own, "why": why} for own, why in _outliers(by_member)],
        "sums": dict(sums),
        "by_member": {
            own: {
                "status": str(line.seen.status),
                "condition": line.seen.condition,
                "failure_share": line.failure_share,
                "p99": line.p99,
            }
            for own, line in by_member.items()
        },
    }


def _trouble(policy: dict[str, Any]) -> tuple[Any, ...]:
    """Order policies: the worst first, then those that differ, then by name."""
    gravity = Status(policy["status"]).gravity
    return (
        -gravity,
        not policy["differing"],
        not policy["outliers"],
        policy["name"],
        policy["policy"],
    )


def _outliers(by_member: _ByMember) -> Iterator[tuple[str, str]]:
    yield from _in_another_condition(by_member)
    shares = {own: line.failure_share for own, line in by_member.items()}
    for own, value, usual in _far_above(shares, _SHARE_APART):
        yield own, f"fails {value:.0%} of its calls, the median is {usual:.0%}"
    p99s = {own: line.p99 for own, line in by_member.items()}
    for own, value, usual in _far_above(p99s, _SECONDS_APART):
        yield own, f"its p99 is {short(value)} s, the median is {short(usual)} s"


def _in_another_condition(by_member: _ByMember) -> Iterator[tuple[str, str]]:
    """Find those that are not as most are; if as many are otherwise, the calmer are usual."""
    numbers = Counter(line.seen.condition for line in by_member.values())
    if len(numbers) == 1:
        return
    gravity = {line.seen.condition: line.seen.status.gravity for line in by_member.values()}
    usual = max(numbers, key=lambda condition: (numbers[condition], -gravity[condition]))
    for own, line in by_member.items():
        if line.seen.condition != usual:
            here, there = line.seen.condition.replace("_", " "), usual.replace("_", " ")
            yield own, f"{here} here, {there} on {numbers[usual]}"


def _far_above(values: dict[str, float | None], apart: float) -> Iterator[tuple[str, float, float]]:
    known = {own: value for own, value in values.items() if value is not None}
    if len(known) < _FEWEST_MEMBERS:
        return
    usual = statistics.median(known.values())
    for own, value in known.items():
        if value > usual * _TIMES and value > usual + apart:
            yield own, value, usual
