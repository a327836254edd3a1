"""What must hold whatever the service does, judged from the journal and the ledger alone.

Pure: histories in, verdicts out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from meshhook.demo import policies
from meshhook.demo.journal import Call, Change

TOLERANCE = 0.25
"""Seconds by which a call may outlive its timeout."""
_BUDGET_SPAN = 10.0
"""Seconds that a retry budget looks back: so many free attempts are there from the beginning."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, whether it was kept, and what was looked at."""

    promise: str
    kept: bool
    evidence: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What was seen of those who ask for prices.

    Attempts that were let through began at ``starts``, ``at_once`` of them ran together at most.
    In ``seconds``, ``asked`` calls were made, for which ``extra`` attempts came on top.
    """

    starts: Sequence[float] = ()
    at_once: int = 0
    asked: int = 0
    extra: int = 0
    seconds: float = 0.0


def judge(
    calls: Sequence[Call],
    changes: Sequence[Change],
    executed: Mapping[str, int],
    confirmed: Mapping[str, AbstractSet[str]],
    prices: Prices,
) -> list[Verdict]:
    """Judge a whole run. ``executed`` counts charges by order; ``confirmed`` holds receipts."""
    return [
        charged_once(executed, confirmed),
        ended_in_time(calls),
        open_means_open(calls, changes),
        within_rate(prices.starts, policies.PRICES_A_SECOND, policies.BURST),
        within_slots(prices.at_once, policies.PRICES_AT_ONCE),
        within_budget(prices, policies.MORE_ATTEMPTS, policies.FREE_ATTEMPTS),
    ]


def charged_once(executed: Mapping[str, int], confirmed: Mapping[str, AbstractSet[str]]) -> Verdict:
    """No order was executed twice, and what callers were told is what happened."""
    twice = sum(times > 1 for times in executed.values())
    made_up = sum(order not in executed for order in confirmed)
    differing = sum(len(receipts) > 1 for receipts in confirmed.values())
    evidence = f"{len(executed)} orders, {sum(executed.values())} charges in the ledger"
    if twice:
        evidence += f"; {twice} charged more than once"
    if made_up:
        evidence += f"; {made_up} confirmed but never charged"
    if differing:
        evidence += f"; {differing} with differing receipts"
    return Verdict("no order was charged twice", not (twice or made_up or differing), evidence)


def ended_in_time(calls: Iterable[Call]) -> Verdict:
    """No call outlived its timeout by more than the tolerance."""
    overshoots = [call.overshoot for call in calls]
    late = sum(overshoot > TOLERANCE for overshoot in overshoots)
    evidence = f"{len(overshoots):,} calls, at most {max(overshoots, default=0.0):.3f} s over"
    if late:
        evidence += f"; {late} too late"
    return Verdict(f"no call outlived its timeout by over {TOLERANCE:g} s", not late, evidence)


def open_means_open(calls: Iterable[Call], changes: Sequence[Change]) -> Verdict:
    """No call that began while a circuit was open reached the network before it was half-open."""
    reached = [(call.entered, call.reached) for call in calls if call.reached is not None]
    periods = open_periods(changes)
    passed = sum(_passed(entered, there, periods) for entered, there in reached)
    evidence = f"{len(reached):,} calls reached the network, open {times(len(periods))}"
    if passed:
        evidence += f"; {passed} passed while it was open"
    return Verdict("no call passed an open circuit", not passed, evidence)


def open_periods(changes: Sequence[Change]) -> list[tuple[float, float]]:
    """Return when the circuit was open: from each opening to the change that ended it."""
    periods = []
    since: float | None = None
    for change in changes:
        if since is not None and change.old == "open":
            periods.append((since, change.at))
            since = None
        if change.new == "open":
            since = change.at
    if since is not None:
        periods.append((since, float("inf")))
    return periods


def _passed(entered: float, reached: float, periods: Iterable[tuple[float, float]]) -> bool:
    """Tell whether a call began and reached the network within one open period.

    A call that was admitted just before the opening began before it, and a trial call reaches the
    network after the change to half-open was told, so neither is meant.
    """
    return any(since < entered and reached < until for since, until in periods)


def within_rate(starts: Sequence[float], rate: float, burst: int) -> Verdict:
    """In no time T did more than ``burst + rate * T`` attempts begin.

    Each is noted a moment after it was let through, so a busy machine gets a bit of tolerance.
    """
    level = highest = 0.0
    for before, now in zip([*starts[:1], *starts], starts, strict=False):
        level = max(0.0, level - rate * (now - before)) + 1.0
        highest = max(highest, level)
    evidence = f"{len(starts):,} attempts, at most {highest:.0f} at once on top"
    return Verdict(
        f"no more than {rate:g} prices a second",
        highest <= burst + rate * TOLERANCE,
        evidence,
    )


def within_slots(at_once: int, most: int) -> Verdict:
    """No more attempts ran at the same time than there are slots."""
    return Verdict(f"no more than {most} prices at once", at_once <= most, f"{at_once} at most")


def within_budget(prices: Prices, ratio: float, free: float) -> Verdict:
    """No more attempts came on top than that share of the calls, and a few free ones."""
    most = ratio * prices.asked + free * (prices.seconds + _BUDGET_SPAN)
    return Verdict(
        f"extra attempts within {ratio:.0%} of the calls",
        prices.extra <= most,
        f"{prices.extra:,} for {prices.asked:,} calls, of at most {most:,.0f}",
    )


def times(number: int) -> str:
    """Say how often."""
    return "once" if number == 1 else f"{number:,} times"
