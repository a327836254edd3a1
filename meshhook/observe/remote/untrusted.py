"""What another process says of its policies, looked at before anybody believes it.

It may be of another version, or no meshhook at all, or mean ill. What is read here has the types
that it should have, no number beyond all measure, and text that does nothing to a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshhook.health import Status
from meshhook.observe.remote.client import RemoteError
from meshhook.observe.remote.shown import clean

_LARGEST = 1 << 63
_LAST_MOMENT = 253_402_300_800 - 2 * 86_400
"""A little before the year 10,000, in every time zone."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A policy of another process. ``stats`` has whatever was sent: read it by the functions."""

    kind: str
    name: str
    status: Status
    condition: str
    critical: bool
    actions: tuple[str, ...]
    until: float | None
    stats: dict[str, Any]

    @property
    def at(self) -> tuple[str, str]:
        """Its kind and name."""
        return self.kind, self.name


@dataclass(frozen=True, slots=True)
class Told:
    """What a process says: who it is, how it is, and what its policies are."""

    id: str
    status: Status
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
        id=instance_of(top),
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


def read_health(document: Any) -> dict[str, Any]:
    """Read the answer at ``/health``: nothing else is in what this returns."""
    top = _dict("the answer", document)
    return {
        "status": str(_status("status", top.get("status"))),
        "ready": _truth("ready", top.get("ready")),
        "policies": {
            clean(name): {
                "status": str(_status("status", _dict("a policy", each).get("status"))),
                "condition": _text("condition", each.get("condition")),
                "critical": _truth("critical", each.get("critical", False)),
            }
            for name, each in part(top, "policies").items()
        },
    }


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of another process; ``id`` counts them there. ``fields`` are those of its kind."""

    id: int
    time: float
    event: str
    kind: str
    name: str
    fields: dict[str, Any]


def instance_of(document: Any) -> str:
    """Return which process an answer is of."""
    return _text(
        "instance.id", _dict("instance", _dict("the answer", document).get("instance")).get("id")
    )


def read_happenings(document: Any) -> list[Happening]:
    """Read a list of events."""
    if not isinstance(document, list):
        raise _odd("events", "a list")
    return [_happening(_dict("an event", each)) for each in document]


def _happening(own: dict[str, Any]) -> Happening:
    seconds = number(own, "time")
    if seconds is None or not 0 <= seconds < _LAST_MOMENT:
        raise _odd("time", "a moment in seconds")
    known = ("id", "time", "event", "policy", "name")
    return Happening(
        id=whole(own, "id") or 0,
        time=seconds,
        event=_text("event", own.get("event")),
        kind=_text("policy", own.get("policy")),
        name=_text("name", own.get("name")),
        fields={clean(each): _plain(each, own) for each in own if each not in known},
    )


def _plain(field: str, own: dict[str, Any]) -> Any:
    value = own[field]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    return number(own, field)


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


def _dict(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _odd(what, "an object")
    return value


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _odd(what, "text")
    return clean(value)


def _status(what: str, value: Any) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise _odd(what, f"one of {', '.join(Status)}") from None


def _truth(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _odd(what, "true or false")
    return value


def _odd(what: str, wanted: str) -> RemoteError:
    """Build the error for an answer of the wrong shape; what was answered is not shown."""
    return RemoteError(f"answered with something else than ours do: {what} is not {wanted}")
