"""What another process says of its policies, looked at before anybody believes it.

It may be of another version, or no meshhook at all, or mean ill. What is read here has the types
that it should have, no number beyond all measure, and text that does nothing to a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshhook.observe.remote import RemoteError

STATUSES = ("ok", "degraded", "failing")
"""From the best to the worst."""

_LONGEST = 200
_LARGEST = 1 << 63
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str, longest: int = _LONGEST) -> str:
    """Return text of which every character has a shape: no controls, no change of direction."""
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return "".join(each if each.isprintable() else _REPLACEMENT for each in text)


@dataclass(frozen=True, slots=True)
class Seen:
    """A policy of another process. ``stats`` has whatever was sent: read it by the functions."""

    kind: str
    name: str
    status: str
    condition: str
    critical: bool
    actions: tuple[str, ...]
    until: float | None
    stats: dict[str, Any]

    @property
    def at(self) -> tuple[str, str]:
        """Its kind and name."""
        return self.kind, self.name

    @property
    def gravity(self) -> int:
        """0 for the best status, and more for worse ones."""
        return STATUSES.index(self.status)


@dataclass(frozen=True, slots=True)
class Told:
    """What a process says: who it is, how it is, and what its policies are."""

    id: str
    status: str
    ready: bool
    policies: dict[tuple[str, str], Seen]


def read_policies(document: Any) -> Told:
    """Read the answer at ``/policies``."""
    top = _dict("the answer", document)
    health = _dict("health", top.get("health"))
    policies = top.get("policies")
    if not isinstance(policies, list):
        raise _odd("policies", "a list")
    seen = [read_policy(each) for each in policies]
    return Told(
        id=_text("instance.id", _dict("instance", top.get("instance")).get("id")),
        status=_status("health.status", health.get("status")),
        ready=_truth("health.ready", health.get("ready")),
        policies={each.at: each for each in seen},
    )


def read_policy(document: Any) -> Seen:
    """Read one policy."""
    own = _dict("a policy", document)
    actions = own.get("actions", [])
    if not isinstance(actions, list):
        raise _odd("actions", "a list")
    return Seen(
        kind=_text("policy", own.get("policy")),
        name=_text("name", own.get("name")),
        status=_status("status", own.get("status")),
        condition=_text("condition", own.get("condition")),
        critical=_truth("critical", own.get("critical", False)),
        actions=tuple(_text("actions", each) for each in actions),
        until=number(own, "until"),
        stats=_dict("stats", own.get("stats")),
    )


def whole(stats: dict[str, Any], field: str) -> int | None:
    """Return a whole number of ``stats``, None where there is none; it is 0 or more."""
    value = stats.get(field)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise _odd(field, "a whole number")
    return value


def number(stats: dict[str, Any], field: str) -> float | None:
    """Return a number of ``stats``, None where there is none."""
    value = stats.get(field)
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) < _LARGEST:
        raise _odd(field, "a number")
    return float(value)


def part(stats: dict[str, Any], field: str) -> dict[str, Any]:
    """Return what ``stats`` has of its own under a name, empty where there is nothing."""
    value = stats.get(field)
    return {} if value is None else _dict(field, value)


def text(stats: dict[str, Any], field: str) -> str:
    """Return a text of ``stats``, empty where there is none."""
    value = stats.get(field)
    return "" if value is None else _text(field, value)


def moment(document: dict[str, Any], field: str) -> float:
    """Return a moment as seconds of the epoch that a calendar has."""
    seconds = number(document, field)
    if seconds is None or not 0 <= seconds < _LAST_MOMENT:
        raise _odd(field, "a moment in seconds")
    return seconds


_LAST_MOMENT = 253_402_300_800 - 86_400 * 2
"""Some time before the year 10,000, in every time zone."""


def _dict(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _odd(what, "an object")
    return value


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _odd(what, "text")
    return clean(value)


def _status(what: str, value: Any) -> str:
    if value not in STATUSES:
        raise _odd(what, "one of ok, degraded, failing")
    return str(value)


def _truth(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _odd(what, "true or false")
    return value


def _odd(what: str, wanted: str) -> RemoteError:
    """Build the error for an answer of the wrong shape; what was answered is not shown."""
    return RemoteError(f"answered with something else than ours do: {what} is not {wanted}")
