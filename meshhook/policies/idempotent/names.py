"""What a record is kept under: a scope, which is the function's own, and the key of the call.

A scope has a name and a version in it. The records of a store that outlives the process are found
by name alone, so there a name must mean one function, today and tomorrow. Those of a local store
belong to the very function that made them: a function without a name of its own shares with no
other.
"""

from __future__ import annotations

import copy
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from meshhook import forks
from meshhook.canonical import bounded, canonical
from meshhook.errors import ConfigurationError
from meshhook.keys import Callee, Key, literal_of
from meshhook.stores.protocol import Store

At: TypeAlias = tuple[str, str | int | bytes]
"""Where a record is: scope and key. Text stays text, and in a local store a whole number stays one;
other keys are canonical, as bytes."""

_LONGEST_SHOWN = 200
_serials = itertools.count(1)
_lock = threading.RLock()
_taken: dict[tuple[str, str], weakref.WeakValueDictionary[str, Any]] = {}
"""By where the records are: several stores may be made of one server."""


class Scope:
    """Where the records of one function are."""

    def __init__(
        self, name: str, version: int, *, local: bool, serial: str = "", code: Any = None
    ) -> None:
        self.name = name
        self.version = version
        self.keeps_numbers = local
        self.text = f"{name}@{version}{serial}"
        self._code = code

    @classmethod
    def of_function(cls, store: Store, name: str, version: int, fn: Any) -> Scope:
        """Make the scope of a function that was given no name, in a store that outlives it."""
        if "<locals>" in name or "<lambda>" in name:
            raise ConfigurationError(
                f"{name} is made anew each time, and its records in the store outlive it: give it "
                "a name= that no other function has"
            )
        if name.startswith("__main__."):
            raise ConfigurationError(
                f"{name} is the name of a function in every script that has one of that name: give "
                "it a name= that no other function has"
            )
        scope = cls(name, version, local=False, code=getattr(fn, "__code__", None))
        with _lock:
            place = store.name, getattr(store, "namespace", "")
            taken = _taken.setdefault(place, weakref.WeakValueDictionary())
            other = taken.get(scope.text)
            if other is not None and not scope._is_reload_of(other):
                raise ConfigurationError(
                    f"two functions are called {name} and would share their results: "
                    "give one of them a name= of its own"
                )
            taken[scope.text] = scope
        return scope

    @classmethod
    def of_own(cls, name: str, version: int) -> Scope:
        """Make a scope of which there is no other in this process."""
        return cls(name, version, local=True, serial=f"#{next(_serials)}")

    def of_template(self, key: Key) -> Self:
        """Return the scope of calls with that key: the literal text of a template is part of it."""
        literal = literal_of(key)
        if not literal:
            return self
        own = copy.copy(self)
        own.text = f"{self.text}\n{literal}"  # no name has a line break in it
        return own

    def _is_reload_of(self, other: Scope) -> bool:
        """Tell whether the same lines were compiled again, as when a module is reloaded."""
        return self._code is not other._code and self._code == other._code

    def at(self, key: Any) -> At | None:
        """Return where the record of ``key`` is; None if it is no key, or lacks a part."""
        if (type(key) is str and key) or (type(key) is int and self.keeps_numbers):
            return self.text, key
        if _is_missing(key) or (isinstance(key, tuple) and any(map(_is_missing, key))):
            return None
        return self.text, canonical(key).encode("utf-8", "surrogatepass")

    def key_text(self, at: Any) -> str:
        """Return the key of a record with all that it is part of, as other systems may have it."""
        text, key = at
        scope = canonical(self.name) + canonical(self.version)
        literal = text.partition("\n")[2]
        if literal:
            scope += canonical(literal)
        own = key.decode("utf-8", "surrogatepass") if type(key) is bytes else canonical(key)
        return bounded(scope + own)

    @staticmethod
    def shown(at: Any) -> str:
        """Return the key of a record as messages show it."""
        shown = repr(at[1].decode("utf-8", "replace") if type(at[1]) is bytes else at[1])
        return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


def compile_at(
    scope: Scope, key: Key, callee: Callee, missing: Callable[[str], Exception]
) -> Callable[[tuple[Any, ...], dict[str, Any]], At]:
    """Compile ``key`` to what tells where the record of a call is."""
    read = callee.compile_key(key)
    scope = scope.of_template(key)
    text, keeps_numbers = scope.text, scope.keeps_numbers

    def at_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> At:
        try:
            value = read(args, kwargs)
        except AttributeError as error:
            if callable(key):
                raise
            raise missing(str(error)) from error
        kind = type(value)
        if (kind is str and value) or (kind is int and keeps_numbers):
            return text, value
        at = scope.at(value)
        if at is None:
            raise missing(f"it is {value!r}")
        return at

    return at_of


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (str, bytes, tuple)) and not value)


def _make_lock_anew() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()


forks.after_in_child(_make_lock_anew)
