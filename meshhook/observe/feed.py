"""The feed: what has happened lately, for pages and streams that show it.

What is notable (a circuit that changed, a lost lease, what an operator did) is rare, and a feed
keeps the last of it from its start on. What happens once a call is only asked for while somebody
listens to it: without a listener no policy builds such an event.

There is one ring for each kind of event, so a storm of one kind takes nothing from another, and
memory is bounded whoever listens. A :class:`Listener` has no queue: it remembers how far it has
read. So an event costs the call the same for one listener as for a hundred, and one that is never
drained costs nothing. What leaves a ring before a listener has read it is counted as dropped.

The lock is held for a few steps, which read and write memory and take no other lock. It is
reentrant: an event may happen in a signal handler or a finalizer that interrupts the feed in its
own work, and is kept when that is done. A listener that nobody has any more may vanish anywhere,
whatever locks are held there: so that takes no lock, and the feed notices at its next event.
"""

from __future__ import annotations

import bisect
import heapq
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

from meshhook import forks
from meshhook.errors import ConfigurationError
from meshhook.events import (
    TELLS_OF_A_KEY,
    Event,
    Subscription,
    event_name,
    kinds_by_name,
    logger,
    subscribe,
)
from meshhook.guessing import hint
from meshhook.observe.finite import finite
from meshhook.observe.notable import MAY_REPEAT, NOTABLE, is_notable
from meshhook.observe.repeats import Repeats
from meshhook.runtime.bell import Bell
from meshhook.settings import count

REPEAT_AFTER = 1.0
"""What may be notable for each call is kept once in so many seconds and policy; the rest count."""

_MOST = 100_000
_MOST_KINDS = 20
"""There are no more kinds of what is notable, so there is room for the last few of each."""
_MOST_REPEATING = 1_000


