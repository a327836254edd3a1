"""Layers: what lies over each other, and what comes of it for one policy.

From the bottom: the defaults of the library, ``defaults`` of a kind, what the code says, the
profile, the policy by its name, the environment. So ``defaults`` fill in what the code leaves out,
and everything else is stronger than the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from meshhook.configuration.environment import spelled
from meshhook.configuration.problems import Place, Problem
from meshhook.configuration.shape import At, Contents, Setting
from meshhook.errors import ConfigurationError
from meshhook.recipes import Recipe

CODE = "code"


class Over(NamedTuple):
    """What lies below and above that which the code says of one policy."""

    below: Mapping[str, Setting]
    above: Mapping[str, Setting]


class Layers:
    """What a configuration says, ready to be asked for each policy. Never changes."""

    def __init__(
        self, contents: Contents, number: tuple[int, int] = (0, 0), configuration: Any = None
    ) -> None:
        self.number = number
        """That of the configuration, and that of the reading: the higher one holds."""
        self.configuration = configuration
        self.profile = None if contents.profile is None else contents.profile.value
        self._settings = contents.settings
        self._places = contents.places
        self._profile_of = contents.profile_of
        self._kinds = {at.kind for at in (*self._settings, *self._places, *self._profile_of)}

    def settings_of(self, kind: str, name: str, recipe: Recipe) -> Any:
        """Return the settings of the policy of that kind and name."""
        made = self.made_of(kind, name, recipe)
        if isinstance(made, Problem):
            raise ConfigurationError(str(made))
        return made

    def made_of(self, kind: str, name: str, recipe: Recipe) -> Any:
        """Return the settings of one policy, or the problem if they cannot be made."""
        maker = recipe.kind
        if maker is None or kind not in self._kinds:
            return recipe.settings
        over = self.over(kind, name)
        if not over.below and not over.above:
            return recipe.settings
        try:
            made = maker.settings(_values(over.below), dict(recipe.given), _values(over.above))
        except Exception as error:
            text = str(error) if isinstance(error, ConfigurationError) else type(error).__qualname__
            return self.misfit(kind, name, f"{kind} {name!r}: {text}")
        return recipe.settings if made == recipe.settings else made

    def misfit(self, kind: str, name: str, text: str) -> Problem:
        """Return a problem with what lies over one policy, at the places that ``text`` tells of."""
        over = self.over(kind, name)
        return Problem(tuple(_told_of(text, {**over.below, **over.above})), text)

    def over(self, kind: str, name: str) -> Over:
        """Return what lies over one policy, each setting from the highest layer that has it."""
        own, outside = At("policies", kind, name), At("environment", kind, spelled(name))
        profile = self.profile
        for at in (own, outside):
            if at in self._profile_of:
                profile = self._profile_of[at].value
        above: dict[str, Setting] = {}
        if profile is not None:
            above |= self._settings.get(At("profiles", kind, profile), {})
        for at in (own, outside):
            above |= self._settings.get(at, {})
        return Over(self._settings.get(At("defaults", kind), {}), above)

    def origins(self, kind: str, name: str, recipe: Recipe) -> dict[str, str]:
        """Return where each setting of a policy comes from that is not a default of the library."""
        over = self.over(kind, name)
        origins = {argument: str(each.place) for argument, each in over.below.items()}
        origins |= dict.fromkeys(dict(recipe.given), CODE)
        return origins | {argument: str(each.place) for argument, each in over.above.items()}

    def named(self) -> Iterator[tuple[At, Place]]:
        """Give every policy that is named, in a file or in the environment."""
        for at, place in self._places.items():
            if at.table in ("policies", "environment"):
                yield at, place


def _values(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {argument: setting.value for argument, setting in settings.items()}


def _told_of(text: str, settings: Mapping[str, Setting]) -> Iterable[Place]:
    """Return where the settings are that an error tells of; all of them if it tells of none."""
    words = set(re.findall(r"\w+", text))
    told = [each.place for argument, each in settings.items() if argument in words]
    return told or [each.place for each in settings.values()]
