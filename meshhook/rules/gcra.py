"""GCRA: how many calls may start in a time, to the microsecond and without a queue of their times.

The generic cell rate algorithm (ITU-T I.371) keeps one number for a rate: the time at which its
allowance will be whole again. A call moves it by the time that the call is worth, and may start if
it is then no more ahead of the clock than the whole burst is worth. In any time T, at most
``burst + T * limit / period`` calls start.

Times are whole microseconds outside, and inside whole parts of a microsecond, as many as it takes
for no rate to be rounded. No rounding adds up either, unless all of the burst but one call is worth
less than a microsecond: then each call that waits loses less than that.
"""

from __future__ import annotations

import math
from typing import Final, Self

from meshhook.rules.rates import Rate

_EXACT = 2**52
"""Up to twice this, floats are exact for whole numbers. They are cheaper than ints of that size."""
_NEVER = 2.0**500
"""Later than any clock. It is no infinity: who reads a rule while it is closed reckons with it."""


class Gcra:
    """The allowance of one rate.

    A driver that starts calls of cost 1 may do what :meth:`start` does by itself, if the rule
    ``may_be_inlined``. So what reads and writes ``ready`` makes no call in between: under the GIL
    no thread can come in there.
    """

    __slots__ = ("_parts", "may_be_inlined", "period", "rate", "ready", "scale", "slack")

    def __init__(self, rate: Rate, now: int) -> None:
        factor = math.gcd(rate.limit, rate.period)
        parts, period = rate.limit // factor, rate.period // factor
        self.rate = rate
        self.may_be_inlined = now * parts + rate.burst * period < _EXACT
        number: type[float] = float if self.may_be_inlined else int
        self._parts = number(parts)
        """How many of our parts a microsecond has."""
        self.scale = parts * 1e6
        """How many a second has."""
        self.period = number(period)
        """What a call is worth."""
        self.slack = number((rate.burst - 1) * period)
        self.ready = now * self._parts - self.slack
        """From when on a call of cost 1 may start. There is the whole burst ``slack`` later."""

    def wait(self, now: int, cost: int = 1) -> int:
        """Return the microseconds after which a call of ``cost`` may start; 0 for at once."""
        at, ready = now * self._parts, self.ready
        low = at - self.slack
        due = (ready if ready > low else low) + (cost - 1) * self.period  # noqa: FURB136 - cheaper
        return -int((at - due) // self._parts) if due > at else 0

    def start(self, now: int, cost: int = 1) -> bool:
        """Count a call of ``cost`` that starts now, if it may."""
        at = now * self._parts
        ready = self.ready
        if ready + (cost - 1) * self.period > at:
            return False
        low = at - self.slack
        self.ready = (ready if ready > low else low) + cost * self.period  # noqa: FURB136 - no call
        return True

    def take(self, at: int, cost: int = 1) -> None:
        """Count a call of ``cost`` that starts at ``at``: now, or when its wait is over."""
        self.ready = max(self.ready, at * self._parts - self.slack) + cost * self.period

    def remaining(self, now: int) -> int:
        """Return the cost that could start at once."""
        left = self.rate.burst + int((now * self._parts - self.ready - self.slack) // self.period)
        return 0 if left < 0 else min(left, self.rate.burst)

    def reset_after(self, now: int) -> int:
        """Return the microseconds until there is the whole burst again."""
        at, whole = now * self._parts, self.ready + self.slack
        return -int((at - whole) // self._parts) if whole > at else 0

    def pause(self, until: int) -> None:
        """Let no call start before ``until``, and then no burst: the other side has had enough."""
        moment = until * self._parts
        self.ready = self.ready if self.ready > moment else moment  # noqa: FURB136 - no call

    def change(self, rate: Rate, now: int, paused_until: int = 0) -> Self:
        """Go on with another rate; calls that are owed stay owed."""
        owed = self._leave_debt(now, paused_until)
        changed = type(self)(rate, now)
        changed.ready -= -owed * int(changed.period) // int(self.period)
        return changed

    def hand_over(self, now: int, paused_until: int = 0) -> int:
        """Close this rule, and return how many calls are owed."""
        return -(-self._leave_debt(now, paused_until) // int(self.period))

    def _leave_debt(self, now: int, paused_until: int) -> int:
        """Close this rule, and return how long it takes to pay back what is owed.

        What only a pause holds up owes nothing: by another rate it would be longer or shorter.
        """
        ready, self.ready = self.ready, _NEVER
        if now < paused_until and ready == paused_until * self._parts:
            return 0
        return int(max(0, ready + self.slack - now * self._parts))

    def close(self) -> None:
        """Let no call start any more."""
        self.ready = _NEVER


CLOSED: Final = Gcra(Rate(1, 1, 1), 0)
"""Lets nothing start: in place of a rule that may not be inlined."""
CLOSED.close()
