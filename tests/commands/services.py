"""A service in a process of its own, which shows its policies and does what a test tells it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
TOKEN = "canary-open-sesame"


class Service:
    """The process. ``port`` 0 is any that is free; a restart keeps it."""

    def __init__(self, port: int = 0, *, private: bool = False) -> None:
        self._private = private
        self.start(port)

    def start(self, port: int = 0) -> None:
        """Start it, and wait until it serves."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands.services", str(port), str(int(self._private))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATH},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.kill()
            raise RuntimeError("the service did not start")
        self.port = int(self.url.rpartition(":")[2])

    def do(self, statement: str) -> None:
        """Have it execute a statement, with what is in ``serve`` below."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{statement}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def pause(self) -> None:
        """Stop it, so that it accepts connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


@contextlib.contextmanager
def service(port: int = 0, *, private: bool = False) -> Iterator[Service]:
    """Run a service for the length of a ``with`` block; a private one wants the token to read."""
    running = Service(port, private=private)
    try:
        yield running
    finally:
        running.kill()


def serve(port: int, *, private: bool) -> None:
    """Be such a service, until nobody tells it anything any more."""
    import meshhook as mh

    def authorize(request: Any) -> str | None:
        return "olga" if request.headers.get("authorization") == f"Bearer {TOKEN}" else None

    payments = mh.circuit_breaker("payments", failure_threshold=3, critical=True)
    bulkhead = mh.bulkhead(4, name="日本語サービス")
    limit = mh.rate_limit("100/m", name="search")

    @payments
    def pay(*, fails: bool = False) -> str:
        if fails:
            raise ConnectionError("canary-argument")
        return "paid"

    @limit
    @bulkhead
    def search() -> str:
        return "found"

    def fail(times: int = 3) -> None:
        for _ in range(times):
            with contextlib.suppress(ConnectionError, mh.RejectedError):
                pay(fails=True)

    space = {"mh": mh, "payments": payments, "pay": pay, "search": search, "fail": fail}
    read = authorize if private else None
    with mh.serve(port, authorize=authorize, authorize_read=read) as server:
        print(server.url, flush=True)  # noqa: T201 - the test reads it
        for statement in sys.stdin:
            exec(statement, space)
            print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    serve(int(sys.argv[1]), private=bool(int(sys.argv[2])))
