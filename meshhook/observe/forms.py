"""Forms: what is written of each kind of event, and of those that are counted."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from meshhook import events
from meshhook.events import Event, event_name


class Form(NamedTuple):
    """One sort of records: the stable name, the level, and the text with its fields."""

    event: str
    level: int
    text: str


_FORMS: Final[dict[type[Event], tuple[int, str]]] = {
    events.CircuitChanged: (
        logging.WARNING,
        "circuit %(policy_name)r went from %(old)s to %(new)s: %(reason)s",
    ),
    events.CallFailed: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call failed with %(error)s",
    ),
    events.CallRejected: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r refused a call: %(reason)s",
    ),
    events.CallTimedOut: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call did not end within %(timeout).3g s",
    ),
    events.AbandonedCallEnded: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call that was given up has ended, %(late).3g s late",
    ),
    events.HedgeStarted: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r started hedge %(number)s of a call after %(delay).3g s",
    ),
    events.HedgeWon: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: hedge %(number)s of a call gave its result",
    ),
    events.FallbackUsed: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call that failed with %(error)s got its %(source)s",
    ),
    events.LimitChanged: (
        logging.INFO,
        "%(policy)s %(policy_name)r went from %(old)s to %(new)s at a time: %(reason)s",
    ),
    events.CallDelayed: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r: a call starts after a wait of %(delay).3g s",
    ),
    events.RateChanged: (
        logging.INFO,
        "%(policy)s %(policy_name)r went from %(old)s to %(new)s",
    ),
    events.CallRetried: (
        logging.DEBUG,
        (
            "%(policy)s %(policy_name)r: attempt %(attempt)s failed with %(error)s; the next one "
            "comes in %(delay).3g s"
        ),
    ),
    events.RetriesExhausted: (
        logging.DEBUG,
        (
            "%(policy)s %(policy_name)r: a call failed with %(error)s after %(attempts)s attempts: "
            "%(reason)s"
        ),
    ),
    events.ChaosInjected: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r struck a call on purpose: %(what)s",
    ),
    events.ResultReplayed: (
        logging.DEBUG,
        "%(policy)s %(policy_name)r answered a call with the recorded result",
    ),
    events.KeyTakenOver: (
        logging.WARNING,
        "%(policy)s %(policy_name)r took over a key whose holder let its lease run out",
    ),
    events.LeaseLost: (
        logging.WARNING,
        "%(policy)s %(policy_name)r: a running call lost its key to another execution",
    ),
    events.ConfigurationReloaded: (
        logging.INFO,
        "%(policy)s %(policy_name)r was read anew; policies with other settings: %(changed)s",
    ),
    events.ConfigurationRejected: (
        logging.WARNING,
        (
            "%(policy)s %(policy_name)r was read anew and is wrong; problems: %(problems)s; "
            "nothing has changed"
        ),
    ),
    events.StoreFailed: (
        logging.WARNING,
        "%(policy)s %(policy_name)r: its store failed in %(verb)s with %(error)s",
    ),
    events.OperatorActed: (
        logging.WARNING,
        "%(policy)s %(policy_name)r: %(action)s by %(author)r, for %(time)s",
    ),
}

_SUMS: Final[dict[type[Event], tuple[int, str]]] = {
    events.CallRejected: (
        logging.WARNING,
        "%(policy)s %(policy_name)r refused %(calls)s in the last %(time)s s: %(why)s",
    ),
    events.CallTimedOut: (
        logging.WARNING,
        "%(policy)s %(policy_name)r: %(calls)s did not end in time in the last %(time)s s: %(why)s",
    ),
    events.AbandonedCallEnded: (
        logging.INFO,
        "%(policy)s %(policy_name)r: %(calls)s ended after being given up, in the last %(time)s s",
    ),
    events.RetriesExhausted: (
        logging.WARNING,
        "%(policy)s %(policy_name)r: %(calls)s failed for good in the last %(time)s s: %(why)s",
    ),
    events.StoreFailed: (
        logging.WARNING,
        (
            "%(policy)s %(policy_name)r: its store failed %(times)s more in the last %(time)s s: "
            "%(why)s"
        ),
    ),
}

FORMS: Final = {kind: Form(event_name(kind), *form) for kind, form in _FORMS.items()}

SUMS: Final = {kind: Form(f"{event_name(kind)}_summary", *form) for kind, form in _SUMS.items()}
"""How events that are counted are summed up."""
