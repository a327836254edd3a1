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
from typing import Any, ParamSpec, Self, TypeVar, overload

from meshhook import blocks, events, guard
from meshhook.errors import CircuitOpenError
from meshhook.family import Family
from meshhook.keys import Key, compile_key
from meshhook.policies.circuit_breaker import drivers
from meshhook.policies.circuit_breaker.settings import (
    FALLBACK_RESET_TIMEOUT,
    MAX_KEYS,
    OUR_OWN,
    BreakerSettings,
    Judge,
    ResetTimeout,
    breaker_settings,
    matches,
    names_our_own,
)
from meshhook.policies.circuit_breaker.stats import BreakerStats, circuit_stats, family_stats
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.rules.breaker import NONE_GONE, Change, Circuit
from meshhook.rules.phases import Closed, Open, Permit, Phase, State
from meshhook.rules.sketch import Sketch
from meshhook.settings import Duration, duration

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_RETRY_AFTER = 3600.0
"""The longest that a ``retry_after`` of another's exception keeps a circuit open, in seconds."""


class CircuitBreaker(Policy):
    """A circuit, or with ``key=`` a family of them. Made by :func:`circuit_breaker`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "circuit_breaker"
    settings: BreakerSettings

    def __init__(self, settings: BreakerSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self._initial = settings.initial_state
        self._isolations = 0  # guarded by _lock
        self._isolating = False
        self._sketch = Sketch() if settings.rules.slow_call_duration is not None else None
        self._records_our_own = names_our_own(settings.record)
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
        return self._single

    def _make_circuit(self, now: float | None = None) -> Circuit:
        began = time.monotonic() if now is None else now
        circuit = Circuit(self.settings.rules, began, self._initial)
        self._decide_open_for(circuit.phase, None)
        return circuit

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

    def _is_failure(self, result: Any) -> bool:
        judge = self.settings.record_result
        if judge is None:
            return False
        try:
            return bool(judge(result))
        except Exception:
            # The call has done what it should; that we cannot judge it is no failure of it.
            events.logger.exception("record_result of circuit %r failed", self._name)
            return False

    def _settle_result(self, circuit: Circuit, permit: Permit, *, failed: bool) -> None:
        self._settle(circuit, permit, failed=failed, exc=None)
        if failed and events.wanted(events.CallFailed):
            events.emit(events.CallFailed(policy=self.kind, name=self.name, error="result"))

    def _settle_error(self, circuit: Circuit, permit: Permit | Phase, exc: BaseException) -> None:
        """Judge what the call raised: a failure, a success, or nothing to do with either."""
        verdict = self._judge(exc)
        if verdict is None or not isinstance(exc, Exception):
            with self._lock:
                circuit.ignore(permit, time.monotonic())
            return
        self._settle(circuit, permit, failed=verdict, exc=exc)
        if verdict and events.wanted(events.CallFailed):
            events.emit(
                events.CallFailed(policy=self.kind, name=self.name, error=type(exc).__qualname__)
            )

    def _judge(self, exc: BaseException) -> bool | None:
        """Tell whether ``exc`` is a failure; None if it says nothing about what was called."""
        if not isinstance(exc, Exception):
            return None
        if not self._records_our_own and matches(OUR_OWN, exc, all):
            return None
        try:
            if matches(self.settings.ignore, exc, all):
                return None
            return matches(self.settings.record, exc, any)
        except Exception:
            # What the caller gets is what the call raised, and a breaker that cannot judge it
            # counts it as it would without being told.
            events.logger.exception("record or ignore of circuit %r failed", self._name)
            return True

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
        self._decide_open_for(change.phase, exc)
        self._tell(change)

    def _tell(self, change: Change) -> None:
        if change.old is not change.phase.state and events.wanted(events.CircuitChanged):
            events.emit(
                events.CircuitChanged(
                    policy=self.kind,
                    name=self.name,
                    old=str(change.old),
                    new=str(change.phase.state),
                    reason=change.reason,
                    keyed=self._family is not None,
                )
            )

    def _decide_open_for(self, phase: Phase, exc: Exception | None) -> None:
        """Ask a callable ``reset_timeout``, and heed what the last exception said."""
        if not isinstance(phase, Open):
            return
        compute = self.settings.reset_timeout
        open_for = phase.open_for
        if compute is not None:
            try:
                open_for = duration("reset_timeout", compute(phase.attempt, exc), zero=True)
            except Exception:
                events.logger.exception("reset_timeout of circuit %r failed", self._name)
                open_for = FALLBACK_RESET_TIMEOUT
        phase.open_for = max(open_for, min(_told_retry_after(exc), LONGEST_RETRY_AFTER))

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

    def _set(self, state: State) -> None:
        _ = self.name  # which raises for a breaker without circuits of its own
        if self._family is not None:
            # First, so that the circuits of new keys begin in this state as well.
            self._initial = state
        self._isolating = False
        self._change_all(lambda circuit, now: circuit.set(state, now))

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Refuse all calls inside the block; the last of several blocks restores the state."""
        _ = self.name
        self._isolate(1)
        try:
            yield
        finally:
            self._isolate(-1)

    def _isolate(self, more: int) -> None:
        with self._lock:
            self._isolations = times = self._isolations + more
            self._isolating = times > 0 and (more > 0 or self._isolating)
        self._change_all(lambda circuit, now: circuit.isolate(times, now))

    def _change_all(self, change_one: Callable[[Circuit, float], Change | None]) -> None:
        circuits = [self._circuit] if self._family is None else self._family.all_members()
        for circuit in circuits:
            with self._lock:
                change = change_one(circuit, time.monotonic())
            if change is not None:
                self._tell(change)

    def _welcome(self, circuit: Circuit) -> None:
        """Bring a circuit that joins the family into the state that was set since it was made."""
        if circuit.phase.state is not self._initial:
            circuit.set(self._initial, time.monotonic())
        if self._isolating:
            circuit.isolate(self._isolations, time.monotonic())

    def _say_farewell(self, circuit: Circuit) -> None:
        """Keep what a circuit has counted that makes room for another."""
        self._gone = circuit.leave(self._gone)

    def stats(self, key: Hashable = None) -> BreakerStats:
        """Return the counters, the window and the state; with ``key``, of that circuit alone."""
        now = time.monotonic()
        if self._family is not None and key is None:
            # In this order: who has left since is among the members and not among the gone.
            members, gone = self._family.members(), self._gone
            return family_stats(self.name, members, gone, now, self._sketch)
        circuit: Circuit | None = self._circuit
        if self._family is not None:
            circuit = self._family.find(key)
        elif key is not None:
            raise TypeError(f"circuit {self.name!r} has no key=, so there is none for {key!r}")
        if circuit is None:
            raise KeyError(f"circuit {self.name!r} has seen no call with key {key!r}")
        with self._lock:
            return circuit_stats(self.name, circuit, now, self._sketch)

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


