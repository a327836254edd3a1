"""The final report: what the calls were spared, what became of the charges, what was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from meshhook import events
from meshhook.demo.invariants import Verdict, open_periods, times
from meshhook.demo.journal import FAILED, OUTCOMES, REFUSED, TIMED_OUT, Call
from meshhook.demo.stage import Scene

_SHOWN_CHANGES = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Numbers of one demo; durations are seconds, moments are seconds since it began."""

    seconds: float
    interrupted: bool
    store: str
    service_processes: list[int]
    calls: dict[str, int]
    failures_shielded: int
    cost_of_a_failure: float
    time_saved: float
    circuit: dict[str, Any]
    charges: dict[str, int]
    timeouts: dict[str, Any]
    prices: dict[str, int]
    invariants: list[Verdict]
    policies: dict[str, Any]

    @property
    def kept(self) -> bool:
        """True if every promise was kept."""
        return all(verdict.kept for verdict in self.invariants)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it goes through ``json.dumps``."""
        return {"kept": self.kept, **dataclasses.asdict(self)}

    def lines(self) -> list[str]:
        """Return the report as text."""
        return [
            "",
            f"meshhook demo: {self.seconds:.1f} s, store {self.store}"
            + (", interrupted" if self.interrupted else ""),
            "",
            *(f"  {name:<18}{value:>9}  {words}" for name, value, words in _rows(self)),
            "",
            *_history(self.circuit["history"]),
            *(_promise(verdict) for verdict in self.invariants),
        ]

    def headings(self) -> list[str]:
        """Return the names of the numbers in the text."""
        return [name for name, _, _ in _rows(self)]


def make_report(scene: Scene, *, interrupted: bool) -> Report:
    """Sum up a demo whose callers and service have ended."""
    journal, ledger = scene.journal, scene.service.ledger
    totals = scene.totals()
    cost = cost_of_a_failure(journal.calls)
    ended = max((call.ended or 0.0 for call in journal.calls), default=journal.began)
    seconds = ended - journal.began
    periods = open_periods(journal.changes)
    open_for = sum(min(until, ended) - since for since, until in periods)
    return Report(
        seconds=round(seconds, 2),
        interrupted=interrupted,
        store=scene.store,
        service_processes=list(ledger.starts),
        calls={
            "total": sum(totals[each] for each in OUTCOMES),
            **{each.replace(" ", "_"): totals[each] for each in OUTCOMES},
        },
        failures_shielded=totals[REFUSED],
        cost_of_a_failure=round(cost, 4),
        time_saved=round(totals[REFUSED] * cost, 2),
        circuit={
            "opened": len(periods),
            "open_for": round(max(0.0, open_for), 2),
            "history": [
                {**dataclasses.asdict(each), "at": round(each.at - journal.began, 2)}
                for each in journal.changes
            ],
        },
        charges={
            "orders": len(ledger.per_order.keys() | journal.confirmed.keys()),
            "asked": journal.asked,
            "executed": len(ledger.charges),
            "replayed": journal.counts[events.ResultReplayed],
            "confirmed": len(journal.confirmed),
            "in_doubt": len(scene.calls.doubts),
            "void": len(ledger.void),
            "store_failures": journal.counts[events.StoreFailed],
        },
        timeouts={
            "limit": scene.policies.limit,
            "timed_out": totals[TIMED_OUT],
            "slowest_overshoot": round(journal.slowest_overshoot, 4),
        },
        prices=_prices(scene),
        invariants=scene.judge(),
        policies=scene.policies.registry.stats().to_dict(),
    )


def _prices(scene: Scene) -> dict[str, int]:
    """Return what each policy around a price has done."""
    registry = scene.policies.registry
    retry = registry.retries["prices"].stats()
    hedge = registry.hedges["prices"].stats()
    rate = registry.rate_limits["prices"].stats()
    slots = registry.bulkheads["prices"].stats()
    budget = registry.retry_budgets["prices"].stats()
    return {
        "asked": scene.journal.prices,
        "retries": retry.retries,
        "recovered": retry.recovered,
        "budget_refused": budget.refused,
        "hedges": hedge.hedges,
        "hedges_won": hedge.wins,
        "rate_waited": rate.waited,
        "rate_rejected": rate.rejected,
        "bulkhead_rejected": slots.rejected,
        "bulkhead_peak": slots.peak,
    }


def cost_of_a_failure(calls: Iterable[Call]) -> float:
    """Return how many seconds a call took on average that was made in vain."""
    costs = [call.took for call in calls if call.outcome in (FAILED, TIMED_OUT)]
    return sum(costs) / len(costs) if costs else 0.0


def _rows(report: Report) -> list[tuple[str, str, str]]:
    calls, charges, timeouts = report.calls, report.charges, report.timeouts
    prices = report.prices
    rows = [
        (
            "calls",
            f"{calls['total']:,}",
            ", ".join(f"{calls[each.replace(' ', '_')]:,} {each}" for each in OUTCOMES),
        ),
        ("failures shielded", f"{report.failures_shielded:,}", "calls refused before they began"),
        (
            "time saved",
            f"{report.time_saved:.1f} s",
            f"by failing fast; a call in vain took {report.cost_of_a_failure:.3f} s on average",
        ),
        (
            "circuit opened",
            times(report.circuit["opened"]),
            f"for {report.circuit['open_for']:.1f} s in all",
        ),
        (
            "charges asked for",
            f"{charges['asked']:,}",
            f"for {charges['orders']:,} orders; {charges['replayed']:,} receipts given again",
        ),
        (
            "charges executed",
            f"{charges['executed']:,}",
            f"{charges['confirmed']:,} orders confirmed, {charges['in_doubt']} in doubt",
        ),
        (
            "timeouts",
            f"{timeouts['timed_out']:,}",
            f"after {timeouts['limit']:.2g} s; at most {timeouts['slowest_overshoot']:.3f} s late",
        ),
        (
            "retries",
            f"{prices['retries']:,}",
            f"saved {prices['recovered']:,} calls; the budget refused {prices['budget_refused']:,}",
        ),
        ("hedges", f"{prices['hedges']:,}", f"{prices['hedges_won']:,} were faster than the first"),
        (
            "rate limit",
            f"{prices['rate_waited']:,}",
            f"attempts waited for their turn, {prices['rate_rejected']:,} were refused",
        ),
        (
            "bulkhead",
            f"{prices['bulkhead_rejected']:,}",
            f"attempts refused; {prices['bulkhead_peak']} at once at most",
        ),
    ]
    if charges["store_failures"]:
        row = (f"{charges['store_failures']:,}", "times the store of charges gave no answer")
        rows.append(("store failures", *row))
    return rows


def _history(history: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"  {each['at']:6.1f} s  {each['old']:>9} -> {each['new']:<9}  {each['reason']}".replace(
            "half_open", "half-open"
        )
        for each in history
    ]
    if len(lines) > _SHOWN_CHANGES:
        half = _SHOWN_CHANGES // 2
        left_out = f"          ... {len(lines) - 2 * half} more changes ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    return [*lines, ""] if lines else []


def _promise(verdict: Verdict) -> str:
    return f"  {'kept  ' if verdict.kept else 'BROKEN'}  {verdict.promise:<49}{verdict.evidence}"
