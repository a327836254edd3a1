"""The harness itself: a fault that is not injected would make every fault test pass."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faultproxy import FaultProxy
from tests.servers import ENGINES, Server, binary, running


def ping(address: tuple[str, int], timeout: float = 5.0) -> bytes:
    """Send one PING and return what comes back."""
    with socket.create_connection(address, timeout) as client:
        client.sendall(b"PING\r\n")
        return client.recv(64)


@pytest.mark.parametrize(
    ("engine", "version"), [("valkey", b"redis_version:7."), ("redis", b"redis_version:6.2.")]
)
def test_both_engines_are_what_they_are_called(
    engine: str, version: bytes, servers: Callable[[str], Server]
) -> None:
    """Valkey 9 (which calls itself Redis 7 to old clients) and Redis 6.2 are really run."""
    with socket.create_connection(servers(engine).address, 5) as client:
        client.sendall(b"INFO server\r\n")
        info = client.recv(1 << 16)
    assert version in info
    assert (b"valkey_version:9." in info) == (engine == "valkey")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_binary_is_a_failure(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the server tests fail; they are never skipped."""
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    with pytest.raises(Exception, match=r"(?i)not a file|server is not at"):
        binary(engine)


@pytest.mark.fault
def test_a_server_is_paused_killed_and_restarted() -> None:
    """A paused server accepts and is silent; a killed one refuses; a new one is empty."""
    with running("valkey") as server:
        assert ping(server.address) == b"+PONG\r\n"
        server.pause()
        with pytest.raises(TimeoutError):
            ping(server.address, 0.05)
        server.resume()
        assert ping(server.address) == b"+PONG\r\n"
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ping(server.address)
        server.restart()
        assert ping(server.address) == b"+PONG\r\n"


@pytest.mark.fault
def test_the_proxy_does_what_it_says(proxy: FaultProxy) -> None:
    """Each fault is really there, and goes away again."""
    address = ("127.0.0.1", proxy.port)
    assert ping(address) == b"+PONG\r\n"
    assert (proxy.connections, proxy.round_trips) == (1, 1)
    proxy.drop_replies = 1
    with pytest.raises(ConnectionResetError):
        ping(address)
    assert proxy.round_trips == 2
    proxy.blackhole = True
    with pytest.raises(TimeoutError):
        ping(address, 0.05)
    assert proxy.round_trips == 2
    proxy.blackhole = False
    proxy.delay = 0.2
    with pytest.raises(TimeoutError):
        ping(address, 0.05)
    proxy.delay = 0.0
    proxy.slices = 0.01
    with socket.create_connection(address, 5) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(64) == b"+"
    proxy.slices = None
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ping(address)
    proxy.accept_again()
    assert ping(address) == b"+PONG\r\n"
