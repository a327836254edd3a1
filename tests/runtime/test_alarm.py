"""Where an alarm may interrupt, and what it does where it may not."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import types
from typing import Any

import pytest

from meshhook.runtime import alarm
from meshhook.runtime.alarm import Alarm
from meshhook.runtime.expiry import Expired, is_interruptible


def frame_in(module: str, function: str = "fn") -> types.FrameType:
    """Return a frame of a function in a module of that name."""
    namespace: dict[str, Any] = {"__name__": module, "getframe": sys._getframe}
    exec(f"def {function}(): return getframe()", namespace)
    frame: types.FrameType = namespace[function]()
    return frame


@pytest.mark.parametrize(
    ("module", "function", "expected"),
    [
        ("shop.orders", "quote", True),
        ("meshhook_extras", "fn", True),
        ("meshhook.demo.play", "fn", True),
        ("meshhook.policies.circuit_breaker", "guarded", False),
        ("meshhook.guard", "check_result", False),
        ("shop.orders", "__del__", False),
    ],
)
def test_own_code_and_finalisers_are_not_interrupted(
    module: str, function: str, expected: bool
) -> None:
    """The user's code may be interrupted anywhere else."""
    assert is_interruptible(frame_in(module, function)) is expected


def test_what_the_garbage_collector_calls_is_not_interrupted() -> None:
    """An exception there would be printed and forgotten."""
    seen = []

    def called(_phase: str, _info: dict[str, int]) -> None:
        seen.append(is_interruptible(sys._getframe()))

    gc.callbacks.append(called)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(called)
    assert set(seen) == {False}


def test_no_frame_is_not_interrupted() -> None:
    """There is nothing that runs."""
    assert is_interruptible(None) is False


def test_an_alarm_in_own_code_rings_again_soon() -> None:
    """It waits until the user's code runs."""
    ring = Alarm()
    assert ring.start(0.0005, True)
    try:
        time_left = 0.0
        with pytest.raises(Expired) as caught:
            while True:
                time.sleep(0.001)
        assert caught.value.limit is ring
        ring._ring(signal.SIGALRM, frame_in("meshhook.guard"))
        time_left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < time_left <= alarm.SOON
    finally:
        ring.stop()


def test_an_alarm_that_was_stopped_never_raises() -> None:
    """Even if the signal was on its way."""
    ring = Alarm()
    assert ring.start(0.0005, True)
    ring.stop()
    time.sleep(0.002)
    ring._ring(signal.SIGALRM, frame_in("shop"))
    ring.stop()


def test_a_very_long_limit_is_no_error() -> None:
    """The kernel cannot count that far; nobody will know."""
    ring = Alarm()
    assert ring.start(1e12, True)
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    ring.stop()
    assert left == pytest.approx(alarm.LONGEST, rel=0.01)


def test_a_signal_that_would_have_ended_the_process_does_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else's, where no handler was before: it is sent anew, without ours in its way."""
    done: list[Any] = []
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    ring = Alarm()
    try:
        assert ring.start(20.0, True)
        monkeypatch.setattr(
            os, "kill", lambda *sent: done.append((signal.getsignal(signal.SIGALRM), *sent))
        )
        ring._ring(signal.SIGALRM, frame_in("shop"))
        assert done == [(signal.SIG_DFL, os.getpid(), signal.SIGALRM)]
    finally:
        ring.stop()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("outer", "inner"), [(100.0, 200.0), (200.0, 100.0)])
def test_of_alarms_within_each_other_the_earlier_one_rings(outer: float, inner: float) -> None:
    """The inner one does not put off the outer one, and gives back what was left of it."""
    around, within = Alarm(), Alarm()
    assert around.start(outer, False)
    try:
        assert within.start(inner, False)
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 50.0 < left <= 100.0
        within.stop()
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert outer - 50.0 < left <= outer
    finally:
        around.stop()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
