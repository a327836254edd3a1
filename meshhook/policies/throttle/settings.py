"""The settings of a throttle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshhook.dice import Seed, check_seed
from meshhook.errors import ConfigurationError
from meshhook.judges import Judge, check_errors
from meshhook.keys import Key, check_key
from meshhook.settings import Duration, count, duration, flag, share, wrong

MAX_KEYS = 10_000
_MOST = 1e9
"""So many times what is accepted is never sent: more than this drops nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSettings:
    """What a throttle was given, checked."""

    k: float
    window: float
    minimum_calls: int
    max_rejection: float
    on: Judge
    key: Key | None
    max_keys: int
    seed: Seed
    critical: bool


def throttle_settings(
    *,
    k: float,
    window: Duration,
    minimum_calls: int,
    max_rejection: float,
    on: Judge,
    key: Key | None,
    max_keys: int,
    seed: Seed,
    critical: bool,
) -> ThrottleSettings:
    """Check all settings of a throttle."""
    if key is None and max_keys != MAX_KEYS:
        raise ConfigurationError(
            f"max_keys={max_keys!r} is about keys, and there is no key: give key, or leave it out"
        )
    return ThrottleSettings(
        k=_multiplier(k),
        window=duration("window", window),
        minimum_calls=count("minimum_calls", minimum_calls),
        max_rejection=share("max_rejection", max_rejection),
        on=check_errors(
            "on",
            on,
            "types of errors that say that a call was not accepted; cancellation and interrupts "
            "never do",
        ),
        key=None if key is None else check_key(key),
        max_keys=count("max_keys", max_keys),
        seed=check_seed(seed),
        critical=flag("critical", critical),
    )


def _multiplier(k: Any) -> float:
    is_number = isinstance(k, (int, float)) and not isinstance(k, bool)
    if not is_number or not 1 <= k <= _MOST:
        raise wrong("k", k, "a number of 1 or more: how many times what is accepted may be sent")
    return float(k)
