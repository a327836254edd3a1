"""The journal: every call as its caller saw it, and every event, with the time of each.

It is the demo's own witness. It asks no policy what happened: callers note when they began, when
the network was reached and when they were free again, and events are noted when they are told. Safe
to use from any thread or task.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import meshhook as mh
from meshhook import events

ANSWERED, FAILED, TIMED_OUT, REFUSED = OUTCOMES = ("answered", "failed", "timed out", "refused")
CUT_OFF = "cut off"
"""The outcome of a call that nobody waits for any more: another attempt was faster, or the demo was
interrupted."""


@dataclasses.dataclass(slots=True)
class Call:
    """One call to the service. Moments are readings of ``time.monotonic()``."""

    kind: str
    caller: str
    entered: float
    limit: float
    reached: float | None = None
    ended: float | None = None
    outcome: str = CUT_OFF

    @property
    def took(self) -> float:
        """Seconds from the caller's point of view; 0 while it runs."""
        return 0.0 if self.ended is None else self.ended - self.entered

    @property
    def overshoot(self) -> float:
        """Seconds that it ended past its limit; 0 if it did not."""
        return max(0.0, self.took - self.limit)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A circuit went from ``old`` to ``new``."""

    at: float
    old: str
    new: str
    reason: str


class Journal:
    """Calls and events, in the order in which they ended or were told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening = ExitStack()
        self.began = time.monotonic()
        # guarded by _lock; lists only grow, so readers may take a copy at any time
        self.calls: list[Call] = []
        self.changes: list[Change] = []
        self.events: list[tuple[float, events.Event]] = []
        self.counts: collections.Counter[type[events.Event]] = collections.Counter()
        self.outcomes: dict[tuple[str, str], collections.Counter[str]] = {}
        self.slowest_overshoot = 0.0
        self.asked = 0
        self.confirmed: dict[str, set[str]] = {}
        self.prices = 0
        self.starts: list[float] = []
        self.most_in_slots = 0
        self._in_slots = 0

    def __enter__(self) -> Self:
        self._listening.enter_context(mh.subscribe(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _note(self, event: events.Event) -> None:
        now = time.monotonic()
        with self._lock:
            self.events.append((now, event))
            self.counts[type(event)] += 1
            if isinstance(event, events.CircuitChanged):
                self.changes.append(Change(now, event.old, event.new, event.reason))

    @contextmanager
    def call(self, kind: str, caller: str, limit: float) -> Iterator[Call]:
        """Note a call: when it begins, and when and how it ends."""
        call = Call(kind, caller, time.monotonic(), limit)
        try:
            yield call
            call.outcome = ANSWERED
        except mh.RejectedError:
            call.outcome = REFUSED
            raise
        except mh.TimeoutError:
            call.outcome = TIMED_OUT
            raise
        except Exception:
            call.outcome = FAILED
            raise
        finally:
            call.ended = time.monotonic()
            self.add(call)

    def add(self, call: Call) -> None:
        """Take in a call that has ended."""
        with self._lock:
            self.calls.append(call)
            counts = self.outcomes.setdefault((call.kind, call.caller), collections.Counter())
            counts[call.outcome] += 1
            self.slowest_overshoot = max(self.slowest_overshoot, call.overshoot)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Note an attempt to get a price that has been let through, while it goes on."""
        with self._lock:
            self.starts.append(time.monotonic())
            self._in_slots += 1
            self.most_in_slots = max(self.most_in_slots, self._in_slots)
        try:
            yield
        finally:
            with self._lock:
                self._in_slots -= 1

    def extra_attempts(self) -> int:
        """Return how often events told of an attempt beyond the first."""
        return self.counts[events.CallRetried] + self.counts[events.HedgeStarted]

    def ask_for_price(self) -> None:
        """Note that somebody asks for a price."""
        with self._lock:
            self.prices += 1

    def ask(self) -> None:
        """Note that somebody asks for a charge."""
        with self._lock:
            self.asked += 1

    def confirm(self, order: str, receipt: str) -> None:
        """Note that a caller was told that ``order`` is charged."""
        with self._lock:
            self.confirmed.setdefault(order, set()).add(receipt)
