"""Snapshots: what all policies say of themselves, for pages and streams, read once for all.

A reading asks every policy for its statistics, and all who look within ``interval`` seconds get the
same one. It holds no lock that a call takes for longer than one policy needs to add up its numbers.
While one reads, others get the reading before, unless it is of long ago. One that takes long is
made less often, so that it costs at most a tenth of the time of one thread.

Of a stream, only policies that have changed are told. Fields that only tell the time do not make a
change: seconds in a state, seconds until the next trial, seconds until an act ends. They stand for
a moment, and a page counts up or down on its own, from the ``time`` of the message. Only where the
moment itself has moved, by more than half a second, is the policy told again.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any, Final, NamedTuple

from meshhook import forks
from meshhook.health import PolicyHealth
from meshhook.observe.control import Control
from meshhook.observe.finite import make_finite
from meshhook.registry import Entry, Registry
from meshhook.settings import Duration, duration

_PAST: Final = ("seconds_in_state", "since_store_error")
"""Statistics that say how long ago a moment was."""
_FUTURE: Final = ("retry_after", "reset_after")
"""Statistics that say how far away a moment is; 0 stays 0."""
_COMPARED: Final = ("status", "condition", "critical", "actions")
_NUMBERS: Final = (int, float)
_SAME = 0.5
_SHARE = 0.1
_MOST_GONE = 10_000
_LONG_AGO = 10.0
"""Who finds nothing but a reading that is older waits for the next one."""

Moments = tuple[float | None, ...]


class _Shown(NamedTuple):
    """A policy in a reading: what is told, and the reading in which it has changed last."""

    told: dict[str, Any]
    moments: Moments
    changed: int


class _Reading(NamedTuple):
    """What was read at a time. Never changed, but for what is remembered of it."""

    number: int
    time: float
    shown: dict[tuple[str, str], _Shown]
    gone: tuple[tuple[int, str], ...]
    known_since: int
    """Who has seen only older readings may have missed a policy that has gone."""
    changes: dict[int | None, Changes]


class Changes(NamedTuple):
    """What has changed since a reading: all policies if ``full``, else those that changed."""

    token: int
    time: float
    full: bool
    policies: list[dict[str, Any]]
    gone: list[str]
    total: int

    def to_dict(self) -> dict[str, Any]:
        """Return the data of a message, fit for ``json.dumps``."""
        return {
            "time": self.time,
            "full": self.full,
            "policies": self.policies,
            "gone": self.gone,
            "total": self.total,
        }


class Snapshots:
    """Readings of a registry, shared by all who look. Safe to use from any thread.

    What is returned is shared: it must not be changed.

    Args:
        registry: whose policies are read. Default ``meshhook.registry``.
        control: tells what may be done to a policy, and until when something was.
        interval: seconds for which a reading is as good as a new one. Default 0.5.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        control: Control | None = None,
        interval: Duration = 0.5,
    ) -> None:
        self._registry = Registry.given(registry)
        self._control = Control(self._registry) if control is None else control
        self._interval = duration("interval", interval, zero=True)
        self._reading: _Reading | None = None
        self._good_until = -math.inf
        self._read_at = 0.0
        self.renew_locks()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: a signal handler may look while its own thread reads.
        self._lock = threading.RLock()
        self._is_reading = False

    def policies(self) -> list[dict[str, Any]]:
        """Return every policy as a dict, fit for ``json.dumps``."""
        return [each.told for each in self._current().shown.values()]

    def policy(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return one policy as it is now, read for this; None if there is none."""
        found = self._registry._find(kind, name)
        return None if found is None else self._tell(kind, name, found)

    def changes_since(self, token: int | None) -> Changes:
        """Return what has changed since the ``token`` of an earlier answer; None for all."""
        reading = self._current()
        known = reading.changes.get(token)
        if known is None:
            known = reading.changes[token] = _changes(reading, token)
        return known

    def _current(self) -> _Reading:
        """Return the reading that is good now; make one if there is none."""
        reading = self._reading
        if reading is not None and self._is_good():
            return reading
        if not self._lock.acquire(blocking=reading is None or self._is_of_long_ago()):
            return reading or _nothing()
        try:
            if self._is_reading:
                return self._reading or _nothing()
            if self._reading is None or not self._is_good():
                self._is_reading = True
                try:
                    self._reading = self._read(self._reading or _nothing())
                finally:
                    self._is_reading = False
            return self._reading
        finally:
            self._lock.release()

    def _is_good(self) -> bool:
        # A clock that went back makes no reading good for ever.
        return self._read_at <= time.monotonic() < self._good_until

    def _is_of_long_ago(self) -> bool:
        good_for = self._good_until - self._read_at
        return time.monotonic() - self._read_at > max(_LONG_AGO, 2 * good_for)

    def _read(self, before: _Reading) -> _Reading:
        began, number = time.monotonic(), before.number + 1
        shown: dict[tuple[str, str], _Shown] = {}
        for at, policy in self._registry._policies().items():
            told = self._tell(*at, policy)
            shown[at] = _compared(
                told, _moments(told, time.monotonic()), before.shown.get(at), number
            )
        gone = [(number, f"{kind}/{name}") for kind, name in before.shown.keys() - shown.keys()]
        everything = before.gone + tuple(gone)
        known_since = before.known_since
        if len(everything) > _MOST_GONE:
            known_since = everything[-_MOST_GONE - 1][0]
            everything = everything[-_MOST_GONE:]
        ended = time.monotonic()
        self._read_at = ended
        self._good_until = ended + max(self._interval, (ended - began) / _SHARE)
        return _Reading(number, time.time(), shown, everything, known_since, {})

    def _tell(self, kind: str, name: str, policy: Entry) -> dict[str, Any]:
        """Return what is told of one policy."""
        stats: dict[str, Any]
        try:
            read = policy.stats()
            health = PolicyHealth.of(policy, read)
            stats = make_finite(read.to_dict())
        except Exception as error:
            health = PolicyHealth.of(policy, None)
            stats = {"error": type(error).__name__}
        return {
            "policy": kind,
            "name": name,
            **health.to_dict(),
            "actions": self._control.actions(policy),
            "until": self._control.remaining(policy),
            "stats": stats,
        }


def _nothing() -> _Reading:
    """Return what is known before the first reading, and to who interrupts it."""
    return _Reading(0, time.time(), {}, (), 0, {})


def _changes(reading: _Reading, token: int | None) -> Changes:
    shown = reading.shown
    full = token is None or not reading.known_since <= token <= reading.number
    since = -1 if token is None or full else token
    gone: list[str] = []
    if not full:
        there = {f"{kind}/{name}" for kind, name in shown} if reading.gone else set()
        gone = [name for number, name in reading.gone if number > since and name not in there]
    return Changes(
        token=reading.number,
        time=reading.time,
        full=full,
        policies=[each.told for each in shown.values() if each.changed > since],
        gone=gone,
        total=len(shown),
    )


def _moments(told: dict[str, Any], now: float) -> Moments:
    """Return the moments that the fields stand for which only tell the time."""
    stats = told["stats"]
    until = told["until"]
    moments = [None if until is None else now + until]
    for field in _PAST:
        seconds = stats.get(field)
        moments.append(now - seconds if isinstance(seconds, _NUMBERS) else None)
    for field in _FUTURE:
        seconds = stats.get(field)
        moments.append(now + seconds if seconds and isinstance(seconds, _NUMBERS) else None)
    return tuple(moments)


def _compared(told: dict[str, Any], moments: Moments, before: _Shown | None, number: int) -> _Shown:
    """Return what is shown of a policy, with the number of the reading that changed it last."""
    if before is None or not _is_same(told, before.told) or not _are_close(moments, before.moments):
        return _Shown(told, moments, number)
    return _Shown(told, before.moments, before.changed)


def _is_same(told: dict[str, Any], before: dict[str, Any]) -> bool:
    """Tell whether nothing differs but what only tells the time."""
    stats: dict[str, Any] = told["stats"]
    former: dict[str, Any] = before["stats"]
    for field in (*_PAST, *_FUTURE):
        if field in stats and field in former:
            former = {**former, field: stats[field]}
    return stats == former and all(told[field] == before[field] for field in _COMPARED)


def _are_close(one: Moments, other: Moments) -> bool:
    return all(
        left is right or (left is not None and right is not None and abs(left - right) <= _SAME)
        for left, right in zip(one, other, strict=True)
    )
