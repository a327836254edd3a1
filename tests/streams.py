"""Streams of both colours in one test: write the body once, as a generator, iterate it either way.

A body gives its items by ``yield``. Painted async, it awaits between any two of them.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Any

import meshhook as mh
from tests.colours import Colour


def paint(colour: Colour, body: Callable[..., Any]) -> Callable[..., Any]:
    """Return the generator function ``body`` in this colour."""
    if colour.name == "sync":
        return body

    @functools.wraps(body)
    async def painted(*args: Any, **kwargs: Any) -> Any:
        inner = body(*args, **kwargs)
        try:
            item = next(inner)
            while True:
                await asyncio.sleep(0)
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as exc:
                    item = inner.throw(exc)
                else:
                    item = inner.send(sent)
        except StopIteration:
            pass
        finally:
            inner.close()

    return painted


class Reader:
    """Iterates a stream of either colour by hand."""

    def __init__(self, colour: Colour, stream: Any) -> None:
        self._colour = colour
        self.stream = stream

    def _do(self, sync: str, method: str, *args: Any) -> Any:
        if self._colour.name == "sync":
            return getattr(self.stream, sync)(*args)
        return self._colour.call(getattr(self.stream, method), *args)

    def next(self) -> Any:
        """Ask for the next item."""
        return self._do("__next__", "__anext__")

    def next_within(self, seconds: float) -> Any:
        """Ask for the next item under a deadline."""
        if self._colour.name == "sync":
            with mh.deadline(seconds):
                return self.next()

        async def ask() -> Any:
            with mh.deadline(seconds):
                return await anext(self.stream)

        return self._colour.call(ask)

    def send(self, value: Any) -> Any:
        """Send a value in."""
        return self._do("send", "asend", value)

    def throw(self, error: BaseException) -> Any:
        """Throw an exception in."""
        return self._do("throw", "athrow", error)

    def close(self) -> None:
        """Close the stream."""
        self._do("close", "aclose")

    @property
    def over(self) -> type[Exception]:
        """What is raised when there are no more items."""
        return StopIteration if self._colour.name == "sync" else StopAsyncIteration

    def take(self, number: int) -> list[Any]:
        """Return so many items."""
        return [self.next() for _ in range(number)]

    def rest(self) -> list[Any]:
        """Return all items that are left."""
        items = []
        while True:
            try:
                items.append(self.next())
            except self.over:
                return items


def read(colour: Colour, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    """Return all items of the stream that ``fn`` makes."""
    return Reader(colour, fn(*args, **kwargs)).rest()


def failing(items: Iterable[Any], error: BaseException) -> Callable[[], Any]:
    """Make a body that gives ``items`` and raises then."""

    def body() -> Any:
        yield from items
        raise error

    return body
