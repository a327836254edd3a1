"""A request and its answer, free of any framework, and the headers that every answer carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshhook.observe.finite import finite
from meshhook.observe.web.wish import Wish

JSON = "application/json"
_NO_BODY = frozenset({204, 304})

PROTECTION = (
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""On every answer: nothing foreign may be loaded, and nobody foreign may load or frame it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the endpoints see it, and as ``authorize`` is given it."""

    method: str
    path: str
    """Decoded, below the place where the endpoints are mounted; it begins with a slash."""

    root: str = ""
    """Where the endpoints are mounted, such as ``/meshhook``; decoded."""

    # What may hold a secret is not shown.
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name in lower case; several of one name are joined by commas."""

    client: str | None = None
    """The address of who is connected, which may be a proxy."""

    body: bytes = field(default=b"", repr=False)
    """Read for POST alone, and no more than the limit and one byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back: a body, or with ``stream`` what the client wishes to be told."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Wish | None = None

    def all_headers(self) -> list[tuple[str, str]]:
        """Return the headers to send, those of protection and the length included."""
        headers = [*self.headers, *PROTECTION]
        if not any(name == "Cache-Control" for name, _ in headers):
            headers.append(("Cache-Control", "no-store"))
        if self.stream is None and self.status not in _NO_BODY:
            headers.append(("Content-Length", str(len(self.body))))
        return headers


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def as_json(value: Any) -> bytes:
    """Return ``value`` on one line of JSON; numbers that JSON does not know become null."""
    try:
        return _encode(value).encode()
    except ValueError:
        return _encode(finite(value)).encode()


def with_policies(policies: list[dict[str, Any]], **others: Any) -> bytes:
    """Return an object as JSON that has ``policies``, maybe thousands of them, and some more.

    They are written one by one: the encoder lets no other thread run before it is through.
    """
    lines = b",".join(map(as_json, policies))
    return b'%b,"policies":[%b]}' % (as_json(others)[:-1], lines)


def below(at: str, path: str) -> str | None:
    """Return the part of ``path`` below ``at``; None if it is elsewhere."""
    if path == at or path.startswith(f"{at}/"):
        return path[len(at) :]
    return None


def told(value: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """Answer with ``value`` as JSON."""
    return Answer(
        status=status, headers=(("Content-Type", JSON), *headers), body=as_json(value) + b"\n"
    )


def refused(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    """Answer that a request cannot be served, and why."""
    return told({"error": why}, status, *headers)
