"""The shape of a configuration: which tables there are, and what is in them.

::

    profile = "production"

    [defaults.circuit_breaker]              # what the code leaves out
    [profiles.production.circuit_breaker]   # over the code
    [policies.circuit_breaker.payments]     # over that, for one policy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from meshhook.configuration.kinds import (
    KINDS,
    PROFILE,
    arguments_of,
    as_argument,
    check_alone,
)
from meshhook.configuration.problems import Place, Problems, path_of, unknown
from meshhook.configuration.sources import Document
from meshhook.errors import ConfigurationError
from meshhook.guessing import hint

TABLES = ("defaults", "policies", "profile", "profiles")

_MOST_DOTS = 20
"""A table may have itself in it, so names have an end."""


class Setting(NamedTuple):
    """One value, as a decorator takes it, and where it is written."""

    value: Any
    place: Place


class At(NamedTuple):
    """What settings are about: a kind in ``defaults``, of a profile, or a policy by its name."""

    table: str
    kind: str
    name: str = ""
    """Of the profile or of the policy; of a policy in the environment as that spells it."""


class Contents:
    """What is in some documents, the later over the earlier."""

    def __init__(self, budget_of: Callable[[str, Place], Any], problems: Problems) -> None:
        self.settings: dict[At, dict[str, Setting]] = {}
        self.places: dict[At, Place] = {}
        """Where each policy is named, whether anything is set for it or not."""
        self.profile: Setting | None = None
        self.profiles: set[str] = set()
        self.profile_of: dict[At, Setting] = {}
        self.problems = problems
        self._budget_of = budget_of

    def add(self, document: Document) -> None:
        """Lay what is in ``document`` over what there is."""
        root = Place(document)
        for key, value in self._table(document.data, root):
            place = _in(root, key)
            if key == PROFILE:
                self.set_profile(value, place)
            elif key == "defaults":
                self._add_kinds(value, place, "defaults", "")
            elif key == "profiles":
                for profile, kinds in self._table(value, place):
                    if self._is_name(profile, _in(place, profile)):
                        self.profiles.add(profile)
                        self._add_kinds(kinds, _in(place, profile), "profiles", profile)
            elif key == "policies":
                self._add_policies(value, place)
            else:
                self.problems.add(unknown("table or setting", TABLES, key), place)

    def set_profile(self, value: Any, place: Place) -> None:
        """Have the profile of that name."""
        if self._is_name(value, place):
            self.profile = Setting(value, place)

    def _add_policies(self, value: Any, place: Place) -> None:
        for kind, names in self._table(value, place):
            inside = _in(place, kind)
            if not self.is_kind(kind, inside):
                continue
            for name, settings in self._table(names, inside):
                named = _in(inside, name)
                if not isinstance(settings, Mapping):
                    self.problems.add(
                        "must be a table (a mapping, an object) with the settings of one policy; "
                        f"for all policies of a kind there are defaults.{kind} and profiles",
                        named,
                    )
                elif self._is_name(name, named):
                    self._add_policy(At("policies", kind, name), settings, named)

    def _add_policy(self, at: At, settings: Mapping[Any, Any], place: Place) -> None:
        """Take in the settings of one policy, but for tables in it that a dot in a name made."""
        known = arguments_of(at.kind) | {PROFILE}
        rest = {}
        for word, value in settings.items():
            if not _goes_on(word, value, known):
                rest[word] = value
                continue
            last = _end_of_name(_in(place, word), value, known)
            table, kind, *parts = last.words
            quoted = path_of(table, kind, ".".join(parts))
            self.problems.add(
                f"no such setting of {kind}; a name with dots is quoted: {quoted}", last
            )
        if rest or not settings:
            self.add_settings(at, rest, place)

    def _add_kinds(self, value: Any, place: Place, table: str, name: str) -> None:
        for kind, settings in self._table(value, place):
            if self.is_kind(kind, _in(place, kind)):
                self.add_settings(At(table, kind, name), settings, _in(place, kind))

    def add_settings(self, at: At, settings: Any, place: Place) -> None:
        """Take in the settings of one table."""
        self.places.setdefault(at, place)
        for argument, value in self._table(settings, place):
            self.add_setting(at, argument, value, _in(place, argument))

    def add_setting(self, at: At, argument: Any, value: Any, place: Place) -> None:
        """Take in one setting."""
        known = arguments_of(at.kind)
        if at.table in ("policies", "environment"):
            self.places.setdefault(at, place)
            known |= {PROFILE}
        if argument not in known:
            self.problems.add(unknown(f"setting of {at.kind}", known, argument), place)
        elif argument == PROFILE:
            if self._is_name(value, place):
                self.profile_of[at] = Setting(value, place)
        else:
            try:
                value = as_argument(
                    at.kind, argument, value, lambda name: self._budget_of(name, place)
                )
            except ConfigurationError as error:
                self.problems.add(str(error), place)
                return
            wrong = check_alone(at.kind, argument, value)
            if wrong is not None:
                self.problems.add(wrong, place)
                return
            self.settings.setdefault(at, {})[argument] = Setting(value, place)

    def is_kind(self, kind: Any, place: Place) -> bool:
        """Tell whether there are policies of that kind; if not, that is a problem."""
        if isinstance(kind, str) and kind in KINDS:
            return True
        self.problems.add(unknown("kind of policy", KINDS, kind), place)
        return False

    def check_profiles(self) -> None:
        """Look whether every profile that is asked for is there."""
        for asked in (self.profile, *self.profile_of.values()):
            if asked is not None and asked.value not in self.profiles:
                self.problems.add(unknown("profile", self.profiles, asked.value), asked.place)

    def _table(self, value: Any, place: Place) -> list[tuple[Any, Any]]:
        if isinstance(value, Mapping):
            return list(value.items())
        self.problems.add("must be a table (a mapping, an object)", place)
        return []

    def _is_name(self, name: Any, place: Place) -> bool:
        if isinstance(name, str) and name.isprintable() and name.strip():
            return True
        self.problems.add("must be a name: printable text that is not empty", place)
        return False


def _goes_on(word: Any, value: Any, known: frozenset[str]) -> bool:
    """Tell whether a word in the table of a policy seems to be the next one of its name."""
    is_table = isinstance(word, str) and isinstance(value, Mapping)
    return is_table and word not in known and not hint(word, known)


def _end_of_name(place: Place, value: Any, known: frozenset[str]) -> Place:
    """Return where the first name ends that goes on in a table."""
    for _ in range(_MOST_DOTS):
        word = next((each for each, inner in value.items() if _goes_on(each, inner, known)), None)
        if word is None:
            break
        place, value = _in(place, word), value[word]
    return place


def _in(place: Place, word: Any) -> Place:
    return Place(place.source, (*place.words, word))
