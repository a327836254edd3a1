"""Handlers: what the functions of the user are called with, decided when a function is decorated.

A handler that needs nothing but the error gets the error; one that needs more, or shares the name
of a parameter with the function, gets the arguments of the call as well, as they were given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from meshhook.colour import is_async
from meshhook.errors import ConfigurationError
from meshhook.keys import VARIADIC
from meshhook.policies.fallback.settings import Handler

Handling: TypeAlias = Callable[[Exception | None, tuple[Any, ...], dict[str, Any]], Any]
"""A handler that takes the error and the arguments of the call, and uses what it needs."""


def compile_handler(handler: Handler, fn: Callable[..., Any], *, asynchronous: bool) -> Handling:
    """Make ``handler`` fit for calls of ``fn``, or raise ConfigurationError if it does not fit."""
    if is_async(handler) and not asynchronous:
        raise ConfigurationError(
            f"handler {_named(handler)} is async and {_named(fn)} is not, so nobody would await "
            "it: give a plain function, or make the decorated one `async def`"
        )
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return _of_error(handler)  # some builtins do not tell what they take
    if _needs_arguments(signature, fn):
        _check_arguments(handler, signature, fn)
        return _of_call(handler)
    try:
        signature.bind(None)
    except TypeError:
        raise ConfigurationError(
            f"handler {_named(handler)} takes {signature}, and it is called with the error: write "
            "handler(error), or handler(error, *args, **kwargs)"
        ) from None
    return _of_error(handler)


def _of_error(handler: Handler) -> Handling:
    return lambda exc, _args, _kwargs: handler(exc)


def _of_call(handler: Handler) -> Handling:
    return lambda exc, args, kwargs: handler(exc, *args, **kwargs)


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return what ``fn`` takes; anything, where it does not tell."""
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def _needs_arguments(signature: inspect.Signature, fn: Callable[..., Any]) -> bool:
    """Tell whether there is anything to fill in beside the error, which comes first."""
    parameters = list(signature.parameters.values())
    if any(each.kind in VARIADIC for each in parameters):
        return True
    if sum(each.default is each.empty for each in parameters) > 1:
        return True
    # A default alone needs nothing: it may be what the handler brings along.
    known = {each.name for each in _parameters(fn) if each.kind not in VARIADIC}
    return any(each.name in known for each in parameters[1:])


def _check_arguments(
    handler: Handler, signature: inspect.Signature, fn: Callable[..., Any]
) -> None:
    """Raise if ``handler`` cannot take the shortest and the longest call of ``fn``."""
    parameters = _parameters(fn)
    named = [each for each in parameters if each.kind not in VARIADIC]
    bind = signature.bind if len(named) == len(parameters) else signature.bind_partial
    try:
        for taken in ([each for each in named if each.default is each.empty], named):
            args = [None for each in taken if each.kind is not each.KEYWORD_ONLY]
            kwargs = {each.name: None for each in taken if each.kind is each.KEYWORD_ONLY}
            bind(None, *args, **kwargs)
    except TypeError as error:
        raise ConfigurationError(
            f"handler {_named(handler)} takes {signature}, which does not fit the arguments of "
            f"{_named(fn)}: {error}; write handler(error), or handler(error, *args, **kwargs)"
        ) from None


def _named(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or repr(fn))
