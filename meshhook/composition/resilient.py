"""``resilient``: policies from keywords, in the order that works whoever writes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from meshhook.composition.pipeline import Pipeline
from meshhook.errors import ConfigurationError
from meshhook.keys import Key
from meshhook.policies.bulkhead import Bulkhead, bulkhead
from meshhook.policies.chaos import Chaos, chaos
from meshhook.policies.circuit_breaker import CircuitBreaker, circuit_breaker
from meshhook.policies.fallback import Fallback, fallback
from meshhook.policies.hedge import Hedge, hedge
from meshhook.policies.idempotent import Idempotent, idempotent
from meshhook.policies.rate_limit import RateLimit, rate_limit
from meshhook.policies.retry import Retry, retry
from meshhook.policies.throttle import Throttle, throttle
from meshhook.policies.timeout import Timeout, timeout
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.settings import Duration, wrong

Arguments: TypeAlias = Mapping[str, Any]
"""The arguments of a decorator, by name."""


class _Place(NamedTuple):
    """The place of a policy in the order that works."""

    keyword: str
    policy: type[Policy]
    decorator: Callable[..., Any]
    first: str
    """The argument that a bare value is."""

    def has_no_default(self) -> bool:
        """Tell whether that argument has to be given."""
        argument = inspect.signature(self.decorator).parameters[self.first]
        return argument.default is argument.empty


PLACES: tuple[_Place, ...] = (
    _Place("fallback", Fallback, fallback, "value"),
    _Place("idempotent", Idempotent, idempotent, "key"),
    _Place("timeout", Timeout, timeout, "seconds"),
    _Place("retry", Retry, retry, "max_attempts"),
    _Place("hedge", Hedge, hedge, "delay"),
    _Place("circuit_breaker", CircuitBreaker, circuit_breaker, "name"),
    _Place("throttle", Throttle, throttle, "k"),
    _Place("rate_limit", RateLimit, rate_limit, "rate"),
    _Place("bulkhead", Bulkhead, bulkhead, "max_concurrent"),
    _Place("attempt_timeout", Timeout, timeout, "seconds"),
    _Place("chaos", Chaos, chaos, "name"),
)
"""From the outside to the inside."""


def resilient(
    *,
    fallback: Any = ...,
    idempotent: Idempotent | Key | Arguments | None = None,
    timeout: Timeout | Duration | Arguments | bool | None = None,
    retry: Retry | int | Arguments | bool | None = None,
    hedge: Hedge | Duration | Arguments | bool | None = None,
    circuit_breaker: CircuitBreaker | str | Arguments | bool | None = None,
    throttle: Throttle | float | Arguments | bool | None = None,
    rate_limit: RateLimit | str | int | Arguments | None = None,
    bulkhead: Bulkhead | int | Arguments | bool | None = None,
    attempt_timeout: Timeout | Duration | Arguments | bool | None = None,
    chaos: Chaos | str | Arguments | bool | None = None,
    name: str | None = None,
    registry: Registry | None = None,
    strict_order: bool = False,
) -> Pipeline:
    """Put policies around functions in the order that works, however they are written down.

    The order is that of the arguments here, the first outermost. Each takes a policy, such as
    ``timeout=mh.timeout(2)``; the one argument that matters most, such as ``timeout=2``; a dict of
    the arguments of the decorator, such as ``timeout={"seconds": 2, "mode": "thread"}``; or True
    for its defaults. None and False leave the policy out.

    Args:
        fallback: what is given where all else fails: any value (a dict is a value as well), a
            function of the error, or a policy. Left out: no fallback. Only here None, True and
            False are values like others.
        idempotent: which arguments are the key of a call, as a template, names or a callable.
        timeout: the limit on the whole call, in seconds (or ``timedelta``, or text such as
            ``"250ms"``).
        retry: how many attempts are made, the first included.
        hedge: after how long a second call is started, in seconds or such text. The function must
            be idempotent, or the hedge told that it is.
        circuit_breaker: the name of the circuit.
        throttle: how many requests are sent for each that is accepted.
        rate_limit: how many calls in what time, such as ``"100/s"``.
        bulkhead: how many calls run at a time.
        attempt_timeout: the limit on each attempt, in seconds or such text.
        chaos: the name of a place where faults may be injected.
        name: given to all policies that are made here and get no other, so that functions with the
            same name share them; the timeout of an attempt gets ``name.attempt``. Without one each
            function has policies of its own, named after it.
        registry: where policies that are made here live. Default ``meshhook.registry``.
        strict_order: whether what defeats itself raises: see :func:`meshhook.explain`.

    Raises:
        ConfigurationError: here, when a setting is wrong or nothing is left of the policies; with
            ``strict_order`` when settings defeat each other, also when a function is decorated that
            has policies already.

    Safe to share between threads, tasks and event loops.
    """
    given = {
        "fallback": _as_fallback(fallback),
        "idempotent": idempotent,
        "timeout": timeout,
        "retry": retry,
        "hedge": hedge,
        "circuit_breaker": circuit_breaker,
        "throttle": throttle,
        "rate_limit": rate_limit,
        "bulkhead": bulkhead,
        "attempt_timeout": attempt_timeout,
        "chaos": chaos,
    }
    registry = Registry.given(registry)
    policies = [
        _made(place, given[place.keyword], name, registry)
        for place in PLACES
        if given[place.keyword] is not None and given[place.keyword] is not False
    ]
    if not policies:
        raise ConfigurationError(
            "resilient needs at least one policy: write resilient(timeout=2) or the like"
        )
    return Pipeline(*policies, strict_order=strict_order)


def _as_fallback(given: Any) -> Fallback | Arguments | None:
    """Return the arguments of a fallback: whatever is no function is a value."""
    if given is ...:
        return None
    if isinstance(given, Policy):
        return given  # type: ignore[return-value]  # one of another kind is refused with the rest
    return {"handler": given} if callable(given) else {"value": given}


def _made(place: _Place, given: Any, name: str | None, registry: Registry) -> Policy:
    if isinstance(given, place.policy):
        return given
    if isinstance(given, Policy):
        raise wrong(place.keyword, given, f"a policy of the kind {place.policy.kind}")
    arguments: dict[str, Any] = {"registry": registry}
    if name is not None:
        # Both limits on time have the name, and are not the same.
        arguments["name"] = f"{name}.attempt" if place.keyword == "attempt_timeout" else name
    if isinstance(given, Mapping):
        arguments |= given
    elif given is not True:
        arguments[place.first] = given
    made = None if given is True and place.has_no_default() else place.decorator(**arguments)
    if not isinstance(made, place.policy):
        # A decorator that is given a function as its first argument decorates it.
        raise wrong(
            place.keyword, given, f"a policy, a dict of its arguments, or its {place.first}"
        )
    return made
