"""Many clients, slow ones and those that vanish, over real sockets: calls do not feel them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

import meshhook as mh
from meshhook.events import CallRejected
from tests.servers import free_port
from tests.waiting import eventually
from tests.web.clients import Following, ask
from tests.web.test_asgi_streams import Client

GET = b"GET /events?stats=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOON = 0.3


class Service:
    """A server in this process, with the endpoints that it carries."""

    def __init__(self, port: int, endpoints: Any) -> None:
        self.port = port
        self.endpoints = endpoints


@contextlib.contextmanager
def own(**settings: Any) -> Iterator[Service]:
    """Run the server of meshhook."""
    with mh.serve(0, **settings) as server:
        yield Service(server.port, server._application._endpoints)


@contextlib.contextmanager
def by_uvicorn(**settings: Any) -> Iterator[Service]:
    """Run uvicorn in a thread."""
    app = mh.asgi_app(**settings)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert eventually(lambda: server.started)
        yield Service(port, app._endpoints)
    finally:
        app.close()
        server.should_exit = True
        thread.join(10)
        if thread.is_alive():
            server.force_exit = True
            thread.join()


SERVERS: dict[str, Callable[..., Any]] = {"own": own, "uvicorn": by_uvicorn}


@pytest.fixture(params=SERVERS)
def serving(request: pytest.FixtureRequest, registry: mh.Registry) -> Callable[..., Any]:
    """Run a server in this process."""
    return SERVERS[request.param]


def threads() -> int:
    """Return how many threads there are, but for the few that read statistics for a loop."""
    return sum(not each.name.startswith("meshhook-web") for each in threading.enumerate())


def connect(port: int) -> socket.socket:
    """Ask for the stream, and take as little as can be."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(GET)
    return client


def test_an_open_circuit_is_told_at_once(serving: Any) -> None:
    """Opened by calls that fail, it is at the client in less than 0.3 s."""
    breaker = mh.circuit_breaker("payments", failure_threshold=1)
    took = []

    def fail() -> None:
        raise OSError

    with serving() as service, Following(service.port, "/events?kinds=circuit_changed") as stream:
        stream.next("hello")
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(OSError):
                breaker.call(fail)
            took.append(stream.next("events").at - began)
            breaker.reset()
            stream.next("events")
    assert min(took) < SOON
    assert statistics.median(took) < SOON


@pytest.mark.fault
def test_slow_clients_slow_nobody(serving: Any) -> None:
    """Fifty that never read, in a storm of events: calls go on, others are told, memory stays."""
    for number in range(100):
        mh.circuit_breaker(f"circuit {number}")
    breaker = mh.circuit_breaker("payments", failure_threshold=1, reset_timeout=3600)
    with serving(max_streams=60) as service:
        deaf = [connect(service.port) for _ in range(50)]
        try:
            assert eventually(lambda: service.endpoints.audience.streams == 50)
            with Following(service.port, "/events?kinds=circuit_changed") as stream:
                stream.next("hello")
                breaker.force_open()
                longest = 0.0
                for _ in range(3000):
                    began = time.perf_counter()
                    with pytest.raises(mh.CircuitOpenError):
                        breaker.call(len, "abc")
                    longest = max(longest, time.perf_counter() - began)
                assert longest < 1
                assert stream.next("events").data["events"][0]["new"] == "forced_open"
                began = time.monotonic()
                breaker.reset()
                assert stream.next("events").at - began < 5
            feed = service.endpoints.audience.feed
            kept = sum(len(ring.last) for ring in feed._rings.values())
            assert kept <= 200 * len(feed._rings)
        finally:
            for each in deaf:
                each.close()
        assert eventually(lambda: service.endpoints.audience.streams == 0)


@pytest.mark.fault
def test_clients_that_vanish_leave_nothing(serving: Any) -> None:
    """Threads, tasks and listeners are gone soon after them, and nobody builds events any more."""
    mh.circuit_breaker("payments")
    with serving() as service:
        with Following(service.port, "/events?stats=1") as stream:
            stream.next("stats")
        assert eventually(lambda: service.endpoints.audience.streams == 0)
        before = threads()
        for _ in range(3):
            clients = [connect(service.port) for _ in range(10)]
            assert eventually(lambda: service.endpoints.audience.streams == 10)
            assert mh.events.wanted(CallRejected)
            for each in clients:
                each.close()
            assert eventually(lambda: service.endpoints.audience.streams == 0)
        assert eventually(lambda: threads() <= before)
        assert len(service.endpoints.audience.feed._listeners) == 0
        assert not mh.events.wanted(CallRejected)
        assert mh.events.wanted(mh.events.CircuitChanged)


@pytest.mark.fault
def test_ten_thousand_policies(serving: Any) -> None:
    """Are told whole, and probes are answered meanwhile, for they are read beside the loop."""
    for number in range(10_000):
        mh.circuit_breaker(f"circuit {number}")
    with serving() as service, Following(service.port, "/events?stats=1") as stream:
        for _ in range(10):
            began = time.monotonic()
            assert ask(service.port, "GET", "/health/live").status == 200
            assert time.monotonic() - began < 5
        stats = stream.next("stats").data
        assert (stats["total"], len(stats["policies"])) == (10_000, 10_000)


def test_a_stop_of_uvicorn_in_a_thread(registry: mh.Registry) -> None:
    """There no signal tells of it: close() the application first."""
    with by_uvicorn() as service, Following(service.port, "/events?stats=1") as stream:
        stream.next("stats")
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_a_loop_reads_no_policies(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be thousands, so threads read them, whatever is asked for."""
    mh.circuit_breaker("payments")
    readers: list[threading.Thread] = []
    real = mh.CircuitBreaker.stats

    def stats(self: Any) -> Any:
        readers.append(threading.current_thread())
        return real(self)

    monkeypatch.setattr(mh.CircuitBreaker, "stats", stats)
    app = mh.asgi_app()

    async def main() -> None:
        for path in ("/policies", "/health", "/health/ready", "/metrics"):
            client = Client(app, path=path)
            await client.task
            assert client.sent[0]["status"] == 200
        client = Client(app)
        await client.told(b"event: stats")
        mh.circuit_breaker("payments").call(len, "abc")
        await client.told(b'"full":false,"gone":[],"total":1,"policies":[{')
        client.leave.set()
        await client.task

    try:
        asyncio.run(main())
    finally:
        app.close()
    assert len(readers) > 3
    assert threading.current_thread() not in readers
