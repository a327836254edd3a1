"""The colour of a function: sync or async; and what has neither, for its body runs later."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling ``fn`` gives a coroutine: functions, methods, partials, objects."""
    if type(fn) is types.FunctionType and not fn.__dict__:
        return bool(fn.__code__.co_flags & inspect.CO_COROUTINE)
    return any(map(inspect.iscoroutinefunction, _what_runs(fn)))


def refuse_generators(fn: Any, kind: str) -> None:
    """Raise TypeError for generator functions, async ones included."""
    if type(fn) is types.FunctionType and not fn.__code__.co_flags & _GENERATOR:
        return
    for candidate in _what_runs(fn):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            name = getattr(fn, "__qualname__", None) or repr(fn)
            raise TypeError(
                f"@{kind} cannot decorate the generator function {name}: its body runs while it is "
                "iterated, not while it is called; decorate the functions that it calls"
            )


def _what_runs(fn: Any) -> tuple[Any, Any]:
    """Return what a call of ``fn`` may run: the function inside of it, and its ``__call__``."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, (classmethod, staticmethod)):
            fn = fn.__func__
        else:
            return fn, getattr(type(fn), "__call__", None)  # noqa: B004 - the method itself
