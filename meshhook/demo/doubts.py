"""Doubts: attempts that were sent, and of which nobody knows whether they were executed."""

from __future__ import annotations

import threading
import uuid


class Doubts:
    """Attempts in doubt, by order. Safe to share between threads and tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, dict[str, None]] = {}  # guarded by _lock

    def open(self, order: str) -> str:
        """Return the number of a new attempt, which is in doubt from now on."""
        attempt = uuid.uuid4().hex[:12]
        with self._lock:
            self._open.setdefault(order, {})[attempt] = None
        return attempt

    def close(self, order: str, attempt: str) -> None:
        """End the doubt about an attempt."""
        with self._lock:
            attempts = self._open.get(order, {})
            attempts.pop(attempt, None)
            if not attempts:
                self._open.pop(order, None)

    def of(self, order: str) -> list[str]:
        """Return the attempts of ``order`` that are in doubt."""
        with self._lock:
            return list(self._open.get(order, ()))

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._open.values()))
