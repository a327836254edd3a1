"""``resilient``: policies from keywords, in the order that works whoever writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from meshhook.composition.pipeline import Pipeline
from meshhook.keys import Key
from meshhook.policies.circuit_breaker import CircuitBreaker, circuit_breaker
from meshhook.policies.idempotent import Idempotent, idempotent
from meshhook.policies.timeout import Timeout, timeout
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.settings import Duration, wrong

Arguments: TypeAlias = Mapping[str, Any]
"""The arguments of a decorator, by name."""


class _Place(NamedTuple):
    """The place of a policy in the canonical order."""

    keyword: str
    policy: type[Policy]
    decorator: Callable[..., Any]
    first: str
    """The argument that a bare value is."""


PLACES: tuple[_Place, ...] = (
    _Place("idempotent", Idempotent, idempotent, "key"),
    _Place("timeout", Timeout, timeout, "seconds"),
    _Place("circuit_breaker", CircuitBreaker, circuit_breaker, "name"),
    _Place("attempt_timeout", Timeout, timeout, "seconds"),
)
"""From the outside to the inside."""


def resilient(
    *,
    idempotent: Idempotent | Key | Arguments | None = None,
    timeout: Timeout | Duration | Arguments | bool | None = None,
    circuit_breaker: CircuitBreaker | str | Arguments | bool | None = None,
    attempt_timeout: Timeout | Duration | Arguments | bool | None = None,
    name: str | None = None,
    registry: Registry | None = None,
    strict_order: bool = False,
) -> Pipeline:
    """Put policies around functions in the order that works, however they are written down.

    From the outside to the inside: idempotent, timeout, circuit_breaker, attempt_timeout.

    A keyword takes a policy, such as ``timeout=mh.timeout(2)``; the first argument of the
    decorator, such as ``timeout=2``; a dict of its arguments, such as
    ``timeout={"seconds": 2, "mode": "thread"}``; or True for its defaults. None and False leave the
    policy out.
    """
    given = {
        "idempotent": idempotent,
        "timeout": timeout,
        "circuit_breaker": circuit_breaker,
        "attempt_timeout": attempt_timeout,
    }
    registry = Registry.given(registry)
    policies = [
        _made(place, given[place.keyword], name, registry)
        for place in PLACES
        if given[place.keyword] is not None and given[place.keyword] is not False
    ]
    return Pipeline(*policies, strict_order=strict_order)


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
    made = place.decorator(**arguments)
    if not isinstance(made, place.policy):
        raise wrong(
            place.keyword, given, f"a policy, a dict of arguments, or the {place.first} of one"
        )
    return made