def _told_retry_after(exc: Exception | None) -> float:
    """Return what an exception says about when to come again, or 0."""
    try:
        told = getattr(exc, "retry_after", None)
    except Exception:
        return 0.0
    if isinstance(told, (int, float)) and not isinstance(told, bool) and told > 0:
        return told
    return 0.0


def _is_idle(circuit: Circuit) -> bool:
    return isinstance(circuit.phase, Closed)


@overload
def circuit_breaker(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def circuit_breaker(
    name: str | None = None,
    *,
    failure_threshold: int | None = None,
    failure_rate_threshold: float | None = None,
    slow_call_duration: Duration | None = None,
    slow_call_rate_threshold: float | None = None,
    window: Duration | None = None,
    window_calls: int | None = None,
    minimum_calls: int | None = None,
    reset_timeout: ResetTimeout = 60.0,
    half_open_max_calls: int = 1,
    success_threshold: int | None = None,
    half_open_max_concurrent: int = 1,
    half_open_timeout: Duration | None = None,
    record: Judge = Exception,
    ignore: Judge = (),
    record_result: Callable[[Any], bool] | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    initial_state: State | str = State.CLOSED,
    registry: Registry | None = None,
) -> CircuitBreaker: ...


def circuit_breaker(
    name: Callable[..., Any] | str | None = None,
    *,
    failure_threshold: int | None = None,
    failure_rate_threshold: float | None = None,
    slow_call_duration: Duration | None = None,
    slow_call_rate_threshold: float | None = None,
    window: Duration | None = None,
    window_calls: int | None = None,
    minimum_calls: int | None = None,
    reset_timeout: ResetTimeout = 60.0,
    half_open_max_calls: int = 1,
    success_threshold: int | None = None,
    half_open_max_concurrent: int = 1,
    half_open_timeout: Duration | None = None,
    record: Judge = Exception,
    ignore: Judge = (),
    record_result: Callable[[Any], bool] | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    initial_state: State | str = State.CLOSED,
    registry: Registry | None = None,
) -> Any:
    """Stop calling what keeps failing; raise CircuitOpenError instead, at once.

    Use it bare, with arguments, or as an object: ``@circuit_breaker``, ``@circuit_breaker("db")``,
    ``breaker = circuit_breaker("db"); breaker.call(fn)``, ``with breaker:``,
    ``async with breaker:``.
    Durations are seconds (or ``timedelta``, or text such as ``"250ms"``); rates are shares, 0 to 1.

    Args:
        name: shared by all breakers of that name in the registry; without one, each function that
            is decorated has its own circuit, named after it.
        failure_threshold: failures in a row that open the circuit. Default 5, and no such rule when
            a rate is given.
        failure_rate_threshold: share of failures among the calls of the window that opens it.
        slow_call_duration: from how many seconds on a call counts as slow, running ones included.
        slow_call_rate_threshold: share of slow calls among those of the window that opens it.
        window: seconds that the rates look back. Default 30 when a rate is given.
        window_calls: number of calls that the rates look back, instead of ``window``.
        minimum_calls: calls that the window must hold before a rate counts. Default 10.
        reset_timeout: seconds that it stays open, or a callable of the number of openings in a row
            and the last exception. An exception's ``retry_after`` prolongs it, up to an hour.
        half_open_max_calls: trial calls of one half-open round. Default 1.
        success_threshold: successes among them that close the circuit. Default: all.
        half_open_max_concurrent: trial calls that may run at the same time. Default 1.
        half_open_timeout: seconds after which a trial that hangs is given up. Default
            ``reset_timeout``.
        record: exceptions that are failures: types, or a predicate. Others count as successes.
        ignore: exceptions that count as nothing at all. meshhook's own rejections, cancellation and
            interrupts always do.
        record_result: a predicate of the result; true makes a failure of the call.
        key: a template, names or a callable over the arguments; each key gets a circuit.
        max_keys: how many keys have a circuit of their own; idle closed ones make room. Default
            10,000.
        initial_state: the state to begin in. Default ``"closed"``.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        CircuitOpenError: when called while the circuit is open; ``retry_after`` says for how long.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops. No lock is held while the function runs.
    """
    given: Any = name
    if guard.is_target(given):
        return circuit_breaker()(given)
    settings = breaker_settings(
        failure_threshold=failure_threshold,
        failure_rate_threshold=failure_rate_threshold,
        slow_call_duration=slow_call_duration,
        slow_call_rate_threshold=slow_call_rate_threshold,
        window=window,
        window_calls=window_calls,
        minimum_calls=minimum_calls,
        reset_timeout=reset_timeout,
        half_open_max_calls=half_open_max_calls,
        success_threshold=success_threshold,
        half_open_max_concurrent=half_open_max_concurrent,
        half_open_timeout=half_open_timeout,
        record=record,
        ignore=ignore,
        record_result=record_result,
        key=key,
        max_keys=max_keys,
        initial_state=initial_state,
    )
    return CircuitBreaker.shared(given, settings, registry)
