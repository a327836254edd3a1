"""Events as records of the standard library's logging.

A record has a short message for people, and for machines the attributes ``event`` (a stable name
such as ``circuit_changed``), ``policy`` (the kind), ``policy_name``, and the fields of the event.
What an operator has to know is a WARNING. What happens once a call, and would flood a log when it
matters most, is DEBUG; refusals and calls that failed for good are counted too, and summed up in
one record for each policy now and then, see :mod:`meshhook.observe.summaries`. No record holds
arguments, results, keys or the text of an exception.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import Any

from meshhook import events
from meshhook.events import Event, Subscription, subscribe
from meshhook.observe.forms import FORMS, SUMS, Form
from meshhook.observe.repeats import Repeats
from meshhook.observe.summaries import Summaries, Summary
from meshhook.settings import Duration, duration
from meshhook.wording import short

REPEAT_AFTER = 60.0
"""A store that goes on failing one policy is a WARNING once in so many seconds, and else DEBUG."""
_MOST_WARNED = 10_000

_ENDED_BY_A_CHANGE = (events.CallRejected,)
"""What a circuit that changes its state has done for the time being."""

_JUDGED = (events.CircuitChanged, events.LimitChanged, events.StoreFailed)
"""The level of these depends on what they tell."""

_CALM_STATES = frozenset({"closed", "half_open"})


def log_events(
    logger: logging.Logger | None = None, *, summary_every: Duration | None = 60.0
) -> Subscription:
    """Log every event, until the subscription that this returns is closed.

    A circuit that begins to refuse, a lost key and a failing store are a WARNING. Recovery and the
    circuits of a family (``key=``) are INFO. Single failures, refusals, timeouts and replays are
    DEBUG. What refusals, timeouts and calls that failed for good there were is summed up, in a
    record for each policy and interval: a WARNING.

    Args:
        logger: where the records go. Default ``logging.getLogger("meshhook")``.
        summary_every: after how many seconds what was counted is told, with the next event of any
            policy; a circuit that changes its state tells at once, and so does the end of the
            subscription or of the program. None for no summaries. Default 60.

    Raises:
        TypeError: when ``logger`` is no logger.
        ConfigurationError: when ``summary_every`` is no duration above zero.

    Safe to call from any thread. The records are made on the thread or task of the call, so
    handlers have to be quick; events that the handlers cause themselves are not logged.
    """
    if logger is None:
        logger = logging.getLogger("meshhook")
    if not isinstance(logger, logging.Logger):
        raise TypeError(f"logger must be a logging.Logger, or left out, got {logger!r}")
    if summary_every is not None:
        summary_every = duration("summary_every", summary_every)
    return _Logging(_Scribe(logger, summary_every))


class _Logging(Subscription):
    """A subscription whose end tells what has been counted."""

    def __init__(self, scribe: _Scribe) -> None:
        super().__init__(subscribe(scribe)._entry)
        self._scribe = scribe
        atexit.register(self.close)

    def close(self) -> None:
        """Stop listening, and tell what has been counted. Safe to call more than once."""
        super().close()
        atexit.unregister(self.close)
        self._scribe.tell_everything()


class _Writing(threading.local):
    """Whether this thread is writing a record."""

    now = False


class _Scribe:
    """A listener that writes to one logger."""

    def __init__(self, logger: logging.Logger, summary_every: float | None) -> None:
        self._logger = logger
        self._writing = _Writing()
        self._warned = Repeats(REPEAT_AFTER, _MOST_WARNED)
        self._summaries = None if summary_every is None else Summaries(summary_every)

    def __call__(self, event: Event) -> None:
        kind = type(event)
        form = FORMS.get(kind)
        if form is None or self._writing.now:
            return
        now = time.monotonic()
        level = self._level(event, form, now) if kind in _JUDGED else form.level
        summaries = self._summaries
        if summaries is not None:
            if summaries.is_due(now):
                self._tell(summaries.due(now))
            if isinstance(event, events.CircuitChanged):
                if not event.keyed:
                    self._tell(summaries.of(event.policy, event.name, _ENDED_BY_A_CHANGE, now))
            elif level == logging.DEBUG and kind in SUMS:
                summaries.add(event, _reason(event), now)
        if self._logger.isEnabledFor(level):
            words = _words_of_act(event) if isinstance(event, events.OperatorActed) else {}
            self._write(form, level, _fields(form, event), words)

    def tell_everything(self) -> None:
        """Write what has been counted so far."""
        if self._summaries is not None:
            self._tell(self._summaries.everything(time.monotonic()))

    def _level(self, event: Event, form: Form, now: float) -> int:
        if isinstance(event, events.CircuitChanged):
            return logging.INFO if event.keyed or event.new in _CALM_STATES else form.level
        if isinstance(event, events.LimitChanged):
            return logging.DEBUG if event.reason == "adaptive" else form.level
        is_repeated = self._warned.left_out_before(event, now) is None
        return logging.DEBUG if is_repeated else form.level

    def _tell(self, summaries: list[Summary]) -> None:
        for each in summaries:
            form = SUMS[each.kind]
            if self._logger.isEnabledFor(form.level):
                self._write(form, form.level, _summary_fields(form, each), _words_of_sum(each))

    def _write(self, form: Form, level: int, fields: dict[str, Any], words: dict[str, str]) -> None:
        # A handler may send its records through a guarded client, which has events of its own.
        self._writing.now = True
        try:
            self._logger.log(level, form.text, {**fields, **words}, extra=fields)
        except Exception:
            events.logger.exception("a log handler failed on %s", form.event)
        finally:
            self._writing.now = False


def _fields(form: Form, event: Event) -> dict[str, Any]:
    """Return the fields of a record; ``name`` is the logger's there."""
    own = {field: getattr(event, field) for field in event.__dataclass_fields__}
    return {"event": form.event, "policy_name": own.pop("name"), **own}


def _reason(event: Event) -> str:
    """Return under what an event is counted."""
    if isinstance(event, (events.CallRejected, events.RetriesExhausted)):
        return event.reason
    if isinstance(event, events.StoreFailed):
        return event.error
    if isinstance(event, events.CallTimedOut) and not event.abandoned:
        return "stopped"
    return "abandoned"


def _summary_fields(form: Form, summary: Summary) -> dict[str, Any]:
    return {
        "event": form.event,
        "policy": summary.policy,
        "policy_name": summary.name,
        "count": summary.count,
        "seconds": summary.seconds,
        "reasons": summary.reasons,
    }


def _words_of_act(event: events.OperatorActed) -> dict[str, str]:
    return {"time": "good" if event.seconds is None else f"{short(event.seconds)} s"}


def _words_of_sum(summary: Summary) -> dict[str, str]:
    count, reasons = summary.count, summary.reasons
    often = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    return {
        "calls": "1 call" if count == 1 else f"{count:,} calls",
        "times": "once" if count == 1 else f"{count:,} times",
        "time": short(summary.seconds),
        "why": ", ".join(f"{reason} {reasons[reason]:,}" for reason in often)
        if len(often) > 1
        else often[0],
    }
