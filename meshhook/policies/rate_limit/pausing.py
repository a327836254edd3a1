"""What an error says about when to come again: after a 429 a limit keeps still for so long."""

from __future__ import annotations

from typing import Any

from meshhook.events import logger
from meshhook.judges import OUR_OWN, matches, names_our_own
from meshhook.policies.rate_limit.settings import PauseOn
from meshhook.retry_after import told
from meshhook.settings import duration

LONGEST_RETRY_AFTER = 3600.0
"""The longest that the Retry-After of an error pauses a limit, in seconds."""


def asked_for(pause_on: PauseOn, name: str | None, exc: Exception) -> float:
    """Return for how many seconds ``exc`` pauses a limit; 0 if it does not."""
    if callable(pause_on):
        try:
            answer: Any = pause_on(exc)
            return 0.0 if answer is None else duration("pause_on", answer, zero=True)
        except Exception:
            logger.exception("pause_on of rate limit %r failed", name)
            return 0.0
    if matches(OUR_OWN, exc, all) and not names_our_own(pause_on):
        return 0.0
    return min(told(exc) or 0.0, LONGEST_RETRY_AFTER) if matches(pause_on, exc) else 0.0
