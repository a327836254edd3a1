"""The drivers of a rate limit: the path of a call, once for each colour.

The straight ones are for one rate of GCRA, calls of cost 1, no keys, and the GIL. They do what
``Gcra.start`` does: between the look at ``ready`` and the write to it there is no call, so no
thread can come in between. Whoever may not start, perhaps for a clock that was read too early or
for others who wait, asks the limiter, which decides under its lock and with a fresh clock.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.policies.rate_limit.limiter import Limiter

if TYPE_CHECKING:
    from meshhook.policies.rate_limit.policy import RateLimit

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]
Admit: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Limiter]
"""Starts a call, or raises RateLimitedError; returns the limit that it counts in."""
AdmitAsync: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Awaitable[Limiter]]


def straight(limit: RateLimit, limiter: Limiter, call: Call) -> Call:
    """Start a call without a lock."""
    tally, plain, admit, heed = limit.tally, guard.PLAIN, limit.admit, limit.heed

    def guarded(*args: Any, **kwargs: Any) -> Any:
        rule = limiter.gate
        at = time.monotonic() * rule.scale
        if (ready := rule.ready) <= at:
            rule.ready = (ready if ready > (low := at - rule.slack) else low) + rule.period
        else:
            admit(limiter, 1)
        tally.admitted += 1
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except Exception as exc:
            heed(limiter, exc)
            raise
        return result

    return guarded


def straight_async(limit: RateLimit, limiter: Limiter, call: AsyncCall) -> AsyncCall:
    """Start a call without a lock, async."""
    tally, admit, heed = limit.tally, limit.admit_async, limit.heed

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        rule = limiter.gate
        at = time.monotonic() * rule.scale
        if (ready := rule.ready) <= at:
            rule.ready = (ready if ready > (low := at - rule.slack) else low) + rule.period
        else:
            await admit(limiter, 1)
        tally.admitted += 1
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            return await coroutine
        except Exception as exc:
            heed(limiter, exc)
            raise

    return guarded


def asking(limit: RateLimit, admit: Admit, call: Call) -> Call:
    """Ask for each call: which limit, at what cost."""
    tally, plain, heed = limit.tally, guard.PLAIN, limit.heed

    def guarded(*args: Any, **kwargs: Any) -> Any:
        limiter = admit(args, kwargs)
        tally.admitted += 1
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except Exception as exc:
            heed(limiter, exc)
            raise
        return result

    return guarded


def asking_async(limit: RateLimit, admit: AdmitAsync, call: AsyncCall) -> AsyncCall:
    """Ask for each call: which limit, at what cost; async."""
    tally, heed = limit.tally, limit.heed

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        limiter = await admit(args, kwargs)
        tally.admitted += 1
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            return await coroutine
        except Exception as exc:
            heed(limiter, exc)
            raise

    return guarded
