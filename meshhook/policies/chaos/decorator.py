"""The decorator ``chaos``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.dice import Seed
from meshhook.policies.chaos.plan import Delay, Fault, Rate
from meshhook.policies.chaos.policy import Chaos
from meshhook.policies.chaos.settings import Enabled, chaos_settings
from meshhook.recipes import Recipes
from meshhook.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")


@overload
def chaos(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def chaos(
    name: str | None = None,
    *,
    rate: Rate = 0.0,
    fault: Fault | None = None,
    latency: Delay | None = None,
    result: Any = ...,
    enabled: Enabled = True,
    seed: Seed = None,
    registry: Registry | None = None,
) -> Chaos: ...


def chaos(
    name: Callable[..., Any] | str | None = None,
    *,
    rate: Rate = 0.0,
    fault: Fault | None = None,
    latency: Delay | None = None,
    result: Any = ...,
    enabled: Enabled = True,
    seed: Seed = None,
    registry: Registry | None = None,
) -> Any:
    """Let some calls fail, wait or return something wrong, to see what becomes of them.

    With its defaults nothing strikes: it is a place in the stack, the innermost as a rule, where a
    test or an operator can :meth:`~Chaos.inject` faults at run time. ``MESHHOOK_CHAOS=off`` in the
    environment of the process keeps all of them from striking. Durations are seconds (or
    ``timedelta``, or text such as ``"250ms"``).

    Args:
        name: shared by all of that name in the registry; without one, each function that is
            decorated has its own, named after it.
        rate: the share of calls that are struck, 0 to 1, or a function that gives it for each call.
            Default 0.
        fault: what they raise: an error, of which each call gets a copy, a type of errors, or a
            function that makes an error, or None for no fault. Default ``InjectedFaultError`` if
            neither ``latency`` nor ``result`` is given.
        latency: for how many seconds they wait first, or a function that gives that.
        result: what they return, without the function being called. A callable is called for it.
        enabled: False for never; a function is asked for each call.
        seed: makes the same calls be struck in each run of the program.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        InjectedFaultError: when called, if that is the fault.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    No random number is drawn while nothing may strike. Safe to share between threads, tasks and
    event loops.
    """
    given: Any = name
    if guard.is_target(given):
        return chaos()(given)
    recipe = recipes(
        rate=rate, fault=fault, latency=latency, result=result, enabled=enabled, seed=seed
    )
    return Chaos.shared(given, recipe, registry)


recipes = Recipes(chaos_settings, chaos)
