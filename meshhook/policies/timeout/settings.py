"""The settings of a timeout: what may be said, and what it means for each colour."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from meshhook.errors import ConfigurationError
from meshhook.settings import Duration, choice, count, duration, unfit, wrong

Mode: TypeAlias = Literal["auto", "thread", "signal", "interrupt", "process", "cooperative"]
"""How a sync function is stopped; see :func:`meshhook.timeout`."""

ASYNC_MODES = ("auto", "cooperative")
HAS_SIGNALS = hasattr(signal, "setitimer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutSettings:
    """What a timeout was given, checked."""

    seconds: float
    """Infinite, if there is only a limit for each item."""
    mode: str
    message: str | None
    max_abandoned: int
    per_item: float | None = None


def timeout_settings(
    *,
    seconds: Duration | None,
    mode: str,
    message: Any,
    max_abandoned: int,
    per_item: Duration | None = None,
) -> TimeoutSettings:
    """Check all settings of a timeout."""
    choice("mode", mode, get_args(Mode))
    if mode == "signal" and not HAS_SIGNALS:
        raise unfit(
            "mode",
            "mode='signal' needs setitimer, which this system has not; use mode='thread'",
        )
    if message is not None and (not isinstance(message, str) or not message):
        raise wrong("message", message, "text that is not empty, or None")
    total, each = _limits(seconds, per_item)
    return TimeoutSettings(
        seconds=total,
        per_item=each,
        mode=mode,
        message=message,
        max_abandoned=count("max_abandoned", max_abandoned),
    )


def _limits(seconds: Duration | None, per_item: Duration | None) -> tuple[float, float | None]:
    if per_item is None:
        if seconds is None:
            raise ConfigurationError(
                "seconds must be a duration, or per_item given with it, for streams; got None"
            )
        return duration("seconds", seconds), None
    each = duration("per_item", per_item)
    total = math.inf if seconds is None else duration("seconds", seconds)
    if each > total:
        raise ConfigurationError(
            f"per_item must be no longer than seconds={total:g}, the limit of all items, got "
            f"{per_item!r}; give more seconds, or None"
        )
    return total, each
