"""Health: how well a policy, and all of them together, can do their work now.

The status of a policy tells what would become of a call that came now:

- ``ok``: it would go through, as far as the policy is concerned;
- ``degraded``: it might be delayed or refused, or would go without what the policy protects from;
- ``failing``: it would be refused, or most of them would.

A status is of the moment. It is made of what is so now, never of what has been counted since the
start, so nothing that is over keeps a service degraded. Reading it does no input or output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How well something does, from the best to the worst; compare by :attr:`gravity`."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"

    @property
    def gravity(self) -> int:
        """How bad it is: 0 for ok, 2 for failing."""
        return _GRAVITY[self]

    def __lt__(self, other: str) -> bool:
        return self.gravity < Status(other).gravity

    def __le__(self, other: str) -> bool:
        return self.gravity <= Status(other).gravity

    def __gt__(self, other: str) -> bool:
        return self.gravity > Status(other).gravity

    def __ge__(self, other: str) -> bool:
        return self.gravity >= Status(other).gravity


_GRAVITY = {status: at for at, status in enumerate(Status)}


def is_critical(policy: Any) -> bool:
    """Tell whether a service is not ready while ``policy`` is failing."""
    return bool(getattr(policy.settings, "critical", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyHealth:
    """How one policy does: ``condition`` is the reason in a word, such as ``open`` or ``full``.

    ``critical`` is what it was told: whether the service is not ready while it is failing.
    """

    status: Status
    condition: str
    critical: bool = False

    @classmethod
    def of(cls, policy: Any, stats: Any | None) -> PolicyHealth:
        """Judge ``policy`` by its statistics; None for one that could not be read.

        That is no reason to tell nothing of all the others.
        """
        status, condition = (Status.DEGRADED, "unreadable") if stats is None else stats.health()
        return cls(status=Status(status), condition=condition, critical=is_critical(policy))

    def to_dict(self) -> dict[str, Any]:
        """Return plain text and truth values, fit for ``json.dumps``."""
        return {
            "status": str(self.status),
            "condition": self.condition,
            "critical": self.critical,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How all policies of a registry do, by ``kind/name``.

    ``status`` is the worst of all. ``ready`` is False only while a critical policy is failing.
    """

    status: Status
    ready: bool
    policies: Mapping[str, PolicyHealth]

    @classmethod
    def of(cls, policies: Mapping[str, PolicyHealth]) -> Health:
        """Sum up."""
        return cls(
            status=max((each.status for each in policies.values()), default=Status.OK),
            ready=not any(
                each.critical and each.status is Status.FAILING for each in policies.values()
            ),
            policies=policies,
        )

    @property
    def failing(self) -> list[str]:
        """The critical policies that are failing: why the service is not ready."""
        return [
            name
            for name, each in self.policies.items()
            if each.critical and each.status is Status.FAILING
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, text and truth values, fit for ``json.dumps``."""
        return {
            "status": str(self.status),
            "ready": self.ready,
            "policies": {name: each.to_dict() for name, each in self.policies.items()},
        }
