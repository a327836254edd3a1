"""isolated_registry: a default registry for one test, and nothing left of it."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import isolated_registry


def test_the_default_registry_is_another_one_in_the_block() -> None:
    """What is made inside is in it; names of outside are free; then all is as before."""
    outer = mh.registry
    with isolated_registry() as fresh:
        mh.circuit_breaker("taken", failure_threshold=3)
        with isolated_registry() as registry:
            assert mh.registry is registry is mh.Registry.default is not outer
            made = mh.circuit_breaker("taken", failure_threshold=1)
            assert registry.circuit_breakers == {"taken": made}
            assert fresh.circuit_breakers != registry.circuit_breakers
        assert mh.registry is mh.Registry.default is fresh
    assert mh.registry is mh.Registry.default is outer
    assert "taken" not in outer


def test_policies_of_outside_are_new_at_the_beginning_and_at_the_end() -> None:
    """They belong to functions that are there already; their counters go on."""
    with isolated_registry():
        breaker = mh.circuit_breaker("imported", failure_threshold=1)
        breaker.force_open()
        with isolated_registry():
            assert breaker.state == "closed"
            with pytest.raises(ZeroDivisionError):
                breaker.call(divmod, 1, 0)
            assert breaker.state == "open"
        assert breaker.state == "closed"
        assert breaker.stats().failures == 1


def test_records_of_outside_are_put_aside() -> None:
    """An idempotent function of a module runs anew in each test, and has its records again."""
    with isolated_registry():
        runs: list[str] = []

        @mh.idempotent("{order}")
        def charge(order: str) -> int:
            runs.append(order)
            return len(runs)

        own = mh.MemoryStore()

        @mh.idempotent("{order}", store=own)
        def refund(order: str) -> int:
            runs.append(order)
            return len(runs)

        assert (charge("o-1"), refund("o-1")) == (1, 2)
        with isolated_registry():
            assert len(own) == 0
            assert (charge("o-1"), charge("o-1"), refund("o-1")) == (3, 3, 4)
        with isolated_registry():
            assert charge("o-1") == 5
        assert (charge("o-1"), refund("o-1")) == (1, 2)


def test_blocks_may_end_in_any_order() -> None:
    """The one that began last counts, until it ends."""
    outer = mh.registry
    one, two = isolated_registry(), isolated_registry()
    one.__enter__()
    second = two.__enter__()
    one.__exit__(None, None, None)
    assert mh.registry is second
    two.__exit__(None, None, None)
    assert mh.registry is mh.Registry.default is outer


def test_an_error_in_the_block_leaves_nothing_behind() -> None:
    """Nor does one that a policy raises when it is reset."""
    outer = mh.registry
    with pytest.raises(KeyError), isolated_registry():
        raise KeyError
    assert mh.registry is outer


def test_another_registry_is_left_alone(monkeypatch: Any) -> None:
    """Only the default one is replaced, and only its policies are reset."""
    own = mh.Registry()
    breaker = mh.circuit_breaker("db", registry=own)
    breaker.force_open()
    with isolated_registry():
        assert breaker.state == "forced_open"
    assert breaker.state == "forced_open"
