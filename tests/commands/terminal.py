"""A command in a pseudo-terminal of its own: what it draws, and how it leaves the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.waiting import GIVE_UP, real_time

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
COMMAND = [sys.executable, "-m", "meshhook"]
_IN_TERMINAL = """import fcntl, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from meshhook.cli import main
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
sys.exit(main())
"""
"""As a shell starts it, even where the tests run under nohup, which it would inherit. The terminal
is the one of the session, so that Ctrl-C and Ctrl-Z in it are signals."""

_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78])")
_HOME, _SHOW, _HIDE = "\x1b[H", "\x1b[?25h", "\x1b[?25l"
_ALT_ON, _ALT_OFF = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A terminal in which a command runs. ``output`` is all that was written to it."""

    def __init__(
        self,
        *arguments: str,
        size: tuple[int, int] = (100, 24),
        before: str = "",
        keys: bool = True,
        **variables: str,
    ) -> None:
        self.fd, self._slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self._slave)
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": PATH}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "MESHHOOK_TOKEN"):
            environment.pop(name, None)
        environment.update(variables)
        self.process = subprocess.Popen(
            [sys.executable, "-c", before + _IN_TERMINAL, *arguments],
            stdin=self._slave if keys else subprocess.DEVNULL,
            stdout=self._slave,
            stderr=self._slave,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        self.output = ""

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal that large."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)

    def read(self, seconds: float = 0.0) -> None:
        """Take in what was written, for so long."""
        end = real_time() + seconds
        while select.select([self.fd], [], [], max(0.0, min(0.05, end - real_time())))[0] or (
            real_time() < end
        ):
            with contextlib.suppress(OSError):
                if select.select([self.fd], [], [], 0)[0]:
                    self.output += os.read(self.fd, 1 << 16).decode(errors="replace")

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self.process.send_signal(number)

    @property
    def screen(self) -> list[str]:
        """The lines of the last whole picture, without colours."""
        pictures = self.output.split(_HOME)
        whole = pictures[-1] if pictures[-1].count("\n") >= self.lines - 1 else pictures[-2:][0]
        return [line.rstrip() for line in _SEQUENCE.sub("", whole).split("\r\n")]

    @property
    def lines(self) -> int:
        """How many lines the terminal has."""
        return os.get_terminal_size(self._slave).lines

    def until(self, condition: Callable[[str], Any], seconds: float = GIVE_UP) -> str:
        """Wait until the screen as text fulfils a condition; return it."""
        end = real_time() + seconds
        while True:
            self.read()
            text = "\n".join(self.screen)
            if condition(text):
                return text
            if real_time() > end or self.process.poll() is not None:
                raise AssertionError(f"it does not come; there is\n{text}\n{self.output[-2000:]!r}")
            time.sleep(0.01)

    def ended(self, seconds: float = GIVE_UP) -> int:
        """Wait until the command has ended; return the code."""
        end = real_time() + seconds
        while self.process.poll() is None and real_time() < end:
            self.read(0.02)
        self.read()
        return self.process.wait(1)

    def is_restored(self) -> bool:
        """Tell whether the terminal is as it was: its mode, its own screen, and a cursor."""
        self.read()
        same = termios.tcgetattr(self._slave) == self.before
        balanced = self.output.count(_ALT_ON) == self.output.count(_ALT_OFF)
        return same and balanced and self.output.rfind(_SHOW) >= self.output.rfind(_HIDE)

    def is_raw(self) -> bool:
        """Tell whether keys come at once, and are not shown."""
        return not termios.tcgetattr(self._slave)[3] & (termios.ICANON | termios.ECHO)

    def close(self) -> None:
        """End the command, if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self._slave)


@contextlib.contextmanager
def terminal(*arguments: str, **settings: Any) -> Iterator[Terminal]:
    """Run a command in a terminal for the length of a ``with`` block."""
    running = Terminal(*arguments, **settings)
    try:
        yield running
    finally:
        running.close()


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a terminal."""
    environment = {**os.environ, "PYTHONPATH": PATH, **variables}
    for name in ("COLUMNS", "NO_COLOR", "MESHHOOK_TOKEN"):
        if name not in variables:
            environment.pop(name, None)
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def columns(text: str) -> int:
    """Return how many columns a line of text takes."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )
