"""The page about health has every condition that the code knows, and no others."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.composition.resilient import PLACES
from meshhook.health import Health, PolicyHealth, Status
from meshhook.policies.circuit_breaker.stats import _STATUS
from meshhook.stats import Stats
from tests.docs.pages import ROOT, code, section, table

PAGE = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
CONDITIONS = [tuple(map(code, row[:3])) for row in table(section(PAGE, "Conditions"))]


def kinds() -> dict[str, type[Stats]]:
    """Return the statistics of every kind of policy, budgets included."""
    made = [place.policy for place in PLACES]
    found: dict[str, type[Stats]] = {}
    for policy in [*made, mh.RetryBudget]:
        returns = inspect.get_annotations(policy.stats, eval_str=False)["return"]
        home = inspect.getmodule(policy)
        found[policy.kind] = getattr(home, returns)
    return found


def told_by(stats: type[Stats]) -> Iterator[tuple[str, str]]:
    """Return status and condition of each ``return`` of a class's ``health``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(stats.health)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            status, condition = node.elts
            if isinstance(status, ast.Attribute) and isinstance(condition, ast.Constant):
                yield str(Status[status.attr]), condition.value


@pytest.mark.parametrize("kind", kinds())
def test_every_condition_is_in_the_table(kind: str) -> None:
    """By kind of policy, with its status."""
    expected = set(told_by(kinds()[kind]))
    if kind == "circuit_breaker":
        expected |= {(str(status), str(state)) for state, status in _STATUS.items()}
    listed = [(status, condition) for policy, status, condition in CONDITIONS if policy == kind]
    assert len(listed) == len(set(listed))
    assert set(listed) == expected


def test_every_kind_of_policy_is_in_the_table() -> None:
    """And no other."""
    assert {policy for policy, _, _ in CONDITIONS} == set(kinds())


def test_what_cannot_be_read_is_told_of() -> None:
    """The condition that no policy has itself."""
    assert "`degraded`, `unreadable`" in PAGE
    found = PolicyHealth.of(mh.timeout(1), None)
    assert (found.status, found.condition) == (Status.DEGRADED, "unreadable")


@pytest.mark.parametrize("kind", [Health, PolicyHealth])
def test_every_field_is_explained(kind: Any) -> None:
    """In order."""
    listed = [code(row[0]) for row in table(section(PAGE, f"`{kind.__name__}`"))]
    assert listed == [field.name for field in dataclasses.fields(kind)]


def test_the_statuses_are_explained() -> None:
    """From the best to the worst."""
    rows = table(section(PAGE, "Health"))
    assert [code(row[0]) for row in rows[: len(Status)]] == [str(each) for each in Status]
