"""A state that is set for a time, and what becomes of the circuit when the time is over.

Refusing all calls for a time is an isolation: afterwards each circuit is what it was. Passing all
calls for a time ends in what was set by hand without a limit, or closed. In either case what
somebody else has set meanwhile stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhook.rules.phases import State

if TYPE_CHECKING:
    from meshhook.policies.circuit_breaker.policy import CircuitBreaker


class ForATime:
    """A state that is set for a time, and how many times any had been set by then."""

    __slots__ = ("state", "times_set")

    def __init__(self, state: State) -> None:
        self.state = state
        self.times_set = -1


def begin(breaker: CircuitBreaker, what: ForATime) -> None:
    """Set the state; :func:`end` must follow, also where this is interrupted."""
    if what.state is State.FORCED_OPEN:
        _ = breaker.name
        what.times_set = breaker._times_set
        breaker._isolate(what)
    else:
        breaker._set(what.state, what)


def is_in_force(breaker: CircuitBreaker, what: ForATime) -> bool:
    """Tell whether nobody has set another state since."""
    return what.times_set == breaker._times_set


def end(breaker: CircuitBreaker, what: ForATime) -> None:
    """Go back, unless somebody has set another state since. More than once is as good as once."""
    if what.state is State.FORCED_OPEN:
        breaker._release(what)
    elif is_in_force(breaker, what):
        back = breaker._standing
        if breaker._family is not None:
            breaker._initial = back
        breaker._change_all(lambda circuit, now: circuit.relieve(what.state, back, now))
