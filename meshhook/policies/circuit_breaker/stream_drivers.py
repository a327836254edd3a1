"""The drivers of a circuit breaker for streams: one permit for each, judged at its end.

It is asked for with the first item. A stream that gave all of its items is a success, one that
raised is judged by what it raised, and one that its consumer left early counts as nothing. What is
timed is the time inside of the generator: how slow the consumer is says nothing about the service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import Permit
from meshhook.runtime.streams import Ended, Visit, async_driver, driver

if TYPE_CHECKING:
    from meshhook.policies.circuit_breaker.policy import CircuitBreaker

Call: TypeAlias = Callable[..., Any]
Hold: TypeAlias = Callable[[Any, dict[str, Any]], Circuit]
"""Finds the circuit of a call, and keeps it until it is let go."""


def stream(breaker: CircuitBreaker, hold: Hold, call: Call) -> Call:
    """Guard a generator function."""
    is_timed = breaker.settings.rules.slow_call_duration is not None

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        admitted = _Admitted(breaker, hold(args, kwargs), is_timed=is_timed)
        return Visit(admitted.end, step=admitted.step if is_timed else None)

    return driver(begin, call)


def stream_async(breaker: CircuitBreaker, hold: Hold, call: Call) -> Call:
    """Guard an async generator function."""
    is_timed = breaker.settings.rules.slow_call_duration is not None

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        admitted = _Admitted(breaker, hold(args, kwargs), is_timed=is_timed)
        return Visit(admitted.end, step=admitted.step_async if is_timed else None)

    return async_driver(begin, call)


class _Admitted:
    """A stream that may pass: its permit, and the time that it has taken so far."""

    __slots__ = ("_breaker", "_circuit", "_is_timed", "_permit", "_taken")

    def __init__(self, breaker: CircuitBreaker, circuit: Circuit, *, is_timed: bool) -> None:
        try:
            self._permit: Permit = breaker._admit(circuit)
        except BaseException:
            breaker._let_go(circuit)
            raise
        self._breaker = breaker
        self._circuit = circuit
        self._is_timed = is_timed
        self._taken = 0.0

    def step(self, method: Call, value: Any) -> Any:
        """Have the clock run until the next item is there."""
        self._breaker._resume(self._circuit, self._permit, self._taken)
        try:
            return method(value)
        finally:
            self._taken = self._breaker._pause(self._circuit, self._permit)

    async def step_async(self, method: Call, value: Any) -> Any:
        """Have the clock run until the next item is there, async."""
        self._breaker._resume(self._circuit, self._permit, self._taken)
        try:
            return await method(value)
        finally:
            self._taken = self._breaker._pause(self._circuit, self._permit)

    def end(self, how: Ended) -> None:
        """Settle the permit."""
        try:
            if not self._is_timed and self._breaker.settings.rules.slow_call_duration is not None:
                # It began when streams were not timed, so what was its own time is not known.
                self._breaker._resume(self._circuit, self._permit, 0.0)
            if how is None:
                self._breaker._settle_result(self._circuit, self._permit, failed=False)
            else:
                self._breaker._settle_error(self._circuit, self._permit, how)
        finally:
            self._breaker._let_go(self._circuit)
