"""The tables on the pages about the command line and about fleets, as ``top`` draws them.

``python -m tests.commands.screenshots`` writes them into the pages, after a change that is meant.
"""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from meshhook.commands.live.browsing import View
from meshhook.commands.live.drawing import draw
from meshhook.commands.live.reading import Picture, line_of, notices_of
from meshhook.commands.live.rows import Rates, rows_of_fleet, rows_of_one
from meshhook.health import Status
from meshhook.observe.fleet.counters import counters
from meshhook.observe.fleet.merging import Answered, Line, merge
from meshhook.observe.remote.client import RemoteError
from meshhook.observe.remote.untrusted import Told, read_happenings, read_policies
from tests.observe.canned import happening, policies, policy

PAGES = {
    "command-line": Path(__file__).parents[2] / "docs" / "command-line.md",
    "fleet": Path(__file__).parents[2] / "docs" / "fleet.md",
}
MOMENT = 1_700_000_000.0
_BLOCK = re.compile(r"(?<=```text\n)meshhook top.*?(?=```)", re.DOTALL)


def _latency(p50: float, p99: float) -> dict[str, float]:
    return {"p50": p50, "p95": p99, "p99": p99}


def _payments(calls: int, *, closed: bool = False, **stats: Any) -> dict[str, Any]:
    shown = {"status": "ok", "condition": "closed"} if closed else {}
    known = {"calls": calls, "latency": _latency(0.082, 1.4), **stats}
    told = policy("payments", status="failing", condition="open", **known)
    return told | {"critical": True} | shown


def _shop(seconds: int) -> list[dict[str, Any]]:
    """Make the policies of a shop after so many seconds."""

    def calls(rate: int) -> int:
        return 10_000 + rate * seconds

    window = {"failure_rate": 0.012, "slow_rate": 0.04}
    taken = {"in_use": 10, "max_concurrent": 10, "admitted": calls(310), "rejected": calls(14)}
    stock = {"calls": calls(120), "failures": 80, "rejected": 0, "window": window}
    return [
        _payments(10_000, failures=310, rejected=calls(82), retry_after=24.0),
        policy("stock", **stock, latency=_latency(0.0043, 0.031)),
        policy("db", "bulkhead", "degraded", "full", **taken),
        policy(
            *("search", "rate_limit", "ok", "ok"),
            limit="500/s",
            remaining=140,
            admitted=calls(356),
            rejected=1_204,
        ),
        policy("prices", "retry", "ok", "ok", calls=calls(88), failures=12),
        policy("prices", "retry_budget", "ok", "ok", calls=calls(88), refused=0, usage=0.25),
    ]


def _happened(*told: dict[str, Any], where: str = "") -> list[tuple[float, str]]:
    return [(each.time, f"{line_of(each)}{where}") for each in read_happenings(list(told))]


_OPENED = happening(1, time=MOMENT - 96, reason="5 failures in a row")


def one() -> str:
    """Draw one process, in trouble."""
    first, last = (read_policies(policies(*_shop(at))) for at in (0, 5))
    rates = Rates()
    for moment, told in ((0.0, first), (5.0, last)):
        rates.add(moment, {at: counters(each) for at, each in told.policies.items()})
    half_open = {"old": "open", "new": "half_open", "reason": "its time is over"}
    again = {"old": "half_open", "new": "open", "reason": "a trial call failed"}
    acted = {"event": "operator_acted", "policy": "rate_limit", "name": "search"}
    acted |= {"old": None, "new": None, "reason": None, "action": "reset", "author": "olga"}
    return _drawn(
        Picture(
            title="http://127.0.0.1:9464  shop-1:4242:1699990000",
            at=MOMENT,
            status=Status.FAILING,
            ready=False,
            rows=rows_of_one(last.policies.values(), rates),
            happened=_happened(
                _OPENED,
                happening(2, time=MOMENT - 36, **half_open),
                happening(3, time=MOMENT - 35, **again),
                happening(4, time=MOMENT - 12, **acted),
            ),
        ),
        16,
    )


def _told(own: str, *listed: dict[str, Any]) -> Answered:
    told: Told = read_policies(policies(*listed, own=own))
    return Answered(told, [Line.of(each) for each in told.policies.values()], 0.004)


def fleet() -> str:
    """Draw a fleet: of four, one circuit is open, one member slow, and one is not there."""

    def read(seconds: int) -> dict[str, Any]:
        calls = 10_000 + 40 * seconds
        fine = {"failures": 120, "rejected": 0, "closed": True}
        slow = fine | {"latency": _latency(0.9, 6.5)}
        stock = policy("stock", calls=calls, failures=9, latency=_latency(0.0043, 0.031))
        return merge(
            [
                ("http://10.0.0.1:9464", _told("shop-1:4242", _payments(calls, **fine), stock)),
                ("http://10.0.0.2:9464", _told("shop-2:4242", _payments(calls, **slow), stock)),
                (
                    "http://10.0.0.3:9464",
                    _told("shop-3:4242", _payments(10_000, failures=310, rejected=calls), stock),
                ),
                ("http://10.0.0.4:9464", RemoteError("timed out")),
            ]
        )

    rates = Rates()
    for moment in (0, 5):
        document = read(moment)
        sums = {(each["policy"], each["name"]): each["sums"] for each in document["policies"]}
        rates.add(float(moment), sums)
    return _drawn(
        Picture(
            title="3 of 4 servers",
            at=MOMENT,
            status=Status.FAILING,
            ready=False,
            rows=rows_of_fleet(document, rates),
            happened=_happened(_OPENED, where="  on http://10.0.0.3:9464"),
            notices=notices_of(document),
        ),
        12,
    )


def _drawn(picture: Picture, height: int) -> str:
    """Draw a picture as text, at a moment and a place that are always the same."""
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        console = Console(file=io.StringIO(), width=116, height=height)
        with console.capture() as capture:
            console.print(draw(picture, View(), 116, height, keys=True))
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def shown(page: str) -> str:
    """Return what a page shows."""
    (found,) = _BLOCK.findall(PAGES[page].read_text(encoding="utf-8"))
    return str(found)


SCREENS = {"command-line": one, "fleet": fleet}

if __name__ == "__main__":
    for page, screen in SCREENS.items():
        text = PAGES[page].read_text(encoding="utf-8")
        PAGES[page].write_text(text.replace(shown(page), screen()), encoding="utf-8")
