"""Time, as meshhook reads it.

``time.monotonic`` is looked up in its module at each call and never kept, so whatever replaces it
there (freezegun, a fake clock) moves every breaker, limit and TTL of the process. Straight paths
spell ``time.monotonic()`` themselves, for the cost of a call.

A frozen clock reads decades ahead of the real one, so entering or leaving frozen time makes it
leap. Whoever keeps a moment and later measures from it first takes ``moment = min(moment, now)``:
after a leap back the span starts anew, after a leap forward it is simply over. Nobody waits for
decades.
"""

from __future__ import annotations

import time


def monotonic() -> float:
    """Return the seconds of a clock that only moves forward, unless a test moves it."""
    return time.monotonic()
