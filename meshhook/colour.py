"""The colour of a function: sync or async, and whether it gives one result or a stream of items."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Colour: TypeAlias = Literal["sync", "async", "stream", "async stream"]
"""What calling a function gives: a result, a coroutine, a generator or an async generator."""

_NOT_SYNC = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_COLOURS: dict[int, Colour] = {
    0: "sync",
    inspect.CO_COROUTINE: "async",
    inspect.CO_GENERATOR: "stream",
    inspect.CO_ASYNC_GENERATOR: "async stream",
}


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling ``fn`` gives a coroutine: functions, methods, partials, objects."""
    if type(fn) is types.FunctionType and not fn.__dict__:
        return bool(fn.__code__.co_flags & inspect.CO_COROUTINE)
    return any(map(inspect.iscoroutinefunction, _what_runs(fn)))


def colour_of(fn: Callable[..., Any]) -> Colour:
    """Return the colour of ``fn``: functions, methods, partials, objects.

    A function that has no ``yield`` is no stream, whatever it returns: it runs when it is called.
    """
    if type(fn) is types.FunctionType and not fn.__dict__:
        return _COLOURS[fn.__code__.co_flags & _NOT_SYNC]
    candidates = _what_runs(fn)
    if any(map(inspect.iscoroutinefunction, candidates)):
        return "async"
    if any(map(inspect.isasyncgenfunction, candidates)):
        return "async stream"
    return "stream" if any(map(inspect.isgeneratorfunction, candidates)) else "sync"


def refuse_streams(fn: Any, kind: str) -> None:
    """Raise TypeError for a stream that is to be called: its body runs while it is iterated."""
    if colour_of(fn) in ("stream", "async stream"):
        raise TypeError(
            f"`call` and `acall` of {kind} cannot run the generator function {_name_of(fn)}: its "
            "body runs while it is iterated, not while it is called; decorate it, or call the "
            "functions that it calls"
        )


def not_for_streams(fn: Any, kind: str, why: str) -> TypeError:
    """Build the error for a stream where there can be none."""
    return TypeError(
        f"@{kind} cannot decorate the generator function {_name_of(fn)}: {why}; decorate the "
        "functions that it calls"
    )


def is_old_coroutine(fn: Any) -> bool:
    """Tell whether ``fn``, a stream by its colour, was made awaitable by ``types.coroutine``."""
    codes = (getattr(each, "__code__", None) for each in _what_runs(fn))
    return any(
        isinstance(code, types.CodeType) and code.co_flags & inspect.CO_ITERABLE_COROUTINE
        for code in codes
    )


def _name_of(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or repr(fn))


def _what_runs(fn: Any) -> tuple[Any, Any]:
    """Return what a call of ``fn`` may run: the function inside of it, and its ``__call__``."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, (classmethod, staticmethod)):
            fn = fn.__func__
        else:
            return fn, getattr(type(fn), "__call__", None)  # noqa: B004 - the method itself
