"""Thousands of acts for a time: each costs about the same, and nothing piles up."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from meshhook.observe import control
from meshhook.observe.control import Control
from meshhook.observe.snapshot import Snapshots
from tests.waiting import eventually

MANY = 500


def test_who_ends_them_looks_only_when_one_is_due(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An act that ends later than another wakes nobody; all are over at the end."""
    breakers = [mh.circuit_breaker(f"upstream {number}") for number in range(MANY)]
    looks: list[None] = []
    take_due = control._take_due

    def look() -> Any:
        looks.append(None)
        return take_due()

    monkeypatch.setattr(control, "_take_due", look)
    operator = Control(registry)
    for number, each in enumerate(breakers):
        operator.act("circuit_breaker", each.name, "disable", seconds=600 + number, author="olga")
    assert len(looks) < 10
    for each in breakers:
        operator.act("circuit_breaker", each.name, "force_open", seconds="5ms", author="olga")
    assert eventually(lambda: {each.state for each in breakers} == {"closed"})
    assert eventually(lambda: control._thread is None)


def test_those_that_are_replaced_do_not_pile_up(registry: mh.Registry) -> None:
    """However often somebody acts on a policy for a week."""
    breaker = mh.circuit_breaker("upstream")
    mh.circuit_breaker("other")
    operator = Control(registry)
    operator.act("circuit_breaker", "other", "disable", seconds=300, author="olga")
    for number in range(1_000):
        operator.act(
            "circuit_breaker", "upstream", "disable", seconds=600 - number / 10, author="o"
        )
    assert (len(control._acts), control._under_way) == (2, set())
    assert 499 < (operator.remaining(breaker) or 0) <= 501
    operator.act("circuit_breaker", "upstream", "reset", author="olga")
    operator.act("circuit_breaker", "other", "reset", author="olga")
    assert eventually(lambda: control._thread is None)


def test_one_policy_is_found_without_a_look_at_all(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thousands, to act on one or to tell of it takes no longer than of a few."""

    @mh.circuit_breaker
    def owned() -> None:
        pass

    mh.circuit_breaker("shared")
    names = list(registry.circuit_breakers)
    operator = Control(registry)
    snapshots = Snapshots(registry, operator)
    monkeypatch.setattr(mh.Registry, "_policies", lambda self: pytest.fail("looked at all"))
    assert len(names) == 2
    for name in names:
        operator.act("circuit_breaker", name, "disable", author="olga")
        shown = snapshots.policy("circuit_breaker", name)
        assert shown is not None
        assert shown["condition"] == "disabled"
    with pytest.raises(LookupError):
        operator.act("retry", names[0], "reset", author="olga")
    assert snapshots.policy("circuit_breaker", "missing") is None
