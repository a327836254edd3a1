"""``resilient``: policies from keywords, always in the order that works."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import meshhook as mh
from meshhook.composition.resilient import PLACES
from tests.colours import Colour

ALL: dict[str, Any] = {
    "chaos": "shop",
    "attempt_timeout": "1s",
    "bulkhead": 7,
    "rate_limit": "100/s",
    "throttle": 1.5,
    "circuit_breaker": "shop",
    "hedge": "50ms",
    "retry": 4,
    "timeout": 5,
    "idempotent": "{item}",
    "fallback": 0,
}
"""Every keyword with the argument that matters most, turned round."""


def price(item: str) -> int:
    return len(item)


def only(pipeline: mh.Pipeline) -> Any:
    (policy,) = pipeline
    return policy


def test_the_order_is_always_the_same(colour: Colour, registry: mh.Registry) -> None:
    """Whatever the order of the keywords, and it is the one that no rule objects to."""
    pipeline = mh.resilient(**ALL, registry=registry, strict_order=True)
    kinds = [policy.kind for policy in pipeline]
    assert kinds == [place.policy.kind for place in PLACES]
    assert kinds == [
        "fallback",
        "idempotent",
        "timeout",
        "retry",
        "hedge",
        "circuit_breaker",
        "throttle",
        "rate_limit",
        "bulkhead",
        "timeout",
        "chaos",
    ]
    fn: Any = pipeline(colour.paint(price))
    assert colour.call(fn, "lamp") == 4
    assert fn.__wrapped__.__name__ == "price"


def test_the_signature_has_the_order() -> None:
    """What is written down first is outermost."""
    keywords = list(inspect.signature(mh.resilient).parameters)
    assert keywords == [
        *(place.keyword for place in PLACES),
        "name",
        "registry",
        "strict_order",
    ]


def test_a_bare_value_is_what_matters_most(registry: mh.Registry) -> None:
    """One argument of the decorator, as it would be given to it."""
    policies: Any = mh.resilient(**ALL, registry=registry).policies
    last, key, total, retry, hedge, breaker, throttle, limit, bulkhead, attempt, chaos = (
        policy.settings if policy._name is None else policy for policy in policies
    )
    assert last.value.value == 0
    assert key.key == mh.idempotent("{item}").settings.key
    assert (total.seconds, attempt.seconds) == (5.0, 1.0)
    assert retry.max_attempts == 4
    assert hedge.delay == 0.05
    assert (breaker, chaos) == (registry["circuit_breaker/shop"], registry["chaos/shop"])
    assert throttle == mh.throttle(1.5).settings
    assert limit == mh.rate_limit("100/s").settings
    assert bulkhead.max_concurrent == 7


def test_true_means_the_defaults(registry: mh.Registry) -> None:
    """For every policy that has defaults for all of its arguments."""
    for place in PLACES:
        if place.keyword in ("fallback", "rate_limit", "idempotent"):
            continue
        settings: dict[str, Any] = {place.keyword: True, "registry": registry}
        made = only(mh.resilient(**settings))
        assert made.settings == place.decorator().settings


def test_a_dict_has_the_arguments(registry: mh.Registry) -> None:
    """Those of the decorator, by name; they come before what is said for all."""
    other = mh.Registry()
    made = only(
        mh.resilient(
            timeout={"seconds": 2, "mode": "thread", "name": "own", "registry": other},
            name="shop",
            registry=registry,
        )
    )
    assert (made.settings.seconds, made.settings.mode) == (2.0, "thread")
    assert made is other["own"]
    assert len(registry) == 0


def test_a_policy_stays_what_it_is(registry: mh.Registry) -> None:
    """It keeps its name, or that it has none."""
    limit, breaker = mh.timeout(2), mh.circuit_breaker("db", registry=registry)
    pipeline = mh.resilient(circuit_breaker=breaker, attempt_timeout=limit, name="shop")
    assert pipeline.policies == (breaker, limit)
    assert limit._name is None


@pytest.mark.parametrize("value", [None, False])
def test_none_and_false_leave_it_out(registry: mh.Registry, value: Any) -> None:
    """So that a setting of the program can say which policies there are."""
    leaving = {place.keyword: value for place in PLACES if place.keyword != "fallback"}
    pipeline = mh.resilient(**{**leaving, "timeout": 1, "registry": registry})
    assert [policy.kind for policy in pipeline] == ["timeout"]


@pytest.mark.parametrize("value", [None, False, True, 0, [], {}, {"value": 1}, "text"])
def test_any_value_is_a_fallback(registry: mh.Registry, value: Any) -> None:
    """None, True, False and dicts as well: here they are what the caller gets."""

    @mh.resilient(fallback=value, registry=registry)
    def fail() -> Any:
        raise OSError

    assert fail() is value


def test_a_function_is_a_handler(registry: mh.Registry) -> None:
    """It is called with the error; a policy has the settings that neither can say."""

    @mh.resilient(fallback=lambda error: type(error).__name__, registry=registry)
    def fail() -> Any:
        raise OSError

    assert fail() == "OSError"
    last_good = mh.fallback(last_good=60, key="{item}")
    assert only(mh.resilient(fallback=last_good)) is last_good


def test_a_name_is_for_all(registry: mh.Registry) -> None:
    """Functions with the same name share their policies; a name of its own comes first."""
    settings: dict[str, Any] = {**ALL, "circuit_breaker": "db", "chaos": True}
    pipeline = mh.resilient(**settings, name="shop", registry=registry)
    again = mh.resilient(**settings, name="shop", registry=registry)
    assert list(pipeline) == list(again)
    assert [policy.name for policy in pipeline] == [
        *["shop"] * 5,
        "db",
        *["shop"] * 3,
        "shop.attempt",
        "shop",
    ]


def test_without_a_name_nothing_is_shared(registry: mh.Registry) -> None:
    """Each function has policies of its own, named after it."""
    pipeline = mh.resilient(timeout=2, bulkhead=1, attempt_timeout=1, registry=registry)
    one: Any = pipeline(price)
    two: Any = pipeline(lambda item: item)
    assert not set(one.policies) & set(two.policies)
    name = f"{__name__}.price"
    assert [policy.name for policy in one.policies] == [f"{name}#2", name, name]


def test_strict_order_looks_at_settings_too(registry: mh.Registry) -> None:
    """The order is right anyhow; what defeats itself may be the numbers."""
    settings: dict[str, Any] = {"timeout": 1, "attempt_timeout": 2, "registry": registry}
    assert len(mh.explain(mh.resilient(**settings)).warnings) == 1
    with pytest.raises(mh.ConfigurationError, match="timeout-shorter-than-attempt"):
        mh.resilient(**settings, strict_order=True)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({}, mh.ConfigurationError, "resilient needs at least one policy"),
        ({"retry": None}, mh.ConfigurationError, "resilient needs at least one policy"),
        ({"rate_limit": True}, mh.ConfigurationError, "rate_limit must be a policy, a dict of its"),
        ({"timeout": len}, mh.ConfigurationError, "timeout must be a policy, a dict of its argu"),
        ({"circuit_breaker": len}, mh.ConfigurationError, "or its name, got <built-in"),
        ({"timeout": mh.retry()}, mh.ConfigurationError, "a policy of the kind timeout"),
        ({"fallback": mh.retry()}, mh.ConfigurationError, "a policy of the kind fallback"),
        ({"retry": "3"}, mh.ConfigurationError, "max_attempts must be a whole number"),
        ({"retry": {"attempts": 3}}, TypeError, "unexpected keyword argument 'attempts'"),
        ({"timeout": 1, "registry": "mine"}, mh.ConfigurationError, "registry must be"),
        ({"timeout": 1, "name": ""}, mh.ConfigurationError, "name must be"),
        ({"timeout": 1, "strict_order": 1}, mh.ConfigurationError, "strict_order must be"),
        ({"timeouts": 1}, TypeError, "unexpected keyword argument 'timeouts'"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, error: type[Exception], says: str) -> None:
    """Where they are written, with what to write instead."""
    with pytest.raises(error, match=says):
        mh.resilient(**settings)
