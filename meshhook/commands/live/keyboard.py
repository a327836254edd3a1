"""Keys: bytes from a terminal in, names of keys out; and the terminal set to send them at once."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
import time
from typing import Any, Self

try:
    import termios
    import tty
except ImportError:  # a system without them has no such terminals
    termios = tty = None  # type: ignore[assignment]

_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "[H": "home",
    "[F": "end",
    "[1~": "home",
    "[4~": "end",
    "[5~": "page up",
    "[6~": "page down",
    "[7~": "home",
    "[8~": "end",
}
_CHARACTERS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_LONGEST = 32


class Decoder:
    """Makes keys of what a terminal sends, however it is cut into pieces."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, piece: bytes) -> list[str]:
        """Take some bytes; return the keys that are complete by them."""
        return self._keys(self._rest + self._text.decode(piece), ended=False)

    def flush(self) -> list[str]:
        """Nothing more has come for a while: an escape alone was the key of that name."""
        return self._keys(self._rest, ended=True)

    def _keys(self, text: str, *, ended: bool) -> list[str]:
        keys = []
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                at = found.end()
                name = _SEQUENCES.get(found[0][1:].replace("O", "[", 1))
                keys += [name] if name else []
                continue
            begun = _BEGUN.match(text, at)
            if begun and begun.end() == len(text) and not ended and len(begun[0]) < _LONGEST:
                break
            keys.append(_key(text[at]))
            at += 1
        self._rest = text[at:]
        return [key for key in keys if key]


def _key(character: str) -> str:
    if character == "\x1b":
        return "escape"
    return _CHARACTERS.get(character) or (character if character.isprintable() else "")


class Keyboard:
    """The keys of a terminal, in a ``with`` block; it is left as it was found.

    Where there is no terminal to read from there are no keys. Ctrl-C and Ctrl-Z stay signals.
    """

    def __init__(self, file: Any = None) -> None:
        self._decoder = Decoder()
        self._fd: int | None = None
        self._before: Any = None
        self.gone = False
        """Whether the terminal has hung up: nobody looks any more."""
        stdin = sys.stdin if file is None else file
        # Closed, or no real file: then there is no keyboard.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._fd = stdin.fileno() if termios is not None and stdin.isatty() else None

    @property
    def there(self) -> bool:
        """Whether there are keys to be pressed."""
        return self._fd is not None

    def __enter__(self) -> Self:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                # What was typed and not read is no command for the shell.
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)

    def keys(self, wait: float) -> list[str]:
        """Return the keys that were pressed, after at most ``wait`` seconds."""
        if self._fd is None or self.gone:
            time.sleep(wait)
            return []
        ready, _, _ = select.select([self._fd], [], [], wait)
        if not ready:
            return self._decoder.flush()
        try:
            piece = os.read(self._fd, 1024)
        except OSError:
            piece = b""
        self.gone = not piece
        return self._decoder.feed(piece)
