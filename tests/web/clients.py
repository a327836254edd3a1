"""Clients over real sockets: one request, or a stream that is followed."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from meshhook.observe.remote.server_sent import Parser
from tests.servers import free_port
from tests.web.carriers import Reply

ROOT = Path(__file__).parents[2]
GIVE_UP = 30.0


def ask(
    port: int,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """Send one request to the loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP)
    try:
        connection.request(method, target, body, dict(headers or {}))
        reply = connection.getresponse()
        named = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, named, reply.read())
    finally:
        connection.close()


class Told(NamedTuple):
    """One message of the stream."""

    event: str
    data: Any
    at: float


class Following:
    """A client of the stream, from the first byte on."""

    def __init__(self, port: int, target: str, headers: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP)
        self._connection.request("GET", target, headers=dict(headers or {}))
        self.reply = self._connection.getresponse()
        self._parser = Parser()
        self._told: list[Told] = []
        self.raw = b""

    def next(self, event: str | None = None) -> Told:
        """Wait for the next message, or the next one of a kind."""
        deadline = time.monotonic() + GIVE_UP
        while time.monotonic() < deadline:
            while self._told:
                told = self._told.pop(0)
                if event is None or told.event == event:
                    return told
            piece = self.reply.read1(65536)
            if not piece:
                raise EOFError("the stream has ended")
            self.raw += piece
            now = time.monotonic()
            self._told += [
                Told(each.event, json.loads(each.data), now) for each in self._parser.feed(piece)
            ]
        raise TimeoutError(f"no message came that is {event}")

    def rest(self) -> bytes:
        """Wait for the end."""
        return self.reply.read()

    def close(self) -> None:
        """Hang up."""
        self.reply.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Process:
    """A server process that runs one of our services."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *(each.format(port=self.port) for each in arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + GIVE_UP
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"{module} did not start:\n{self.output()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def output(self) -> str:
        """Wait for the end; return what was printed."""
        return self._process.communicate(timeout=GIVE_UP)[0].decode()

    def stop(self, how: int = signal.SIGTERM) -> float:
        """Ask it to stop; return how many seconds that took."""
        began = time.monotonic()
        self._process.send_signal(how)
        self._process.wait(GIVE_UP)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(GIVE_UP)
        if self._process.stdout is not None:
            self._process.stdout.close()


def uvicorn(app: str, *options: str) -> Process:
    """Run an ASGI service."""
    return Process(
        "uvicorn", "--factory", f"tests.web.service:{app}", "--port", "{port}",
        "--log-level", "warning", *options,
    )  # fmt: skip


def gunicorn(app: str, *options: str, threads: int = 8) -> Process:
    """Run a WSGI service; with one thread, by the worker that has no other."""
    return Process(
        "gunicorn", f"tests.web.service:{app}()", "--bind", "127.0.0.1:{port}",
        "--threads", str(threads), "--log-level", "warning", "--graceful-timeout", "20", *options,
    )  # fmt: skip


def wsgiref(app: str) -> Process:
    """Run a WSGI service by the server of the standard library, which has one thread."""
    program = (
        "import sys; from wsgiref.simple_server import make_server; "
        f"from tests.web.service import {app}; "
        "make_server('127.0.0.1', {port}, " + app + "()).serve_forever()"
    )
    return Process("tests.web.run", program)
