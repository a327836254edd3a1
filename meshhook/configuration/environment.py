"""The environment: ``MESHHOOK__KIND__NAME__SETTING=value``, over everything else.

A name is written in capitals there, with ``_`` for whatever is no letter or digit, however many
those are: ``MESHHOOK__RETRY__SHOP_PRICES_PRICE__MAX_ATTEMPTS`` is about the retry of
``shop.prices.price``. A value is read as TOML reads one; what is none is text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from meshhook.configuration.problems import Place
from meshhook.configuration.shape import At, Contents

PREFIX = "MESHHOOK__"
PROFILE_VARIABLE = "MESHHOOK_PROFILE"
_WORDS = 3


class Environment:
    """The environment, as a source of settings."""

    name = "environment"

    def path_of(self, words: tuple[Any, ...]) -> str:
        """Return the name of a variable."""
        return "".join(words)

    def line_of(self, _words: tuple[Any, ...]) -> int | None:
        """Return None: an environment has no lines."""
        return None


def spelled(name: str) -> str:
    """Return how the environment spells the name of a policy."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")


def add_environment(contents: Contents, variables: Mapping[str, str]) -> None:
    """Lay what the environment says over what there is."""
    source = Environment()
    profile = variables.get(PROFILE_VARIABLE)
    if profile is not None:
        contents.set_profile(profile, Place(source, (PROFILE_VARIABLE,)))
    for variable in sorted(variables):
        if variable.startswith(PREFIX):
            _add(contents, Place(source, (variable,)), variables[variable])


def _add(contents: Contents, place: Place, text: str) -> None:
    words = place.words[0].removeprefix(PREFIX).split("__")
    if len(words) != _WORDS or not all(words):
        contents.problems.add(
            f"must be {PREFIX}KIND__NAME__SETTING, such as "
            f"{PREFIX}CIRCUIT_BREAKER__PAYMENTS__FAILURE_THRESHOLD",
            place,
        )
        return
    kind, name, argument = words[0].lower(), words[1], words[2].lower()
    if not contents.is_kind(kind, place):
        return
    if name != spelled(name):
        contents.problems.add(
            f"names are written in capitals, and what is no letter or digit as one _: "
            f"{spelled(name)!r}",
            place,
        )
        return
    contents.add_setting(At("environment", kind, name), argument, value_of(text), place)


def value_of(text: str) -> Any:
    """Return the value that is written in ``text`` as in TOML; the text itself if none is."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = read.get("value")
    return value if len(read) == 1 and isinstance(value, (bool, int, float, str, list)) else text
