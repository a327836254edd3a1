"""GCRA: how many calls may start in a time, to the microsecond and without a queue of their times.

The generic cell rate algorithm (ITU-T I.371) keeps one number for a rate: the time at which its
allowance will be whole again. A call moves it by the time that the call is worth, and may start if
it is then no more ahead of the clock than the whole burst is worth. In any time T, at most
``burst + T * limit / period`` calls start.

Times are integers: microseconds outside, and inside parts of a microsecond, as many as the limit
has calls, so that no rate has to be rounded. No rounding adds up either, unless all of the burst
but one call is worth less than a microsecond: then each call that waits loses less than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Rate(NamedTuple):
    """``limit`` calls in ``period`` microseconds, of which ``burst`` may start at once."""

    limit: int
    period: int
    burst: int


class Gcra:
    """The allowance of several rates at once: a call starts when each of them allows it.

    Not safe to use from several threads at once.
    """

    __slots__ = ("_rates", "_whole")

    def __init__(self, rates: Sequence[Rate], now: int) -> None:
        self._rates = tuple(rates)
        self._whole = [now * rate.limit for rate in self._rates]

    def wait(self, now: int, cost: int = 1) -> int:
        """Return the microseconds after which a call of ``cost`` may start; 0 for at once.

        A cost above the burst of a rate never fits; whoever calls has refused it.
        """
        return max(
            _until(whole + (cost - rate.burst) * rate.period, now, rate)
            for rate, whole in zip(self._rates, self._whole, strict=True)
        )

    def take(self, at: int, cost: int = 1) -> None:
        """Count a call of ``cost`` that starts at ``at``: now, or when its wait is over.

        Each rate counts it then, not when that rate alone would have let it go: else what one rate
        holds up could come all at once through another.
        """
        self._whole = [
            max(whole, at * rate.limit) + cost * rate.period
            for rate, whole in zip(self._rates, self._whole, strict=True)
        ]

    def remaining(self, now: int) -> int:
        """Return the cost that could start at once: what the strictest rate allows."""
        return min(
            max(0, rate.burst + min(0, (now * rate.limit - whole) // rate.period))
            for rate, whole in zip(self._rates, self._whole, strict=True)
        )

    def reset_after(self, now: int) -> int:
        """Return the microseconds until every rate has its whole burst again."""
        return max(
            _until(whole, now, rate) for rate, whole in zip(self._rates, self._whole, strict=True)
        )

    def pause(self, until: int) -> None:
        """Let no call start before ``until``, and then no burst: the other side has had enough."""
        self._whole = [
            max(whole, until * rate.limit + (rate.burst - 1) * rate.period)
            for rate, whole in zip(self._rates, self._whole, strict=True)
        ]

    def change(self, rates: Sequence[Rate], now: int) -> None:
        """Go on with other rates, as many as before; calls that are owed stay owed."""
        made = tuple(rates)
        owed = [
            (max(0, whole - now * rate.limit), rate.period)
            for rate, whole in zip(self._rates, self._whole, strict=True)
        ]
        self._whole = [
            now * rate.limit - (-debt * rate.period // period)
            for rate, (debt, period) in zip(made, owed, strict=True)
        ]
        self._rates = made

    def save(self) -> list[int]:
        """Return what :meth:`restore` brings back."""
        return self._whole

    def restore(self, saved: list[int]) -> None:
        """Forget what was taken since ``saved``: the calls that come after are to be taken anew."""
        self._whole = saved


def _until(moment: int, now: int, rate: Rate) -> int:
    """Return the microseconds from ``now`` until ``moment``, which is in parts of them."""
    return max(0, -((now * rate.limit - moment) // rate.limit))
