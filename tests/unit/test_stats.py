"""Statistics: frozen, keyword-only, plain data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pickle
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies.circuit_breaker.stats import BreakerStats
from meshhook.stats import Stats
from tests.observe.everything import everything


def test_statistics_are_frozen() -> None:
    """Nobody changes what was counted."""
    stats = Stats(policy="kind", name="name")
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.name = "other"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        stats.more = 1  # type: ignore[attr-defined]


def test_statistics_are_plain_data() -> None:
    """``to_dict`` gives what JSON takes, nested parts included, and a copy each time."""
    breaker = mh.circuit_breaker("db", failure_rate_threshold=0.5, registry=mh.Registry())
    breaker.call(int)
    stats = breaker.stats()
    data = stats.to_dict()
    assert isinstance(stats, BreakerStats)
    assert data["window"] == {
        "calls": 1,
        "failures": 0,
        "slow": 0,
        "overdue": 0,
        "failure_rate": 0.0,
        "slow_rate": 0.0,
    }
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    data["window"]["calls"] = 5
    assert stats.to_dict()["window"]["calls"] == 1


def test_a_dict_is_what_the_standard_library_makes_of_it() -> None:
    """Of every kind of policy; only faster."""
    for stats in everything().stats().values():
        assert stats.to_dict() == dataclasses.asdict(stats)


@dataclasses.dataclass(frozen=True)
class One:
    """One field is not a tuple of them."""

    value: list[int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Own(Stats):
    """Statistics of somebody else's policy."""

    parts: Any


@pytest.mark.parametrize(
    "parts",
    [
        [One([1]), (One([2]), None)],
        {"a": One([3]), ("b", 1): [{"c": One([4])}]},
        One([5]),
        {1, 2},
        dt.timedelta(seconds=1),
    ],
)
def test_whatever_is_in_statistics_is_copied(parts: Any) -> None:
    """Dataclasses become dicts wherever they are; nobody changes the statistics by the copy."""
    stats = Own(policy="p", name="n", parts=parts)
    data = stats.to_dict()
    assert data == dataclasses.asdict(stats)
    assert data["parts"] is not parts or isinstance(parts, dt.timedelta)


def test_statistics_pickle() -> None:
    """They can be sent to another process."""
    stats = mh.circuit_breaker("db", registry=mh.Registry()).stats()
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_what_a_dict_holds_is_plain_by_type() -> None:
    """States are text, not members of an enum that prints in another way."""
    data = mh.circuit_breaker("db", registry=mh.Registry()).stats().to_dict()
    assert type(data["state"]) is str
    assert {type(value) for value in data.values()} <= {str, int, float, type(None)}
