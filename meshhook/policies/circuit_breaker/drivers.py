"""The drivers of a circuit breaker: the path of a call, once for each colour.

The straight ones are for circuits where a success needs no judgement: they read the phase, call,
and add one to a counter, and take no lock. They are spelled out four times, for a function call in
them would cost more than they do. Everything else goes through a permit.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.family import Family
from meshhook.keys import KeyOf
from meshhook.policies.circuit_breaker.judgement import is_failure
from meshhook.rules.breaker import Circuit
from meshhook.rules.phases import Permit
from meshhook.tracebacks import hide_this_frame

if TYPE_CHECKING:
    from meshhook.policies.circuit_breaker.policy import CircuitBreaker

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]


def straight(breaker: CircuitBreaker, circuit: Circuit, call: Call) -> Call:
    """Count consecutive failures."""
    plain = guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        phase = circuit.phase
        if not phase.straight:
            return _run(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            breaker._settle_error(circuit, phase, exc)
            raise
        phase.ok += 1
        if phase.watch:
            breaker._watched_success(circuit, phase)
        return result

    return guarded


def straight_async(breaker: CircuitBreaker, circuit: Circuit, call: AsyncCall) -> AsyncCall:
    """Count consecutive failures, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        phase = circuit.phase
        if not phase.straight:
            return await _run_async(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            result = await coroutine
        except BaseException as exc:
            breaker._settle_error(circuit, phase, exc)
            raise
        phase.ok += 1
        if phase.watch:
            breaker._watched_success(circuit, phase)
        return result

    return guarded


def windowed(breaker: CircuitBreaker, circuit: Circuit, call: Call) -> Call:
    """Count in a window, which moves with time."""
    plain = guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        phase = circuit.phase
        if not phase.straight:
            return _run(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            breaker._settle_error(circuit, phase, exc)
            raise
        if not phase.since <= time.monotonic() < phase.until:
            breaker._roll(circuit, phase)
        phase.ok += 1
        if phase.watch:
            breaker._watched_success(circuit, phase)
        return result

    return guarded


def windowed_async(breaker: CircuitBreaker, circuit: Circuit, call: AsyncCall) -> AsyncCall:
    """Count in a window, which moves with time, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        phase = circuit.phase
        if not phase.straight:
            return await _run_async(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            result = await coroutine
        except BaseException as exc:
            breaker._settle_error(circuit, phase, exc)
            raise
        if not phase.since <= time.monotonic() < phase.until:
            breaker._roll(circuit, phase)
        phase.ok += 1
        if phase.watch:
            breaker._watched_success(circuit, phase)
        return result

    return guarded


def admitted(breaker: CircuitBreaker, circuit: Circuit, call: Call) -> Call:
    """Ask for a permit for each call: it is timed, or its result is judged."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        return _run(breaker, circuit, breaker._admit(circuit), call, args, kwargs)

    return guarded


def admitted_async(breaker: CircuitBreaker, circuit: Circuit, call: AsyncCall) -> AsyncCall:
    """Ask for a permit for each call, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await _run_async(breaker, circuit, breaker._admit(circuit), call, args, kwargs)

    return guarded


def keyed(breaker: CircuitBreaker, family: Family[Circuit], key_of: KeyOf, call: Call) -> Call:
    """Find the circuit of the key, and keep it while the call runs."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        circuit = family.hold(key_of(args, kwargs))
        try:
            return _run(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        finally:
            family.let_go(circuit)

    return guarded


def keyed_async(
    breaker: CircuitBreaker, family: Family[Circuit], key_of: KeyOf, call: AsyncCall
) -> AsyncCall:
    """Find the circuit of the key, and keep it while the call runs, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        circuit = family.hold(key_of(args, kwargs))
        try:
            return await _run_async(breaker, circuit, breaker._admit(circuit), call, args, kwargs)
        finally:
            family.let_go(circuit)

    return guarded


def _run(
    breaker: CircuitBreaker,
    circuit: Circuit,
    permit: Permit,
    call: Call,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    try:
        result = call(*args, **kwargs) if kwargs else call(*args)
        if type(result) not in guard.PLAIN:
            guard.check_result(result)
        failed = is_failure(breaker.settings, breaker._name, result)
    except BaseException as exc:
        breaker._settle_error(circuit, permit, exc)
        hide_this_frame(exc)
        raise
    breaker._settle_result(circuit, permit, failed=failed)
    return result


async def _run_async(
    breaker: CircuitBreaker,
    circuit: Circuit,
    permit: Permit,
    call: AsyncCall,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    try:
        result = await (call(*args, **kwargs) if kwargs else call(*args))
        failed = is_failure(breaker.settings, breaker._name, result)
    except BaseException as exc:
        breaker._settle_error(circuit, permit, exc)
        hide_this_frame(exc)
        raise
    breaker._settle_result(circuit, permit, failed=failed)
    return result
