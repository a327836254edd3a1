"""Processes of the demo's own: started, killed for real, and never left behind.

Each is bound to us by its standard input: when we are gone, however we went, it reads the end of it
and ends. Each is in a process group of its own, so that Ctrl-C reaches us alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Self

from meshhook.demo.ledger import Ledger
from meshhook.demo.transport import Request, exchange

_START_PATIENCE = 20.0
_STOP_PATIENCE = 3.0
_POLL = 0.02


class DemoError(Exception):
    """The demo cannot be played; the message says why and what to do."""


class Child:
    """A module of ours that runs in a process of its own."""

    def __init__(self, module: str, arguments: Sequence[str], output: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        end_of_leash, leash = os.pipe()
        self._leash = os.fdopen(leash, "wb")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", module, *arguments],
                stdin=end_of_leash,
                stdout=output,
                stderr=self._errors,
                process_group=0,
            )
        finally:
            os.close(end_of_leash)
        self.pid = self._process.pid

    def is_running(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def complaint(self) -> str:
        """Return the last line that the process wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self._process.poll()}"

    def kill(self) -> None:
        """Kill the process at once (SIGKILL), and wait until it is gone."""
        self._process.kill()
        self._release()

    def stop(self) -> None:
        """Let the process end by itself; kill it if it does not. May be called twice."""
        self._leash.close()
        try:
            self._process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._release()

    def _release(self) -> None:
        self._leash.close()
        self._process.wait()
        self._errors.close()


class ServiceProcess:
    """The flaky service: one port, one ledger, and one process after another."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
        self.file = self._file.fileno()
        self.ledger = Ledger(self.file)
        self.port = 0
        self._child: Child | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id, or None while there is no process."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start a process on the port of the one before; it listens a moment later."""
        self._child = Child("meshhook.demo.service", [str(self.port)], self.file)

    def is_ready(self) -> bool:
        """Tell whether the process listens."""
        self.ledger.read()
        if self._child is None or self._child.pid not in self.ledger.starts:
            return False
        self.port = self.ledger.starts[self._child.pid]
        return True

    def wait_until_ready(self) -> None:
        """Wait until the process listens; raise DemoError if it does not."""
        give_up = time.monotonic() + _START_PATIENCE
        while not self.is_ready():
            if self._child is not None and not self._child.is_running():
                raise DemoError(f"the service did not start: {self._child.complaint()}")
            if time.monotonic() > give_up:
                raise DemoError(f"the service did not start within {_START_PATIENCE:g} s")
            time.sleep(_POLL)

    def set_faults(self, **faults: Any) -> None:
        """Tell the service how slow and how broken to be."""
        try:
            exchange(self.port, Request("POST", "/admin/faults", faults), patience=5.0)
        except OSError as exc:
            raise DemoError(f"the service does not answer any more: {exc}") from exc

    def kill(self) -> None:
        """Kill the process with SIGKILL; whatever it was doing stays undone."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def stop(self) -> None:
        """End the process and read the ledger to its end."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        self.ledger.read()

    def close(self) -> None:
        """Let go of the ledger's file."""
        self._file.close()
