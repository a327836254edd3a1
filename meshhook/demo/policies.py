"""The policies of the demo, as an application would set them, but in a registry of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import meshhook as mh
from meshhook.stores.protocol import Store

F = TypeVar("F", bound=Callable[..., Any])


class Wrap(Protocol):
    """A decorator that gives back the type it was given."""

    def __call__(self, fn: F, /) -> F:
        """Decorate ``fn``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policies:
    """What is put around the calls, and the registry to look into."""

    registry: mh.Registry
    limit: float
    breaker: Wrap
    timeout: Wrap
    once: mh.Idempotent


def demo_policies(store: Store, limit: float, reset_timeout: float) -> Policies:
    """Make the three policies; ``limit`` and ``reset_timeout`` are seconds."""
    registry = mh.Registry()
    return Policies(
        registry=registry,
        limit=limit,
        breaker=mh.circuit_breaker(
            "service",
            failure_rate_threshold=0.5,
            window=5 * limit,
            minimum_calls=10,
            reset_timeout=reset_timeout,
            registry=registry,
        ),
        timeout=mh.timeout(limit, name="service", registry=registry),
        once=mh.idempotent(
            key="charge:{order}", store=store, name="charge", ttl="10m", registry=registry
        ),
    )
