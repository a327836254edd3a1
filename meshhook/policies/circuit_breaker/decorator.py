"""The decorator ``circuit_breaker``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.judges import Judge
from meshhook.keys import Key
from meshhook.policies.circuit_breaker.policy import CircuitBreaker
from meshhook.policies.circuit_breaker.settings import (
    MAX_KEYS,
    ResetTimeout,
    breaker_settings,
)
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.rules.phases import State
from meshhook.settings import Duration

P = ParamSpec("P")
R = TypeVar("R")


@overload
def circuit_breaker(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def circuit_breaker(
    name: str | None = None,
    *,
    failure_threshold: int | None = None,
    failure_rate_threshold: float | None = None,
    slow_call_duration: Duration | None = None,
    slow_call_rate_threshold: float | None = None,
    window: Duration | None = None,
    window_calls: int | None = None,
    minimum_calls: int | None = None,
    reset_timeout: ResetTimeout = 60.0,
    half_open_max_calls: int = 1,
    success_threshold: int | None = None,
    half_open_max_concurrent: int = 1,
    half_open_timeout: Duration | None = None,
    record: Judge = Exception,
    ignore: Judge = (),
    record_result: Callable[[Any], bool] | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    initial_state: State | str = State.CLOSED,
    critical: bool = False,
    registry: Registry | None = None,
) -> CircuitBreaker: ...


def circuit_breaker(
    name: Callable[..., Any] | str | None = None,
    *,
    failure_threshold: int | None = None,
    failure_rate_threshold: float | None = None,
    slow_call_duration: Duration | None = None,
    slow_call_rate_threshold: float | None = None,
    window: Duration | None = None,
    window_calls: int | None = None,
    minimum_calls: int | None = None,
    reset_timeout: ResetTimeout = 60.0,
    half_open_max_calls: int = 1,
    success_threshold: int | None = None,
    half_open_max_concurrent: int = 1,
    half_open_timeout: Duration | None = None,
    record: Judge = Exception,
    ignore: Judge = (),
    record_result: Callable[[Any], bool] | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    initial_state: State | str = State.CLOSED,
    critical: bool = False,
    registry: Registry | None = None,
) -> Any:
    """Stop calling what keeps failing; raise CircuitOpenError instead, at once.

    Use it bare, with arguments, or as an object: ``@circuit_breaker``, ``@circuit_breaker("db")``,
    ``breaker = circuit_breaker("db"); breaker.call(fn)``, ``with breaker:``,
    ``async with breaker:``.
    Durations are seconds (or ``timedelta``, or text such as ``"250ms"``); rates are shares, 0 to 1.

    Args:
        name: shared by all breakers of that name in the registry; without one, each function that
            is decorated has its own circuit, named after it.
        failure_threshold: failures in a row that open the circuit. Default 5, and no such rule when
            a rate is given.
        failure_rate_threshold: share of failures among the calls of the window that opens it.
        slow_call_duration: from how many seconds on a call counts as slow, running ones included.
        slow_call_rate_threshold: share of slow calls among those of the window that opens it.
        window: seconds that the rates look back. Default 30 when a rate is given.
        window_calls: number of calls that the rates look back, instead of ``window``.
        minimum_calls: calls that the window must hold before a rate counts. Default 10.
        reset_timeout: seconds that it stays open, or a callable of the number of openings in a row
            and the last exception. An exception's ``retry_after`` prolongs it, up to an hour.
        half_open_max_calls: trial calls of one half-open round. Default 1.
        success_threshold: successes among them that close the circuit. Default: all.
        half_open_max_concurrent: trial calls that may run at the same time. Default 1.
        half_open_timeout: seconds after which a trial that hangs is given up. Default
            ``reset_timeout``.
        record: exceptions that are failures: types, or a predicate. Others count as successes.
        ignore: exceptions that count as nothing at all. Cancellation and interrupts always do, and
            what other policies refuse does unless ``record`` names it.
        record_result: a predicate of the result; true makes a failure of the call.
        key: a template, names or a callable over the arguments; each key gets a circuit.
        max_keys: how many keys have a circuit of their own; idle closed ones make room. Default
            10,000.
        initial_state: the state to begin in. Default ``"closed"``.
        critical: whether the service is not ready while its circuit is open: see
            :meth:`meshhook.Registry.health`. Default False.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        CircuitOpenError: when called while the circuit is open; ``retry_after`` says for how long.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops. No lock is held while the function runs.
    """
    given: Any = name
    if guard.is_target(given):
        return circuit_breaker()(given)
    recipe = recipes(
        failure_threshold=failure_threshold,
        failure_rate_threshold=failure_rate_threshold,
        slow_call_duration=slow_call_duration,
        slow_call_rate_threshold=slow_call_rate_threshold,
        window=window,
        window_calls=window_calls,
        minimum_calls=minimum_calls,
        reset_timeout=reset_timeout,
        half_open_max_calls=half_open_max_calls,
        success_threshold=success_threshold,
        half_open_max_concurrent=half_open_max_concurrent,
        half_open_timeout=half_open_timeout,
        record=record,
        ignore=ignore,
        record_result=record_result,
        key=key,
        max_keys=max_keys,
        initial_state=initial_state,
        critical=critical,
    )
    return CircuitBreaker.shared(given, recipe, registry)


recipes = Recipes(breaker_settings, circuit_breaker)
