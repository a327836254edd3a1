"""Whether an outcome is one to be tried again.

Settings may be predicates of the user's. One that raises is logged, and the call is not retried.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from meshhook.events import logger
from meshhook.judges import OUR_OWN, matches

if TYPE_CHECKING:
    from meshhook.policies.retry.policy import Retry

UNLESS_NAMED = (*OUR_OWN, CancelledError)
"""Errors that are retried only where ``on`` names them: our own, and that of a cancelled future."""


def is_worth_it(policy: Retry, error: Exception) -> bool:
    """Tell whether ``error`` is one to be retried."""
    on, abort_on = policy.settings.on, policy.settings.abort_on
    if matches(UNLESS_NAMED, error, all) and not _names(on, error):
        return False
    try:
        return matches(on, error, any) and not matches(abort_on, error, any)
    except Exception:
        logger.exception("on or abort_on of retry %r failed", policy._name)
        return False


def _names(on: Any, error: Exception) -> bool:
    """Tell whether ``on`` has a type that is among those, and that ``error`` is of."""
    if not isinstance(on, tuple):
        return False
    named = tuple(kind for kind in on if issubclass(kind, UNLESS_NAMED))
    return matches(named, error, any)


def is_unwanted(policy: Retry, judge: Callable[[Any], bool], result: Any) -> bool:
    """Tell whether ``result`` is one to be retried."""
    try:
        return bool(judge(result))
    except Exception:
        logger.exception("on_result of retry %r failed", policy._name)
        return False
