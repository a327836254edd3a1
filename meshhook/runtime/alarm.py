"""Alarms: interrupt the main thread with SIGALRM, and leave the signal as it was found.

The kernel keeps the time, so an alarm gets through to whatever checks for signals: a blocking
system call, or C code that holds the GIL, such as a regular expression. It costs four system calls.

A handler and a timer that were there before are back when the alarm stops, the timer with what is
left of its time; it never rings in between, but at once afterwards if that is due. A SIGALRM from
somewhere else goes to the handler that was there before.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
import types
from collections.abc import Callable
from typing import Any

from meshhook.runtime.expiry import AGAIN, SOON, Expired, is_interruptible

# Those of the public module turn every argument into an enum, at ten times the price.
_signal = importlib.import_module("_signal")
_get_handler: Callable[[int], Any] = _signal.getsignal
_set_handler: Callable[[int, Any], Any] = _signal.signal

AT_ONCE = 1e-6
LONGEST = 1e8
"""The longest time of a kernel timer, in seconds: three years. A longer one is not kept."""


class Alarm:
    """One alarm, set around one call in the main thread."""

    __slots__ = ("_due", "_interval", "_is_set", "_left", "_previous", "_started")

    def __init__(self) -> None:
        self._is_set = False

    def start(
        self,
        seconds: float,
        over_others: bool,  # noqa: FBT001 - a keyword costs time here
        clock: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Ring after that many seconds; False, and nothing changed, where that cannot be.

        It cannot be off the main thread, nor over a handler that Python could not put back, nor,
        without ``over_others``, over the timer of somebody else.
        """
        # The clock is captured on purpose: the kernel keeps real time, whatever a test pretends.
        previous = _get_handler(signal.SIGALRM)
        if previous is None:
            return False
        self._previous = previous
        self._started = now = clock()
        self._due = now + seconds
        self._left = 0.0
        self._is_set = True
        try:
            _set_handler(signal.SIGALRM, self._ring)
        except ValueError:
            self._is_set = False
            return False
        seconds = min(seconds, LONGEST)
        self._left, self._interval = signal.setitimer(signal.ITIMER_REAL, seconds)
        if not self._left:
            return True
        if _is_ours(previous):
            # The limit around this one is kept, whether a deadline told us of it or not.
            signal.setitimer(signal.ITIMER_REAL, min(self._left, seconds))
        elif not over_others:
            self.stop()
            return False
        return True

    def stop(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Put everything back as it was, if it was set. After this the alarm never raises."""
        if not self._is_set:
            return
        self._is_set = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _set_handler(signal.SIGALRM, self._previous)
        if self._left:
            left = max(self._left - (clock() - self._started), AT_ONCE)
            signal.setitimer(signal.ITIMER_REAL, left, self._interval)

    def _ring(
        self,
        number: int,
        frame: types.FrameType | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Ours is never early by more than a microsecond, the unit in which the kernel counts.
        if self._due - clock() > SOON:
            self._forward(number, frame)
        elif self._is_set:
            if not is_interruptible(frame):
                signal.setitimer(signal.ITIMER_REAL, SOON)
                return
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            raise Expired(self)

    def _forward(self, number: int, frame: types.FrameType | None) -> None:
        """Do what the signal would have done without us."""
        if callable(self._previous):
            self._previous(number, frame)
        elif self._previous == signal.SIG_DFL:
            _set_handler(number, self._previous)
            os.kill(os.getpid(), number)


def _is_ours(handler: Any) -> bool:
    return isinstance(getattr(handler, "__self__", None), Alarm)