class Occurrence(NamedTuple):
    """An event, with its number and when it was: seconds since the epoch.

    ``repeated`` is how many more of the kind there were at this policy since the one before, which
    are not shown one by one.
    """

    id: int
    time: float
    event: Event
    repeated: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, text and None, fit for ``json.dumps``."""
        event = self.event
        shown = {"id": self.id, "time": self.time, "event": event_name(type(event))}
        for field in event.__dataclass_fields__:
            if field not in TELLS_OF_A_KEY:
                shown[field] = finite(getattr(event, field))
        if self.repeated:
            shown["repeated"] = self.repeated
        return shown


class _Ring:
    """The last occurrences of one kind, and how many there ever were."""

    __slots__ = ("last", "total")

    def __init__(self, capacity: int) -> None:
        self.last: deque[Occurrence] = deque(maxlen=capacity)
        self.total = 0


class Feed:
    """The last notable events, and listeners to all. Safe to use from any thread or task.

    Args:
        recent: how many notable occurrences :meth:`recent` returns at most. Default 200.
    """

    def __init__(self, *, recent: int = 200) -> None:
        self._recent = count("recent", recent)
        self._capacity = self._recent
        self._last = 0  # guarded by _lock, as all below
        self._rings: dict[tuple[type[Event], bool], _Ring] = {}
        self._repeats = Repeats(REPEAT_AFTER, _MOST_REPEATING)
        self._came_in: deque[tuple[float, Event]] = deque()
        self._subscription: Subscription | None = None
        self.renew_locks()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child, where none of the listeners is drained."""
        self._lock = threading.RLock()
        self._is_busy = False
        self._listeners: set[weakref.ref[Listener]] = set()
        self._waiting: tuple[weakref.ref[Listener], ...] = ()
        self._must_ask = True

    def start(self) -> Self:
        """Keep notable events from now on. Once started, to start again changes nothing."""
        with self._lock:
            if self._subscription is None:
                self._subscription = subscribe(self._hear, *NOTABLE)
                self._must_ask = True  # somebody may have come while it was closed
        return self

    def close(self) -> None:
        """Hear nothing any more; listeners are woken, and get what there is already."""
        with self._lock:
            if self._subscription is not None:
                self._subscription.close()
                self._subscription = None
            listeners = self._alive()
            self._listeners.clear()
            self._waiting = ()
        for listener in listeners:
            listener._wake()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it has been started and not closed."""
        return self._subscription is not None

    def recent(self) -> list[Occurrence]:
        """Return the last notable occurrences, the oldest first.

        The last few of each kind are always among them: a circuit that opens again and again does
        not push out who has disabled another one.
        """
        with self._lock:
            kept = [list(ring.last) for at, ring in list(self._rings.items()) if at[1]]
        few = self._recent // _MOST_KINDS
        surely, others = list[Occurrence](), list[Occurrence]()
        for ring in kept:
            at = max(0, len(ring) - few)
            others += ring[:at]
            surely += ring[at:]
        room = self._recent - len(surely)
        return sorted(surely + heapq.nlargest(room, others))

    def listen(
        self,
        kinds: Iterable[str | type[Event]] | None = None,
        capacity: int = 1_000,
        *,
        on_ready: Callable[[], object] | None = None,
    ) -> Listener:
        """Return a listener to what happens from now on; starts the feed. Close it when done.

        Args:
            kinds: the names (``circuit_changed``) or classes of events. Default: all of them.
            capacity: how many occurrences of one kind are kept for it, and how many it gets at
                once. Default 1,000.
            on_ready: called once when there is something to drain, and once again after each time
                that it was drained: on the thread of the call, so it has to be quick, such as
                ``functools.partial(loop.call_soon_threadsafe, ready.set)``.

        Raises:
            ConfigurationError: for a kind that there is not.
        """
        if count("capacity", capacity) > _MOST:
            raise ConfigurationError(f"capacity must be at most {_MOST:,}, got {capacity}")
        wanted = None if kinds is None else tuple(_kind(each) for each in kinds)
        self.start()
        with self._lock:
            listener = Listener(self, wanted, capacity, on_ready)
            self._listeners.add(listener._ref)
            self._make_room(capacity)
            self._must_ask = True
            listener._arm()
            ready = self._catch_up()
        for each in ready:
            each._wake()
        return listener

    def _make_room(self, capacity: int) -> None:
        if capacity > self._capacity:
            self._is_busy = True
            try:
                for ring in self._rings.values():
                    ring.last = deque(ring.last, maxlen=capacity)
                self._capacity = capacity
            finally:
                self._is_busy = False

    def _alive(self) -> list[Listener]:
        found = [ref() for ref in list(self._listeners)]
        return [each for each in found if each is not None]

    def _ask(self) -> None:
        """Subscribe to what is notable and what the listeners want. Call it under the lock."""
        self._must_ask = False
        self._waiting = tuple(ref for ref in self._waiting if ref in self._listeners)
        if self._subscription is not None:
            kinds: set[type[Event]] = set(NOTABLE)
            for listener in self._alive():
                kinds.update((Event,) if listener._kinds is None else listener._kinds)
            self._subscription.listen_to(*((Event,) if Event in kinds else kinds))

    def _forget(self, ref: weakref.ref[Listener]) -> None:
        """Do without a listener from the next event on. Takes no lock."""
        self._listeners.discard(ref)
        self._must_ask = True

    def _hear(self, event: Event) -> None:
        """Keep one event. The call waits for this."""
        self._came_in.append((time.time(), event))
        self._settle()

    def _settle(self) -> None:
        """Do what there is to do, and wake who waited for it."""
        with self._lock:
            ready = self._catch_up()
        for listener in ready:
            listener._wake()

    def _catch_up(self) -> list[Listener]:
        """Ask and keep what has come in; return who is to be woken. Call it under the lock."""
        ready: list[Listener] = []
        if self._is_busy:
            return ready  # this interrupts us at our own work, which ends in here
        self._is_busy = True
        try:
            while self._must_ask or self._came_in:
                if self._must_ask:
                    self._ask()
                    continue
                when, event = self._came_in.popleft()
                self._keep(when, event)
                if self._waiting:
                    ready += self._ready_for(type(event))
        finally:
            self._is_busy = False
        return ready

    def _keep(self, when: float, event: Event) -> None:
        notable = is_notable(event)
        repeated = 0
        if notable and isinstance(event, MAY_REPEAT):
            left_out = self._repeats.left_out_before(event, time.monotonic())
            if left_out is None:
                return
            repeated = left_out
        at = type(event), notable
        ring = self._rings.get(at)
        if ring is None:
            ring = self._rings[at] = _Ring(self._capacity)
        self._last += 1
        ring.total += 1
        ring.last.append(Occurrence(self._last, when, event, repeated))

    def _ready_for(self, kind: type[Event]) -> list[Listener]:
        """Take those from the waiting who want such an event."""
        ready, waiting = [], []
        for ref in self._waiting:
            listener = ref()
            if listener is None:
                continue
            if listener._wants(kind):
                ready.append(listener)
            else:
                waiting.append(ref)
        self._waiting = tuple(waiting)
        return ready


class Listener:
    """One who listens to a feed, made by :meth:`Feed.listen`. To be drained by one at a time."""

    def __init__(
        self,
        feed: Feed,
        kinds: tuple[type[Event], ...] | None,
        capacity: int,
        on_ready: Callable[[], object] | None,
    ) -> None:
        self._feed = feed
        self._kinds = kinds
        self._capacity = capacity
        self._on_ready = on_ready
        self._bell = Bell()
        self._ref = weakref.ref(self, feed._forget)
        self._read = feed._last
        self._totals = {at: ring.total for at, ring in list(feed._rings.items())}

    def drain(self) -> tuple[list[Occurrence], int]:
        """Return what has happened since the last time, and how many of it are lost.

        The oldest is first. Of more than ``capacity`` the last ones are kept, and what is notable
        before all others. Never blocks. Not to be called in a signal handler.
        """
        feed, read = self._feed, self._read
        with feed._lock:
            feed._is_busy = True
            try:
                happened, copies = self._copy()
            finally:
                feed._is_busy = False
            ready = feed._catch_up()
        for listener in ready:
            listener._wake()
        fresh = {True: list[Occurrence](), False: list[Occurrence]()}
        for notable, copy in copies:
            fresh[notable] += copy[bisect.bisect_right(copy, read, key=_number) :]
        found = sorted(fresh[True])[-self._capacity :]
        room = self._capacity - len(found)
        if room:
            found = sorted(found + sorted(fresh[False])[-room:])
        return found, happened - len(found)

    def _copy(self) -> tuple[int, list[tuple[bool, list[Occurrence]]]]:
        """Return how much has happened since the last time, and the rings that it is in."""
        feed = self._feed
        copies = []
        happened = 0
        for at, ring in feed._rings.items():
            fresh = ring.total - self._totals.get(at, 0)
            if fresh and self._wants(at[0]):
                happened += fresh
                self._totals[at] = ring.total
                copies.append((at[1], list(ring.last)))
        self._read = feed._last
        self._arm()
        return happened, copies

    def wait(self, seconds: float | None = None) -> bool:
        """Wait in this thread until there is something to drain, for so many seconds at most.

        Returns whether it was woken: also when the listener or the feed is closed, and now and then
        when somebody has drained in between.
        """
        return self._bell.wait(seconds)

    def close(self) -> None:
        """Stop listening. Safe to call more than once."""
        self._feed._forget(self._ref)
        self._feed._settle()
        self._bell.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wants(self, kind: type[Event]) -> bool:
        return self._kinds is None or issubclass(kind, self._kinds)

    def _arm(self) -> None:
        """Have the next event wake us. Call it under the lock of the feed."""
        feed = self._feed
        if self._ref in feed._listeners and self._ref not in feed._waiting:
            feed._waiting = (*feed._waiting, self._ref)

    def _wake(self) -> None:
        self._bell.ring()
        if self._on_ready is not None:
            try:
                self._on_ready()
            except Exception:
                # Such as that of a loop that is closed by now: no reason to break a call.
                logger.exception("on_ready of a listener failed")


def _number(occurrence: Occurrence) -> int:
    return occurrence.id


def _kind(given: str | type[Event]) -> type[Event]:
    """Return the class of events that is meant."""
    if isinstance(given, type) and issubclass(given, Event):
        return given
    known = kinds_by_name()
    if isinstance(given, str) and given in known:
        return known[given]
    raise ConfigurationError(
        f"kinds must be names of events such as 'circuit_changed', got {given!r}"
        f"{hint(str(given), known)}"
    )
