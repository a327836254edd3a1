"""Both colours in one test: write the body of the guarded function once, call it either way."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Colour:
    """Makes sync or async functions out of plain ones, and calls them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._runner = asyncio.Runner() if name == "async" else None

    def __repr__(self) -> str:
        return self.name

    def paint(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fn`` in this colour."""
        if self._runner is None:
            return fn

        @functools.wraps(fn)
        async def painted(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return painted

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn``, a function of this colour, and return its result."""
        if self._runner is None:
            return fn(*args, **kwargs)

        async def wait() -> Any:
            return await fn(*args, **kwargs)

        return self._runner.run(wait())

    def close(self) -> None:
        """End the event loop, if there is one."""
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Iterator[Colour]:
    """Run the test once for each colour."""
    made = Colour(request.param)
    yield made
    made.close()
