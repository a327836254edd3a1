"""An interrupt at any moment of a call in a bulkhead: no slot is lost, and none is made."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any, Self

import pytest

import meshhook as mh
from meshhook.runtime.slots import Turn
from tests.colours import Colour
from tests.faults.test_idempotent_interrupts import OURS, interrupt_at
from tests.waiting import Called, eventually

pytestmark = pytest.mark.fault

PATHS: list[dict[str, Any]] = [
    {"max_concurrent": 2},
    {"limit": mh.AIMD(initial=2)},
    {"max_concurrent": 2, "key": lambda: 1},
]


def whole(bulkhead: mh.Bulkhead) -> bool:
    """Tell whether all slots are free, and exactly so many can be taken."""
    stats = bulkhead.stats()
    place = bulkhead._places()[0]
    return (stats.in_use, stats.waiting, len(place.slots.free)) == (0, 0, place.slots.limit)


@pytest.mark.parametrize("settings", PATHS, ids=["straight", "timed", "keyed"])
@pytest.mark.parametrize("waits", [False, True], ids=["free", "waits"])
# One that comes between making a coroutine of ours and running it leaves the coroutine.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_any_function_of_ours(
    colour: Colour, settings: dict[str, Any], *, waits: bool
) -> None:
    """Before, in and after the body, and while the call waits for its turn."""
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        bulkhead = mh.bulkhead(
            max_queue=5, max_wait=None, name="db", registry=mh.Registry(), **settings
        )
        fn = bulkhead(colour.paint(lambda: None))
        colour.call(fn)
        ended = threading.Event()
        turns = [take(bulkhead) for _ in range(2 if waits else 0)]
        back = Called("sync", give_back, bulkhead, turns, ended)
        own = Colour(colour.name)
        with interrupt_at(moment) as was_interrupted, contextlib.suppress(KeyboardInterrupt):
            own.call(fn)
        own.close()
        interrupted = was_interrupted()
        ended.set()
        back.result()
        assert eventually(lambda: whole(bulkhead), 1), moment  # noqa: B023 - asked at once
        colour.call(fn)
    assert moment > (1 if not waits else 5)


def take(bulkhead: mh.Bulkhead) -> Turn:
    """Take a slot of the only place that there is."""
    turn = Turn()
    assert bulkhead._places()[0].slots.take(turn)
    return turn


def give_back(bulkhead: mh.Bulkhead, turns: list[Turn], ended: threading.Event) -> None:
    """Give slots back when somebody waits for one, or nobody will."""
    assert eventually(lambda: bulkhead.stats().waiting == 1 or ended.is_set())
    for turn in turns:
        bulkhead._places()[0].slots.give_back(turn)


class Struck(BaseException):
    """What the handler of a signal raises."""


class Alarm:
    """Strikes once, some microseconds after it was armed, if one of our functions runs then."""

    def __init__(self) -> None:
        self.armed = False
        self.struck = 0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _strike(self, _: int, frame: FrameType | None) -> None:
        # Not while coverage is at work, which would lose a lock of its own.
        if self.armed and frame is not None and frame.f_code.co_filename.startswith(OURS):
            self.armed = False
            self.struck += 1
            raise Struck

    def arm(self, seconds: float) -> None:
        """Strike in so many seconds."""
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)


@pytest.mark.parametrize("settings", PATHS, ids=["straight", "timed", "keyed"])
def test_signals_between_any_two_bytecodes(settings: dict[str, Any]) -> None:
    """A handler that raises, as that of Ctrl-C does, some thousand times."""
    bulkhead = mh.bulkhead(name="db", registry=mh.Registry(), **settings)
    fn = bulkhead(lambda: None)
    fn()
    with Alarm() as alarm:
        for turn in range(4_000):
            try:
                alarm.arm(0.00001 + (turn % 97) * 0.000001)
                for _ in range(100):
                    fn()
                alarm.armed = False
            except Struck:
                assert whole(bulkhead), alarm.struck
    assert alarm.struck > 100
    assert whole(bulkhead)
