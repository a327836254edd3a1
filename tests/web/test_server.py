"""mh.serve: a server in a thread, for a process that has none."""

from __future__ import annotations

import contextlib
import gc
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from wsgiref.handlers import BaseHandler

import pytest

import meshhook as mh
from meshhook.observe.web import listening
from meshhook.observe.web.server import Server
from tests.forking import in_a_fork
from tests.waiting import eventually
from tests.web.clients import Following, ask


@pytest.fixture
def server(registry: mh.Registry) -> Iterator[Server]:
    """Serve the registry of the test."""
    mh.circuit_breaker("payments")
    with mh.serve(0) as server:
        yield server


def raw(port: int, data: bytes) -> bytes:
    """Send bytes as they are; return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def threads() -> list[str]:
    """Return the names of the threads that are there."""
    return sorted(thread.name for thread in threading.enumerate())


def test_it_serves_on_a_free_port(server: Server) -> None:
    """On the loopback, and its URL is right."""
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert ask(server.port, "GET", "/policies").json["policies"][0]["name"] == "payments"
    assert repr(server) == f"<meshhook server {server.url}>"


def test_it_is_a_daemon(server: Server) -> None:
    """It never keeps a process from ending."""
    (thread,) = [each for each in threading.enumerate() if each.name == "meshhook-serve"]
    assert thread.daemon


def test_a_process_ends_with_its_server_and_streams() -> None:
    """As soon as its main thread is through, however many clients follow."""
    program = (
        "import socket, meshhook as mh; server = mh.serve(0); "
        "client = socket.create_connection(('127.0.0.1', server.port)); "
        "client.sendall(b'GET /events?stats=1 HTTP/1.1\\r\\n\\r\\n'); "
        "assert b'200' in client.recv(100); print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == (b"done\n", b"")


def test_closing(server: Server) -> None:
    """The port is free at once, streams end, threads are gone; more than once is fine."""
    with Following(server.port, "/events?stats=1") as stream:
        stream.next("stats")
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 5
        stream.rest()
    server.close()
    assert repr(server) == "<meshhook server that is closed>"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert eventually(lambda: not [name for name in threads() if "process_request" in name])
    assert "meshhook-serve" not in threads()
    assert not mh.events.wanted(mh.events.CircuitChanged)
    with mh.serve(server.port) as again:
        assert ask(again.port, "GET", "/health/live").status == 200


def test_a_port_that_is_taken(server: Server) -> None:
    """The error names the port and the way out; nothing is left of the attempt."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.serve(server.port)
    message = str(caught.value)
    assert f"cannot listen on port {server.port} of 127.0.0.1" in message
    assert "port=0" in message
    assert threads().count("meshhook-serve") == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"port": -1}, "port must be a whole number of 0 or more"),
    ({"port": 65536}, "port must be a number up to 65535"),
    ({"port": "80"}, "port must be a whole number"),
    ({"port": True}, "port must be a whole number"),
    ({"host": ""}, "host must be printable text"),
    ({"host": None}, "host must be printable text"),
    ({"host": "no.such.host.invalid"}, "cannot listen on port 0 of no.such.host.invalid"),
    ({"authorize": "olga"}, "authorize must be a function"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_settings_that_cannot_be_used(
    registry: mh.Registry, settings: dict[str, Any], message: str
) -> None:
    """The error names the argument."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.serve(**{"port": 0, **settings})
    assert message in str(caught.value)
    assert not mh.events.wanted(mh.events.CircuitChanged)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_of_another_machine(registry: mh.Registry, host: str) -> None:
    """The error says what a host can be, and not that another port would do."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.serve(0, host)
    assert "host= must be an address of this machine, such as '127.0.0.1'" in str(caught.value)
    assert "port=" not in str(caught.value)


def test_names_of_the_loopback(server: Server) -> None:
    """A page whose name was made to point here reads nothing."""
    for host in ("localhost", "127.0.0.1", "[::1]", f"localhost:{server.port}"):
        assert ask(server.port, "GET", "/policies", {"Host": host}).status == 200
    for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example"):
        assert ask(server.port, "GET", "/policies", {"Host": host}).status == 421
    assert b"200 OK" in raw(server.port, b"GET /health/live HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("host", ["127.1", "LOCALHOST", "this-machine", "::ffff:127.0.0.1"])
def test_the_loopback_by_another_name(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """It is the address that counts; a page whose name was made to point there reads nothing."""
    look_up = socket.getaddrinfo

    def knows_this_machine(name: str, *args: Any, **options: Any) -> Any:
        return look_up("127.0.0.2" if name == "this-machine" else name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", knows_this_machine)
    with mh.serve(0, host) as server:
        bound = urlsplit(server.url).netloc
        for sent, status in ((bound, 200), ("localhost", 200), ("evil.example", 421)):
            connection = http.client.HTTPConnection(urlsplit(server.url).hostname, server.port)
            connection.request("GET", "/policies", headers={"Host": sent})
            assert connection.getresponse().status == status
            connection.close()


def test_a_name_of_the_loopback_is_one_of_ours(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it listened on by a name may ask by that name."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _name, *args, **options: look_up("::1", *args, **options)
    )
    with mh.serve(0, "this-machine") as server:
        monkeypatch.undo()
        connection = http.client.HTTPConnection("::1", server.port, timeout=30)
        connection.request("GET", "/policies", headers={"Host": f"This-Machine:{server.port}"})
        assert connection.getresponse().status == 200
        connection.close()


def test_more_names_can_be_given(registry: mh.Registry) -> None:
    """Beside those of the loopback."""
    with mh.serve(0, hosts=["ops.example"]) as server:
        for host in ("ops.example", "localhost"):
            assert ask(server.port, "GET", "/policies", {"Host": host}).status == 200
        assert ask(server.port, "GET", "/policies", {"Host": "evil.example"}).status == 421


def test_other_addresses_have_to_be_given(registry: mh.Registry) -> None:
    """There any name is right, unless they are named; and nothing can be changed."""
    mh.circuit_breaker("payments")
    with mh.serve(0, "0.0.0.0") as server:
        assert server.url == f"http://0.0.0.0:{server.port}"
        assert ask(server.port, "GET", "/policies", {"Host": "10.0.0.7"}).status == 200
        path = "/policies/circuit_breaker/payments/reset"
        assert ask(server.port, "POST", path, {"X-Meshhook": "act"}).status == 403
    with mh.serve(0, "0.0.0.0", hosts=["ops.example"]) as server:
        assert ask(server.port, "GET", "/policies", {"Host": "10.0.0.7"}).status == 421


def test_the_newer_internet(registry: mh.Registry) -> None:
    """IPv6 has its own way to write URLs."""
    with mh.serve(0, "::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        connection = http.client.HTTPConnection("::1", server.port, timeout=30)
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        connection.close()


def test_it_is_quiet(
    server: Server, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No request, no client that leaves and no nonsense is written anywhere."""
    caplog.set_level(logging.DEBUG)
    ask(server.port, "GET", "/policies")
    ask(server.port, "GET", "/nope")
    with socket.create_connection(("127.0.0.1", server.port)) as gone:
        gone.sendall(b"GET /poli")
    with Following(server.port, "/events?stats=1") as stream:
        stream.next("stats")
    raw(server.port, b"nonsense\r\n\r\n")
    raw(server.port, b"")
    assert eventually(lambda: not busy(server))
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def busy(server: Server) -> list[str]:
    """Return the names of the threads that answer."""
    return [name for name in threads() if "process_request" in name]


NONSENSE = [
    (b"nonsense\r\n\r\n", b"400"),
    (b"GET /secret\r\n\r\n", b"505"),
    (b"GET /secret HTTP/9.9.9\r\n\r\n", b"400"),
    (b"GET /secret HTTP/3.0\r\n\r\n", b"505"),
    (b"GET /" + b"secret" * 20_000 + b" HTTP/1.1\r\n\r\n", b"414"),
    (b"GET / HTTP/1.1\r\nSecret: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
    (b"GET / HTTP/1.1\r\n" + b"A: secret\r\n" * 200 + b"\r\n", b"431"),
]


@pytest.mark.parametrize(("data", "status"), NONSENSE, ids=lambda each: repr(each)[:20])
def test_what_is_no_request(server: Server, data: bytes, status: bytes) -> None:
    """An error that repeats nothing of it, protected as all answers."""
    try:
        answer = raw(server.port, data)
    except ConnectionResetError:
        return  # it was still being sent
    assert answer.startswith(b"HTTP/1.0 " + status)
    assert b"secret" not in answer.lower()
    assert b"X-Frame-Options: DENY" in answer
    assert b'{"error":' in answer


def test_names_of_headers_cannot_be_disguised(registry: mh.Registry) -> None:
    """X_User is not X-User, though WSGI writes both alike."""
    mh.circuit_breaker("payments")
    with mh.serve(0, authorize=lambda request: request.headers.get("x-user")) as server:
        path = b"POST /policies/circuit_breaker/payments/reset HTTP/1.1\r\nX-Meshhook: act\r\n"
        assert b" 401 " in raw(server.port, path + b"X_User: olga\r\n\r\n")
        assert b" 200 " in raw(server.port, path + b"X-User: olga\r\n\r\n")


def test_the_environment_is_nobodys_business(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of the process is no header of a request."""
    monkeypatch.setitem(BaseHandler.os_environ, "HTTP_X_USER", "olga")  # read when it is imported
    mh.circuit_breaker("payments")
    with mh.serve(0, authorize=lambda request: request.headers.get("x-user")) as server:
        path = "/policies/circuit_breaker/payments/reset"
        assert ask(server.port, "POST", path, {"X-Meshhook": "act"}).status == 401


def test_who_sends_slowly_is_hung_up_on(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Byte by byte as well: it is the whole request that has to be there in time."""
    monkeypatch.setattr(listening, "REQUEST_WITHIN", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                slow.sendall(b"X")
                time.sleep(0.02)
        assert time.monotonic() - began < 5
    assert eventually(lambda: not busy(server))
    assert capfd.readouterr() == ("", "")


def test_a_body_that_does_not_come(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what was announced."""
    monkeypatch.setattr(listening, "REQUEST_WITHIN", 0.3)
    mh.circuit_breaker("payments")
    with mh.serve(0, authorize=lambda request: "olga") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(
                b"POST /policies/circuit_breaker/payments/force_open HTTP/1.1\r\n"
                b"Content-Length: 20\r\nX-Meshhook: act\r\n\r\n{"
            )
            slow.recv(65536)
        assert mh.registry.circuit_breakers["payments"].stats().state == "closed"


def test_so_many_threads_and_no_more(registry: mh.Registry) -> None:
    """Who comes when all are taken is told so at once; the others are served."""
    with mh.serve(0, max_streams=1) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(13)]
        try:
            assert eventually(lambda: len(busy(server)) == 13)
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as late:
                assert late.recv(100).startswith(b"HTTP/1.0 503 Service Unavailable\r\n")
            assert len(busy(server)) == 13
        finally:
            for each in held:
                each.close()
        assert eventually(lambda: not busy(server))
        assert ask(server.port, "GET", "/health/live").status == 200


def test_so_many_streams_and_no_more(registry: mh.Registry) -> None:
    """503 for one more, with a word when to come back; a place that is left is free again."""
    with mh.serve(0, max_streams=2) as server:
        first, second = (Following(server.port, "/events") for _ in range(2))
        first.next("hello")
        second.next("hello")
        reply = ask(server.port, "GET", "/events")
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert "max_streams=" in reply.json["error"]
        assert ask(server.port, "GET", "/policies").status == 200
        first.close()
        second.close()
        assert eventually(lambda: ask(server.port, "HEAD", "/events").status == 200)


def test_a_client_that_takes_nothing(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped when its buffers are full, and its thread is free."""
    monkeypatch.setattr(listening, "TAKEN_WITHIN", 0.3)
    for number in range(2000):
        mh.circuit_breaker(f"circuit {number} {'x' * 500}")
    with mh.serve(0) as server:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", server.port))
            deaf.sendall(b"GET /policies HTTP/1.1\r\n\r\n")
            assert eventually(lambda: busy(server))
            assert eventually(lambda: not busy(server))
        assert ask(server.port, "GET", "/health/live").status == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_no_server(server: Server) -> None:
    """It lets go of the port, can serve on its own, and leaves the parent alone."""

    def look() -> bool:
        assert repr(server) == "<meshhook server that is closed>"
        assert server._http.socket.fileno() == -1
        server.close()
        with mh.serve(0) as own:
            assert own.port != server.port
            return ask(own.port, "GET", "/policies").json["policies"][0]["name"] == "payments"

    assert in_a_fork(look) == 0
    assert ask(server.port, "GET", "/policies").status == 200
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_lets_go_of_a_port_whose_server_nobody_keeps(
    registry: mh.Registry,
) -> None:
    """It is the thread that has the port, and not who has called serve."""
    port = mh.serve(0).port
    gc.collect()
    try:
        assert listeners(port) == 1
        assert in_a_fork(lambda: listeners(port) == 0) == 0
        assert ask(port, "GET", "/health/live").status == 200
    finally:
        (server,) = [each for each in gc.get_objects() if is_server(each, port)]
        server.close()


def is_server(found: object, port: int) -> bool:
    """Tell whether it is the server that has a port."""
    return type(found) is Server and found.port == port


def listeners(port: int) -> int:
    """Return how many sockets of this process have a port."""
    found = 0
    for number in range(256):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as each:
            found += each.getsockname()[1:2] == (port,)
    return found


def test_nothing_is_left_of_a_server(registry: mh.Registry) -> None:
    """Servers that come and go leave no thread, socket or listener behind."""
    before = threads()
    for _ in range(5):
        with mh.serve(0) as server:
            ask(server.port, "GET", "/policies")
    gc.collect()
    assert eventually(lambda: set(threads()) <= set(before))
    assert not mh.events.wanted(mh.events.CircuitChanged)


def test_no_thread_for_a_server(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of the attempt: the port is free, and nobody listens to events."""
    ports: list[int] = []

    def fail(self: threading.Thread) -> None:
        ports.append(self._target.__self__.port)  # type: ignore[attr-defined]
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="new thread"):
        mh.serve(0)
    assert listeners(ports[0]) == 0
    assert not mh.events.wanted(mh.events.CircuitChanged)


def test_an_interrupt_while_serving() -> None:
    """Ctrl-C ends a program that serves, as any other."""
    program = (
        "import meshhook as mh, time; server = mh.serve(0); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert error.rstrip().endswith(b"KeyboardInterrupt")


def test_a_failure_of_ours_is_told_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By type and place; the client gets a 500 that says nothing, protected as all answers."""

    def fail(self: Any, environ: Any, start_response: Any) -> Any:
        raise RuntimeError("s3cret")

    monkeypatch.setattr("meshhook.observe.web.wsgi.WsgiApp.__call__", fail)
    reply = ask(server.port, "GET", "/policies")
    assert (reply.status, reply.headers["x-frame-options"]) == (500, "DENY")
    assert "RuntimeError at " in caplog.text
    assert "s3cret" not in caplog.text + str(reply)


def test_no_thread_can_be_started(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is closed, its place is free again, and the server goes on."""
    with monkeypatch.context() as broken:

        def fail(self: Any, *_: Any) -> None:
            raise RuntimeError("can't start new thread")

        broken.setattr("socketserver.ThreadingMixIn.process_request", fail)
        for _ in range(50):
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                ask(server.port, "GET", "/policies")
    assert "a connection broke off: RuntimeError at " in caplog.text
    assert ask(server.port, "GET", "/policies").status == 200


def test_a_request_has_its_time() -> None:
    """All reads together: the last one that begins in time ends in time."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        now = [0.0]
        request = listening._InTime(ours, lambda: now[0])
        theirs.sendall(b"abc")
        assert request.read(3) == b"abc"
        assert ours.gettimeout() == listening.TAKEN_WITHIN
        now[0] = listening.REQUEST_WITHIN
        with pytest.raises(TimeoutError):
            request.read(1)
