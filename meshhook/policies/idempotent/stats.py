"""The statistics of idempotent functions: counters that the calls write, frozen when read."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

from meshhook import guard
from meshhook.health import Status
from meshhook.stats import Stats

RECENT = 30.0
"""For so many seconds after its last failure a store counts as failing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentStats(Stats):
    """What became of the calls.

    ``calls`` are those that have ended: executed + replayed + rejected + released + lost. A call
    that was cancelled while it waited for another is none of them. Of all calls, ``waited`` have
    waited for another execution and ``unprotected`` ran without the store; ``store_errors`` counts
    failures of the store, of which one call may see several. ``running`` are being executed now.
    ``since_store_error`` is how many seconds ago the store last failed, None if it never did.
    """

    calls: int
    executed: int
    replayed: int
    rejected: int
    released: int
    lost: int
    waited: int
    unprotected: int
    store_errors: int
    running: int
    since_store_error: float | None = None

    def health(self) -> tuple[Status, str]:
        """Return whether the store has failed of late. It never fails the service as a whole.

        If it did, all instances would go when the store goes.
        """
        if self.since_store_error is not None and self.since_store_error < RECENT:
            return Status.DEGRADED, "store_failing"
        return Status.OK, "ok"


class Counters:
    """What is counted. ``add`` takes a lock; the rest relies on the GIL, as one statement each."""

    def __init__(self) -> None:
        self.executed = 0
        self.replayed = 0
        self.rejected = 0
        self.released = 0
        self.lost = 0
        self.waited = 0
        self.unprotected = 0
        self.store_errors = 0
        self.store_failed_at: float | None = None
        self.started = 0
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: a coroutine that is thrown away is counted wherever the collector runs.
        self._lock = threading.RLock()

    def add(self, counter: str, amount: int = 1) -> None:
        """Add to a counter that no other method writes."""
        with self._lock:
            setattr(self, counter, getattr(self, counter) + amount)

    def store_failed(self) -> None:
        """Count a failure of the store, and remember when it was."""
        self.store_failed_at = time.monotonic()
        self.add("store_errors")

    def replay(self) -> None:
        """Count a call that was answered with a recorded result."""
        self.replayed += 1

    def start(self) -> None:
        """Count an execution that begins."""
        self.started += 1

    def execute(self) -> None:
        """Count a call whose own execution gave its result."""
        self.executed += 1

    def stats(self, policy: str, name: str) -> IdempotentStats:
        """Read all counters."""
        values: dict[str, Any] = vars(self).copy()
        del values["_lock"]
        started, failed_at = values.pop("started"), values.pop("store_failed_at")
        ended = values["executed"] + values["released"] + values["lost"]
        return IdempotentStats(
            policy=policy,
            name=name,
            calls=ended + values["replayed"] + values["rejected"],
            running=max(0, started - ended),
            since_store_error=(
                None if failed_at is None else max(0.0, time.monotonic() - failed_at)
            ),
            **values,
        )


class LockedCounters(Counters):
    """Counters for an interpreter without the GIL."""

    def replay(self) -> None:
        """Count a replay under the lock."""
        self.add("replayed")

    def start(self) -> None:
        """Count a beginning under the lock."""
        self.add("started")

    def execute(self) -> None:
        """Count an execution under the lock."""
        self.add("executed")


def make_counters() -> Counters:
    """Make the counters that are right for this interpreter."""
    return Counters() if guard.GIL_ENABLED else LockedCounters()
