"""The paths that a call may take through a circuit breaker: each has a driver of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.rules.breaker import Circuit
from tests.colours import Colour

PATHS: dict[str, dict[str, Any]] = {
    "straight": {},
    "count window": {"window_calls": 50},
    "time window": {"window": 60},
    "timed": {"slow_call_duration": 3600},
    "judged": {"record_result": lambda _: False},
    "keyed": {"key": lambda: "one"},
}

on_every_path = pytest.mark.parametrize("path", PATHS)


def breaker_on(path: str, registry: mh.Registry, **settings: Any) -> mh.CircuitBreaker:
    """Make a breaker whose calls take ``path``."""
    return mh.circuit_breaker("db", registry=registry, **{**PATHS[path], **settings})


def circuit_of(breaker: mh.CircuitBreaker) -> Circuit:
    """Return the one circuit that the breaker has, with a key or without."""
    return breaker._circuit if breaker._family is None else breaker._family.get("one")


def in_threads(colour: Colour, fn: Callable[..., Any], times: int) -> list[Any]:
    """Call ``fn`` in so many threads, async ones on a loop for each; return what came of it."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(asyncio.run(fn()) if colour.name == "async" else fn())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    return results
