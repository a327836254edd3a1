"""What reads a policy while it gets other settings: it finds the old ones or the new ones.

Each test has the change come between two reads of what may be replaced, wherever that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies.fallback.keeping import LastGood
from meshhook.rules.pace import Pace
from tests.changes.changing import settings

READS = range(1, 8)
"""After so many reads the change comes."""

Turn = Callable[..., None]


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Turn:
    """Have the attribute of a policy be one thing for some reads, and another from then on."""

    def turn(policy: Any, name: str, before: Any, after: Any, reads: int) -> None:
        left = [before] * reads
        monkeypatch.setattr(
            type(policy), name, property(lambda _: left.pop() if left else after), raising=False
        )

    return turn


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("do", ["stats", "durations", "reset"])
def test_a_hedge_whose_delay_is_not_learned_any_more(
    do: str, reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """It has statistics, and can be reset."""
    hedge = mh.hedge(name="quick", idempotent=True)
    turn(hedge, "pace", Pace(0.9, 20, 0.001, 60.0, 0.0), None, reads)
    getattr(hedge, do)()


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("do", ["stats", "reset", "renew_locks"])
def test_a_fallback_that_keeps_no_results_any_more(
    do: str, reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """It has statistics, and can be reset."""
    fallback = mh.fallback(0, last_good="1h", key="{item}", name="cached")
    turn(fallback, "last_good", LastGood(3600.0, 10), None, reads)
    getattr(fallback, do)()


@pytest.mark.parametrize("reads", READS)
def test_a_fallback_that_begins_to_keep_results_gives_none_of_another_call(
    reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """A result is kept at its key, or not at all."""
    kept = LastGood(3600.0, 10)
    last_good = settings(mh.fallback, None, last_good="1h", key="{item}")
    fallback = mh.fallback(None, name="cached")

    def price(item: str) -> str:
        if item == "none":
            raise ValueError(item)
        return item

    turn(fallback, "settings", fallback.settings, last_good, reads)
    turn(fallback, "last_good", None, kept, reads)
    assert fallback.call(price, item="mug") == "mug"
    assert kept.find(None, 0.0) is None
    assert fallback.call(price, item="none") is None


@pytest.mark.parametrize("reads", READS)
def test_a_limit_that_pauses_no_more_hands_on_the_error_of_a_call(
    reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """And none of its own."""
    limit = mh.rate_limit("5/s", pause_on=ValueError, name="api")
    limit.call(int)
    turn(limit, "settings", limit.settings, settings(mh.rate_limit, "5/s"), reads)
    limit.heed(limit._limiter, ValueError("busy"))


@pytest.mark.parametrize("reads", READS)
def test_a_limit_whose_cost_is_computed_now_gets_another_rate(
    reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """What a call costs is not known, so there is nothing to check."""
    limit = mh.rate_limit("5/s", name="api")
    turn(limit, "settings", limit.settings, settings(mh.rate_limit, "5/s", cost=len), reads)
    limit.change("7/s")
    assert limit.stats().limit == "7/s"


@pytest.mark.parametrize("reads", READS)
def test_a_policy_is_described_by_settings_of_one_moment(
    reads: int, registry: mh.Registry, turn: Turn
) -> None:
    """And by what they mean."""
    bulkhead = mh.bulkhead(3, name="db")
    adaptive = settings(mh.bulkhead, limit=mh.Gradient())
    turn(bulkhead, "settings", bulkhead.settings, adaptive, reads)
    assert "3 at a time" in bulkhead.describe()
    limit = mh.rate_limit("5/s", max_wait=1, name="api")
    turn(limit, "settings", limit.settings, settings(mh.rate_limit, "5/s", max_wait=None), reads)
    assert limit.describe() == "rate_limit('api', 5/s, waits up to 1 s)"
    timeout = mh.timeout(3, name="slow")
    unlimited = settings(mh.timeout, None, per_item=1)
    turn(timeout, "settings", timeout.settings, unlimited, reads)
    assert timeout.stats().seconds == 3
