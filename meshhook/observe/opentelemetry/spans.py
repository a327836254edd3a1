"""What policies do to a call, on the span that the call runs under.

Events are told on the thread or task of the call, and the current span is a context variable, so
it is the span of whoever called: in a worker thread of a timeout and in a hedge as well, for these
run in a copy of the caller's context. Where no span is being recorded, nothing is done.
"""

from __future__ import annotations

import threading
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry.trace import Span, get_current_span

from meshhook import events, forks
from meshhook.events import TELLS_OF_A_KEY, Event, Subscription, subscribe

SPAN_EVENTS: Final[dict[type[Event], tuple[str, str | None]]] = {
    events.CallRejected: ("meshhook.call_rejected", "meshhook.rejections"),
    events.CallTimedOut: ("meshhook.call_timed_out", "meshhook.timeouts"),
    events.CallRetried: ("meshhook.call_retried", "meshhook.retries"),
    events.RetriesExhausted: ("meshhook.retries_exhausted", None),
    events.HedgeStarted: ("meshhook.hedge_started", "meshhook.hedges"),
    events.HedgeWon: ("meshhook.hedge_won", None),
    events.FallbackUsed: ("meshhook.fallback_used", "meshhook.fallbacks"),
    events.ResultReplayed: ("meshhook.result_replayed", "meshhook.replays"),
    events.KeyTakenOver: ("meshhook.key_taken_over", None),
    events.CallDelayed: ("meshhook.call_delayed", None),
    events.ChaosInjected: ("meshhook.chaos_injected", None),
    events.CircuitChanged: ("meshhook.circuit_changed", None),
    events.StoreFailed: ("meshhook.store_failed", None),
}
"""The name of the span event for each event, and the attribute of the span that counts them.

A failure is left out, for the span of what failed tells of it; so is what happens when the call has
gone, or is done by hand.
"""

_FIELDS: Final = {
    kind: [
        (field, f"meshhook.{field}")
        for field in kind.__dataclass_fields__
        if field not in TELLS_OF_A_KEY
    ]
    for kind in SPAN_EVENTS
}


def mark_span(event: Event) -> None:
    """Add ``event`` to the current span, if one is being recorded."""
    span = get_current_span()
    if not span.is_recording():
        return
    kind = type(event)
    name, counter = SPAN_EVENTS[kind]
    values = {shown: getattr(event, field) for field, shown in _FIELDS[kind]}
    span.add_event(name, {shown: value for shown, value in values.items() if value is not None})
    if counter is not None:
        _count(span, counter)


_marks: Final[WeakKeyDictionary[Span, dict[str, bytearray]]] = WeakKeyDictionary()
"""By span and attribute: a byte for each that was counted, for to append one is a single step."""


def _count(span: Span, counter: str) -> None:
    # Threads that share a span may do this at the same moment. A lock would be held while the span
    # takes its own; so whoever wrote a number that is out of date by then writes again.
    marks = _marks.setdefault(span, {}).setdefault(counter, bytearray())
    marks.append(0)
    written = 0
    while written != len(marks):
        written = len(marks)
        span.set_attribute(counter, written)


_lock = threading.RLock()
_users = 0  # guarded by _lock
_subscription: Subscription | None = None


def begin() -> None:
    """Mark spans from now on. One subscription serves all who want it."""
    global _users, _subscription  # noqa: PLW0603 - spans belong to the process, as events do
    with _lock:
        _users += 1
        if _subscription is None:
            _subscription = subscribe(mark_span, *SPAN_EVENTS)


def end() -> None:
    """Undo one :func:`begin`."""
    global _users, _subscription  # noqa: PLW0603 - as above
    with _lock:
        _users -= 1
        if _users == 0 and _subscription is not None:
            _subscription.close()
            _subscription = None


def _make_lock_anew() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()


forks.after_in_child(_make_lock_anew)
