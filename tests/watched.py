"""How many calls the shared timers of a timeout are watching."""

from __future__ import annotations

from meshhook.runtime.timer import Timers


def in_flight(timers: Timers) -> int:
    """Return how many calls of one limit are being watched together, over all loops."""
    known = [reference() for reference in (timers._by_loop or {}).values()]
    return sum(len(timer.live) for timer in known if timer is not None)
