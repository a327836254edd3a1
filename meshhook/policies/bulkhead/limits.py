"""The adaptive limits that a bulkhead may be given: what they are set to, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.errors import ConfigurationError
from meshhook.rules import adaptive
from meshhook.settings import Duration, count, duration, share, wrong

MOST_SLOTS = 1_000_000
"""More calls at a time than that is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AIMD:
    """Additive increase, multiplicative decrease: what TCP does.

    The limit grows by one per round trip while at least half of it is in use. It steps back by a
    factor when a call ran out of time, or when more than a tenth of the calls of one round trip
    took longer than ``latency_threshold``; once per round trip, however many they are.

    Args:
        initial: the limit to begin with. Default 20.
        min: what the limit never goes below. Default 1.
        max: what it never goes above. Default 200.
        backoff: the factor of a step back, above 0 and below 1. Default 0.9.
        latency_threshold: from how many seconds on a call is slow. Default None: only calls that
            run out of time bring the limit down.

    Raises:
        ConfigurationError: when a setting is wrong.
    """

    initial: int = 20
    min: int = 1
    max: int = 200
    backoff: float = 0.9
    latency_threshold: Duration | None = None

    def __post_init__(self) -> None:
        """Check the settings against each other."""
        _check_bounds(self)
        if share("backoff", self.backoff) == 1:
            raise wrong("backoff", self.backoff, "below 1, or the limit would never step back")
        if self.latency_threshold is not None:
            # Equal settings are equal, however a duration is written.
            seconds = duration("latency_threshold", self.latency_threshold)
            object.__setattr__(self, "latency_threshold", seconds)

    def start(self, initial: int | None = None) -> adaptive.Rule:
        """Return the rule at work, from a limit that it has already, if there is one."""
        at = _within(self, initial)
        return adaptive.AdditiveIncrease(initial=at, **self._numbers())

    def follow(self, rule: adaptive.Rule) -> adaptive.Rule:
        """Return the rule that goes on in the place of another one."""
        if not isinstance(rule, adaptive.AdditiveIncrease):
            return self.start(rule.settled)
        rule.change(**self._numbers())
        return rule

    def _numbers(self) -> dict[str, Any]:
        threshold = math.inf if self.latency_threshold is None else self.latency_threshold
        return {
            "least": self.min,
            "most": self.max,
            "backoff": self.backoff,
            "threshold": threshold,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient:
    """Follow the latency: as many calls as run without waiting for each other.

    The median latency of some dozens of calls is compared with what it is without a queue. That is
    measured from time to time, by letting half as many calls pass for one round; it needs no number
    from you. A call that ran out of time halves the limit, once per round trip.

    Args:
        initial: the limit to begin with. Default 20.
        min: what the limit never goes below. Default 1.
        max: what it never goes above. Default 200.
        tolerance: how many times slower than without a queue is still as fast. Default 1.05.

    Raises:
        ConfigurationError: when a setting is wrong.
    """

    initial: int = 20
    min: int = 1
    max: int = 200
    tolerance: float = 1.05

    def __post_init__(self) -> None:
        """Check the settings against each other."""
        _check_bounds(self)
        _check_tolerance(self.tolerance)

    def start(self, initial: int | None = None) -> adaptive.Rule:
        """Return the rule at work, from a limit that it has already, if there is one."""
        return adaptive.Gradient(initial=_within(self, initial), **self._numbers())

    def follow(self, rule: adaptive.Rule) -> adaptive.Rule:
        """Return the rule that goes on in the place of another one."""
        if not isinstance(rule, adaptive.Gradient):
            return self.start(rule.settled)
        rule.change(**self._numbers())
        return rule

    def _numbers(self) -> dict[str, Any]:
        return {"least": self.min, "most": self.max, "tolerance": self.tolerance}


AdaptiveLimit: TypeAlias = AIMD | Gradient
"""What ``limit=`` of a bulkhead takes."""


def slots(argument: str, value: Any) -> int:
    """Return ``value``, a number of calls at a time."""
    if count(argument, value) > MOST_SLOTS:
        raise wrong(argument, value, f"at most {MOST_SLOTS:,}: more than that is no limit")
    return value  # type: ignore[no-any-return]


def _within(limit: AdaptiveLimit, initial: int | None) -> int:
    return limit.initial if initial is None else min(max(initial, limit.min), limit.max)


def _check_bounds(limit: AdaptiveLimit) -> None:
    initial, least, most = (
        slots(argument, getattr(limit, argument)) for argument in ("initial", "min", "max")
    )
    if not least <= initial <= most:
        raise ConfigurationError(
            f"initial must be from min to max, got initial={initial}, min={least} and max={most}"
        )


def _check_tolerance(value: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= MOST_SLOTS:
        raise wrong("tolerance", value, "a factor of 1 or more, such as 1.05")
