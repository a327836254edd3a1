"""The audience: the clients of the stream, and what they share: one feed, one reading, one text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from meshhook import forks
from meshhook.observe.feed import Feed, Occurrence
from meshhook.observe.instance import instance
from meshhook.observe.snapshot import Snapshots
from meshhook.observe.web.conversation import Conversation, message
from meshhook.observe.web.exchange import as_json, with_policies
from meshhook.observe.web.wish import Wish
from meshhook.settings import count

LINES_KEPT: Final = 2000


class Audience:
    """All clients of the stream of one application. Safe to use from any thread."""

    def __init__(
        self, snapshots: Snapshots, max_streams: int, *, can_act: bool, fleet: bool
    ) -> None:
        self._most = count("max_streams", max_streams)
        self._abilities = {"can_act": can_act, "fleet": fleet}
        self.snapshots = snapshots
        self.feed = Feed()
        self.closing = threading.Event()
        self._changes: tuple[tuple[int | None, int], bytes] = (None, 0), b""
        self._lines: dict[int, bytes] = {}
        self.renew_locks()
        self.feed.start()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child, which has none of the clients."""
        was_closed = self.closing.is_set()
        self.closing = threading.Event()
        if was_closed:
            self.closing.set()
        self._lock = threading.RLock()
        self._streams: set[Conversation] = set()  # guarded by _lock

    def open(self) -> None:
        """Let clients come again after a close; those who came before it are still to go."""
        with self._lock:
            if self.closing.is_set():
                self.closing = threading.Event()
                self.feed.start()

    def close(self) -> None:
        """End all streams, and stop to listen."""
        with self._lock:  # nobody comes in between, and has the feed begin anew
            self.closing.set()
        self.feed.close()  # which wakes all who listen

    def hello(self, recent: list[dict[str, Any]]) -> bytes:
        """Return the message that greets a client, with what it has missed."""
        told = {"instance": instance(), **self._abilities, "recent": recent}
        return message("hello", as_json(told))

    def stats_since(self, token: int | None) -> tuple[bytes, int]:
        """Return the message of what has changed since a reading, and the number of this one."""
        changes = self.snapshots.changes_since(token)
        at = token, changes.token
        known, line = self._changes
        if known != at:
            # Those who come together are told the same, which is made once.
            told = changes.to_dict()
            line = message("stats", with_policies(told.pop("policies"), **told))
            self._changes = at, line
        return line, changes.token

    def recent(self, kinds: tuple[str, ...] | None) -> list[dict[str, Any]]:
        """Return the notable things that happened of late, oldest first."""
        shown = [each.to_dict() for each in self.feed.recent()]
        return [each for each in shown if kinds is None or each["event"] in kinds]

    def line_of(self, occurrence: Occurrence) -> bytes:
        """Return an occurrence as JSON, which is made once for all clients."""
        line = self._lines.get(occurrence.id)
        if line is None:
            if len(self._lines) >= LINES_KEPT:
                self._lines.clear()
            line = self._lines[occurrence.id] = as_json(occurrence.to_dict())
        return line

    def converse(self, wish: Wish, wake: Callable[[], object]) -> Conversation | None:
        """Begin to tell a client; None if there are too many. ``wake`` is called on any thread."""
        with self._lock:
            if self.closing.is_set() or len(self._streams) >= self._most:
                return None
            talk = Conversation(self, wish, wake)
            self._streams.add(talk)
        return talk

    def part(self, talk: Conversation) -> None:
        """Forget a client."""
        with self._lock:
            self._streams.discard(talk)

    @property
    def streams(self) -> int:
        """How many clients are being told."""
        return len(self._streams)
