"""Functions that fail a few times, and pauses that pass on a frozen clock."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

from meshhook.runtime import pauses


class Flaky:
    """A call that gives one outcome after the other, the last one for ever."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self, *_: Any, **__: Any) -> Any:
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, BaseException) or (
            isinstance(outcome, type) and issubclass(outcome, BaseException)
        ):
            raise outcome
        return outcome


class Pauses(list[float]):
    """What was slept, second by second; ``at`` may do something during each sleep."""

    at: Callable[[float], object] | None = None


@pytest.fixture
def slept(frozen: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pauses]:
    """Let time pass on a frozen clock, and tell how long each pause was."""
    made = Pauses()

    def sleep(seconds: float) -> bool:
        made.append(seconds)
        frozen.tick(seconds)
        if made.at is not None:
            made.at(seconds)
        return not pauses.is_shut_down()

    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    monkeypatch.setattr(pauses, "in_thread", sleep)
    monkeypatch.setattr(pauses, "in_task", sleep_async)
    return made


def frames(traceback_of: TracebackType | None) -> list[str]:
    """Return the functions of a traceback, the outermost first."""
    return [frame.name for frame in traceback.extract_tb(traceback_of)]


@contextlib.contextmanager
def collected() -> Iterator[list[BaseException]]:
    """List the errors that a block leaves to the collector: those that are part of a ring."""
    rings: list[BaseException] = []
    gc.collect()
    gc.disable()
    try:
        yield rings
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        rings += [each for each in gc.garbage if isinstance(each, BaseException)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
