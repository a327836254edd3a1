"""Loading: sources to layers, with everything looked at that can be without a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshhook import budgets
from meshhook.budgets import RetryBudget
from meshhook.configuration import environment
from meshhook.configuration.problems import Place, Problems, path_of, unknown
from meshhook.configuration.shape import At, Contents
from meshhook.configuration.sources import Readable
from meshhook.errors import ConfigurationError
from meshhook.registry import Registry

BUDGET = RetryBudget.kind


class Argument:
    """What the program said when it configured: a source of one word."""

    name = "configure()"

    def path_of(self, words: tuple[Any, ...]) -> str:
        """Return the name of the argument."""
        return ".".join(words)

    def line_of(self, _words: tuple[Any, ...]) -> int | None:
        """Return None: there are no lines."""
        return None


class Budgets:
    """Finds the budgets that policies name; new ones are made, and wait until all is well."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._asked: dict[str, list[Place]] = {}
        self.made: dict[str, RetryBudget] = {}

    def find(self, name: str, place: Place) -> RetryBudget:
        """Return the budget of that name."""
        self._asked.setdefault(name, []).append(place)
        known: RetryBudget | None = self._registry.retry_budgets.get(name) or self.made.get(name)
        if known is None:
            known = self.made[name] = RetryBudget._make(
                budgets.recipes(**budgets.recipes.defaults).settings
            )
        return known

    def check(self, contents: Contents) -> None:
        """Look whether a table tells of each that was made."""
        told = {at.name for at in contents.places if at == At("policies", BUDGET, at.name)}
        for name in self.made:
            if name not in told:
                known = told | set(self._registry.retry_budgets)
                contents.problems.add(
                    f"{unknown('retry budget', known, name)}; one that the code makes later needs "
                    f"a table {path_of('policies', BUDGET, name)}, which may be empty",
                    *self._asked[name],
                )


def load(
    sources: Sequence[Readable],
    variables: Mapping[str, str],
    profile: str | None,
    registry: Registry,
    problems: Problems,
) -> tuple[Contents, Budgets]:
    """Read all sources, and add to ``problems`` whatever is wrong with them."""
    found = Budgets(registry)
    contents = Contents(found.find, problems)
    for source in sources:
        try:
            contents.add(source.read())
        except ConfigurationError as error:
            problems.add(str(error))
    environment.add_environment(contents, variables)
    if profile is not None:
        contents.set_profile(profile, Place(Argument(), ("profile",)))
    contents.check_profiles()
    found.check(contents)
    return contents, found
