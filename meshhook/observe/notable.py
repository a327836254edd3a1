"""What is notable: the events that are rare, and that whoever looks later wants to know of."""

from __future__ import annotations

from typing import Final

from meshhook import events
from meshhook.events import Event

NOTABLE: Final = (
    events.CircuitChanged,
    events.OperatorActed,
    events.LimitChanged,
    events.RateChanged,
    events.StoreFailed,
    events.KeyTakenOver,
    events.LeaseLost,
    events.AbandonedCallEnded,
    events.ConfigurationReloaded,
    events.ConfigurationRejected,
)
"""The kinds that a feed keeps whether anybody listens or not."""

MAY_REPEAT: Final = (events.StoreFailed, events.AbandonedCallEnded, events.KeyTakenOver)
"""Those that may come with each call when something is wrong."""


def is_notable(event: Event) -> bool:
    """Tell whether an event is one of them."""
    if not isinstance(event, NOTABLE):
        return False
    # An adaptive limit changes all the time, by design.
    return not isinstance(event, events.LimitChanged) or event.reason != "adaptive"
