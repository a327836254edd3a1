"""Installing: have every policy of a registry go by other layers, or leave all of it as it is.

Policies may be made at any moment meanwhile. One that is made before the layers are exchanged is
looked at like the others; one that is made later goes by the new layers from the start. A signal
handler may install other layers in the middle of it: whoever it has interrupted finds that out, and
has all policies go by what is in force.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

from meshhook import budgets, changes, forks, guard
from meshhook.budgets import RetryBudget
from meshhook.configuration.environment import spelled
from meshhook.configuration.layers import Layers
from meshhook.configuration.loading import BUDGET
from meshhook.configuration.problems import MOST_SHOWN, Problem, Problems, unknown
from meshhook.configuration.shape import At
from meshhook.errors import ConfigurationError
from meshhook.recipes import Recipe
from meshhook.registry import Registry

_TRIES = 3
"""So often policies that turn up meanwhile are looked at while yet others may be made."""

_lock = threading.RLock()


def _make_lock_anew() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()


forks.after_in_child(_make_lock_anew)


class Installation:
    """The change of one registry to other layers."""

    def __init__(
        self, registry: Registry, layers: Layers, new_budgets: dict[str, RetryBudget]
    ) -> None:
        self._registry = registry
        self._layers = layers
        self._new_budgets = new_budgets
        self._planned: dict[Any, tuple[Recipe | None, Any]] = {}
        """By policy: how it was written when it was looked at, and the settings that it gets."""

    def check(self, accepted: frozenset[At] | None, problems: Problems) -> None:
        """Add to ``problems`` whatever does not fit; names too, but for those ``accepted``.

        With None any name will do, for its policy may be made later.
        """
        unknown_names = pending(self._registry, self._layers, self._new_budgets)
        for at, problem in unknown_names.items():
            if accepted is not None and at not in accepted:
                problems.append(problem)
        problems += ambiguous(self._registry, self._layers)
        if not problems:
            for name, budget in self._new_budgets.items():
                self._plan_one(budget, name, problems)
            self._plan(self._unplanned(), problems)

    def install(self) -> int | None:
        """Make the change; return how many policies have got other settings.

        Return None if somebody else has made a budget meanwhile that was made for the layers: they
        have to be read once more, and nothing has changed.
        """
        with _lock:
            for tries in itertools.count():
                self._plan_more()
                with guard.lock, self._registry._lock:
                    rest = self._unplanned()
                    if rest and tries < _TRIES:
                        continue
                    self._plan_more()
                    if any(self._registry._find(BUDGET, name) for name in self._new_budgets):
                        return None
                    before: Any = self._registry._layers
                    if before is not None and before.number > self._layers.number:
                        return 0  # what was read later is there already
                    # Nothing is called in between, so no signal handler comes in between either.
                    self._registry._layers = self._layers
                    self._publish_budgets()
                break
            return self._apply(before)

    def _publish_budgets(self) -> None:
        for name, budget in self._new_budgets.items():
            budget._name = name
            self._registry._shared.setdefault((BUDGET, name), budget)

    def _take_budgets_back(self) -> None:
        for name, budget in self._new_budgets.items():
            if budget.recipe is None:  # else the code has told of it, and has it
                self._registry._shared.pop((BUDGET, name), None)

    def _apply(self, before: Any) -> int:
        wanted = self._changes(self._planned)
        old = [(policy, policy.settings) for policy, _ in wanted]
        try:
            changes.apply(wanted)
            if self._registry._layers is not self._layers or self._is_written_otherwise():
                self._settle()
        except BaseException:
            self._take_back(before, old)
            raise
        return len(wanted)

    def _take_back(self, before: Any, old: list[changes.Change]) -> None:
        if self._registry._layers is self._layers:
            with self._registry._lock:
                self._registry._layers = before
                self._take_budgets_back()
            changes.apply(old)
        if self._registry._layers is not before:
            self._settle()

    def _settle(self) -> None:
        """Have all policies go by what is in force, for it is not what was applied last."""
        in_force: Any = self._registry._layers
        Installation(self._registry, in_force, {}).install()

    def _is_written_otherwise(self) -> bool:
        """Tell whether the code has told of a policy since it was looked at."""
        return any(entry.recipe is not recipe for entry, (recipe, _) in self._planned.items())

    def _changes(self, entries: Iterable[Any]) -> list[changes.Change]:
        """Return what has to be changed for these to have the settings that they get."""
        wanted = [(entry, self._planned[entry][1]) for entry in entries]
        return [(entry, new) for entry, new in wanted if new is not None and new != entry.settings]

    def _unplanned(self) -> list[Any]:
        """Return the policies that have not been looked at, or are written otherwise by now."""
        return [
            entry
            for entry in self._registry
            if entry not in self._planned or self._planned[entry][0] is not entry.recipe
        ]

    def _plan(self, entries: list[Any], problems: Problems) -> None:
        for entry in entries:
            self._plan_one(entry, entry._name, problems)
        if not problems:
            problems += self._misfits(self._changes(entries))

    def _misfits(self, made: list[changes.Change]) -> list[Problem]:
        """Return what cannot be changed, or does not fit the functions that have the policies."""
        try:
            changes.check(made)
        except ConfigurationError as error:
            if len(made) > 1:
                # One by one, to tell of each; what only fails together is told as it is.
                alone = [problem for each in made for problem in self._misfits([each])]
                return alone or [Problem((), str(error))]
            policy: Any = made[0][0]
            return [self._layers.misfit(policy.kind, policy._name, str(error))]
        return []

    def _plan_more(self) -> None:
        """Look at the policies that have turned up. Raises ConfigurationError."""
        problems = Problems()
        self._plan(self._unplanned(), problems)
        problems.raise_if_any()

    def _plan_one(self, entry: Any, name: str, problems: Problems) -> None:
        written = recipe = entry.recipe
        self._planned[entry] = written, None
        if recipe is None and entry.kind == BUDGET:
            recipe = budgets.recipes(**budgets.recipes.defaults)  # no code has told of it yet
        if recipe is None:
            return
        made = self._layers.made_of(entry.kind, name, recipe)
        if isinstance(made, Problem):
            problems.append(made)
        else:
            self._planned[entry] = written, made


class _Names:
    """The names of policies, as they are and as the environment spells them, by kind."""

    def __init__(self, registry: Registry, more_budgets: Iterable[str] = ()) -> None:
        self._known: dict[tuple[str, str], dict[str, list[str]]] = {}
        policies = [*registry._policies(), *((BUDGET, name) for name in more_budgets)]
        for kind, name in dict.fromkeys(policies):
            self._add("policies", kind, name, name)
            self._add("environment", kind, spelled(name), name)

    def _add(self, table: str, kind: str, written: str, name: str) -> None:
        self._known.setdefault((table, kind), {}).setdefault(written, []).append(name)

    def known_to(self, at: At) -> dict[str, list[str]]:
        """Return the policies of that kind by their names, as that table writes them."""
        return self._known.get((at.table, at.kind), {})


def pending(
    registry: Registry, layers: Layers, new_budgets: Iterable[str] = ()
) -> dict[At, Problem]:
    """Return the names in a configuration that no policy has, each with what may be meant."""
    names = _Names(registry, new_budgets)
    found: dict[At, Problem] = {}
    for at, place in layers.named():
        known = names.known_to(at)
        if at.name not in known:
            # To look for what may be meant takes a while, where there are very many policies.
            guess = len(found) < MOST_SHOWN
            text = unknown(at.kind, known, at.name) if guess else f"no such {at.kind}"
            found[at] = Problem((place,), text)
    return found


def ambiguous(registry: Registry, layers: Layers) -> list[Problem]:
    """Return the names in the environment that stand for several policies."""
    problems = []
    names = _Names(registry)
    for at, place in layers.named():
        meant = names.known_to(at).get(at.name, ())
        if len(meant) > 1:
            shown = ", ".join(map(repr, sorted(meant)))
            problems.append(Problem((place,), f"it is unclear which {at.kind} is meant: {shown}"))
    return problems
