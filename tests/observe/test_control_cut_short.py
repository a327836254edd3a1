"""Acts for a time that are cut short in the middle: by a fork, or by an interrupt."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.events import CircuitChanged, Event
from meshhook.observe import control
from meshhook.observe.control import Control
from meshhook.policies.circuit_breaker import for_a_time
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, Called, eventually

FOR_A_TIME = ("force_open", "isolate", "disable", "metrics_only")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert eventually(lambda: control._thread is None)
    assert not control._under_way


class Clock:
    """The clock of the acts."""

    now = 1_000.0

    def tick(self, seconds: float) -> None:
        self.now += seconds
        control._bell.ring()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(control, "_now", lambda: made.now)
    return made


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    return mh.circuit_breaker("db", registry=registry)


def act(breaker: mh.CircuitBreaker, action: str, seconds: float | None = None) -> None:
    """Do something to the circuit."""
    Control(breaker.registry).act(
        "circuit_breaker", breaker.name, action, seconds=seconds, author="ada"
    )


def is_as_before(breaker: mh.CircuitBreaker) -> bool:
    """Wait until nothing is in force any more, nor left of what was."""
    return eventually(
        lambda: (
            breaker.state == "closed"
            and not breaker._isolations
            and breaker not in control._acts
            and control._thread is None
        )
    )


class HeldUp:
    """Does something, and is held up before or after it once, in this process."""

    def __init__(self, do: Callable[..., Any], *, done: bool = False) -> None:
        self._do = do
        self._is_done_first = done
        self._pid = os.getpid()
        self.inside, self.go = threading.Event(), threading.Event()

    def __call__(self, *args: Any) -> Any:
        result = self._do(*args) if self._is_done_first else None
        if not self.inside.is_set() and os.getpid() == self._pid:
            self.inside.set()
            assert self.go.wait(GIVE_UP)
        return result if self._is_done_first else self._do(*args)


@pytest.mark.parametrize("action", FOR_A_TIME)
@pytest.mark.parametrize("now", ["begins", "is replaced", "is taken away", "is due"])
def test_a_fork_in_the_middle_of_an_act(
    now: str,
    action: str,
    clock: Clock,
    breaker: mh.CircuitBreaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child, where nobody goes on with it, is as before the act; so is the parent later."""
    if now == "begins":
        held = HeldUp(for_a_time.begin, done=True)
        monkeypatch.setattr(for_a_time, "begin", held)
        other = Called("sync", act, breaker, action, 60)
    else:
        act(breaker, action, 60)
        held = HeldUp(for_a_time.end)
        monkeypatch.setattr(for_a_time, "end", held)
        if now == "is replaced":
            other = Called("sync", act, breaker, "isolate", 30)
        elif now == "is taken away":
            other = Called("sync", act, breaker, "reset")
        else:
            other = Called("sync", clock.tick, 60)
    assert held.inside.wait(GIVE_UP)

    def is_as_before_in_the_child() -> bool:
        clock.tick(60)
        return is_as_before(breaker)

    try:
        assert in_a_fork(is_as_before_in_the_child) == 0
    finally:
        held.go.set()
    other.result()
    clock.tick(60)
    assert is_as_before(breaker)


def test_a_fork_while_the_thread_looks_for_what_is_due(
    clock: Clock, breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child ends all of them, each in its time."""
    other = mh.circuit_breaker("other", registry=breaker.registry)
    act(breaker, "isolate", 60)
    act(other, "isolate", 30)
    held = HeldUp(control._acts.keyrefs)
    monkeypatch.setattr(control._acts, "keyrefs", held)
    clock.tick(30)
    assert held.inside.wait(GIVE_UP)

    def ends_them() -> bool:
        first = eventually(lambda: (other.state, breaker.state) == ("closed", "forced_open"))
        clock.tick(30)
        return first and is_as_before(breaker)

    try:
        assert in_a_fork(ends_them) == 0
    finally:
        held.go.set()
    clock.tick(30)
    assert is_as_before(breaker)


def test_what_cannot_be_ended_in_a_child_is_logged(
    breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And stops nothing else."""
    lost = control._Act(breaker, "db", control.State.DISABLED, "ada", 60)
    monkeypatch.setattr(control, "_left", {lost})
    monkeypatch.setattr(for_a_time, "end", lambda *_: 1 / 0)
    control._end_what_was_left()
    assert "the act on circuit_breaker 'db' could not be ended" in caplog.text
    assert not control._left


@pytest.mark.parametrize("action", FOR_A_TIME)
@pytest.mark.parametrize("before", [None, "isolate", "disable"])
def test_an_interrupt_before_the_end_of_an_act_is_set(
    before: str | None,
    action: str,
    clock: Clock,
    breaker: mh.CircuitBreaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is taken back; one from before is over when its time is."""
    if before is not None:
        act(breaker, before, 60)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(control, "_put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            act(breaker, action, 30)
    assert len(breaker._isolations) == (before == "isolate")
    clock.tick(60)
    assert is_as_before(breaker)


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_an_interrupt_while_the_circuits_are_set(action: str, breaker: mh.CircuitBreaker) -> None:
    """It is taken back, however far it got."""

    def interrupt(event: Event) -> None:
        if event.new != "closed":  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with events.subscribe(interrupt, CircuitChanged), pytest.raises(KeyboardInterrupt):
        act(breaker, action, 60)
    assert is_as_before(breaker)


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_an_interrupt_while_the_circuits_go_back(
    action: str, breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun is ended before the interrupt goes on its way."""
    act(breaker, action, 60)
    interrupts = [KeyboardInterrupt()]
    end = for_a_time.end

    def interrupted(*args: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        end(*args)

    monkeypatch.setattr(for_a_time, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        act(breaker, "reset")
    assert is_as_before(breaker)


def test_an_interrupt_of_a_block_that_isolates(breaker: mh.CircuitBreaker) -> None:
    """The circuit is released, though the block did not begin."""

    def interrupt(event: Event) -> None:
        if event.new == "forced_open":  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with (
        events.subscribe(interrupt, CircuitChanged),
        pytest.raises(KeyboardInterrupt),
        breaker.isolated(),
    ):
        pass
    assert is_as_before(breaker)
