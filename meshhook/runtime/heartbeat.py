"""The heartbeat: one daemon thread per process that renews the leases of what is running.

A lease is renewed when a third of it has passed, in real time and off every event loop, so neither
a frozen clock nor a blocked loop lets it end. The thread only submits; answers come back on the
thread of the store. It starts with the first lease, ends a while after the last, and does not exist
in a forked child until that takes a lease itself.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from meshhook import forks
from meshhook.errors import StoreError
from meshhook.stores.protocol import Lost, Renew, Store

_log = logging.getLogger("meshhook")


class Beat:
    """One lease that is kept. ``lost`` and ``failed`` are called on some other thread.

    ``longest`` is for how many seconds it is kept at most; then the lease is over, and ``lost`` is
    called too.
    """

    __slots__ = ("due", "ends", "failed", "lease", "lost", "renew", "sent", "store", "until")

    def __init__(
        self,
        store: Store,
        renew: Renew,
        longest: float | None,
        *,
        lost: Callable[[], object],
        failed: Callable[[StoreError], object],
        # Captured on purpose: a lease is kept in real time.
        _monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        now = _monotonic()
        self.store = store
        self.renew = renew
        self.lease = renew.lease
        self.lost = lost
        self.failed = failed
        self.due = now + self.lease / 3
        self.sent = now
        self.until = now + self.lease
        """Until when the lease lasts for certain: it counts from when its renewal was sent."""
        self.ends = math.inf if longest is None else now + longest

    def sending(self, _monotonic: Callable[[], float] = time.monotonic) -> None:
        """Note that a renewal is being sent."""
        self.sent = _monotonic()

    def renewed(self) -> None:
        """Note that the last renewal was granted."""
        self.until = self.sent + self.lease

    def is_over(self, _monotonic: Callable[[], float] = time.monotonic) -> bool:
        """Tell whether the lease has run out, as far as is known here."""
        return _monotonic() > self.until


class Heartbeat:
    """Keeps leases. Safe to use from any thread; ``add`` and ``drop`` take no lock."""

    def __init__(
        self,
        idle: float = 1.0,
        # Captured on purpose: see above.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._idle = idle
        self._monotonic = monotonic
        self._make_anew()

    def _make_anew(self) -> None:
        self._beats: dict[Beat, None] = {}
        self._lock = threading.RLock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None  # guarded by _lock
        # Whoever adds a beat that is due before this must wake the thread. The thread looks at the
        # beats only after it has set this to infinity, so that no beat falls in between.
        self._sleeps_until = math.inf

    def __len__(self) -> int:
        return len(self._beats)

    def add(self, beat: Beat) -> None:
        """Keep a lease from now on."""
        self._beats[beat] = None
        if beat.due < self._sleeps_until:
            self._wake()

    def drop(self, beat: Beat) -> None:
        """Keep it no more; answers that are under way are ignored."""
        self._beats.pop(beat, None)

    def _wake(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="meshhook heartbeat", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    _log.warning("leases are not renewed: %s", error)
                    return
                self._thread = thread
        self._woken.set()

    def _run(self) -> None:
        while self._goes_on():
            self._woken.clear()
            now = self._monotonic()
            beats = list(self._beats)
            for beat in beats:
                if beat.due <= now:
                    try:
                        self._beat(beat, now)
                    except Exception:
                        # The other leases must not end with it.
                        _log.exception("a lease could not be renewed")
            self._sleeps_until = min((beat.due for beat in beats), default=now + self._idle)
            self._woken.wait(max(0.0, self._sleeps_until - self._monotonic()))

    def _goes_on(self) -> bool:
        """Tell whether there is anything to do; if not, nobody counts on this thread any more."""
        with self._lock:
            first = self._sleeps_until == math.inf
            self._sleeps_until = math.inf
            if self._beats or first or self._woken.is_set():
                return True
            self._thread = None
            return False

    def _beat(self, beat: Beat, now: float) -> None:
        if now >= beat.ends:
            self._lose(beat)
            return
        left = beat.ends - now
        beat.due = now + beat.lease / 3 if left > beat.lease else beat.ends
        renew = beat.renew._replace(lease=min(beat.lease, left))
        beat.sending()
        beat.store.submit(renew).add_done_callback(lambda reply: self._answered(beat, reply))

    def _answered(self, beat: Beat, reply: Any) -> None:
        if beat not in self._beats:
            return
        try:
            answer = reply.result(0)
        except StoreError as error:
            beat.due = min(beat.due, self._monotonic() + beat.lease / 10)
            self._wake()
            beat.failed(error)
            return
        if isinstance(answer, Lost):
            self._lose(beat)
        else:
            beat.renewed()

    def _lose(self, beat: Beat) -> None:
        """Tell that a lease is over, unless it has been dropped meanwhile."""
        if self._beats.pop(beat, beat) is None:
            beat.lost()


HEARTBEAT = Heartbeat()
forks.after_in_child(HEARTBEAT._make_anew)
