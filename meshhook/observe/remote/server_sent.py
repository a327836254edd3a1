"""Server-sent events, as they come: bytes in pieces of any length, messages out."""

from __future__ import annotations

import dataclasses
import re

LONGEST = 8 << 20
"""More bytes than this are no message of ours."""

_BOM = b"\xef\xbb\xbf"
_MILLISECONDS = re.compile(r"[0-9]{1,9}")


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message: the name of its event, and its data, lines joined.

    ``retry`` is what the stream has said so far of its end: after how many milliseconds to come
    back. None is nothing.
    """

    event: str
    data: str
    retry: int | None = None


class TooLongError(Exception):
    """A message goes on and on."""


class Parser:
    """Takes a stream apart, by the rules of the HTML standard. For one reader.

    Lines end with CR LF, LF or CR. Comments and ``id`` are passed over, for the events of meshhook
    have numbers of their own; so is what is cut off at the end of the stream.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self._retry: int | None = None
        self._first = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[Message]:
        """Take the next piece of the stream; return the messages that are complete by it."""
        if not piece:
            return []
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
            if not piece:
                return []
        self._after_cr = piece.endswith(b"\r")
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        messages = []
        for line in lines:
            self._add(line)
            message = self._end_line()
            if message is not None:
                messages.append(message)
        self._add(rest)
        return messages

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > LONGEST:
            raise TooLongError
        self._line += part

    def _end_line(self) -> Message | None:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if not line:
            return self._end_message()
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        else:
            self._size -= len(line)
            if field == "retry" and _MILLISECONDS.fullmatch(value):
                self._retry = int(value)
        return None

    def _end_message(self) -> Message | None:
        event, data = self._event, self._data
        self._event, self._data, self._size = "", [], 0
        return Message(event or "message", "\n".join(data), self._retry) if data else None
