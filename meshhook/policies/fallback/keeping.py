"""Last good results: kept for a while, a bounded number of them, to be given when a call fails."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple


class Kept(NamedTuple):
    """One result, and how many seconds old it is."""

    result: Any
    age: float


class LastGood:
    """The last good result of each key. Safe to share between threads and tasks.

    What is older than ``ttl`` is let go of with the next use, whatever its key; where there are too
    many, what was kept first goes first.
    """

    def __init__(self, ttl: float, max_keys: int) -> None:
        self._ttl = ttl
        self._max_keys = max_keys
        self._results: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()  # oldest first
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: hashing a key, or a finalizer, may run code that comes back here.
        self._lock = threading.RLock()

    def change(self, ttl: float, max_keys: int, now: float) -> None:
        """Keep results for another time, and another number of them; let go of what is too much."""
        dropped: list[Any] = []
        with self._lock:
            self._ttl, self._max_keys = ttl, max_keys
            self._release(now, dropped)

    def keep(self, at: Hashable, result: Any, now: float) -> None:
        """Keep ``result`` as the last good one of the key ``at``."""
        dropped = []  # results live until the lock is free: dropping one may run any code
        with self._lock:
            dropped.append(self._results.pop(at, None))
            self._results[at] = result, now
            self._release(now, dropped)

    def find(self, at: Hashable, now: float) -> Kept | None:
        """Return what was kept at ``at``, unless it is too old."""
        dropped: list[Any] = []
        with self._lock:
            self._release(now, dropped)
            found = self._results.get(at)
        return None if found is None else Kept(found[0], max(0.0, now - found[1]))

    def count(self, now: float) -> int:
        """Return how many results are kept."""
        dropped: list[Any] = []
        with self._lock:
            self._release(now, dropped)
            return len(self._results)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            dropped, self._results = self._results, OrderedDict()
        del dropped

    def _release(self, now: float, dropped: list[Any]) -> None:
        while self._results:
            _, kept_at = next(iter(self._results.values()))
            if now - kept_at < self._ttl and len(self._results) <= self._max_keys:
                return
            dropped.append(self._results.popitem(last=False))
