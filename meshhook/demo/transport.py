"""One HTTP exchange on a connection of its own: request out, JSON back, in both colours.

What the callers of the demo speak. Small on purpose: a call that fails is to fail for the reasons
that a network has, which are all ``OSError`` here, or with what the service said, ``ServiceError``.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, NamedTuple

HOST = "127.0.0.1"
SERVER_ERROR = 500


class ServiceError(Exception):
    """The service answered, and the answer is an error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the service answered with {status}")
        self.status = status


class Request(NamedTuple):
    """What to send. ``body`` goes out as JSON."""

    method: str
    path: str
    body: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """Return the request as it goes over the wire."""
        body = b"" if self.body is None else json.dumps(self.body).encode()
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: {HOST}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


def decode(answer: bytes) -> dict[str, Any]:
    """Return the JSON of an answer; raise ServiceError if its status is 400 or more.

    Raises ConnectionResetError when the answer breaks off.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
        content = json.loads(body)
    except (IndexError, ValueError):
        raise ConnectionResetError("the connection ended before the answer was complete") from None
    if status >= 400:  # noqa: PLR2004 - where errors begin in HTTP
        raise ServiceError(status)
    return content  # type: ignore[no-any-return]


def exchange(port: int, request: Request, patience: float) -> dict[str, Any]:
    """Send ``request`` and return the answer; give up after ``patience`` seconds of silence."""
    with socket.create_connection((HOST, port), timeout=patience) as connection:
        connection.sendall(request.encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return decode(b"".join(parts))


async def exchange_async(port: int, request: Request) -> dict[str, Any]:
    """Send ``request`` and return the answer; whoever awaits it sets the limit."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request.encode())
        return decode(await reader.read())
    finally:
        writer.close()
