"""Kinds: whatever a decorator takes can be said from outside, with whatever it goes together."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from meshhook.configuration.kinds import KINDS, arguments_of
from tests.configuration.conftest import configure

HERE = __name__


def one(*_: Any) -> Any:
    return 1.0


def other(*_: Any) -> Any:
    return 2.0


class Codec:
    """What a file names."""

    @staticmethod
    def encode(value: Any) -> str:
        return str(value)

    @staticmethod
    def decode(kept: Any) -> Any:
        return kept


def share_of_calls() -> float:
    return 0.5


STORE = mh.MemoryStore()
NEEDED: dict[str, dict[str, Any]] = {
    "rate_limit": {"rate": 1},
    "fallback": {"value": 0},
    "idempotent": {"store": STORE},
}
"""What the code has to say in any case."""

ONE = f"{HERE}:one"
TOGETHER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("bulkhead", {"max_concurrent": 3, "max_queue": 5, "max_wait": 2, "order": "lifo"}, {}),
    ("bulkhead", {"max_wait": "none", "key": "{a}", "max_keys": 5, "critical": True}, {}),
    ("bulkhead", {"limit": {"kind": "aimd", "max": 30}}, {"limit": mh.AIMD(max=30)}),
    ("chaos", {"rate": 0.5, "fault": "OSError", "latency": "1ms"}, {"fault": OSError}),
    ("chaos", {"result": 5, "enabled": False, "seed": 7}, {}),
    ("chaos", {"rate": f"{HERE}:share_of_calls"}, {"rate": share_of_calls}),
    ("circuit_breaker", {"slow_call_duration": 1, "slow_call_rate_threshold": 0.5}, {}),
    (
        "circuit_breaker",
        {"failure_threshold": "none", "failure_rate_threshold": 0.5, "window_calls": 20}
        | {"minimum_calls": 15, "initial_state": "metrics_only"},
        {},
    ),
    (
        "circuit_breaker",
        {"failure_rate_threshold": 0.1, "window": 5, "minimum_calls": 99, "key": ["a"]}
        | {"max_keys": 5, "critical": True},
        {"key": ("a",)},
    ),
    (
        "circuit_breaker",
        {"half_open_max_calls": 5, "success_threshold": 3, "half_open_max_concurrent": 2}
        | {"reset_timeout": ONE, "half_open_timeout": 3},
        {"reset_timeout": one},
    ),
    (
        "circuit_breaker",
        {"record": ["OSError", "KeyError"], "ignore": "EOFError", "record_result": ONE},
        {"record": (OSError, KeyError), "ignore": EOFError, "record_result": one},
    ),
    (
        "fallback",
        {"last_good": 5, "key": "{a}", "max_keys": 9, "on": "OSError", "on_result": ONE},
        {"on": OSError, "on_result": one},
    ),
    ("fallback", {"value": 5, "handler": [ONE]}, {"handler": [one]}),
    (
        "hedge",
        {"alternatives": [ONE, f"{HERE}:other"], "max_hedges": 2, "delay": "1ms"},
        {"alternatives": (one, other)},
    ),
    (
        "hedge",
        {"quantile": 0.9, "minimum_samples": 5, "minimum_delay": 0, "window": 9, "max_extra": 3}
        | {"on": "OSError", "idempotent": True, "grace": 2, "on_discard": ONE, "budget": "up"},
        {"on": OSError, "on_discard": one},
    ),
    (
        "idempotent",
        {"key": "{a}", "version": 2, "fingerprint": "b", "ttl": 60, "lease": 600, "max_run": 900},
        {},
    ),
    (
        "idempotent",
        {"on_running": "reject", "wait_timeout": 0, "on_store_error": "run"}
        | {"codec": f"{HERE}:Codec", "max_result_bytes": 10},
        {"codec": Codec},
    ),
    (
        "rate_limit",
        {"rate": 100, "period": 60, "burst": 200, "cost": 150, "max_wait": "none"},
        {},
    ),
    (
        "rate_limit",
        {"rate": "10/s; 100/m", "algorithm": "sliding_log", "key": "{a}", "max_keys": 5}
        | {"pause_on": "OSError"},
        {"pause_on": OSError},
    ),
    ("retry", {"max_attempts": "none", "max_elapsed": 5, "max_delay": 900, "base_delay": 600}, {}),
    ("retry", {"backoff": ONE, "jitter": "none", "factor": 3}, {"backoff": one}),
    (
        "retry",
        {"on": "OSError", "on_result": ONE, "abort_on": "KeyError", "before_sleep": ONE}
        | {"retry_after": ONE, "max_retry_after": 5, "budget": "up"},
        {"on": OSError, "on_result": one, "abort_on": KeyError, "before_sleep": one}
        | {"retry_after": one},
    ),
    ("retry", {"respect_retry_after": False}, {}),
    ("retry_budget", {"ratio": 0, "min_per_second": 5, "ttl": 20}, {}),
    (
        "throttle",
        {"k": 3, "window": 5, "minimum_calls": 5, "max_rejection": 0.5, "on": "OSError"}
        | {"key": "{a}", "max_keys": 5, "seed": "x", "critical": True},
        {"on": OSError},
    ),
    ("timeout", {"seconds": "none", "per_item": 2}, {}),
    ("timeout", {"seconds": 120, "per_item": 60, "mode": "thread"}, {}),
    ("timeout", {"message": "late", "max_abandoned": 3}, {}),
]
"""Settings as a file has them, with all that they need; and what the code says in other words."""

makers: dict[str, Any] = {kind: getattr(mh, kind, None) for kind in KINDS}
makers["retry_budget"] = mh.RetryBudget


def ids(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_is_among_them(kind: str) -> None:
    """But for stores, which only the code can give."""
    said = {argument for each, settings, _ in TOGETHER if each == kind for argument in settings}
    assert said == arguments_of(kind) - {"store"}


@pytest.mark.parametrize("layer", ["policies", "profiles"])
@pytest.mark.parametrize(("kind", "said", "differs"), TOGETHER, ids=ids)
def test_every_argument_can_be_set_from_outside(
    registry: mh.Registry, layer: str, kind: str, said: dict[str, Any], differs: dict[str, Any]
) -> None:
    """With those that it needs beside it; it means then what it means in the code."""
    tables: dict[str, dict[str, Any]] = {
        "policies": {"policies": {kind: {"db": said}}},
        "profiles": {"profile": "p", "profiles": {"p": {kind: said}}},
    }
    budget = {"policies": {"retry_budget": {"up": {}}}} if "budget" in said else {}
    configure([tables[layer], budget])
    needed = NEEDED.get(kind, {})
    configured = makers[kind](**needed, name="db")

    arguments = {key: None if value == "none" else value for key, value in said.items()}
    if budget:
        arguments["budget"] = registry.retry_budgets["up"]
    written = makers[kind](**(needed | arguments | differs), name="db", registry=mh.Registry())
    assert configured.settings == written.settings


@pytest.mark.parametrize(("kind", "said", "_differs"), TOGETHER, ids=ids)
def test_defaults_can_be_any_that_go_together(
    registry: mh.Registry, kind: str, said: dict[str, Any], _differs: dict[str, Any]
) -> None:
    """Whether there is a policy yet or not."""
    configure({"defaults": {kind: said}, "policies": {"retry_budget": {"up": {}}}})


ALONE = [
    ("circuit_breaker", "slow_call_rate_threshold", 2),
    ("circuit_breaker", "initial_state", "ajar"),
    ("fallback", "value", len),
    ("hedge", "alternatives", ["no function"]),
    ("hedge", "quantile", 1),
    ("idempotent", "fingerprint", 5),
    ("rate_limit", "key", "{a!r}"),
    ("rate_limit", "period", -1),
    ("retry", "max_attempts", 0),
    ("timeout", "per_item", -1),
    ("timeout", "seconds", "5"),
]


@pytest.mark.parametrize(("kind", "argument", "value"), ALONE)
def test_what_is_wrong_whatever_the_others_are(
    registry: mh.Registry, kind: str, argument: str, value: Any
) -> None:
    """Is told before any policy is made, though it could be put right by no other setting."""
    with pytest.raises(mh.ConfigurationError) as caught:
        configure({"defaults": {kind: {argument: value}}})
    assert f"defaults.{kind}.{argument}: {argument}" in str(caught.value)


def test_a_value_that_cannot_be_compared(registry: mh.Registry) -> None:
    """Is refused like any other that is wrong."""

    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("token")

    for argument in ("max_attempts", "jitter", "budget", "on"):
        with pytest.raises(
            mh.ConfigurationError, match=rf"defaults\.retry\.{argument}: "
        ) as caught:
            configure({"defaults": {"retry": {argument: Odd()}}})
        assert "token" not in str(caught.value)
