"""A service whose attempts are scripted: each answers, fails or hangs, in order of their start."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import meshhook as mh
from tests.colours import Colour
from tests.waiting import GIVE_UP, eventually, eventually_async

SOON = 0.02
"""After how long hedges of tests start, in seconds."""


class Hang:
    """An attempt that goes on until it is let go, and then ends as it was told."""

    def __init__(self, outcome: Any = "late") -> None:
        self.outcome = outcome


class Service:
    """Something to call. ``script`` says how each attempt ends: a result, an error or a Hang."""

    def __init__(self, colour: Colour, *script: Any) -> None:
        self.colour = colour
        self.script = script
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.cancelled = 0
        self.ended = 0
        self.go = threading.Event()
        self._lock = threading.Lock()

    def _next(self, args: Any, kwargs: Any) -> Any:
        with self._lock:
            self.calls.append((args, kwargs))
            return self.script[min(len(self.calls), len(self.script)) - 1]

    @staticmethod
    def _end(outcome: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def function(self) -> Callable[..., Any]:
        """Return the function of the colour."""
        if self.colour.name == "sync":

            def call(*args: Any, **kwargs: Any) -> Any:
                outcome = self._next(args, kwargs)
                if isinstance(outcome, Hang):
                    assert self.go.wait(GIVE_UP), "nobody let it go"
                    outcome = outcome.outcome
                self.ended += 1
                return self._end(outcome)

            return call

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            outcome = self._next(args, kwargs)
            if isinstance(outcome, Hang):
                try:
                    await eventually_async(self.go.is_set)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
                outcome = outcome.outcome
            self.ended += 1
            return self._end(outcome)

        return call_async

    @contextlib.contextmanager
    def released(self, condition: Callable[[], Any]) -> Iterator[None]:
        """Let whatever hangs go when ``condition`` holds, while the block waits for a call."""
        held: list[bool] = []

        def release() -> None:
            held.append(eventually(condition))
            self.go.set()

        thread = threading.Thread(target=release)
        thread.start()
        yield
        thread.join()
        assert held == [True]

    def settle(self, hedge: mh.Hedge) -> None:
        """Let whatever hangs go, and wait until no attempt is running any more."""
        self.go.set()

        async def wait() -> None:
            await eventually_async(lambda: not hedge.stats().running_on)

        if self.colour.name == "sync":
            assert eventually(lambda: not hedge.stats().running_on)
        else:
            self.colour.call(wait)
        assert nothing_is_held(hedge)


def nothing_is_held(hedge: mh.Hedge) -> bool:
    """Tell whether no attempt holds a place."""
    return hedge.extras.taken == hedge.extras.running_on == 0
