"""The decorator ``fallback``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meshhook.judges import Judge
from meshhook.keys import Key
from meshhook.policies.fallback.policy import Fallback
from meshhook.policies.fallback.settings import MAX_KEYS, Handler, fallback_settings
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration


def fallback(
    value: Any = ...,
    handler: Handler | Sequence[Handler] | None = None,
    *,
    last_good: Duration | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    on: Judge = Exception,
    on_result: Callable[[Any], bool] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Fallback:
    """Give something else where a call fails: a last good result, what a handler makes, a value.

    The sources are asked in this order, and at least one has to be given: ``@fallback([])``,
    ``@fallback(handler=fn)``, ``@fallback(last_good="5m", key="{item}")``. Use it as the outermost
    decorator, so that the policies below it see the failures. Durations are seconds (or
    ``timedelta``, or text such as ``"250ms"``).

    Args:
        value: what is returned, the same object each time. No callable: that is a handler.
        handler: a function of the error, ``handler(error)``; one that needs more than the error
            gets the arguments of the call too, ``handler(error, *args, **kwargs)``. Async ones are
            for async functions. Of several in a list, the next is asked when one raises. For a bad
            result the error is None.
        last_good: for how many seconds a good result may be given again, if later calls fail.
        key: a template, names or a callable over the arguments: which calls have the same last
            good result. Required with ``last_good`` if the function takes arguments.
        max_keys: how many last good results are kept at most. Default 1,000.
        on: exceptions that get a fallback: types, or a predicate. Default all errors, those of
            policies further in included; never cancellation and interrupts.
        on_result: a predicate of the result; true makes a bad result of it.
        name: shared by all fallbacks of that name in the registry; without one, each function that
            is decorated has its own, named after it.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        ConfigurationError: here, when a setting is wrong, nothing to give was named or the name has
            other settings already; when decorating, when a handler or a missing key does not fit
            the function.

    The caller gets the error of the call where it is not one of ``on`` or no source has an answer;
    the error of the last handler, chained to it, where that raised and there is no value.

    Safe to share between threads, tasks and event loops. No lock is held while functions run.
    """
    recipe = recipes(
        value=value,
        handler=handler,
        last_good=last_good,
        key=key,
        max_keys=max_keys,
        on=on,
        on_result=on_result,
    )
    return Fallback.shared(name, recipe, registry)


recipes = Recipes(fallback_settings, fallback)
