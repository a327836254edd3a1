"""Keys: however their bytes come."""

from __future__ import annotations

import io
import os
import pty
import termios
import time

import pytest

from meshhook.commands.live.keyboard import Decoder, Keyboard

TYPED = "q/ä日\r\n\x7f\x08\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1bOF\x1b[1~\x1b[4~\x1b[1;5C\x1b[200~ "
KEYS = [
    *("q", "/", "ä", "日", "enter", "enter", "backspace", "backspace"),
    *("up", "down", "page up", "page down", "home", "end", "home", "end", " "),
]


@pytest.mark.parametrize("at", range(len(TYPED.encode()) + 1))
def test_keys_that_are_cut_anywhere(at: int) -> None:
    """In the middle of a character or of a sequence; sequences of no meaning to us are dropped."""
    decoder = Decoder()
    typed = TYPED.encode()
    assert decoder.feed(typed[:at]) + decoder.feed(typed[at:]) == KEYS


def test_escape_alone_is_a_key_when_nothing_follows() -> None:
    """A terminal sends a whole sequence at once."""
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.flush() == ["escape"]
    assert decoder.flush() == []
    assert decoder.feed(b"\x1bq") == ["escape", "q"]
    assert decoder.feed(b"\x1b\x1b") == ["escape"]
    assert decoder.flush() == ["escape"]


def test_what_is_no_key_does_nothing() -> None:
    """Control characters, broken UTF-8 and a sequence without end."""
    decoder = Decoder()
    assert decoder.feed(b"\x00\x01\t") == []
    assert decoder.feed(b"\xff") == ["\ufffd"]
    assert decoder.feed(b"\x1b[" + b"1" * 100 + b"~q")[-1] == "q"
    assert len(decoder.feed(b"\x1b[" + b"1" * 10_000)) == 10_002


def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, a closed file, or nothing at all."""
    closed = io.StringIO()
    closed.close()
    for file in (io.StringIO("q"), closed, object()):
        with Keyboard(file) as keyboard:
            assert not keyboard.there
            begun = time.monotonic()
            assert keyboard.keys(0.01) == []
            assert time.monotonic() - begun >= 0.009


def test_the_terminal_is_set_and_set_back() -> None:
    """Keys come at once and are not shown; then it is as it was, also when it has hung up."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with os.fdopen(slave, "r") as file:
        with Keyboard(file) as keyboard:
            assert keyboard.there
            assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
            assert termios.tcgetattr(slave)[3] & termios.ISIG
            os.write(master, b"s\x1b[B")
            assert keyboard.keys(5) == ["s", "down"]
            assert keyboard.keys(0.001) == []
        assert termios.tcgetattr(slave) == before
        with Keyboard(file) as keyboard:
            os.close(master)
            assert keyboard.keys(5) == []
            assert keyboard.keys(0.001) == []
