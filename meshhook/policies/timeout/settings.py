"""The settings of a timeout: what may be said, and what it means for each colour."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from meshhook.errors import ConfigurationError
from meshhook.settings import Duration, choice, count, duration, wrong

Mode: TypeAlias = Literal["auto", "thread", "signal", "interrupt", "process", "cooperative"]
"""How a sync function is stopped; see :func:`meshhook.timeout`."""

ASYNC_MODES = ("auto", "cooperative")
HAS_SIGNALS = hasattr(signal, "setitimer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutSettings:
    """What a timeout was given, checked."""

    seconds: float
    mode: str
    message: str | None
    max_abandoned: int


def timeout_settings(
    *, seconds: Duration, mode: str, message: Any, max_abandoned: int
) -> TimeoutSettings:
    """Check all settings of a timeout."""
    choice("mode", mode, get_args(Mode))
    if mode == "signal" and not HAS_SIGNALS:
        raise ConfigurationError(
            "mode='signal' needs setitimer, which this system has not; use mode='thread'"
        )
    if message is not None and (not isinstance(message, str) or not message):
        raise wrong("message", message, "text that is not empty, or None")
    return TimeoutSettings(
        seconds=duration("seconds", seconds),
        mode=mode,
        message=message,
        max_abandoned=count("max_abandoned", max_abandoned),
    )
