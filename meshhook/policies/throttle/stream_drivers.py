"""The drivers of a throttle for streams: the service has taken one that gives its first item.

To wait for its end would be wrong: while many long ones run, it would look as if none were taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.runtime.streams import Visit, async_driver, driver, first, first_async

if TYPE_CHECKING:
    from meshhook.policies.throttle.drivers import Hold
    from meshhook.policies.throttle.policy import Throttle

Call: TypeAlias = Callable[..., Any]


def stream(throttle: Throttle, hold: Hold, call: Call) -> Call:
    """Guard a generator function."""

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        channel = hold(args, kwargs)
        try:
            throttle.begin(channel)
            try:
                inner = call(*args, **kwargs)
                item = first(inner)
            except BaseException as exc:
                throttle.settle_error(channel, exc)
                raise
            throttle.accept(channel)
            return Visit(inner=inner, item=item)
        finally:
            throttle.let_go(channel)

    return driver(begin, call)


def stream_async(throttle: Throttle, hold: Hold, call: Call) -> Call:
    """Guard an async generator function."""

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        channel = hold(args, kwargs)
        try:
            throttle.begin(channel)
            try:
                inner = call(*args, **kwargs)
                item = await first_async(inner)
            except BaseException as exc:
                throttle.settle_error(channel, exc)
                raise
            throttle.accept(channel)
            return Visit(inner=inner, item=item)
        finally:
            throttle.let_go(channel)

    return async_driver(begin, call)
