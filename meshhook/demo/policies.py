"""The policies of the demo, as an application would set them, but in a registry of their own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import meshhook as mh
from meshhook.stores.protocol import Store

F = TypeVar("F", bound=Callable[..., Any])

PRICES_A_SECOND = 80
PRICES_AT_ONCE = 6
BURST = 20
MORE_ATTEMPTS = 0.2
FREE_ATTEMPTS = 2.0
"""Extra attempts that are made in any case, in one second."""
_TURN = 0.05
"""Seconds that a price may wait for its turn within the rate."""


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
    again: Wrap
    """Around a price: further attempts, one after the other and side by side, within a budget."""
    limits: Wrap
    """Around each attempt to get a price: so many a second, and so many at a time."""
    patience: float
    """Seconds that an attempt may take: the limit, and the wait for its turn."""


def demo_policies(store: Store, limit: float, reset_timeout: float) -> Policies:
    """Make the policies; ``limit`` and ``reset_timeout`` are seconds."""
    registry = mh.Registry()
    budget = mh.RetryBudget(MORE_ATTEMPTS, FREE_ATTEMPTS, name="prices", registry=registry)
    named: Any = functools.partial(dict, name="prices", registry=registry)
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
        again=mh.Pipeline(
            mh.retry(base_delay=limit / 8, max_delay=limit, budget=budget, **named()),
            mh.hedge(limit / 4, idempotent=True, budget=budget, **named()),
        ),
        limits=mh.Pipeline(
            mh.rate_limit(f"{PRICES_A_SECOND}/s burst {BURST}", max_wait=_TURN, **named()),
            mh.bulkhead(PRICES_AT_ONCE, **named()),
        ),
        patience=limit + _TURN,
    )
