"""A state that is set for a time, and what becomes of the circuit when the time is over.

Refusing all calls for a time is an isolation: afterwards each circuit is what it was. Passing all
calls for a time ends in what was set by hand without a limit, or closed. In either case what
somebody else has set meanwhile stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshhook.rules.phases import State

if TYPE_CHECKING:
    from meshhook.policies.circuit_breaker.policy import CircuitBreaker


class ForATime(NamedTuple):
    """A state that was set, and how many times any had been set by then."""

    state: State
    times_set: int


def begin(breaker: CircuitBreaker, state: State) -> ForATime:
    """Set ``state``; :func:`end` must follow once."""
    if state is State.FORCED_OPEN:
        _ = breaker.name
        breaker._isolate(1)
        return ForATime(state, breaker._times_set)
    return ForATime(state, breaker._set(state, for_now=True))


def is_in_force(breaker: CircuitBreaker, what: ForATime) -> bool:
    """Tell whether nobody has set another state since."""
    return what.times_set == breaker._times_set


def end(breaker: CircuitBreaker, what: ForATime) -> None:
    """Go back, unless somebody has set another state since."""
    if what.state is State.FORCED_OPEN:
        breaker._isolate(-1)
    elif is_in_force(breaker, what):
        back = breaker._standing
        if breaker._family is not None:
            breaker._initial = back
        breaker._change_all(lambda circuit, now: circuit.relieve(what.state, back, now))
