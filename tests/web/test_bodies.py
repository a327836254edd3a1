"""Bodies that do not come whole: what is asked for then is not known, so nothing is done."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe.web import asgi
from tests.web.test_server import raw

ORDER = b'{"seconds": 60}'
CHUNKED = b"f\r\n" + ORDER + b"\r\n0\r\n\r\n"


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    """Make a circuit that somebody acts on."""
    return mh.circuit_breaker("payments")


@pytest.fixture
def port(breaker: mh.CircuitBreaker) -> Iterator[int]:
    """Serve it, for Olga."""
    with mh.serve(0, authorize=lambda request: "olga") as server:
        yield server.port


def post(port: int, headers: bytes, body: bytes) -> bytes:
    """Post an order, and say nothing more after it."""
    head = b"POST /policies/circuit_breaker/payments/disable HTTP/1.1\r\nHost: localhost\r\n"
    return raw(port, head + b"X-Meshhook: act\r\n" + headers + b"\r\n" + body)


BROKEN_OFF = {
    "nothing came": (b"Content-Length: 15\r\n", b""),
    "a part came": (b"Content-Length: 30\r\n", ORDER),
    "in pieces": (b"Transfer-Encoding: chunked\r\n", CHUNKED),
    "in pieces, and nothing": (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", CHUNKED),
    "no number": (b"Content-Length: +15\r\n", ORDER),
    "two numbers": (b"Content-Length: 0\r\nContent-Length: 15\r\n", ORDER),
    "a number beyond all": (b"Content-Length: %b\r\n" % (b"9" * 5000), ORDER),
}


@pytest.mark.parametrize("how", BROKEN_OFF)
def test_what_does_not_come_whole_does_nothing(
    port: int, breaker: mh.CircuitBreaker, how: str
) -> None:
    """Who wanted something for a minute does not get it for good."""
    answer = post(port, *BROKEN_OFF[how])
    assert answer.split(b"\r\n")[0] == b"HTTP/1.0 400 Bad Request"
    assert b"the body did not come whole" in answer
    assert b"Content-Security-Policy" in answer
    assert breaker.state == "closed"


def test_what_comes_whole_is_done(port: int, breaker: mh.CircuitBreaker) -> None:
    """With its length, which may have zeros before it."""
    assert b"200 OK" in post(port, b"Content-Length: 015\r\n", ORDER)
    assert breaker.state == "disabled"


def wsgi(environ: dict[str, Any]) -> tuple[str, Any]:
    """Post an order to a server that has a way of its own with bodies."""
    begun: list[str] = []
    app = mh.wsgi_app(authorize=lambda request: "olga")
    told = app(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/policies/circuit_breaker/payments/disable",
            "HTTP_HOST": "localhost",
            "HTTP_X_MESHHOOK": "act",
            **environ,
        },
        lambda status, _headers: begun.append(status),
    )
    app.close()
    return begun[0], json.loads(b"".join(told))


class _Slowly(io.RawIOBase):
    """Gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def read(self, _size: int = -1) -> bytes:
        return bytes([*(byte for byte in [next(self._data, None)] if byte is not None)])


def test_a_server_that_takes_pieces_together(breaker: mh.CircuitBreaker) -> None:
    """It says so, and the body ends where it ends, in however many reads."""
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    for body in (io.BytesIO(ORDER), _Slowly(ORDER)):
        breaker.reset()
        status, told = wsgi({**chunked, "wsgi.input": body})
        assert (status, told["condition"]) == ("200 OK", "disabled")
        assert 59 < told["until"] <= 60


def test_a_length_in_however_many_reads(breaker: mh.CircuitBreaker) -> None:
    """All of them together are the body."""
    _, told = wsgi({"CONTENT_LENGTH": "15", "wsgi.input": _Slowly(ORDER)})
    assert 59 < told["until"] <= 60


def test_a_client_that_breaks_off_at_a_server_of_threads(breaker: mh.CircuitBreaker) -> None:
    """The server raises that as it likes, and nothing is done."""

    class Lost(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise ConnectionResetError

    assert wsgi({"CONTENT_LENGTH": "15", "wsgi.input": Lost()})[0] == "400 Bad Request"
    assert breaker.state == "closed"


def test_a_body_that_does_not_come_in_time(
    breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after some seconds, and nothing is done."""
    monkeypatch.setattr(asgi, "BODY_WITHIN", 0.01)
    app = mh.asgi_app(authorize=lambda request: "olga")
    sent: list[Any] = []
    pieces = [{"type": "http.request", "body": b"  ", "more_body": True}]

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/policies/circuit_breaker/payments/disable",
        "headers": [(b"host", b"localhost"), (b"x-meshhook", b"act")],
    }
    asyncio.run(app(scope, receive, send))
    app.close()
    assert sent[0]["status"] == 400
    assert b"the body did not come whole" in sent[1]["body"]
    assert breaker.state == "closed"
