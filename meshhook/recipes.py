"""Recipes: how the settings of a policy were made, so that they can be made once more.

A decorator checks its arguments, and keeps what they mean. What a configuration from outside says
lies over the arguments, not over their meaning: so those are remembered as well, but for the ones
that are the default anyway. Equal arguments have one recipe, settings included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_NOT_SETTINGS = ("cls", "fn", "name", "registry")
"""Arguments of decorators that say which policy is meant, not what it is like."""

_PLAIN = {type(None), bool, int, float, str}
_MOST_KNOWN = 1_000

REQUIRED: Any = object()
"""In place of the default of an argument that has none."""


class Recipe:
    """How a policy was written: ``given``, what differs from the defaults, and its settings.

    ``kind`` can make settings out of other arguments; None for settings that are not made of any.
    """

    __slots__ = ("given", "kind", "settings")

    def __init__(
        self, kind: Recipes | None, given: tuple[tuple[str, Any], ...], settings: Any
    ) -> None:
        self.kind = kind
        self.given = given
        self.settings = settings

    @classmethod
    def of(cls, settings: Any) -> Recipe:
        """Return ``settings`` if they are a recipe, else one that can make nothing but them."""
        return settings if isinstance(settings, Recipe) else cls(None, (), settings)


class Recipes:
    """What makes the recipes of one kind of policy. Safe to use from any thread."""

    def __init__(self, make: Callable[..., Any], decorator: Callable[..., Any]) -> None:
        self._make = make
        self._known: dict[Any, Recipe] = {}
        self.defaults = _defaults_of(decorator)
        self.annotations: Mapping[str, Any] = decorator.__annotations__

    def __call__(self, **arguments: Any) -> Recipe:
        """Check all the arguments, and return what they make."""
        defaults = self.defaults
        given = [
            each
            for each in arguments.items()
            if each[1] is not defaults[each[0]] and not _same(each[1], defaults[each[0]])
        ]
        mark = _mark(given)
        recipe = None if mark is None else self._known.get(mark)
        if recipe is None:
            recipe = Recipe(self, tuple(given), self._make(**arguments))
            if mark is not None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[mark] = recipe
        return recipe

    def settings(self, *layers: Mapping[str, Any]) -> Any:
        """Make settings of the defaults and what lies over them, the lowest layer first."""
        arguments = dict(self.defaults)
        for layer in layers:
            arguments.update(layer)
        return self._make(**arguments)


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and type(value) in _PLAIN and bool(value == default)


def _mark(given: list[tuple[str, Any]]) -> Any:
    """Return what tells arguments from others; None for what may change, or should not be kept."""
    mark = []
    for name, value in given:
        kind = type(value)
        if kind not in _PLAIN and kind is not type:
            return None
        mark.append((name, kind, value))
    return tuple(mark)


def _defaults_of(decorator: Callable[..., Any]) -> dict[str, Any]:
    fn: Any = decorator
    by_position = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    ends = fn.__defaults__ or ()
    required = len(by_position) - len(ends)
    defaults = dict.fromkeys(by_position[:required], REQUIRED)
    defaults |= dict(zip(by_position[required:], ends, strict=True))
    defaults |= fn.__kwdefaults__ or {}
    return {name: default for name, default in defaults.items() if name not in _NOT_SETTINGS}
