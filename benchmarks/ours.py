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


def retried(function: Callable[..., Any], *, with_budget: bool = False) -> Any:
    """Make up to three attempts."""
    import meshhook as mh

    budget = mh.RetryBudget() if with_budget else None
    return mh.retry(on=ConnectionError, budget=budget)(function)


def rate_limited(function: Callable[..., Any], algorithm: Any = "gcra") -> Any:
    """Allow more calls a second than can be made."""
    import meshhook as mh

    return mh.rate_limit(10_000_000, 1.0, algorithm=algorithm)(function)


def bulkheaded(function: Callable[..., Any], *, adaptive: bool = False) -> Any:
    """Allow ten calls at a time."""
    import meshhook as mh

    return mh.bulkhead(10, limit=mh.AIMD() if adaptive else None)(function)


def with_fallback(function: Callable[..., Any]) -> Any:
    """Answer failures with a value."""
    import meshhook as mh

    return mh.fallback(value=None)(function)


def throttled(function: Callable[..., Any]) -> Any:
    """Hold back what would be refused."""
    import meshhook as mh

    return mh.throttle()(function)


def chaotic(function: Callable[..., Any]) -> Any:
    """Inject nothing."""
    import meshhook as mh

    return mh.chaos(rate=0.0)(function)


def hedged(function: Callable[..., Any]) -> Any:
    """Ask once more after ten seconds."""
    import meshhook as mh

    return mh.hedge(10.0, idempotent=True)(function)


def stacked(function: Callable[..., Any]) -> Any:
    """Put a breaker around retries around a timeout."""
    return consecutive(retried(limited(function)))


def three(function: Callable[..., Any]) -> Any:
    """Stack a breaker, retries and a limit."""
    return consecutive(retried(rate_limited(function)))


def eight(function: Callable[..., Any]) -> Any:
    """Stack eight policies in canonical order; the limits of time only set deadlines."""
    call = limited(chaotic(function), "cooperative")
    call = throttled(rate_limited(bulkheaded(call)))
    return with_fallback(limited(retried(consecutive(call)), "cooperative"))


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
