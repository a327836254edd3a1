"""Events: what happened, as frozen objects, told to whoever subscribed.

An event is built only where somebody listens, and is told outside of every lock, on the thread or
task where it happened, in order of subscription. A subscriber that raises is reported to the
``meshhook.events`` logger and never breaks a call. Subscribers must be quick: the call waits.

No event holds arguments, results, keys or the text of an exception.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from meshhook.colour import is_async
from meshhook.reporting import Reporter

logger = Reporter(logging.getLogger("meshhook.events"))


TELLS_OF_A_KEY = frozenset({"key_hash"})
"""Fields that are for logs alone: by the hash of a key that can be guessed, the key is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events: which policy it happened to."""

    policy: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed(Event):
    """A call raised something that its breaker counts; ``error`` is the name of the type."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRejected(Event):
    """A policy refused a call before it started."""

    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitChanged(Event):
    """A circuit went from one state to another. ``keyed``: it is one circuit of a family."""

    old: str
    new: str
    reason: str
    keyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimedOut(Event):
    """A call ran out of its time. ``abandoned``: it goes on running in its thread."""

    timeout: float
    abandoned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonedCallEnded(Event):
    """A call that was given up has ended after all, ``late`` seconds past its limit."""

    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStarted(Event):
    """Hedge ``number`` of a call was started, ``delay`` seconds after the call began."""

    number: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeWon(Event):
    """Hedge ``number`` of a call gave its result."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackUsed(Event):
    """A call that failed got something else: from the ``source`` value, handler or last_good.

    ``age`` is how many seconds old a last good result was.
    """

    source: str
    error: str
    age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanged(Event):
    """A bulkhead lets another number of calls run at a time; ``reason`` says what changed it."""

    old: int
    new: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDelayed(Event):
    """A call starts now, after it has waited ``delay`` seconds for its turn."""

    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChanged(Event):
    """A limit goes on with another rate; ``old`` and ``new`` are the rates as text."""

    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetried(Event):
    """Attempt number ``attempt`` of a call has failed, and in ``delay`` seconds comes the next.

    ``error`` is the name of the type, or ``result`` where the result was not accepted.
    """

    attempt: int
    delay: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriesExhausted(Event):
    """A call has failed for good: there is no further attempt, for the ``reason`` given.

    ``elapsed`` is how many seconds ago the first attempt failed; ``error`` as in CallRetried.
    """

    attempts: int
    elapsed: float
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosInjected(Event):
    """Chaos struck a call on purpose: ``what`` is latency, fault or result."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultReplayed(Event):
    """An idempotent call was answered with the recorded result."""

    key_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTakenOver(Event):
    """An idempotent call took over a key whose holder had let its lease run out."""

    key_hash: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """An idempotent call lost its key to another execution while it was running."""

    key_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationReloaded(Event):
    """Settings from outside were read anew, and ``changed`` policies have got other ones.

    ``policy`` is ``configuration``, and ``name`` tells what it was read from.
    """

    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRejected(Event):
    """Settings from outside were read anew, ``problems`` things are wrong, and nothing changed."""

    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed(Event):
    """A store failed a policy during ``verb``; ``error`` is the name of the type."""

    verb: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorActed(Event):
    """Somebody has changed the state of a policy by hand: ``author`` is who says so.

    ``action`` is what was done, such as ``force_open``; ``seconds`` for how long, None if that is
    until the next change. When the time is over, the action is ``expired``.
    """

    action: str
    author: str
    seconds: float | None


def event_name(kind: type[Event]) -> str:
    """Return the stable name of a class of events: ``circuit_changed`` for CircuitChanged."""
    return _in_words(kind.__name__)


def kinds_by_name() -> dict[str, type[Event]]:
    """Return every class of events that there is, those of users included, by its stable name."""
    found: dict[str, type[Event]] = {}
    left = [Event]
    while left:
        below = left.pop().__subclasses__()
        found.update((event_name(kind), kind) for kind in below)
        left += below
    return found


@functools.lru_cache(maxsize=256)
def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class _Subscriber:
    """Who is told, and of what: ``kinds`` is replaced whole, so that it can be read at any time."""

    __slots__ = ("kinds", "listener")

    def __init__(self, kinds: tuple[type[Event], ...], listener: Callable[[Any], object]) -> None:
        self.kinds = kinds
        self.listener = listener


_subscribers: list[_Subscriber] = []
# Changed by ``append`` and ``remove`` and read as a copy, each of which is one step: there is no
# lock that the garbage collector, a signal handler or a fork could find held.


class Subscription:
    """What :func:`subscribe` returns: ``close()`` it, or use it as a context manager."""

    def __init__(self, entry: _Subscriber) -> None:
        self._entry = entry

    def listen_to(self, *kinds: type[Event]) -> None:
        """Hear other kinds from now on; none means all. One that is closed stays closed.

        No event is told twice for it, and none that is of both the old and the new kinds is missed.
        """
        _refuse_what_cannot_listen(self._entry.listener, kinds)
        self._entry.kinds = kinds or (Event,)

    def close(self) -> None:
        """Stop listening. Safe to call more than once."""
        with contextlib.suppress(ValueError):  # it has been closed already
            _subscribers.remove(self._entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def subscribe(listener: Callable[[Any], object], *kinds: type[Event]) -> Subscription:
    """Call ``listener`` with every event, or only with those of ``kinds``.

    The listener is called on the thread or task where the event happened, outside of every lock; an
    ``Exception`` from it is logged and dropped. Safe to call from any thread.

    Raises:
        TypeError: for a listener that cannot be called or is async, or a kind that is no event.
    """
    _refuse_what_cannot_listen(listener, kinds)
    entry = _Subscriber(kinds or (Event,), listener)
    _subscribers.append(entry)
    return Subscription(entry)


def _refuse_what_cannot_listen(listener: object, kinds: tuple[object, ...]) -> None:
    if not callable(listener) or is_async(listener):
        raise TypeError(f"listener must be a plain function, not an async one, got {listener!r}")
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(
                f"kinds must be classes of events, such as CircuitChanged, got {kind!r}"
            )


def wanted(kind: type[Event]) -> bool:
    """Tell whether anybody listens to ``kind``; ask before building an event."""
    for each in [*_subscribers]:  # noqa: SIM110 - a generator costs four times as much
        if issubclass(kind, each.kinds):
            return True
    return False


def emit(event: Event) -> None:
    """Tell ``event`` to its subscribers. Call it with no lock held."""
    for each in [*_subscribers]:
        if isinstance(event, each.kinds):
            try:
                each.listener(event)
            except Exception:
                logger.exception("an event listener failed on %s", type(event).__name__)
