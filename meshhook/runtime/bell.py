"""A bell: wakes one thread that waits, and may be rung from anywhere.

``threading.Event`` takes a lock to be set, and whoever sets it in a signal handler, or where the
garbage collector runs a finalizer, may interrupt itself holding that lock. Ringing takes none.
"""

from __future__ import annotations

import contextlib
import threading


class Bell:
    """Rung before anybody waits it is heard as well; rung twice it is heard once."""

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake whoever waits, now or next."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._silence.release()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it rings, for so long at most; tell whether it did."""
        if seconds is None:
            return self._silence.acquire()
        return self._silence.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
