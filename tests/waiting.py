"""Waiting for what other threads and processes do: for conditions, with a generous give-up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.colours import Colour

GIVE_UP = 30.0


# Captured as a default, where freezegun does not find it.
def real_time(_monotonic: Callable[[], float] = time.monotonic) -> float:
    """Return the seconds of a clock that no test freezes."""
    return _monotonic()


def eventually(condition: Callable[[], Any], seconds: float = GIVE_UP) -> bool:
    """Wait until ``condition`` holds; False if it does not come true."""
    end = real_time() + seconds
    while not condition():
        if real_time() > end:
            return False
        time.sleep(0.001)
    return True


async def eventually_async(condition: Callable[[], Any], seconds: float = GIVE_UP) -> bool:
    """Wait in a task until ``condition`` holds; False if it does not come true."""
    end = real_time() + seconds
    while not condition():
        if real_time() > end:
            return False
        await asyncio.sleep(0.001)
    return True


class Called:
    """A call in a thread of its own; an async one has an event loop of its own there, too."""

    def __init__(self, colour: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._outcome: Future[Any] = Future()
        self._call = (colour, fn, args, kwargs)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        colour, fn, args, kwargs = self._call
        own = Colour(colour)
        try:
            self._outcome.set_result(own.call(fn, *args, **kwargs))
        except BaseException as error:
            self._outcome.set_exception(error)
        finally:
            own.close()

    def ended(self) -> bool:
        """Tell whether the call has ended."""
        return self._outcome.done()

    def result(self) -> Any:
        """Wait for the end of the call; return what it returned or raise what it raised."""
        try:
            return self._outcome.result(GIVE_UP)
        finally:
            self.thread.join(GIVE_UP)


class Held:
    """A body to execute that can be held: it says when it is inside, and waits to be let go."""

    def __init__(self, result: Any = "done") -> None:
        self.result = result
        self.runs = 0
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.runs += 1
        self.inside.set()
        assert self.go.wait(GIVE_UP), "nobody let it go"
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result
