"""Events as records of the standard library's logging.

A record has a short message for people, and for machines the attributes ``event`` (a stable name
such as ``circuit_changed``), ``policy`` (the kind), ``policy_name``, and the fields of the event.
What an operator has to know is a WARNING; what happens once a call, and would flood a log when it
matters most, is DEBUG. No record holds arguments, results, keys or the text of an exception.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final, NamedTuple

from meshhook import events
from meshhook.events import Event, Subscription, subscribe

REPEAT_AFTER = 60.0
"""A store that goes on failing one policy is a WARNING once in so many seconds, and else DEBUG."""


class _Form(NamedTuple):
    event: str
    level: int
    text: str


_FORMS: Final[dict[type[Event], _Form]] = {
    events.CircuitChanged: _Form(
        "circuit_changed",
        logging.WARNING,
        "circuit %(policy_name)r went from %(old)s to %(new)s: %(reason)s",
    ),
    events.CallFailed: _Form(
        "call_failed",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call failed with %(error)s",
    ),
    events.CallRejected: _Form(
        "call_rejected",
        logging.DEBUG,
        "%(policy)s %(policy_name)r refused a call: %(reason)s",
    ),
    events.CallTimedOut: _Form(
        "call_timed_out",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call did not end within %(timeout).3g s",
    ),
    events.AbandonedCallEnded: _Form(
        "abandoned_call_ended",
        logging.INFO,
        "%(policy)s %(policy_name)r: a call that was given up has ended, %(late).3g s late",
    ),
    events.HedgeStarted: _Form(
        "hedge_started",
        logging.DEBUG,
        "%(policy)s %(policy_name)r started hedge %(number)s of a call after %(delay).3g s",
    ),
    events.HedgeWon: _Form(
        "hedge_won",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: hedge %(number)s of a call gave its result",
    ),
    events.FallbackUsed: _Form(
        "fallback_used",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call that failed with %(error)s got its %(source)s",
    ),
    events.LimitChanged: _Form(
        "limit_changed",
        logging.INFO,
        "%(policy)s %(policy_name)r went from %(old)s to %(new)s at a time: %(reason)s",
    ),
    events.CallDelayed: _Form(
        "call_delayed",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call starts after a wait of %(delay).3g s",
    ),
    events.RateChanged: _Form(
        "rate_changed",
        logging.INFO,
        "%(policy)s %(policy_name)r went from %(old)s to %(new)s",
    ),
    events.CallRetried: _Form(
        "call_retried",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: attempt %(attempt)s failed with %(error)s; the next one comes "
        "in %(delay).3g s",
    ),
    events.RetriesExhausted: _Form(
        "retries_exhausted",
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call failed with %(error)s after %(attempts)s attempts: "
        "%(reason)s",
    ),
    events.ChaosInjected: _Form(
        "chaos_injected",
        logging.DEBUG,
        "%(policy)s %(policy_name)r struck a call on purpose: %(what)s",
    ),
    events.ResultReplayed: _Form(
        "result_replayed",
        logging.DEBUG,
        "%(policy)s %(policy_name)r answered a call with the recorded result",
    ),
    events.KeyTakenOver: _Form(
        "key_taken_over",
        logging.WARNING,
        "%(policy)s %(policy_name)r took over a key whose holder let its lease run out",
    ),
    events.LeaseLost: _Form(
        "lease_lost",
        logging.WARNING,
        "%(policy)s %(policy_name)r: a running call lost its key to another execution",
    ),
    events.StoreFailed: _Form(
        "store_failed",
        logging.WARNING,
        "%(policy)s %(policy_name)r: its store failed in %(verb)s with %(error)s",
    ),
}

_CALM_STATES = frozenset({"closed", "half_open"})


def log_events(logger: logging.Logger | None = None) -> Subscription:
    """Log every event, until the subscription that this returns is closed.

    A circuit that begins to refuse, a lost key and a failing store are a WARNING. Recovery, the
    circuits of a family (``key=``) and calls that go on running after their time are INFO. Single
    failures, refusals, timeouts and replays are DEBUG.

    Args:
        logger: where the records go. Default ``logging.getLogger("meshhook")``.

    Raises:
        TypeError: when ``logger`` is no logger.

    Safe to call from any thread. The records are made on the thread or task of the call, so
    handlers have to be quick; events that the handlers cause themselves are not logged.
    """
    if logger is None:
        logger = logging.getLogger("meshhook")
    if not isinstance(logger, logging.Logger):
        raise TypeError(f"logger must be a logging.Logger, or left out, got {logger!r}")
    return subscribe(_Scribe(logger))


class _Scribe:
    """A listener that writes to one logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._writing = threading.local()
        self._warned: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        form = _FORMS.get(type(event))
        if form is None or getattr(self._writing, "now", False):
            return
        level = self._level(form, event)
        if not self._logger.isEnabledFor(level):
            return
        fields = _fields(form, event)
        # A handler may send its records through a guarded client, which has events of its own.
        self._writing.now = True
        try:
            self._logger.log(level, form.text, fields, extra=fields)
        finally:
            self._writing.now = False

    def _level(self, form: _Form, event: Event) -> int:
        if isinstance(event, events.CircuitChanged):
            return logging.INFO if event.keyed or event.new in _CALM_STATES else form.level
        if isinstance(event, events.CallTimedOut):
            return logging.INFO if event.abandoned else form.level
        if isinstance(event, events.LimitChanged):
            return logging.DEBUG if event.reason == "adaptive" else form.level
        if isinstance(event, events.StoreFailed):
            return logging.DEBUG if self._is_repeated(event) else form.level
        return form.level

    def _is_repeated(self, event: Event) -> bool:
        now = time.monotonic()
        at = event.policy, event.name
        warned = self._warned.get(at)
        if warned is not None and 0 <= now - warned < REPEAT_AFTER:
            return True
        self._warned[at] = now
        return False


def _fields(form: _Form, event: Event) -> dict[str, Any]:
    """Return the fields of a record; ``name`` is the logger's there."""
    own = {field: getattr(event, field) for field in event.__dataclass_fields__}
    return {"event": form.event, "policy_name": own.pop("name"), **own}
