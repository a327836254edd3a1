"""What everything is compared with: the bare function, and a closure around it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.harness import Case
from benchmarks.loops import Call, Failure


def answer(value: int) -> int:
    """Return at once."""
    return value


async def answer_async(value: int) -> int:
    """Return without suspending."""
    return value


async def answer_later(value: int) -> int:
    """Return after giving way to other tasks once."""
    await asyncio.sleep(0)
    return value


def fail(_value: int) -> int:
    """Raise, as a service does that is down."""
    raise Failure


async def fail_async(_value: int) -> int:
    """Raise without suspending."""
    raise Failure


def closure(function: Callable[..., Any]) -> Call:
    """Put the least that a decorator can be around ``function``."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def closure_async(function: Callable[..., Awaitable[Any]]) -> Call:
    """Put the least that an async decorator can be around ``function``."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


def baselines(function: Callable[..., Any]) -> list[Case]:
    """Return the cases that every group has."""
    wrap = closure_async if asyncio.iscoroutinefunction(function) else closure
    return [
        Case("direct", lambda: function, plain=True),
        Case("closure", lambda: wrap(function), plain=True),
    ]
