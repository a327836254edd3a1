"""What outcomes mean to a breaker: a failure, a success or nothing; and for how long it opens then.

Settings may be predicates of the user's. One that raises is logged and changes nothing else: the
caller gets what the call gave, and the breaker counts it as it would without being told.
"""

from __future__ import annotations

from typing import Any

from meshhook.events import logger
from meshhook.judges import OUR_OWN, matches, names_our_own
from meshhook.policies.circuit_breaker.settings import FALLBACK_RESET_TIMEOUT, BreakerSettings
from meshhook.retry_after import told
from meshhook.rules.phases import Open
from meshhook.settings import duration

LONGEST_RETRY_AFTER = 3600.0
"""The longest that a ``retry_after`` of another's exception keeps a circuit open, in seconds."""


def is_failure(settings: BreakerSettings, name: str | None, result: Any) -> bool:
    """Tell whether a result counts as a failure."""
    judge = settings.record_result
    if judge is None:
        return False
    try:
        return bool(judge(result))
    except Exception:
        logger.exception("record_result of circuit %r failed", name)
        return False


def verdict(settings: BreakerSettings, name: str | None, exc: BaseException) -> bool | None:
    """Tell whether ``exc`` is a failure; None if it says nothing about what was called."""
    if not isinstance(exc, Exception):
        return None
    if matches(OUR_OWN, exc, all) and not names_our_own(settings.record):
        return None
    try:
        if matches(settings.ignore, exc, all):
            return None
        return matches(settings.record, exc, any)
    except Exception:
        logger.exception("record or ignore of circuit %r failed", name)
        return True


def time_open(
    settings: BreakerSettings, name: str | None, phase: Open, exc: Exception | None
) -> float:
    """Return for how long ``phase`` lasts: a callable is asked, and the exception heeded."""
    open_for = phase.open_for
    compute = settings.reset_timeout
    if compute is not None:
        try:
            open_for = duration("reset_timeout", compute(phase.attempt, exc), zero=True)
        except Exception:
            logger.exception("reset_timeout of circuit %r failed", name)
            open_for = FALLBACK_RESET_TIMEOUT
    return max(open_for, min(told(exc) or 0.0, LONGEST_RETRY_AFTER))
