"""An interrupt at any moment of a hedged call: no place is lost, so further calls are hedged."""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies import hedge as package
from tests.colours import Colour
from tests.faults.test_bulkhead_interrupts import Alarm, Struck
from tests.faults.test_idempotent_interrupts import interrupt_at
from tests.policies.hedge_service import nothing_is_held
from tests.waiting import GIVE_UP, eventually, eventually_async

OURS = str(Path(package.__file__).parent)
STRIKES = 200

pytestmark = [
    pytest.mark.fault,
    # One that comes between making a coroutine of ours and running it leaves the coroutine.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextlib.contextmanager
def interrupt_at_line(moment: int) -> Iterator[Callable[[], bool]]:
    """Raise KeyboardInterrupt before the so manieth line of the hedge is run in this thread."""
    lines = 0

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            lines += 1
            if lines == moment:
                raise KeyboardInterrupt
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield lambda: lines >= moment
    finally:
        sys.settrace(before)


class Attempts:
    """What is hedged: the first attempt hangs until it is let go, and lets go by one that fails."""

    def __init__(self, colour: str, *, first: Any = "slow", others: Any = "quick") -> None:
        self.first, self.others = first, others
        self.started = itertools.count()
        self.go = threading.Event()
        self.fn: Any = self._call_async if colour == "async" else self._call

    def _call(self) -> Any:
        if next(self.started):
            return self._end(self.others)
        assert self.go.wait(GIVE_UP)
        return self._end(self.first)

    async def _call_async(self) -> Any:
        if next(self.started):
            return self._end(self.others)
        assert await eventually_async(self.go.is_set)
        return self._end(self.first)

    def _end(self, how: Any) -> Any:
        if how is OSError:
            self.go.set()
            raise how
        return how


def make(**settings: Any) -> mh.Hedge:
    return mh.hedge(
        **{"delay": 0, "max_extra": 1, "idempotent": True, "registry": mh.Registry(), **settings}
    )


def empty() -> mh.RetryBudget:
    """Make a budget that never has anything left."""
    return mh.RetryBudget(0.001, 0, registry=mh.Registry())


def is_whole(hedge: mh.Hedge) -> bool:
    """Tell whether no place is taken; an attempt whose end was cut short may need the collector."""
    if not nothing_is_held(hedge):
        gc.collect()
    return nothing_is_held(hedge)


WAYS: dict[str, Callable[[str], tuple[Attempts, dict[str, Any]]]] = {
    "won": lambda colour: (Attempts(colour), {}),
    "lost": lambda colour: (Attempts(colour, others=OSError), {}),
    "all lost": lambda colour: (Attempts(colour, first=OSError, others=OSError), {}),
    "no budget": lambda colour: (Attempts(colour), {"budget": empty()}),
}


@pytest.mark.parametrize("interrupt", [interrupt_at, interrupt_at_line])
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_anywhere_leaves_no_place_taken(
    colour: Colour, way: str, interrupt: Any
) -> None:
    """At each function of ours and each line of the hedge; what runs on ends by itself."""
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        attempts, settings = WAYS[way](colour.name)
        fn = make(**settings)(attempts.fn)
        hedge = fn.policies[0]
        if way == "no budget":  # nobody lets the first attempt go who has been interrupted
            threading.Timer(0.005, attempts.go.set).start()
        own = Colour(colour.name)  # whose event loop ends with the call, as after asyncio.run()
        with interrupt(moment) as was_interrupted, contextlib.suppress(KeyboardInterrupt, OSError):
            own.call(fn)
        own.close()
        interrupted = was_interrupted()
        attempts.go.set()
        assert eventually(lambda: is_whole(hedge), 2), moment  # noqa: B023 - asked at once
        if way == "won":
            attempts.started = itertools.count()
            attempts.go.clear()
            assert colour.call(fn) == "quick", moment
            attempts.go.set()
    assert moment > 20


def test_signals_between_any_two_bytecodes() -> None:
    """A handler that raises, as that of Ctrl-C does, some hundred times."""
    attempts = Attempts("sync", others=OSError)
    attempts.go.set()
    fn = make(max_extra=3)(attempts.fn)
    hedge = fn.policies[0]
    with Alarm() as alarm:
        for turn in itertools.takewhile(lambda _: alarm.struck < STRIKES, itertools.count()):
            attempts.started = itertools.count()
            with contextlib.suppress(Struck, OSError):
                alarm.arm(0.00002 + (turn % 97) * 0.000004)
                fn()
            alarm.armed = False
    assert eventually(lambda: is_whole(hedge))
