"""Rates: so many calls in a time; and what a rule about them answers, whatever its algorithm.

Times are integer microseconds. A rule is about one rate; :class:`Together` makes one of several. It
knows the calls that have started, and nothing of those that wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self


class Rate(NamedTuple):
    """``limit`` calls in ``period`` microseconds, of which ``burst`` may start at once."""

    limit: int
    period: int
    burst: int


class Rule(Protocol):
    """The calls of one rate. Not safe to use from several threads at once."""

    def wait(self, now: int, cost: int = 1) -> int:
        """Return the microseconds after which a call of ``cost`` may start; 0 for at once.

        A cost that never fits at once stands for a crowd that starts as soon as it may: it tells
        when the last of them does.
        """

    def start(self, now: int, cost: int = 1) -> bool:
        """Count a call of ``cost`` that starts now, if it may; tell whether it may."""

    def take(self, at: int, cost: int = 1) -> None:
        """Count a call of ``cost`` that starts at ``at``, when it may."""

    def remaining(self, now: int) -> int:
        """Return the cost that could start at once."""

    def reset_after(self, now: int) -> int:
        """Return the microseconds until nothing is left of all that has started."""

    def pause(self, until: int) -> None:
        """Let no call start before ``until``."""

    def close(self) -> None:
        """Let no call start any more: another rule has taken the place of this one."""


class OneRate(Rule, Protocol):
    """A rule about one rate."""

    rate: Rate

    def __init__(self, rate: Rate, now: int) -> None: ...

    def change(self, rate: Rate, now: int, paused_until: int = 0) -> Self:
        """Return the rule that goes on with another rate, and close this one.

        What has started counts on. If it is paused, somebody has to pause the other one as well.
        """

    def hand_over(self, now: int, paused_until: int = 0) -> int:
        """Close this rule, and return the cost that still counts of what has started by it."""


def carry_over(
    old: Sequence[OneRate],
    algorithm: type[OneRate],
    rates: Sequence[Rate],
    now: int,
    paused_until: int = 0,
) -> list[OneRate]:
    """Return rules of another kind, or for more or fewer rates, and close the old ones.

    Each begins with what still counts by the old rate whose period is nearest to its own, as if
    that had started now: used up it is, at the most.
    """
    owed = [(rule.rate.period, rule.hand_over(now, paused_until)) for rule in old]
    rules = []
    for rate in rates:
        _, cost = min((abs(math.log(rate.period / period)), -cost) for period, cost in owed)
        rule = algorithm(rate, now)
        rule.take(now, min(-cost, rate.burst))
        rules.append(rule)
    return rules


class Together:
    """Several rules at once: a call starts when each allows it, and counts in all or in none."""

    __slots__ = ("rules",)

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    def wait(self, now: int, cost: int = 1) -> int:
        """Return what the strictest says."""
        return max(rule.wait(now, cost) for rule in self.rules)

    def start(self, now: int, cost: int = 1) -> bool:
        """Count the call in all rules, if each allows it now."""
        if self.wait(now, cost):
            return False
        self.take(now, cost)
        return True

    def take(self, at: int, cost: int = 1) -> None:
        """Count the call in all rules.

        Each counts it when it starts, not when that rule alone would have let it go: else what one
        rate holds up could come all at once through another.
        """
        for rule in self.rules:
            rule.take(at, cost)

    def remaining(self, now: int) -> int:
        """Return what the strictest says."""
        return min(rule.remaining(now) for rule in self.rules)

    def reset_after(self, now: int) -> int:
        """Return when the last of them is whole."""
        return max(rule.reset_after(now) for rule in self.rules)

    def pause(self, until: int) -> None:
        """Pause all of them."""
        for rule in self.rules:
            rule.pause(until)

    def close(self) -> None:
        """Close all of them."""
        for rule in self.rules:
            rule.close()
