"""The drivers of a rate limit for streams: each counts once, before its first item."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.policies.rate_limit.limiter import Limiter
from meshhook.runtime.streams import Ended, Visit, async_driver, driver

if TYPE_CHECKING:
    from meshhook.policies.rate_limit.drivers import Admit, AdmitAsync
    from meshhook.policies.rate_limit.policy import RateLimit

Call: TypeAlias = Callable[..., Any]


def stream(limit: RateLimit, admit: Admit, call: Call) -> Call:
    """Guard a generator function."""

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        return _visit(limit, admit(args, kwargs))

    return driver(begin, call)


def stream_async(limit: RateLimit, admit: AdmitAsync, call: Call) -> Call:
    """Guard an async generator function."""

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        return _visit(limit, await admit(args, kwargs))

    return async_driver(begin, call)


def _visit(limit: RateLimit, limiter: Limiter) -> Visit:
    limit.tally.admitted += 1

    def end(how: Ended) -> None:
        if isinstance(how, Exception):
            limit.heed(limiter, how)

    return Visit(end)
