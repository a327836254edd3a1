"""An initial_state that comes by configuration: whom it is for, and what goes back to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe import control
from meshhook.observe.control import Control
from tests.waiting import eventually


def configure(**settings: Any) -> None:
    mh.configure({"policies": {"circuit_breaker": {"db": settings}}}, environment=False)


def call(key: str) -> str:
    return key


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], None]]:
    """Act for a time; what is returned ends that time."""
    now = [1_000.0]
    monkeypatch.setattr(control, "_now", lambda: now[0])

    def begin(action: str) -> Callable[[], None]:
        breaker = mh.registry.circuit_breakers["db"]
        Control().act("circuit_breaker", "db", action, seconds=60, author="ada")

        def end() -> None:
            now[0] += 60
            control._bell.ring()
            assert eventually(lambda: breaker.state != "disabled" and control._thread is None)

        return end

    return begin


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    return mh.circuit_breaker("db", key="{key}")


def states(breaker: mh.CircuitBreaker, *keys: str) -> list[str]:
    """Return the states of the circuits of these keys, after a call of each."""
    for key in keys:
        breaker(call)(key)
    return [breaker.stats(key).state for key in keys]


def test_after_an_act_for_a_time_it_holds(breaker: mh.CircuitBreaker, act: Any) -> None:
    """As if the code had said it."""
    configure(initial_state="metrics_only")
    assert states(breaker, "old") == ["metrics_only"]
    end = act("disable")
    assert states(breaker, "old", "meanwhile") == ["disabled", "disabled"]
    end()
    assert states(breaker, "old", "meanwhile", "new") == ["metrics_only"] * 3


def test_one_that_comes_during_an_act_waits_for_its_end(
    breaker: mh.CircuitBreaker, act: Any
) -> None:
    """All calls pass for as long as was said."""
    end = act("disable")
    configure(initial_state="metrics_only")
    assert states(breaker, "meanwhile") == ["disabled"]
    end()
    assert states(breaker, "meanwhile", "new") == ["metrics_only"] * 2
    configure()
    assert states(breaker, "meanwhile", "newer") == ["metrics_only", "closed"]


@pytest.mark.parametrize("again", ["metrics_only", "forced_open"])
def test_what_was_set_by_hand_stays(again: str, breaker: mh.CircuitBreaker, act: Any) -> None:
    """Also if it is what the settings said; a reset gives way to the next initial_state."""
    configure(initial_state="metrics_only")
    breaker.metrics_only()
    configure(initial_state=again)
    configure(initial_state="disabled")
    assert states(breaker, "new") == ["metrics_only"]
    act("disable")()
    assert states(breaker, "new", "newer") == ["metrics_only"] * 2
    breaker.reset()
    configure(initial_state="disabled", failure_threshold=9)
    assert states(breaker, "new", "after the reset") == ["closed", "closed"]
    configure(initial_state="metrics_only")
    assert states(breaker, "new", "after the change") == ["closed", "metrics_only"]


def test_a_circuit_without_keys_goes_by_the_one_that_it_began_with(
    registry: mh.Registry, act: Any
) -> None:
    """The settings are for circuits to come, and it was closed."""
    made = mh.circuit_breaker("db")
    assert made.state == "closed"
    configure(initial_state="forced_open")
    act("disable")()
    assert made.state == "closed"


def test_a_circuit_that_is_not_made_yet_begins_as_the_settings_say(
    registry: mh.Registry, act: Any
) -> None:
    """And goes back to that."""
    breaker = mh.circuit_breaker("db")
    configure(initial_state="metrics_only")
    act("disable")()
    assert breaker.state == "metrics_only"
