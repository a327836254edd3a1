"""Which process this is, for pages and streams that tell of several."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import socket
import time
from typing import Any

from meshhook import forks


def instance() -> dict[str, Any]:
    """Return which process this is: its host, number and start, and the version of meshhook."""
    return {
        "id": f"{_host}:{os.getpid()}:{int(_started)}",
        "host": _host,
        "pid": os.getpid(),
        "started": _started,
        "time": time.time(),
        "version": version() or "unknown",
    }


@functools.cache
def version() -> str | None:
    """Return the version of meshhook; None for a copy that nobody has installed."""
    try:
        return importlib.metadata.version("meshhook")
    except importlib.metadata.PackageNotFoundError:
        return None


_host = socket.gethostname()
_started = time.time()


def _after_fork_in_child() -> None:
    global _started  # noqa: PLW0603 - a child is another instance
    _started = time.time()


forks.after_in_child(_after_fork_in_child)
