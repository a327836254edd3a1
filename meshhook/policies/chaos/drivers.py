"""The drivers of chaos: the path of a call, once for each colour.

While nothing may strike, a call costs one look at ``active``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.runtime import pauses

if TYPE_CHECKING:
    from meshhook.policies.chaos.policy import Chaos

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]

PIECE = 0.1
"""A thread sleeps so many seconds at a time: an interrupt comes between two pieces."""


def sync_driver(chaos: Chaos, call: Call) -> Call:
    """Strike, or call."""
    plain = guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if chaos.active:
            strike = chaos.draw()
            if strike is not None:
                pause(strike.latency)
                if strike.ends_the_call():
                    return chaos.end(strike)
        result = call(*args, **kwargs) if kwargs else call(*args)
        if type(result) not in plain:
            guard.check_result(result)
        return result

    return guarded


def async_driver(chaos: Chaos, call: AsyncCall) -> AsyncCall:
    """Strike, or call, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if chaos.active:
            strike = chaos.draw()
            if strike is not None:
                if strike.latency:
                    await pauses.pause_async(strike.latency)
                if strike.ends_the_call():
                    return chaos.end(strike)
        coroutine = call(*args, **kwargs) if kwargs else call(*args)
        del args, kwargs  # a call that is suspended needs them no more
        return await coroutine

    return guarded


def pause(seconds: float) -> None:
    """Sleep in this thread, in pieces."""
    while seconds > 0 and pauses.pause(min(seconds, PIECE)):
        seconds -= PIECE
