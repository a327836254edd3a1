"""Asking a server: bounded time, bounded size, few words for what goes wrong, and no secrets."""

from __future__ import annotations

import base64
import json
import pickle
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe.remote import client as module
from meshhook.observe.remote.address import Address
from meshhook.observe.remote.client import RefusedError, Remote, RemoteError, parse
from tests.observe.canned import Canned, canned, http, stream
from tests.servers import free_port

SECRET = "canary-5f1d"


@pytest.fixture
def server() -> Iterator[Canned]:
    """Run a server that answers as the test says."""
    with canned() as running:
        yield running


def error_of(remote: Remote, path: str = "/policies") -> str:
    """Return in which words asking fails."""
    with pytest.raises(RemoteError) as caught:
        remote.get(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:9464", "http://127.0.0.1:9464"),
        ("localhost:9464", "http://localhost:9464"),
        ("HTTP://Example.ORG/", "http://example.org"),
        ("https://example.org:443/mesh/", "https://example.org/mesh"),
        ("https://example.org:80/a/b", "https://example.org:80/a/b"),
        ("http://[::1]:9464", "http://[::1]:9464"),
        ("0:9464", "http://0:9464"),
        (f"http://me:{SECRET}@example.org", "http://***@example.org"),
        (f"http://{SECRET}@example.org:81", "http://***@example.org:81"),
    ],
)
def test_addresses_are_shown_without_credentials(url: str, shown: str) -> None:
    """The address says where, and nothing that opens a door."""
    assert str(Address.of(url)) == shown
    assert Remote(url).url == shown
    assert SECRET not in repr(Address.of(url)) + repr(Remote(url)) + repr(vars(Address))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "has characters that no URL has"),
        (7, "is no text"),
        (None, "is no text"),
        (f"ftp://{SECRET}", "is neither http:// nor https://"),
        (f"http://a?token={SECRET}", "has a query or a fragment"),
        (f"http://a#{SECRET}", "has a query or a fragment"),
        (f"http://{SECRET}@", "names no host"),
        (f"http://{SECRET}:x@a:99999", "names no host, or no port that there is"),
        (f"http://{SECRET}@[::1", "names no host, or no port that there is"),
        ("9464", "is a number; did you mean 127.0.0.1:9464?"),
        ("http://80/meshhook", "is a number; did you mean 127.0.0.1:80?"),
        ("http://a\r\nX: y", "has characters that no URL has"),
        (f"http://{SECRET}@ü.example", "has characters that no URL has"),
    ],
)
def test_addresses_that_cannot_be(url: Any, why: str) -> None:
    """The error says why, and shows nothing of the URL, for it may have a secret anywhere."""
    with pytest.raises(mh.ConfigurationError, match=re.escape(why)) as caught:
        Address.of(url)
    assert SECRET not in str(caught.value)
    assert "http://127.0.0.1:9464" in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ü", 7])
def test_a_token_that_no_header_can_carry(token: Any) -> None:
    """It is refused beforehand, for the error of the standard library would show it."""
    with pytest.raises(mh.ConfigurationError, match="a token must be text of visible ASCII") as it:
        Remote("http://a", token=token)
    assert token in ("", 7) or token not in str(it.value)


@pytest.mark.parametrize("header", ["", "a b", "X:", "X\n", 7])
def test_a_header_that_is_none(header: Any) -> None:
    """The same for its name."""
    with pytest.raises(mh.ConfigurationError, match="the name of the header"):
        Remote("http://a", header=header)


