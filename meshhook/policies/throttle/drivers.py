"""The drivers of a throttle: the path of a call, once for each colour.

The straight ones take no lock while the service accepts enough: a call is counted when it begins
and when it is accepted. They are for one channel, and for interpreters with a GIL.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.policies.throttle.channel import Channel

if TYPE_CHECKING:
    from meshhook.policies.throttle.policy import Throttle

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]
Hold: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Channel]
"""Finds the channel of a call, and keeps it until it is let go of."""


def straight(throttle: Throttle, channel: Channel, call: Call) -> Call:
    """Count in one channel."""
    plain = guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not channel.since <= time.monotonic() < channel.until:
            throttle.roll(channel)
        channel.requests += 1
        if channel.is_troubled:
            throttle.drop_some(channel)
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            throttle.settle_error(channel, exc)
            raise
        channel.accepted += 1
        return result

    return guarded


def straight_async(throttle: Throttle, channel: Channel, call: AsyncCall) -> AsyncCall:
    """Count in one channel, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if not channel.since <= time.monotonic() < channel.until:
            throttle.roll(channel)
        channel.requests += 1
        if channel.is_troubled:
            throttle.drop_some(channel)
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            result = await coroutine
        except BaseException as exc:
            throttle.settle_error(channel, exc)
            raise
        channel.accepted += 1
        return result

    return guarded


def locked(throttle: Throttle, hold: Hold, call: Call) -> Call:
    """Find the channel of the call, and count in it under the lock."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        channel = hold(args, kwargs)
        try:
            throttle.begin(channel)
            try:
                result = call(*args, **kwargs) if kwargs else call(*args)
                if type(result) not in guard.PLAIN:
                    guard.check_result(result)
            except BaseException as exc:
                throttle.settle_error(channel, exc)
                raise
            throttle.accept(channel)
            return result
        finally:
            throttle.let_go(channel)

    return guarded


def locked_async(throttle: Throttle, hold: Hold, call: AsyncCall) -> AsyncCall:
    """Find the channel of the call, and count in it under the lock, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        channel = hold(args, kwargs)
        try:
            throttle.begin(channel)
            try:
                coroutine = call(*args, **kwargs) if kwargs else call(*args)
                del args, kwargs  # a call that is suspended needs them no more
                result = await coroutine
            except BaseException as exc:
                throttle.settle_error(channel, exc)
                raise
            throttle.accept(channel)
            return result
        finally:
            throttle.let_go(channel)

    return guarded
