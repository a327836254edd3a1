"""The decorator ``hedge``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.budgets import RetryBudget
from meshhook.judges import Judge
from meshhook.policies.hedge.policy import Hedge
from meshhook.policies.hedge.settings import hedge_settings
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration

P = ParamSpec("P")
R = TypeVar("R")


@overload
def hedge(delay: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def hedge(
    delay: Duration | None = None,
    *,
    quantile: float = 0.95,
    minimum_samples: int = 20,
    minimum_delay: Duration = 0.001,
    window: Duration = 60.0,
    max_hedges: int = 1,
    on: Judge = Exception,
    budget: RetryBudget | None = None,
    idempotent: bool = False,
    alternatives: Iterable[Callable[..., Any]] = (),
    max_extra: int = 32,
    grace: Duration = 5.0,
    on_discard: Callable[[Any], object] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Hedge: ...


def hedge(
    delay: Callable[..., Any] | Duration | None = None,
    *,
    quantile: float = 0.95,
    minimum_samples: int = 20,
    minimum_delay: Duration = 0.001,
    window: Duration = 60.0,
    max_hedges: int = 1,
    on: Judge = Exception,
    budget: RetryBudget | None = None,
    idempotent: bool = False,
    alternatives: Iterable[Callable[..., Any]] = (),
    max_extra: int = 32,
    grace: Duration = 5.0,
    on_discard: Callable[[Any], object] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Any:
    """Make a second attempt when the first takes long or fails, and take the first answer.

    Use it bare, with arguments, or as an object: ``@hedge``, ``@hedge("50ms", idempotent=True)``,
    ``hedge(idempotent=True).call(fn)``. An attempt of an async function is a task, one of a sync
    function a worker thread, each with a copy of the caller's context. The first attempt that
    returns is the answer, at once. Async attempts that are left are cancelled and end in the
    background; sync ones cannot be stopped and run on, see ``max_extra``. If all attempts fail,
    the error of the first one is raised, with the errors of the others as its context.

    Refusals by policies inside (an open circuit, a full bulkhead) start no hedge unless ``on``
    names them. No hedge starts past the deadline. When an async caller is cancelled, so are all
    attempts, and the caller waits for their end.

    Args:
        delay: after how long a hedge starts, in seconds (or ``timedelta``, or text such as
            ``"50ms"``); 0 starts all attempts together. Default None: it is learned.
        quantile: without ``delay``: a hedge starts for a first attempt that takes longer than this
            share of the recent ones. Default 0.95.
        minimum_samples: how many recent calls must be known for that. Default 20.
        minimum_delay: the least that is learned, in seconds. Default 0.001.
        window: how many seconds back calls are recent; at least half of it is remembered.
            Default 60.
        max_hedges: attempts beyond the first, each ``delay`` after the one before. Default 1.
        on: which errors of an attempt start the next one at once, as types or a predicate; any
            other error is the answer. Default Exception.
        budget: a RetryBudget, which retries may share. With none left no hedge starts; the call
            itself is never refused. Default None: no bound.
        idempotent: True declares that calls may be repeated, also at the same time. Not needed
            below ``@idempotent``. Default False.
        alternatives: functions that hedges call with the same arguments: the first hedge the first
            of them, and so on; further ones call the function itself. Default none.
        max_extra: how many attempts beyond one for each call may run at a time, those that nobody
            waits for included; at that many no hedge starts. Default 32.
        grace: async: after how many seconds an attempt that was cancelled and goes on is cancelled
            again. Default 5.
        on_discard: a plain function that gets the result of an attempt that was not needed, such
            as to close it; called in its thread, or on its loop. Default None.
        name: shared by all hedges of that name in the registry; without one, each function that
            is decorated has its own delay and counters, under its name.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        ConfigurationError: here, when a setting is wrong or the name has other settings already;
            when decorating, when an alternative is of the other colour; when called, if nothing
            declares that calls may be repeated. Nothing has been run then.

    Safe to share between threads, tasks and event loops.
    """
    if guard.is_target(delay):
        return hedge()(delay)  # type: ignore[type-var]
    if isinstance(alternatives, Iterator):
        alternatives = tuple(alternatives)
    recipe = recipes(
        delay=delay,
        quantile=quantile,
        minimum_samples=minimum_samples,
        minimum_delay=minimum_delay,
        window=window,
        max_hedges=max_hedges,
        on=on,
        budget=budget,
        idempotent=idempotent,
        alternatives=alternatives,
        max_extra=max_extra,
        grace=grace,
        on_discard=on_discard,
    )
    return Hedge.shared(name, recipe, registry)


recipes = Recipes(hedge_settings, hedge)
