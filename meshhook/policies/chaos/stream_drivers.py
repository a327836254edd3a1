"""The drivers of chaos for streams: what strikes one strikes it before its first item."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.policies.chaos.drivers import pause
from meshhook.runtime import pauses
from meshhook.runtime.streams import (
    Visit,
    async_driver,
    async_generator_of,
    driver,
    generator_of,
    gives_items,
)

if TYPE_CHECKING:
    from meshhook.policies.chaos.plan import Strike
    from meshhook.policies.chaos.policy import Chaos

Call: TypeAlias = Callable[..., Any]


def stream(chaos: Chaos, call: Call) -> Call:
    """Strike, or begin a generator."""

    def begin(_args: Any, _kwargs: dict[str, Any]) -> Visit:
        strike = chaos.draw() if chaos.active else None
        if strike is None:
            return Visit()
        pause(strike.latency)
        if not strike.ends_the_call():
            return Visit()
        return Visit(inner=generator_of(_items(chaos, strike, asynchronous=False)))

    return driver(begin, call)


def stream_async(chaos: Chaos, call: Call) -> Call:
    """Strike, or begin an async generator."""

    async def begin(_args: Any, _kwargs: dict[str, Any]) -> Visit:
        strike = chaos.draw() if chaos.active else None
        if strike is None:
            return Visit()
        if strike.latency:
            await pauses.pause_async(strike.latency)
        if not strike.ends_the_call():
            return Visit()
        return Visit(inner=async_generator_of(_items(chaos, strike, asynchronous=True)))

    return async_driver(begin, call)


def _items(chaos: Chaos, strike: Strike, *, asynchronous: bool) -> Any:
    """Raise what was injected, or return the items that are."""
    result = chaos.end(strike)
    if not gives_items(result, asynchronous=asynchronous):
        raise TypeError(
            f"the result of {chaos.kind} {chaos.name!r} is {type(result).__qualname__}, which is "
            "no stream: give a list of items for generator functions"
        )
    return result