def test_what_is_sent(server: Canned) -> None:
    """A request for JSON at the path below the mount point, with the token as a bearer token."""
    server.answers["/mesh/policies"] = http({"a": 1})
    assert Remote(f"{server.url}/mesh/", token=SECRET).get("/policies") == {"a": 1}
    sent = server.requests[0].decode()
    assert sent.startswith("GET /mesh/policies HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRET}\r\n" in sent
    assert "Accept: application/json\r\n" in sent


def test_other_ways_to_say_who_one_is(server: Canned) -> None:
    """Name and password of the URL as Basic; the token in a header of its own."""
    server.answers["/policies"] = http({})
    url = server.url.replace("//", f"//me:{SECRET}%21@")
    Remote(url, token="t", header="X-Key").get("/policies")
    sent = server.requests[0].decode()
    basic = base64.b64encode(f"me:{SECRET}!".encode()).decode()
    assert f"Authorization: Basic {basic}\r\n" in sent
    assert "X-Key: t\r\n" in sent


def test_something_is_done_by_post(server: Canned) -> None:
    """As JSON, so that no form of a foreign page could be taken for it."""
    server.answers["/policies/retry/a/reset"] = http({"done": True})
    assert Remote(server.url).post("/policies/retry/a/reset", {"seconds": 5}) == {"done": True}
    sent = server.requests[0].decode()
    assert sent.startswith("POST ")
    assert "Content-Type: application/json" in sent
    assert sent.endswith('{"seconds": 5}')


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http({}, 401), "401: it asks for a token"),
        (http({"error": "say who you are"}, 401), "401: say who you are"),
        (http({"error": 7}, 403), "403: not allowed"),
        (
            http(b"<html>", 404),
            "404: no meshhook at this address; mounted ones have a path, such as /meshhook",
        ),
        (http([], 500), "answered 500"),
        (
            b"HTTP/1.1 302 F\r\nLocation: http://b/\r\n\r\n",
            "302: a redirect, which is not followed",
        ),
        (http(b"<html>"), "answered with something that is no JSON"),
        (http(b""), "answered with something that is no JSON"),
        (http(b"NaN"), "answered with something that is no JSON"),
        (http(b"[" * 100_000), "answered with something that is no JSON"),
        (http(b"1" * 5_000), "answered with something that is no JSON"),
        (http(b"[]," * 500_000), "answered with too much to take apart"),
        (http(b"\xff\xff"), "answered with something that is no JSON"),
        (http(b" " * (10 << 20)), "answered with more than 8 MiB"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (10 << 20), "answered with more than 8 MiB"),
        (b"SSH-2.0-OpenSSH\r\n", "answered with something that is no HTTP"),
        (b"", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "answered with something that is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "answered with something that is no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\n",
            "the connection was lost",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\nx", "answered with something that is no"),
    ],
)
def test_odd_answers_are_errors_in_a_few_words(server: Canned, answer: bytes, words: str) -> None:
    """Whatever comes."""
    server.answers["/policies"] = answer
    assert error_of(Remote(server.url)).startswith(words)


def test_nobody_there() -> None:
    """A closed port, and a name that does not exist."""
    assert error_of(Remote(f"http://127.0.0.1:{free_port()}")) == "refused"
    assert error_of(Remote("http://nowhere.invalid")) == "no such host"
    assert error_of(Remote(f"http://{'a' * 70}.example")) == "no such host"


