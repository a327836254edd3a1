"""The meshhook side of each case: the policies, set up as the goals describe them.

meshhook is imported by the functions, so that a part that is missing costs its own rows only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

_names = (f"benchmark-{number}" for number in itertools.count(1))


def consecutive(function: Callable[..., Any]) -> Any:
    """Break after five failures in a row."""
    import meshhook as mh

    return mh.circuit_breaker(failure_threshold=5)(function)


def count_window(function: Callable[..., Any]) -> Any:
    """Break when half of the last hundred calls failed."""
    import meshhook as mh

    return mh.circuit_breaker(failure_rate_threshold=0.5, window_calls=100)(function)


def time_window(function: Callable[..., Any]) -> Any:
    """Break when half of the calls of the last ten seconds failed."""
    import meshhook as mh

    return mh.circuit_breaker(failure_rate_threshold=0.5, window=10.0)(function)


def limited(function: Callable[..., Any], mode: str = "auto") -> Any:
    """Give the call ten seconds."""
    import meshhook as mh

    return mh.timeout(10.0, mode=mode)(function)


def stacked(function: Callable[..., Any]) -> Any:
    """Put a breaker around a timeout."""
    return consecutive(limited(function))


def idempotent(function: Callable[..., Any]) -> Any:
    """Run once for each order, and compare the other arguments."""
    import meshhook as mh

    return mh.idempotent(key="charge:{order}", name=next(_names), store=mh.MemoryStore())(function)


def idempotent_by_argument(function: Callable[..., Any]) -> Any:
    """Run once for each value of the only argument."""
    import meshhook as mh

    policy = mh.idempotent(
        key="{order}", name=next(_names), store=mh.MemoryStore(), fingerprint=False
    )
    return policy(function)


def breaker_for_each_host(count: int) -> Any:
    """Return a function with one breaker for each of up to ``count`` hosts."""
    import meshhook as mh

    @mh.circuit_breaker(next(_names), key="{host}", max_keys=count)
    def fetch(host: str) -> str:
        return host

    return fetch
