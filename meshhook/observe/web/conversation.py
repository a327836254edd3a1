"""What one client of the stream is told, as server-sent events: when, and how much at a time.

Nothing here waits. The stream of a thread and that of a task ask the same questions: how long may I
wait, and what is there to send now? What happens is told in batches; a batch that a slow client
could not be sent makes the next one's count of dropped events larger, and never the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshhook.observe.web.failures import report
from meshhook.observe.web.stopping import is_stopping
from meshhook.observe.web.wish import Wish

if TYPE_CHECKING:
    from meshhook.observe.web.audience import Audience

BATCH_EVERY = 0.2
STATS_EVERY = 0.5
HEARTBEAT = 2.0
LOOK_UP = 0.25
"""So often a stream looks whether the server stops."""

MOST = 200
"""The most events of a batch."""


class Conversation:
    """What one client has been told, and is still to be told. For one thread or task.

    ``wake`` is called, on any thread, when something has happened. ``next`` and ``close`` may read
    statistics, which takes a while where there are thousands of policies; all else is quick.
    """

    def __init__(
        self,
        audience: Audience,
        wish: Wish,
        wake: Callable[[], object],
        # Captured on purpose: clients wait in real time.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audience = audience
        self.closing = audience.closing  # another one if the application is opened again
        self._wish = wish
        self._monotonic = monotonic
        self._token: int | None = None
        self._next_batch = self._next_stats = 0.0
        self._sent = monotonic()
        self._listener = audience.feed.listen(wish.kinds, MOST, on_ready=wake)
        self._known: set[int] = set()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to tell: the application is closed, or the server stops."""
        return self.closing.is_set() or is_stopping()

    def close(self) -> None:
        """End the conversation. Safe to call more than once."""
        self._listener.close()
        self._audience.part(self)

    def begin(self, retry: int = 1000) -> bytes:
        """Return what a client is told first, and after how many milliseconds to come back."""
        recent = self._audience.recent(self._wish.kinds)[-MOST:]
        # What happened just now may be in the queue as well.
        self._known = {each["id"] for each in recent}
        return b"retry: %d\n" % retry + self._audience.hello(recent) + self._stats()

    def pause(self) -> float:
        """Return for how long to wait at most, unless woken."""
        now = self._monotonic()
        due = self._sent + HEARTBEAT
        if self._wish.stats:
            due = min(due, self._next_stats)
        return max(0.0, min(due - now, LOOK_UP))

    def rest(self) -> float:
        """Return for how long to wait, once woken, so that batches are not too many."""
        return max(0.0, self._next_batch - self._monotonic())

    @property
    def reads_statistics(self) -> bool:
        """Whether ``next`` will read statistics."""
        return self._wish.stats and self._monotonic() >= self._next_stats

    def next(self) -> bytes:
        """Return what there is to tell now; empty for nothing."""
        told = self._events() + (self._stats() if self.reads_statistics else b"")
        now = self._monotonic()
        if not told and now - self._sent >= HEARTBEAT:
            told = b":\n\n"
        if told:
            self._sent = now
        return told

    def _events(self) -> bytes:
        found, dropped = self._listener.drain()
        happened = [each for each in found if each.id not in self._known]
        if not happened and not dropped:
            return b""
        self._known = set()
        self._next_batch = self._monotonic() + BATCH_EVERY
        lines = b",".join(map(self._audience.line_of, happened))
        return message("events", b'{"events":[%b],"dropped":%d}' % (lines, dropped))

    def _stats(self) -> bytes:
        if not self._wish.stats:
            return b""
        told, self._token = self._audience.stats_since(self._token)
        self._next_stats = self._monotonic() + STATS_EVERY
        return told


def message(event: str, data: bytes) -> bytes:
    """Return one message of the stream; ``data`` is one line of JSON."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


def broke_off(error: Exception) -> None:
    """Report that a stream ended by an error of ours, without its text."""
    report("a stream of events broke off", error)