def refuse(*_: Any, **__: Any) -> Any:
    """Be a host where nobody listens."""
    raise ConnectionRefusedError


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1", "refused at port 80"),
        ("https://127.0.0.1/mesh", "refused at port 443"),
        ("https://127.0.0.1:80", "refused"),
    ],
)
def test_a_port_that_goes_without_saying_is_said(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For it may have been forgotten; others are in the URL."""
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert error_of(Remote(url)) == words


def drip(piece: bytes, every: float = 0.02) -> Any:
    """Make an answer that never ends, a little at a time."""

    def answer(connection: socket.socket, request: bytes) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(every)

    return answer


def silence(connection: socket.socket, request: bytes) -> None:
    """Answer nothing until the client goes."""
    connection.recv(1)


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        drip(b"H"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n"),
        lambda connection, request: (
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            drip(b" ")(connection, request),
        ),
        lambda connection, request: (
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            drip(b"1\r\n \r\n")(connection, request),
        ),
    ],
    ids=["silence", "status", "continue", "headers", "body", "chunks"],
)
def test_an_answer_has_to_be_there_in_time_as_a_whole(server: Canned, answer: Any) -> None:
    """Not each piece of it alone: a slow drip ends as silence does."""
    server.answers["/policies"] = answer
    begun = time.monotonic()
    said = error_of(Remote(server.url, timeout=0.2))
    assert said in ("timed out", "answered with something that is no HTTP")
    assert time.monotonic() - begun < 2


def test_a_server_that_accepts_nothing() -> None:
    """A full backlog is silence, too."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        port = full.getsockname()[1]
        assert error_of(Remote(f"http://127.0.0.1:{port}", timeout=0.2)) == "timed out"
        for filler in fillers:
            filler.close()


def test_redirects_are_not_followed(server: Canned) -> None:
    """So a token stays with the server that it is for."""
    with canned({"/policies": http({"stolen": True})}) as other:
        location = f"Location: {other.url}/policies".encode()
        server.answers["/policies"] = b"HTTP/1.1 307 T\r\n" + location + b"\r\n\r\n"
        assert "redirect" in error_of(Remote(server.url, token=SECRET))
        assert other.requests == []


def test_a_proxy_of_the_environment_is_not_asked(
    server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers are near, and the proxy would get the token."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.answers["/policies"] = http([1])
    assert Remote(server.url).get("/policies") == [1]


def test_streams_are_read_as_they_come(server: Canned) -> None:
    """Message by message, until the server ends it."""
    gate = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(stream(("hello", {"a": 1}), end=b": comment\r\n"))
        gate.wait(30)
        for byte in b'event: events\r\ndata: {"b":\r\ndata: 2}\r\n\r\n':
            connection.sendall(bytes([byte]))

    server.answers["/events"] = answer
    messages = Remote(server.url, timeout=0.5).stream("/events")
    first = next(messages)
    assert (first.event, json.loads(first.data)) == ("hello", {"a": 1})
    time.sleep(0.6)  # longer than an answer may take: a stream has no end to wait for
    gate.set()
    second = next(messages)
    assert (second.event, json.loads(second.data)) == ("events", {"b": 2})
    assert list(messages) == []
    assert b"Accept: text/event-stream" in server.requests[0]


def test_a_stream_that_falls_silent_is_lost(
    server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of ours has a heartbeat."""
    monkeypatch.setattr(module, "_IDLE", 0.05)

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(stream(("hello", {})))
        connection.recv(1)

    server.answers["/events"] = answer
    messages = Remote(server.url).stream("/events")
    next(messages)
    with pytest.raises(RemoteError, match="timed out"):
        next(messages)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http({}), "something else than a stream"),
        (http({}, 503), "answered 503"),
        (http({"error": "no"}, 403), "403: no"),
        (http({}, 403), "403: not allowed"),
        (stream(end=b"data: " + b"x" * (9 << 20)), "without end"),
    ],
)
def test_what_is_no_stream(server: Canned, answer: bytes, words: str) -> None:
    """It is an error as any other."""
    server.answers["/events"] = answer
    with pytest.raises(RemoteError, match=words):
        list(Remote(server.url).stream("/events"))


def test_a_stream_that_is_left_is_closed(server: Canned) -> None:
    """The server sees that nobody listens any more."""
    gone = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(stream(("hello", {})))
        if not connection.recv(1):
            gone.set()

    server.answers["/events"] = answer
    messages: Any = Remote(server.url).stream("/events")
    next(messages)
    messages.close()
    assert gone.wait(10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate that nobody has signed."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    subprocess.run(
        [*command.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize("trusted", [True, False])
def test_tls(certificate: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate has to be trusted; one that is not is said plainly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(65536)
                        secure.sendall(http([1]))
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        remote = Remote(f"https://localhost:{listener.getsockname()[1]}")
        if trusted:
            assert remote.get("/policies") == [1]
        else:
            assert error_of(remote) == "its certificate is not trusted"
        thread.join()


def test_a_server_without_tls_is_said_so(server: Canned) -> None:
    """A port that speaks http is asked for https."""
    said = error_of(Remote(server.url.replace("http:", "https:"), timeout=0.5))
    assert said in ("no TLS could be agreed on", "the connection was lost", "timed out")


def test_json_that_means_ill() -> None:
    """Infinity is no number, and neither are many digits."""
    for text in ("Infinity", "-Infinity", "NaN", "[NaN]", "9" * 5_000, "{", '"\\x"'):
        with pytest.raises(RemoteError):
            parse(text)
    assert parse('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


def test_errors_can_be_told_apart_elsewhere() -> None:
    """They are copied whole."""
    error = RefusedError(403, "no")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.said) == ("403: no", 403, "no")
