"""Circuits by themselves, without a lock or a clock, and the calls that tests make of them."""

from __future__ import annotations

from typing import Any

from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import Closed, Permit, Refusal, Rules, State


def circuit(initial: State = State.CLOSED, now: float = 0.0, **rules: Any) -> Circuit:
    """Make a circuit that begins in ``initial`` at ``now``."""
    return Circuit(Rules(**rules), now, initial)


def by_rate(**rules: Any) -> Circuit:
    """Make a circuit that failures in a row do not open."""
    return circuit(failure_threshold=None, **rules)


def is_open(asked: Circuit) -> bool:
    """Tell whether the circuit is open."""
    return asked.phase.state is State.OPEN


def closed(asked: Circuit) -> Closed:
    """Return the phase of a circuit that must be closed."""
    assert isinstance(asked.phase, Closed)
    return asked.phase


def admit(asked: Circuit, now: float = 0.0) -> Permit:
    """Begin a call that must be admitted."""
    answer, _ = asked.admit(now)
    assert isinstance(answer, Permit), f"the call was refused: {answer}"
    return answer


def refuse(asked: Circuit, now: float = 0.0) -> Refusal:
    """Ask for a call that must not be admitted."""
    answer, _ = asked.admit(now)
    assert isinstance(answer, Refusal), "the call was admitted"
    return answer


def call(asked: Circuit, now: float = 0.0, *, failed: bool, seconds: float = 0.0) -> None:
    """Make a whole call that ends at ``now`` and has taken so many seconds."""
    permit = admit(asked, now - seconds)
    asked.settle(permit, now, failed=failed, error="OSError" if failed else None)


def succeed(asked: Circuit, now: float = 0.0, times: int = 1, seconds: float = 0.0) -> None:
    """Make calls that end well."""
    for _ in range(times):
        call(asked, now, failed=False, seconds=seconds)


def fail(asked: Circuit, now: float = 0.0, times: int = 1, seconds: float = 0.0) -> None:
    """Make calls that fail."""
    for _ in range(times):
        call(asked, now, failed=True, seconds=seconds)


def succeed_straight(asked: Circuit, now: float) -> None:
    """Make a call that ends well as a driver of the straight path does."""
    phase = asked.phase
    if not phase.since <= now < phase.until:
        asked.roll(phase, now)
    phase.ok += 1
    if phase.watch:
        asked.watched_success(phase, now)


def totals(asked: Circuit) -> dict[str, int]:
    """Return all that the circuit has counted since it was made."""
    return {
        "successes": asked.total_successes(),
        "failures": asked.failures,
        "ignored": asked.ignored,
        "rejected": asked.rejected,
        "opened": asked.opened,
    }
