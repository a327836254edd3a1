"""The screen: a terminal that is drawn on in place, and is always left as it was found."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import Any, Protocol, Self

from meshhook.commands.live.keyboard import Keyboard

HUNG_UP = 129
"""The code to exit with when the terminal is gone, whether a signal tells so or not."""

_STOPPING = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": HUNG_UP}
"""With which code to exit after which signal."""


class Canvas(Protocol):
    """What is drawn on: entered, the terminal shows it alone; left, it shows what it did before."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


class Screen:
    """A canvas and a keyboard in a ``with`` block, for the main thread.

    The signals that end a program only set ``stopped``, the code to exit with; so no exception
    comes between while the terminal is set or set back. A second one does not wait for the program
    to look. Ctrl-Z gives the terminal back for as long as the program is stopped.
    """

    def __init__(self, canvas: Canvas, keyboard: Keyboard) -> None:
        self.stopped: int | None = None
        self._canvas = canvas
        self._keyboard = keyboard
        self._signals = ExitStack()
        self._terminal = ExitStack()
        self._leaving = False

    def __enter__(self) -> Self:
        for name in _STOPPING:
            self._handle(name, self._stop)
        self._handle("SIGTSTP", self._suspend)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        try:
            self._terminal.close()
        finally:
            self._signals.close()

    def _handle(self, name: str, handler: Any) -> None:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            self._signals.callback(signal.signal, number, signal.signal(number, handler))

    def _take(self) -> None:
        with ExitStack() as taken:
            taken.enter_context(self._keyboard)
            taken.enter_context(self._canvas)
            self._terminal = taken.pop_all()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is not None and not self._leaving:
            raise KeyboardInterrupt
        self.stopped = _STOPPING[signal.Signals(number).name]

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        if self._leaving:
            return
        self._terminal.close()
        os.kill(os.getpid(), signal.SIGSTOP)
        # Some time later, when somebody has said `fg`.
        self._take()


def is_capable(out: Any = None) -> bool:
    """Tell whether standard output is a terminal that can be drawn on in place."""
    out = sys.stdout if out is None else out
    return bool(out.isatty()) and os.environ.get("TERM") not in ("dumb", "unknown", None)
