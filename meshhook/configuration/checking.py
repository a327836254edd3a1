"""Checking: all that ``configure`` looks at, without anything being changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from meshhook.configuration.installing import Installation, pending
from meshhook.configuration.layers import Layers
from meshhook.configuration.loading import load
from meshhook.configuration.problems import Place, Problem, Problems
from meshhook.configuration.shape import At
from meshhook.configuration.sources import sources_of
from meshhook.registry import Registry


class Report(NamedTuple):
    """What a configuration says, and what is wrong with it. Shows no values of it."""

    problems: tuple[Problem, ...]
    profile: str | None
    tables: dict[At, list[str]]
    """The settings of each table, by their arguments."""
    policies: dict[tuple[str, str], dict[str, str]]
    """Where the settings of each policy come from, by argument."""
    waiting: tuple[Problem, ...]
    """Names of no policy, where policies are not known."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, fit for ``json.dumps``."""
        return {
            "ok": not self.problems,
            "profile": self.profile,
            "problems": list(map(_as_data, self.problems)),
            "policies": [
                {"policy": kind, "name": name, "settings": origins}
                for (kind, name), origins in self.policies.items()
            ],
            "waiting": list(map(_as_data, self.waiting)),
        }


def check(
    files: Sequence[str],
    *,
    profile: str | None = None,
    environment: bool = True,
    registry: Registry | None = None,
    names: bool = True,
) -> Report:
    """Look at files as ``configure`` does; with ``names`` each has to be that of a policy."""
    registry = Registry.given(registry)
    problems = Problems()
    variables = os.environ if environment else {}
    contents, budgets = load(sources_of(list(files)), variables, profile, registry, problems)
    layers = Layers(contents)
    accepted: frozenset[At] | None = frozenset() if names else None
    Installation(registry, layers, budgets.made).check(accepted, problems)
    tables = {at: sorted(settings) for at, settings in contents.settings.items()}
    policies = {
        (kind, name): layers.origins(kind, name, entry.recipe)
        for (kind, name), entry in sorted(registry._policies().items())
        if entry.recipe is not None and entry.recipe.kind is not None
    }
    waiting = () if names else tuple(pending(registry, layers, budgets.made).values())
    return Report(tuple(problems), layers.profile, tables, policies, waiting)


def _as_data(problem: Problem) -> dict[str, Any]:
    return {"text": problem.text, "places": list(map(_place, problem.places))}


def _place(place: Place) -> dict[str, Any]:
    return {"source": place.source.name, "path": place.path, "line": place.line}
