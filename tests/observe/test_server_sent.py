"""Server-sent events: taken apart however the bytes come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.observe.remote import server_sent
from meshhook.observe.remote.server_sent import Message, Parser, TooLongError

STREAM = (
    "\ufeff: a comment\r\n"
    "event: hello\r\n"
    'data: {"a": "ü語"}\r\n'
    "\r\n"
    ":\n"
    "data: first\n"
    "data:  second\n"
    "id: 7\n"
    "retry: 100\n"
    "nothing\n"
    "\n"
    "event: nobody hears of this, for it has no data\r"
    "\r"
    "data\r"
    "\r"
    "data: cut off"
).encode()
MESSAGES = [
    Message("hello", '{"a": "ü語"}'),
    Message("message", "first\n second", retry=100),
    Message("message", "", retry=100),
]


def parsed(*pieces: bytes) -> list[Message]:
    """Feed a new parser; return what comes out of it."""
    parser = Parser()
    return [message for piece in pieces for message in parser.feed(piece)]


def test_a_stream_at_once() -> None:
    """Comments, ids and what is cut off are passed over; lines of data are joined."""
    assert parsed(STREAM) == MESSAGES


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_that_is_cut_anywhere(at: int) -> None:
    """In the middle of a character, and between CR and LF, too."""
    assert parsed(STREAM[:at], STREAM[at:]) == MESSAGES


def test_a_stream_byte_by_byte() -> None:
    """Each byte alone."""
    assert parsed(*(bytes([byte]) for byte in STREAM)) == MESSAGES


@given(
    lines=st.lists(st.sampled_from(["data: a", "data:b", "event: e", ": c", "", "", "x"])),
    ends=st.lists(st.sampled_from(["\r\n", "\n", "\r"]), min_size=1),
    cuts=st.lists(st.integers(0, 200)),
)
def test_pieces_do_not_matter(lines: list[str], ends: list[str], cuts: list[int]) -> None:
    """Any stream, with any ends of lines, in any pieces, is the same as in one."""
    text = "".join(line + ends[at % len(ends)] for at, line in enumerate(lines)).encode()
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert parsed(*pieces) == parsed(text)


def test_messages_are_given_as_soon_as_they_end() -> None:
    """Nobody waits for the next one; a CR may end one without its LF."""
    parser = Parser()
    assert parser.feed(b"data: a\r\r") == [Message("message", "a")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: b\n\n") == [Message("message", "b")]
    assert parser.feed(b"") == []


def test_when_to_come_back_is_a_number() -> None:
    """Digits and nothing else, and few enough of them; what is none leaves the last word."""
    parser = Parser()
    for said in ("-1", "1.5", "", "x", "\u0667", "9" * 5_000):
        assert parser.feed(f"retry: {said}\ndata: a\n\n".encode()) == [Message("message", "a")]
    assert parser.feed(b"retry: 7\ndata: a\n\n") == [Message("message", "a", retry=7)]
    assert parser.feed(b"retry: no\ndata: a\n\n") == [Message("message", "a", retry=7)]


def test_bytes_that_are_no_text() -> None:
    """They are replaced: no stream of ours has any."""
    assert parsed(b"data: \xff\xfe\n\n") == [Message("message", "\ufffd\ufffd")]


def test_a_message_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a line nor a message of many lines may fill the memory; comments do not count."""
    monkeypatch.setattr(server_sent, "LONGEST", 100)
    with pytest.raises(TooLongError):
        parsed(*[b"x" * 10] * 11)
    with pytest.raises(TooLongError):
        parsed(*[b"data: xxxx\n"] * 11)
    assert parsed(*[b": heartbeat\n"] * 100, b"data: a\n\n") == [Message("message", "a")]
    assert len(parsed(*[b"data: xxxxx\n\n"] * 100)) == 100
