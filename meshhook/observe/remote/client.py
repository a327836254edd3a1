"""Another process that shows its policies over HTTP, asked in bounded time for a bounded answer.

Whatever goes wrong is a :class:`RemoteError`, which says in a few words what. Credentials are sent
to the one server that they are for, redirects are followed nowhere, and nothing of this is shown.
"""

from __future__ import annotations

import base64
import functools
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from meshhook.observe.remote import server_sent
from meshhook.observe.remote.address import Address, token_headers
from meshhook.observe.remote.shown import clean

MOST_BYTES = 8 << 20
"""Of an answer: more than ten thousand policies have to say."""

_MOST_BRACKETS = 400_000
_PIECE = 1 << 16
_LONGEST_SAID = 300
_IDLE = 30.0
"""A stream has a sign of life in it every ten seconds."""

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 401, 403, 404, 429
_MEANINGS = {
    _UNAUTHORIZED: "it asks for a token",
    _FORBIDDEN: "not allowed",
    _NOT_FOUND: "no meshhook at this address; mounted ones have a path, such as /meshhook",
}

_WORDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, "timed out"),
    (ConnectionRefusedError, "refused"),
    ((socket.gaierror, UnicodeError), "no such host"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no TLS could be agreed on"),
    ((ConnectionError, http.client.IncompleteRead), "the connection was lost"),
    (http.client.HTTPException, "answered with something that is no HTTP"),
)


class RemoteError(Exception):
    """A server could not be reached, or did not answer as it should."""


class RefusedError(RemoteError):
    """The server answered that it will not; ``status`` is its code, ``said`` what it said."""

    def __init__(self, status: int, said: str = "") -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said

    @property
    def is_final(self) -> bool:
        """Whether it would say so again: it does not for want of room, or of something else."""
        return 300 <= self.status < 500 and self.status != _TOO_MANY  # noqa: PLR2004 - redirects

    def __str__(self) -> str:
        meaning = self.said or _MEANINGS.get(self.status, "")
        if 300 <= self.status < 400:  # noqa: PLR2004 - redirects
            meaning = "a redirect, which is not followed: give the address that it leads to"
        return f"{self.status}: {meaning}" if meaning else f"answered {self.status}"


class Remote:
    """One server. Safe to use from any thread: each question has a connection of its own.

    Args:
        url: where the endpoints are mounted, such as ``http://127.0.0.1:9464``.
        timeout: seconds for a whole answer.
        token: sent as ``Authorization: Bearer``; never shown.
        header: the header to send the token in instead, as it is.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 2.0,
        token: str | None = None,
        header: str | None = None,
    ) -> None:
        self._address = Address.of(url)
        self.url = str(self._address)
        self._timeout = timeout
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "meshhook"}
        if self._address.credentials is not None:
            basic = base64.b64encode(self._address.credentials.encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"
        self._headers |= token_headers(token, header)

    def __repr__(self) -> str:
        return f"<Remote {self.url}>"

    def get(self, path: str, *, allowed: tuple[int, ...] = (200,)) -> Any:
        """Return what is in the JSON at ``path``."""
        return self._ask("GET", path, None, allowed)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send ``body`` as JSON; return what is in the JSON of the answer."""
        return self._ask("POST", path, json.dumps(body).encode(), (200,))

    def stream(self, path: str) -> Iterator[server_sent.Message]:
        """Give the messages of a stream, until the server or the line ends it."""
        with self._asked("GET", path, None, "text/event-stream") as (response, patience):
            if response.status != 200:  # noqa: PLR2004 - OK
                raise RefusedError(response.status, _said(_read(response)))
            if response.headers.get_content_type() != "text/event-stream":
                raise RemoteError("answered with something else than a stream of events")
            patience.idle = _IDLE
            parser = server_sent.Parser()
            try:
                while piece := response.read1(_PIECE):
                    yield from parser.feed(piece)
            except server_sent.TooLongError:
                raise RemoteError("sent a message without end") from None

    def _ask(self, method: str, path: str, body: bytes | None, allowed: tuple[int, ...]) -> Any:
        with self._asked(method, path, body, "application/json") as (response, _):
            data = _read(response)
            if response.status in allowed:
                return parse(data)
            raise RefusedError(response.status, _said(data))

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None, accept: str
    ) -> Iterator[tuple[http.client.HTTPResponse, _Patience]]:
        """Ask, and give the answer as it begins; turn what goes wrong into a few words."""
        patience = _Patience(time.monotonic() + self._timeout)
        connection = self._connection()
        connection.response_class = functools.partial(_Response, patience)  # type: ignore[assignment]
        headers = {**self._headers, "Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, f"{self._address.path}{path}", body, headers)
            with connection.getresponse() as response:
                yield response, patience
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise RemoteError(in_words(error) + self._at_port(error)) from None
        finally:
            connection.close()

    def _at_port(self, error: Exception) -> str:
        """Name the port that refused, if whoever wrote the URL may not know of it."""
        if isinstance(error, ConnectionRefusedError) and self._address.has_usual_port:
            return f" at port {self._address.port}"
        return ""

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._address.secure:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)


def parse(data: bytes | str) -> Any:
    """Return what is in a text of JSON that nobody has looked at yet."""
    # An empty list is two bytes here and many there.
    is_text = isinstance(data, str)
    if sum(map(data.count, "[{" if is_text else (b"[", b"{"))) > _MOST_BRACKETS:  # type: ignore[arg-type]
        raise RemoteError("answered with too much to take apart")
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RemoteError("answered with something that is no JSON") from None


def _no_number(text: str) -> None:
    raise ValueError(text)


def _read(response: http.client.HTTPResponse) -> bytes:
    pieces, size = [], 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > MOST_BYTES:
            raise RemoteError(f"answered with more than {MOST_BYTES >> 20} MiB")
        pieces.append(piece)
    return b"".join(pieces)


def _said(data: bytes) -> str:
    """Return what the server says about its refusal, if it says it as ours do."""
    try:
        said = parse(data)["error"]
    except (RemoteError, LookupError, TypeError):
        return ""
    return clean(said, _LONGEST_SAID) if isinstance(said, str) else ""


def in_words(error: Exception) -> str:
    """Say in a few words what is wrong with a server."""
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            return words
    return str(getattr(error, "strerror", None) or "the network failed").lower()


class _Patience:
    """How long to wait for the next bytes: until the ``end``, or once ``idle`` is set, so long."""

    def __init__(self, end: float) -> None:
        self._end = end
        self.idle: float | None = None

    def left(self) -> float:
        """Return for how many seconds to wait now."""
        if self.idle is not None:
            return self.idle
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Response(http.client.HTTPResponse):
    """A response that has to be there in time as a whole, and not each piece of it alone."""

    def __init__(self, patience: _Patience, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, patience), _PIECE)


class _Timed(io.RawIOBase):
    """Reads a socket with patience."""

    def __init__(self, sock: socket.socket, patience: _Patience) -> None:
        self._sock = sock
        self._patience = patience
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._patience.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
