"""A server that answers each path with what a test has written, well behaved or not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

INSTANCE = {
    "id": "host:1:1700000000",
    "host": "host",
    "pid": 1,
    "started": 1700000000.0,
    "time": 1700000100.0,
    "version": "0.2.0",
}


def policy(
    name: str = "payments",
    kind: str = "circuit_breaker",
    status: str = "ok",
    condition: str = "closed",
    **stats: Any,
) -> dict[str, Any]:
    """Make a policy as `/policies` tells of it."""
    return {
        "policy": kind,
        "name": name,
        "status": status,
        "condition": condition,
        "critical": False,
        "actions": ["reset"],
        "until": None,
        "stats": {"policy": kind, "name": name, **stats},
    }


def policies(
    *listed: Any, own: str = "host:1:1700000000", status: str = "ok", ready: bool = True
) -> dict[str, Any]:
    """Make the answer at `/policies`."""
    return {
        "instance": {**INSTANCE, "id": own},
        "health": {"status": status, "ready": ready},
        "policies": list(listed),
    }


def happening(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Make an event as `/events` tells of it."""
    return {
        "id": number,
        "time": 1700000050.0 + number,
        "event": "circuit_changed",
        "policy": "circuit_breaker",
        "name": "payments",
        "old": "closed",
        "new": "open",
        "reason": "consecutive_failures",
        **fields,
    }


def http(document: Any, status: int = 200, content_type: str = "application/json") -> bytes:
    """Make a whole answer; bytes go out as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def stream(*messages: tuple[str, Any], end: bytes = b"") -> bytes:
    """Make the beginning of a stream of events."""
    told = b"".join(
        f"event: {event}\ndata: {json.dumps(data)}\n\n".encode() for event, data in messages
    )
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + told + end


class Canned:
    """The server. An answer is bytes, or a function that gets the connection and the request."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                piece = connection.recv(65536)
                if not piece:
                    return
                request += piece
            head, _, body = request.partition(b"\r\n\r\n")
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                while name.lower() == b"content-length" and len(body) < int(value):
                    body += connection.recv(65536)
            request = head + b"\r\n\r\n" + body
            self.requests.append(request)
            path = request.split(b" ", 2)[1].decode()
            answer = self.answers.get(path, self.answers.get(path.partition("?")[0]))
            if answer is None:
                answer = http({"error": "there is no such path"}, 404)
            if callable(answer):
                answer(connection, request)
            else:
                connection.sendall(answer)

    def close(self) -> None:
        """Accept no more connections."""
        # An accept that waits is not woken by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@contextlib.contextmanager
def canned(answers: dict[str, Any] | None = None) -> Iterator[Canned]:
    """Run a server for the length of a ``with`` block."""
    server = Canned({} if answers is None else answers)
    try:
        yield server
    finally:
        server.close()


Answer = Callable[[socket.socket, bytes], None]
