"""Backoff: how long to wait before the next attempt.

A delay has a curve, which says how it grows with the number of the retry, and a jitter, which
spreads it so that many callers do not come back at the same moment. Randomness is an argument: a
``chance`` between 0 and 1. Delays are seconds.

The kinds of jitter are those of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple


class Curve(enum.StrEnum):
    """How the delay grows: with ``base_delay`` 1 and ``factor`` 2."""

    CONSTANT = "constant"
    """1, 1, 1, 1, 1"""
    LINEAR = "linear"
    """1, 2, 3, 4, 5"""
    EXPONENTIAL = "exponential"
    """1, 2, 4, 8, 16"""
    FIBONACCI = "fibonacci"
    """1, 1, 2, 3, 5"""


class Jitter(enum.StrEnum):
    """How the delay is spread."""

    FULL = "full"
    """Anything from nothing to the delay."""
    EQUAL = "equal"
    """Half of the delay, and anything from nothing to the other half."""
    DECORRELATED = "decorrelated"
    """Anything from ``base_delay`` to three times the delay before; the curve is not used."""


class Backoff(NamedTuple):
    """The delays of one retry policy. A ``jitter`` that is a number is a share, up and down."""

    curve: Curve
    base_delay: float
    max_delay: float
    factor: float
    jitter: Jitter | float | None

    def delay(self, retry: int, before: float, chance: float) -> float:
        """Return the delay before retry number ``retry``, which counts from 1.

        ``before`` is the delay of the retry before, 0 for none. No delay is above ``max_delay``.
        """
        if self.jitter is Jitter.DECORRELATED:
            most = max(self.base_delay, min(3.0 * before, self.max_delay))
            return min(self.base_delay + chance * (most - self.base_delay), self.max_delay)
        return self.spread(self.grown(retry), chance)

    def grown(self, retry: int) -> float:
        """Return the delay before retry number ``retry`` as the curve has it, without jitter."""
        return _CURVES[self.curve](self, retry)

    def on_top(self, delay: float, chance: float) -> float:
        """Return what is added to a delay that was asked for, which must not become shorter.

        It spreads those who were told the same: over ``delay``, which they would have waited.
        """
        if self.jitter is None:
            return 0.0
        if self.jitter is Jitter.DECORRELATED:
            delay = self.base_delay
        share = 1.0 if isinstance(self.jitter, Jitter) else self.jitter
        return chance * share * min(delay, self.max_delay)

    def spread(self, delay: float, chance: float) -> float:
        """Return ``delay`` with jitter, and cut to ``max_delay``.

        It is cut before as well as after: a delay that had outgrown the limit would come out of the
        jitter above it nearly every time, and all callers would wait for exactly as long.
        """
        delay = min(delay, self.max_delay)
        if self.jitter is None or self.jitter is Jitter.DECORRELATED:
            return delay
        if self.jitter is Jitter.FULL:
            return chance * delay
        if self.jitter is Jitter.EQUAL:
            return delay * ((1.0 + chance) / 2.0)
        return min(delay * (1.0 + float(self.jitter) * (2.0 * chance - 1.0)), self.max_delay)


def _constant(backoff: Backoff, _retry: int) -> float:
    return backoff.base_delay


def _linear(backoff: Backoff, retry: int) -> float:
    return min(backoff.base_delay * retry, backoff.max_delay)


def _exponential(backoff: Backoff, retry: int) -> float:
    try:
        return backoff.base_delay * backoff.factor ** (retry - 1)
    except OverflowError:
        return backoff.max_delay if backoff.base_delay else 0.0


def _fibonacci(backoff: Backoff, retry: int) -> float:
    delay = after = backoff.base_delay
    for _ in range(retry - 1):
        if not 0.0 < delay < backoff.max_delay:
            break
        delay, after = after, delay + after
    return delay


_CURVES: dict[Curve, Callable[[Backoff, int], float]] = {
    Curve.CONSTANT: _constant,
    Curve.LINEAR: _linear,
    Curve.EXPONENTIAL: _exponential,
    Curve.FIBONACCI: _fibonacci,
}
