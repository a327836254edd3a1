"""Stacks: which policies a call passes, read off whatever it is that one would call.

Other decorators may stand between the policies. Those that keep to the custom of
``functools.wraps`` are looked through; what they do themselves is unknown.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from meshhook.guard import Guard
from meshhook.policy import Policy


class Foreign(NamedTuple):
    """A decorator of somebody else's in a stack."""

    name: str


def policies_of(thing: Any) -> tuple[Policy, ...]:
    """Return the policies that a call of ``thing`` passes, outermost first."""
    return tuple(each for each in layers_of(thing) if isinstance(each, Policy))


def layers_of(thing: Any) -> Iterator[Policy | Foreign]:
    """Give what a call of ``thing`` passes before it gets to the function, outermost first."""
    seen: list[Any] = []
    while not any(thing is each for each in seen):
        seen.append(thing)
        thing = _bare(thing)
        inner = _bare(_wrapped(thing))
        policies = _own_policies(thing)
        if policies is not None and policies is not _own_policies(inner):
            yield from policies
        elif inner is not None:
            # It took the attributes over from the function inside, as functools.wraps does.
            yield Foreign(_name_of(thing))
        if inner is None:
            return
        thing = inner


def function_of(thing: Any) -> Any:
    """Return the function that a call of ``thing`` ends in."""
    seen: list[Any] = []
    while not any(thing is each for each in seen):
        seen.append(thing)
        thing = _bare(thing)
        thing = thing if _wrapped(thing) is None else _wrapped(thing)
    return thing


def _bare(thing: Any) -> Any:
    """Return what is in methods, partials and the like; a guarded ``__call__`` of an object."""
    while True:
        kind = type(thing)
        if issubclass(kind, (types.MethodType, classmethod, staticmethod)):
            thing = thing.__func__
        elif issubclass(kind, functools.partial):
            thing = thing.func
        elif not issubclass(kind, (Guard, type)) and issubclass(
            type(getattr(kind, "__call__", None)),  # noqa: B004 - the method itself
            Guard,
        ):
            thing = kind.__call__
        else:
            return thing


def _wrapped(thing: Any) -> Any:
    return None if isinstance(thing, type) else getattr(thing, "__wrapped__", None)


def _own_policies(thing: Any) -> tuple[Policy, ...] | None:
    """Return what ``thing`` shows as its policies, if that is what it is."""
    if issubclass(type(thing), Guard):
        return thing.policies  # type: ignore[no-any-return]
    shown = getattr(thing, "__dict__", {}).get("policies")
    if isinstance(shown, tuple) and shown and all(isinstance(each, Policy) for each in shown):
        return shown
    return None


def _name_of(fn: Any) -> str:
    """Return the name of what was written, which is not that of the function inside."""
    made = fn.__code__.co_qualname if type(fn) is types.FunctionType else type(fn).__qualname__
    return str(made)
