"""The decorator ``throttle``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.dice import Seed
from meshhook.judges import Judge
from meshhook.keys import Key
from meshhook.policies.throttle.policy import Throttle
from meshhook.policies.throttle.settings import MAX_KEYS, throttle_settings
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration

P = ParamSpec("P")
R = TypeVar("R")


@overload
def throttle(k: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def throttle(
    k: float = 2.0,
    window: Duration = 120.0,
    *,
    minimum_calls: int = 10,
    max_rejection: float = 0.9,
    on: Judge = Exception,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    seed: Seed = None,
    critical: bool = False,
    name: str | None = None,
    registry: Registry | None = None,
) -> Throttle: ...


def throttle(
    k: Callable[..., Any] | float = 2.0,
    window: Duration = 120.0,
    *,
    minimum_calls: int = 10,
    max_rejection: float = 0.9,
    on: Judge = Exception,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    seed: Seed = None,
    critical: bool = False,
    name: str | None = None,
    registry: Registry | None = None,
) -> Any:
    """Drop calls that an overloaded service would refuse anyway; raise ThrottledError instead.

    Of the requests of the last ``window`` seconds, dropped ones included, and those that the
    service accepted, a share of ``(requests - k * accepted) / (requests + 1)`` is dropped. So about
    ``k`` times as much is sent as is accepted: enough to see when the service is well again. Use it
    bare, with arguments, or as an object. Durations are seconds (or ``timedelta``, or text such as
    ``"2m"``).

    Args:
        k: how many times what is accepted may be sent, 1 or more. Default 2; less drops sooner.
        window: seconds that are looked back. Default 120.
        minimum_calls: requests that the window must hold before any is dropped. Default 10.
        max_rejection: the greatest share that is dropped, above 0 and up to 1. Default 0.9.
        on: exceptions that say that a call was not accepted: types, or a predicate. Others count as
            accepted. Cancellation and interrupts count as nothing, and what other policies refuse
            does unless it is named.
        key: a template, names or a callable over the arguments; each key has numbers of its own.
        max_keys: how many keys have; those that nothing is dropped of make room. Default 10,000.
        seed: makes the same calls be dropped in each run of the program.
        critical: whether the service is not ready while it drops most calls: see
            :meth:`meshhook.Registry.health`. Default False.
        name: shared by all throttles of that name in the registry; without one, each function that
            is decorated has its own, named after it.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        ThrottledError: when called, for a call that is dropped; ``chance`` says how likely it was.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops. No lock is held while the function runs,
    and no random number is drawn while the chance is 0.
    """
    if guard.is_target(k):
        return throttle()(k)  # type: ignore[type-var]
    recipe = recipes(
        k=k,
        window=window,
        minimum_calls=minimum_calls,
        max_rejection=max_rejection,
        on=on,
        key=key,
        max_keys=max_keys,
        seed=seed,
        critical=critical,
    )
    return Throttle.shared(name, recipe, registry)


recipes = Recipes(throttle_settings, throttle)
