"""MemoryStore: records in this process, under one lock that is held for O(1) work.

It dies with the process and is not shared with a forked child, which goes on with a copy. Payloads
are kept as they are given, so whoever keeps something mutable keeps it encoded.

Running records and settled ones (done or released) are kept apart: only settled ones are evicted,
the oldest first, and reading one takes no lock. Nothing runs in the background: every so often a
``begin`` looks at a few records, in turn, and drops those whose retention is over.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from meshhook import forks
from meshhook.settings import count
from meshhook.stores.pending import Pending
from meshhook.stores.protocol import (
    RUNNING_FLOOR,
    TOMBSTONE,
    Acquired,
    Begin,
    Conflict,
    Done,
    Fingerprint,
    Finish,
    Force,
    Get,
    Key,
    Lost,
    Record,
    Renew,
    Renewed,
    Running,
    Stored,
)

_SWEEP = 64
"""Every so many begins look at as many records: a pause of microseconds, not one that grows."""

_STORED = Stored()
_STORED_BEFORE = Stored(before=True)
_answer = tuple.__new__  # half the price of calling the named tuple's class
_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class Kept:
    """A record as memory keeps it. Once settled it never changes, but for a leap of the clock."""

    __slots__ = (
        "attempt",
        "expires",
        "fence",
        "fingerprint",
        "kind",
        "lease",
        "moment",
        "owner",
        "payload",
        "readable_until",
        "since",
        "waited",
    )

    def __init__(
        self,
        owner: str,
        fingerprint: Fingerprint,
        fence: int,
        attempt: int,
        now: float,
        lease: float,
        retention: float,
    ) -> None:
        self.owner = owner
        self.fingerprint = fingerprint
        self.fence = fence
        self.attempt = attempt
        self.kind: Any = "running"
        self.payload: Any = None
        self.since = self.moment = now
        self.lease = lease
        self.expires = now + retention
        self.waited = False

    def settle(self, kind: str, payload: Any, now: float, retention: float) -> None:
        """Become done or released. Called before the record can be read without the lock."""
        self.kind = kind
        self.payload = payload
        self.since = self.moment = now
        self.expires = now + retention
        # A released record is not for reading: never let a reader in.
        self.readable_until = now if kind == "released" else self.expires

    def lives(self, now: float) -> bool:
        """Tell whether retention goes on; first heal a moment that a leap left in the future."""
        if self.moment > now:
            self.expires = now + (self.expires - self.moment)
            self.since = self.moment = now
            if self.kind in ("value", "opaque"):
                self.readable_until = self.expires
        return now < self.expires

    def record(self, now: float) -> Record | None:
        """Show the record to the outside, or None if released."""
        if self.kind == "released":
            return None
        until = self.moment + self.lease if self.kind == "running" else self.expires
        return Record(
            self.kind,
            self.payload,
            self.fingerprint,
            self.fence,
            self.attempt,
            max(0.0, now - self.since),
            max(0.0, until - now),
        )


class MemoryStore:
    """Keep records in memory. Safe to share between threads, tasks and event loops.

    ``max_entries`` bounds what is kept: beyond it the oldest results are forgotten, and their calls
    would run again. A running record is never forgotten before its retention ends.
    """

    name = "memory"
    local = True

    def __init__(self, max_entries: int = 100_000) -> None:
        self.max_entries = count("max_entries", max_entries)
        # guarded by _lock; `done` reads _settled without it
        self._running: dict[Key, Kept] = {}
        self._settled: OrderedDict[Key, Kept] = OrderedDict()
        self._turns: deque[tuple[Key, int]] = deque()  # each kept record once, by its fence
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        # Starting at the wall clock keeps fences growing over a restart of the process.
        self._fences = itertools.count(time.time_ns() // 1_000)
        self._verbs: dict[type, Callable[..., Any]] = {
            Begin: self.begin,
            Renew: self.renew,
            Finish: self.finish,
            Get: self.get,
            Force: self.force,
        }
        _stores.add(self)

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self)} of at most {self.max_entries} records>"

    def __len__(self) -> int:
        return len(self._running) + len(self._settled)

    def perform(self, message: Any) -> Any:
        """Answer a message at once."""
        return self._verbs[type(message)](*message)

    def submit(self, message: Any) -> Pending:
        """Answer a message at once, as a reply that is settled."""
        reply = Pending(message)
        reply.settle(self.perform(message))
        return reply

    def close(self) -> None:
        """Do nothing: there is no thread and no connection."""

    def done(self, key: Key) -> Kept | None:
        """Return the live result under ``key``, or None. Takes no lock."""
        kept = self._settled.get(key)
        if kept is None:
            return None
        if kept.moment <= time.monotonic() < kept.readable_until:
            return kept
        return self._done_slowly(key)

    def _done_slowly(self, key: Key) -> Kept | None:
        with self._lock:
            kept = self._find_locked(key, time.monotonic())
            return kept if kept is not None and kept.kind in ("value", "opaque") else None

    def begin(
        self, key: Key, owner: str, fingerprint: Fingerprint, lease: float, retention: float
    ) -> Acquired | Running | Done:
        """Answer a :class:`Begin`."""
        if retention < lease + RUNNING_FLOOR:  # noqa: PLR1730 - max() costs three times as much
            retention = lease + RUNNING_FLOOR
        with self._lock:
            now = time.monotonic()
            fence = next(self._fences)
            if not fence % _SWEEP:
                self._sweep_locked(now)
            attempt = 1
            waited = taken_over = False
            # `_find_locked` spelled out, here and in `finish`: a call would cost a tenth of it all.
            known = self._settled.get(key) or self._running.get(key)
            if known is not None and (known.moment <= now < known.expires or known.lives(now)):
                refused = self._refusal(known, owner, fingerprint, now)
                if refused is not None:
                    return refused
                attempt = known.attempt + 1
                if known.kind == "running":
                    taken_over = True
                    waited = known.waited
                    if fingerprint is None:
                        fingerprint = known.fingerprint
            mine = Kept(owner, fingerprint, fence, attempt, now, lease, retention)
            mine.waited = waited
            self._running[key] = mine
            self._turns.append((key, fence))
            if known is not None and known.kind != "running":
                del self._settled[key]
            elif len(self._settled) + len(self._running) > self.max_entries and self._settled:
                self._settled.popitem(last=False)
            return _answer(Acquired, (fence, attempt, taken_over))

    @staticmethod
    def _refusal(
        known: Kept, owner: str, fingerprint: Fingerprint, now: float
    ) -> Acquired | Running | Done | None:
        if known.kind == "released":
            return None
        if known.kind != "running":
            return Done(known.record(now))  # type: ignore[arg-type]  # done, so it has a record
        if known.owner == owner:
            return Acquired(known.fence, known.attempt)
        remaining = known.moment + known.lease - now
        other_call = (
            fingerprint is not None
            and known.fingerprint is not None
            and fingerprint != known.fingerprint
        )
        if remaining <= 0 and not other_call:
            return None
        known.waited = True
        return Running(known.fence, max(0.0, remaining), known.fingerprint)

    def renew(self, key: Key, owner: str, lease: float, retention: float) -> Renewed | Lost:
        """Answer a :class:`Renew`."""
        with self._lock:
            now = time.monotonic()
            known = self._find_locked(key, now)
            if known is None or known.owner != owner or known.kind != "running":
                return Lost(_shown(known, now))
            known.moment = now
            known.lease = lease
            known.expires = max(known.expires, now + retention, now + lease + RUNNING_FLOOR)
            return Renewed(lease)

    def finish(
        self, key: Key, owner: str, kind: str, payload: Any, retention: float
    ) -> Stored | Lost:
        """Answer a :class:`Finish`."""
        with self._lock:
            now = time.monotonic()
            known = self._running.get(key)
            if known is None or known.owner != owner or not known.moment <= now < known.expires:
                known = self._find_locked(key, now)
                if known is None or known.owner != owner:
                    return Lost(_shown(known, now))
                if known.kind != "running":
                    return Lost(None) if known.kind == "released" != kind else _STORED_BEFORE
            if kind == "released":
                retention = TOMBSTONE
            elif known.waited and retention < RUNNING_FLOOR:
                retention = RUNNING_FLOOR
            known.settle(kind, payload, now, retention)
            self._settled[key] = known
            del self._running[key]
            return _STORED

    def get(self, key: Key) -> Record | None:
        """Answer a :class:`Get`."""
        with self._lock:
            now = time.monotonic()
            known = self._find_locked(key, now)
            return _shown(known, now)

    def force(self, key: Key, expected_fence: int | None = None) -> Stored | Conflict:
        """Answer a :class:`Force`."""
        with self._lock:
            now = time.monotonic()
            known = self._find_locked(key, now)
            if expected_fence is not None and (known is None or known.fence != expected_fence):
                return Conflict(_shown(known, now))
            if known is None:
                return _STORED_BEFORE
            tombstone = Kept("", known.fingerprint, known.fence, known.attempt, now, 0.0, 0.0)
            tombstone.settle("released", None, now, TOMBSTONE)
            self._settled[key] = tombstone
            self._settled.move_to_end(key)
            self._running.pop(key, None)
            return _STORED

    def _find_locked(self, key: Key, now: float) -> Kept | None:
        known = self._settled.get(key) or self._running.get(key)
        return known if known is not None and known.lives(now) else None

    def _sweep_locked(self, now: float) -> None:
        turns = self._turns
        # Beside records that live for long, the turns of others would pile up.
        at_once = _SWEEP if len(turns) < 2 * len(self) + _SWEEP else 2 * _SWEEP
        for _ in range(min(at_once, len(turns))):
            key, fence = turn = turns.popleft()
            known = self._settled.get(key) or self._running.get(key)
            if known is None or known.fence != fence:
                continue
            if known.moment <= now < known.expires or known.lives(now):
                turns.append(turn)
            else:
                self._settled.pop(key, None)
                self._running.pop(key, None)


def _shown(known: Kept | None, now: float) -> Record | None:
    return None if known is None else known.record(now)


def _make_locks_anew() -> None:
    for store in list(_stores):
        store._lock = threading.RLock()


forks.after_in_child(_make_locks_anew)
