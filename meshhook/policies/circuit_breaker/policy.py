"""circuit_breaker: stop calling what keeps failing, and try it again with care.

The rules are in :mod:`meshhook.rules.breaker`; here they get a lock, a clock, a name and drivers. A
call of a closed circuit takes no lock: it reads the phase and adds one to a counter. Failures,
refusals and transitions take the lock, decide with a fresh clock, and tell events after letting go.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

from meshhook import blocks, events, guard
from meshhook.changes import OF_KEYS
from meshhook.errors import CircuitOpenError, ConfigurationError
from meshhook.family import Family
from meshhook.keys import compile_key
from meshhook.policies.circuit_breaker import drivers
from meshhook.policies.circuit_breaker.judgement import time_open, verdict
from meshhook.policies.circuit_breaker.settings import BreakerSettings
from meshhook.policies.circuit_breaker.stats import BreakerStats, circuit_stats, family_stats
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.rules.breaker import NONE_GONE, Change, Circuit
from meshhook.rules.phases import Closed, Open, Permit, Phase, State
from meshhook.rules.sketch import Sketch

if TYPE_CHECKING:
    from meshhook.policies.circuit_breaker.for_a_time import ForATime

P = ParamSpec("P")
R = TypeVar("R")

_USUAL = (
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
)


class CircuitBreaker(Policy):
    """A circuit, or with ``key=`` a family of them. Made by :func:`meshhook.circuit_breaker`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "circuit_breaker"
    fixed: ClassVar = {"key": OF_KEYS}
    settings: BreakerSettings

    def __init__(self, settings: BreakerSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self._initial = settings.initial_state
        self._standing = _standing(settings.initial_state)
        self._is_set_by_hand = False
        self._times_set = 0  # guarded by _lock, as the next one
        self._isolations: set[object] = set()  # who isolates
        self._isolating = False
        self._sketch = Sketch() if settings.rules.slow_call_duration is not None else None
        self._transitions: dict[tuple[State, State], int] = {}  # guarded by _lock
        self._gone = NONE_GONE  # replaced under the lock of the family
        self._family: Family[Circuit] | None = None
        if settings.key is not None:
            self._family = Family(
                self._make_circuit, _is_idle, settings.max_keys, self._welcome, self._say_farewell
            )
        self._made_at = time.monotonic()
        self._single: Circuit | None = None
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child, where none of the running calls will end."""
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        if self._family is not None:
            self._family.renew_locks()
        for circuit in self._circuits():
            circuit.forget_calls()

    def _circuits(self) -> list[Circuit]:
        """Return the circuits that there are by now. Takes no lock."""
        if self._family is not None:
            return self._family.members()
        return [] if self._single is None else [self._single]

    @property
    def _circuit(self) -> Circuit:
        """The circuit of a breaker without keys, made when first used: a pattern never uses it."""
        if self._single is None:
            made = self._make_circuit(self._made_at)
            with self._lock:
                self._single = self._single or made
                self._bring_up_to_date(self._single)
        return self._single

    def _make_circuit(self, now: float | None = None) -> Circuit:
        began = time.monotonic() if now is None else now
        circuit = Circuit(self.settings.rules, began, self._initial)
        self._set_time_open(circuit.phase, None)
        return circuit

    def _bring_up_to_date(self, circuit: Circuit) -> None:
        """Have a new circuit go by the rules that there are by now."""
        if circuit.rules is not self.settings.rules:
            circuit.change(self.settings.rules, time.monotonic())

    def _adapt(self, new: BreakerSettings) -> Callable[[], object]:
        """Go on by other rules, each circuit in its state; keys to come begin as they say."""
        with self._lock:
            if new.initial_state is not self.settings.initial_state:
                self._begin_as(new.initial_state)
            if new.rules.slow_call_duration is None:
                self._sketch = None
            elif self._sketch is None:
                self._sketch = Sketch()
        self.settings = new
        circuits = self._circuits()
        if self._family is not None:
            self._family.resize(new.max_keys)
            circuits = self._family.all_members()
        changes = []
        for circuit in circuits:
            with self._lock:
                changes.append(circuit.change(new.rules, time.monotonic()))

        def tell() -> None:
            for change in changes:
                if change is not None:
                    self._changed(change, None)

        return tell

    def _begin_as(self, state: State) -> None:
        """Have circuits to come begin in ``state``, unless another was set by hand. Under _lock."""
        has_begun = self._family is None and self._single is not None
        if self._is_set_by_hand or has_begun:
            return
        # If so, they begin otherwise until its time is over, and only then as is said here.
        is_set_for_now = _standing(self._initial) is not self._standing
        self._standing = _standing(state)
        if not is_set_for_now:
            self._initial = state

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        family, key = self._family, self.settings.key
        if family is not None and key is not None:
            return drivers.keyed(self, family, compile_key(key, fn), call)
        if not self._is_straight():
            return drivers.admitted(self, self._circuit, call)
        if self.settings.rules.window is not None:
            return drivers.windowed(self, self._circuit, call)
        return drivers.straight(self, self._circuit, call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        family, key = self._family, self.settings.key
        if family is not None and key is not None:
            return drivers.keyed_async(self, family, compile_key(key, fn), call)
        if not self._is_straight():
            return drivers.admitted_async(self, self._circuit, call)
        if self.settings.rules.window is not None:
            return drivers.windowed_async(self, self._circuit, call)
        return drivers.straight_async(self, self._circuit, call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.circuit_breaker import stream_drivers

        return stream_drivers.stream(self, self._holds(fn), call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.circuit_breaker import stream_drivers

        return stream_drivers.stream_async(self, self._holds(fn), call)

    def _holds(self, fn: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Circuit]:
        """Return what finds the circuit of a stream, and keeps it until it is let go."""
        if self.settings.record_result is not None:
            raise ConfigurationError(
                f"record_result judges what a call returns, and {self.default_name(fn)} is a "
                "generator function: leave it out, and raise an exception in the stream"
            )
        family, key = self._family, self.settings.key
        if family is None or key is None:
            circuit = self._circuit
            return lambda _args, _kwargs: circuit
        key_of = compile_key(key, fn)
        return lambda args, kwargs: family.hold(key_of(args, kwargs))

    def _let_go(self, circuit: Circuit) -> None:
        if self._family is not None:
            self._family.let_go(circuit)

    def _is_straight(self) -> bool:
        """Tell whether a success needs no lock: nothing to time, nothing to judge, and a GIL."""
        return (
            self.settings.rules.slow_call_duration is None
            and self.settings.record_result is None
            and guard.GIL_ENABLED
        )

    def _admit(self, circuit: Circuit) -> Permit:
        phase = circuit.phase
        if type(phase) is Open and guard.GIL_ENABLED:
            # Refusing costs no lock: with a fresh clock, an open phase needs no second look.
            retry_after = phase.began + phase.open_for - time.monotonic()
            if 0 < retry_after <= phase.open_for:
                circuit.rejected += 1
                raise self._rejection(circuit, "open", retry_after)
        with self._lock:
            answer, change = circuit.admit(time.monotonic())
        if change is not None:
            self._changed(change, None)
        if isinstance(answer, Permit):
            return answer
        raise self._rejection(circuit, answer.state.value, answer.retry_after)

    def _rejection(
        self, circuit: Circuit, state: str, retry_after: float | None
    ) -> CircuitOpenError:
        name = self._name or self.name
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(
                    policy=self.kind, name=name, reason=state, retry_after=retry_after
                )
            )
        return CircuitOpenError(
            name=name, retry_after=retry_after, state=state, last_failure=circuit.last_failure
        )

    def _watched_success(self, circuit: Circuit, phase: Phase) -> None:
        with self._lock:
            change = circuit.watched_success(phase, time.monotonic())
        if change is not None:
            self._changed(change, None)

    def _roll(self, circuit: Circuit, phase: Phase) -> None:
        with self._lock:
            circuit.roll(phase, time.monotonic())

    def _pause(self, circuit: Circuit, permit: Permit) -> float:
        with self._lock:
            return circuit.pause(permit, time.monotonic())

    def _resume(self, circuit: Circuit, permit: Permit, taken: float) -> None:
        with self._lock:
            circuit.resume(permit, taken, time.monotonic())

    def _settle_result(self, circuit: Circuit, permit: Permit, *, failed: bool) -> None:
        self._settle(circuit, permit, failed=failed, exc=None)
        if failed and events.wanted(events.CallFailed):
            events.emit(events.CallFailed(policy=self.kind, name=self.name, error="result"))

    def _settle_error(self, circuit: Circuit, permit: Permit | Phase, exc: BaseException) -> None:
        """Judge what the call raised: a failure, a success, or nothing to do with either."""
        failed = verdict(self.settings, self._name, exc)
        if failed is None or not isinstance(exc, Exception):
            with self._lock:
                circuit.ignore(permit, time.monotonic())
            return
        self._settle(circuit, permit, failed=failed, exc=exc)
        if failed and events.wanted(events.CallFailed):
            events.emit(
                events.CallFailed(policy=self.kind, name=self.name, error=type(exc).__qualname__)
            )

    def _settle(
        self, circuit: Circuit, permit: Permit | Phase, *, failed: bool, exc: Exception | None
    ) -> None:
        error = type(exc).__qualname__ if exc is not None else "result"
        with self._lock:
            now = time.monotonic()
            if self._sketch is not None and isinstance(permit, Permit):
                self._sketch.add(now - permit.started)
            change = circuit.settle(permit, now, failed=failed, error=error)
        if change is not None:
            self._changed(change, exc)

    def _changed(self, change: Change, exc: Exception | None) -> None:
        """Follow up a transition that outcomes or time brought about, with no lock held."""
        self._set_time_open(change.phase, exc)
        self._tell(change)

    def _set_time_open(self, phase: Phase, exc: Exception | None) -> None:
        if isinstance(phase, Open):
            phase.open_for = time_open(self.settings, self._name, phase, exc)

    def _tell(self, change: Change) -> None:
        old, new = change.old, change.phase.state
        if old is new:
            return
        with self._lock:
            self._transitions[old, new] = self._transitions.get((old, new), 0) + 1
        if events.wanted(events.CircuitChanged):
            events.emit(
                events.CircuitChanged(
                    policy=self.kind,
                    name=self.name,
                    old=str(old),
                    new=str(new),
                    reason=change.reason,
                    keyed=self._family is not None,
                )
            )

    def __enter__(self) -> Self:
        circuit = self._only_circuit("with")
        self._take_name()
        permit = self._admit(circuit)
        blocks.enter(self, permit)
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        permit: Permit = blocks.leave(self)
        if exc is None:
            self._settle(self._circuit, permit, failed=False, exc=None)
        else:
            self._settle_error(self._circuit, permit, exc)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, exc, traceback)

    def _only_circuit(self, use: str) -> Circuit:
        if self._family is not None:
            raise TypeError(
                f"circuit {self.name!r} has a circuit per key, so `{use}` cannot tell which is "
                "meant: decorate a function, or use a breaker without key="
            )
        return self._circuit

    @property
    def state(self) -> State:
        """The state now; for a family, the gravest of its circuits."""
        return State(self.stats().state)

    def force_open(self) -> None:
        """Refuse all calls until the state is changed by hand."""
        self._set(State.FORCED_OPEN)

    def disable(self) -> None:
        """Let all calls pass and judge none of them."""
        self._set(State.DISABLED)

    def metrics_only(self) -> None:
        """Let all calls pass, and keep judging them without consequence."""
        self._set(State.METRICS_ONLY)

    def reset(self) -> None:
        """Close the circuit and forget its window; counters since the start are kept."""
        self._set(State.CLOSED)

    def _set(self, state: State, for_now: ForATime | None = None) -> None:
        """Set all circuits; ``for_now``: for a time only, which learns what number this is."""
        _ = self.name  # which raises for a breaker without circuits of its own
        with self._lock:
            times = self._times_set + 1
            if for_now is None:
                self._standing = _standing(state)
                self._is_set_by_hand = state is not State.CLOSED
            else:
                for_now.times_set = times
            self._times_set = times
        if self._family is not None:
            # First, so that the circuits of new keys begin in this state as well.
            self._initial = state
        self._isolating = False
        self._change_all(lambda circuit, now: circuit.set(state, now))

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Refuse all calls inside the block; the last of several blocks restores the state."""
        _ = self.name
        block = object()
        try:
            self._isolate(block)
            yield
        finally:
            self._release(block)

    def _isolate(self, who: object) -> None:
        """Refuse all calls until ``who`` and all others have released the circuits."""
        with self._lock:
            self._isolations.add(who)
            self._isolating = True
            times = len(self._isolations)
        self._change_all(lambda circuit, now: circuit.isolate(times, now))

    def _release(self, who: object) -> None:
        """Isolate no more for ``who``, if that is still so."""
        with self._lock:
            self._isolations.discard(who)
            times = len(self._isolations)
            self._isolating = times > 0 and self._isolating
        self._change_all(lambda circuit, now: circuit.isolate(times, now))

    def _change_all(self, change_one: Callable[[Circuit, float], Change | None]) -> None:
        circuits = [self._circuit] if self._family is None else self._family.all_members()
        for circuit in circuits:
            with self._lock:
                change = change_one(circuit, time.monotonic())
            if change is not None:
                self._tell(change)

    def _welcome(self, circuit: Circuit) -> None:
        """Bring a circuit that joins the family up to what was set since it was made."""
        self._bring_up_to_date(circuit)
        if circuit.phase.state is not self._initial:
            circuit.set(self._initial, time.monotonic())
        if self._isolating:
            circuit.isolate(len(self._isolations), time.monotonic())

    def _say_farewell(self, circuit: Circuit) -> None:
        """Keep what a circuit has counted that makes room for another."""
        self._gone = circuit.leave(self._gone)

    def stats(self, key: Hashable = None) -> BreakerStats:
        """Return the counters, the window and the state; with ``key``, of that circuit alone."""
        now = time.monotonic()
        if self._family is not None and key is None:
            # In this order: who has left since is among the members and not among the gone.
            members, gone = self._family.members(), self._gone
            to_come = State.FORCED_OPEN if self._isolating else self._initial
            return family_stats(self.name, members, gone, now, self._sketch, to_come)
        circuit: Circuit | None = self._circuit
        if self._family is not None:
            circuit = self._family.find(key)
        elif key is not None:
            raise TypeError(f"circuit {self.name!r} has no key=, so there is none for {key!r}")
        if circuit is None:
            raise KeyError(f"circuit {self.name!r} has seen no call with key {key!r}")
        with self._lock:
            return circuit_stats(self.name, circuit, now, self._sketch)

    def transitions(self) -> dict[tuple[State, State], int]:
        """Return how often a circuit went from one state to another since the start.

        Those that every circuit makes are there from the beginning.
        """
        return {**dict.fromkeys(_USUAL, 0), **self._transitions}

    def durations(self) -> Sketch | None:
        """Return how long calls took, of all keys; None without ``slow_call_duration``."""
        return self._sketch

    def describe(self) -> str:
        """Return kind, name and the rules that open it."""
        rules = self.settings.rules
        opens = []
        if rules.failure_threshold is not None:
            opens.append(f"{rules.failure_threshold} failures in a row")
        if rules.failure_rate_threshold is not None:
            opens.append(f"failure rate {rules.failure_rate_threshold:.0%}")
        if rules.slow_call_rate_threshold is not None:
            opens.append(f"slow call rate {rules.slow_call_rate_threshold:.0%}")
        return f"circuit_breaker({self.name!r}, opens at {' or '.join(opens)})"


def _standing(state: State) -> State:
    """Return what a circuit goes back to: what was set by hand, or closed, to judge for itself."""
    by_hand = state in {State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY}
    return state if by_hand else State.CLOSED


def _is_idle(circuit: Circuit) -> bool:
    return isinstance(circuit.phase, Closed)
