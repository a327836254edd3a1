"""The exception tree. Everything meshhook raises on purpose is in it.

    MeshHookError
    ├── RejectedError(.name, .policy, .retry_after)    the call never started: safe to run again
    │   ├── CircuitOpenError(.state, .last_failure)
    │   ├── BulkheadFullError(.reason, .max_concurrent, .waiting)
    │   ├── RateLimitedError(.limit, .remaining, .reset_after)
    │   └── ThrottledError(.chance)
    ├── TimeoutError(.name, .timeout)                  also a builtin TimeoutError
    │   └── NoTimeLeftError(.policy, .retry_after)     also a RejectedError
    ├── RetryExhaustedError(.name, .attempts, .reason, .last_result)
    ├── IdempotencyError(.name, .key)
    │   ├── MissingKeyError
    │   ├── KeyReusedError                             same key, other arguments
    │   ├── InProgressError(.retry_after)
    │   ├── LeaseLostError
    │   ├── ResultUnavailableError
    │   └── ReentrantCallError
    ├── StoreError
    │   └── StoreUnavailableError
    ├── InjectedFaultError(.name)
    └── ConfigurationError                             also a ValueError

An error is built anew for each raise, and pickles and copies with all its attributes: fields are
keyword arguments of the constructor, and ``__reduce__`` hands them back.
"""

from __future__ import annotations

import builtins
from typing import Any

from meshhook.wording import short


def _rebuild(
    kind: type[MeshHookError], args: tuple[Any, ...], fields: dict[str, Any]
) -> MeshHookError:
    error = kind.__new__(kind, *args)
    BaseException.__init__(error, *args)
    error.__dict__.update(fields)
    return error


class MeshHookError(Exception):
    """Base of every error that meshhook raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class RejectedError(MeshHookError):
    """A policy refused the call before it started, so running it again is safe.

    ``retry_after`` is the number of seconds after which a new attempt may be admitted, or None
    where the policy cannot know.
    """

    def __init__(
        self, message: str, *, name: str = "", policy: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.name = name
        self.policy = policy
        self.retry_after = retry_after


class CircuitOpenError(RejectedError):
    """The circuit is open, forced open, or half-open with all of its trials taken.

    ``state`` is the state that refused; ``last_failure`` is the type name of the last failure that
    was counted, or None.
    """

    policy = "circuit_breaker"
    state = "open"

    def __init__(
        self,
        message: str | None = None,
        *,
        name: str = "",
        retry_after: float | None = None,
        state: str = "open",
        last_failure: str | None = None,
    ) -> None:
        # Refusing must cost next to nothing: no super(), defaults on the class, and a message that
        # is put together when somebody reads it.
        self.name = name
        self.retry_after = retry_after
        self.last_failure = last_failure
        if state != "open":
            self.state = state

    def __str__(self) -> str:
        if self.args and self.args[0] is not None:
            return str(self.args[0])
        said = f"circuit {self.name!r} is {self.state.replace('_', '-')}"
        if self.retry_after is None:
            return f"{said} until it is reset"
        if self.state == "half_open":
            said += ": its trial calls are still running"
        return f"{said}; retry in {self.retry_after:.1f} s"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class BulkheadFullError(RejectedError):
    """As many calls were running as may, and this one could not wait, or has waited for too long.

    ``reason`` is ``"full"`` where no call may wait, ``"queue_full"`` when too many waited already,
    ``"max_wait"`` or ``"deadline"`` when that ended the wait or left no time for one, and
    ``"shutdown"``. ``max_concurrent`` is the limit, and ``waiting`` how many other calls waited.
    """

    policy = "bulkhead"
    retry_after = None

    def __init__(
        self,
        message: str | None = None,
        *,
        name: str = "",
        reason: str = "full",
        max_concurrent: int = 0,
        waiting: int = 0,
    ) -> None:
        # As cheap as that of a circuit, for the same reason.
        self.name = name
        self.reason = reason
        self.max_concurrent = max_concurrent
        self.waiting = waiting

    def __str__(self) -> str:
        if self.args and self.args[0] is not None:
            return str(self.args[0])
        calls = "call is" if self.max_concurrent == 1 else "calls are"
        said = f"bulkhead {self.name!r} is full: {self.max_concurrent} {calls} running"
        if self.waiting:
            said += f" and {self.waiting} waiting"
        return f"{said}; {_NEXT_STEPS.get(self.reason, 'call again later')}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


_NEXT_STEPS = {
    "full": "call again later, or let calls wait with max_wait",
    "queue_full": "call again later, or raise max_queue",
    "max_wait": "no slot came free within max_wait; call again later",
    "deadline": "the deadline left no time to wait for a slot",
    "shutdown": "the process is shutting down",
}


class RateLimitedError(RejectedError):
    """As many calls have started as the rate allows, and this one could not wait for its turn.

    ``limit`` is the rate as text, ``remaining`` the cost that could start at once, and
    ``reset_after`` the seconds until nothing of what has started counts any more.
    """

    policy = "rate_limit"

    def __init__(
        self,
        message: str | None = None,
        *,
        name: str = "",
        retry_after: float | None = None,
        limit: str = "",
        remaining: int = 0,
        reset_after: float = 0.0,
    ) -> None:
        # As cheap as that of a circuit, for the same reason.
        self.name = name
        self.retry_after = retry_after
        self.limit = limit
        self.remaining = remaining
        self.reset_after = reset_after

    def __str__(self) -> str:
        if self.args and self.args[0] is not None:
            return str(self.args[0])
        said = f"rate limit {self.name!r} of {self.limit} is used up"
        return f"{said}; retry in {short(self.retry_after or 0.0)} s"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ThrottledError(RejectedError):
    """The service accepts too few of the calls, so this one was dropped before it was sent.

    ``chance`` is the share of calls that was being dropped.
    """

    policy = "throttle"
    retry_after = None

    def __init__(self, message: str | None = None, *, name: str = "", chance: float = 0.0) -> None:
        # As cheap as that of a circuit, for the same reason.
        self.name = name
        self.chance = chance

    def __str__(self) -> str:
        if self.args and self.args[0] is not None:
            return str(self.args[0])
        return (
            f"throttle {self.name!r} dropped the call: what is called accepts too few of them, so "
            f"{self.chance:.0%} are not sent; call again later, and less often"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class TimeoutError(MeshHookError, builtins.TimeoutError):
    """A limit set through meshhook ran out. Never raised for a TimeoutError from inside the call.

    ``timeout`` is the limit in seconds that ran out: the policy's own, or what was left of an outer
    deadline when that was less.
    """

    def __init__(self, message: str, *, name: str = "", timeout: float | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.timeout = timeout


class NoTimeLeftError(TimeoutError, RejectedError):
    """The deadline had passed before a call began, so it was not started: safe to run again.

    Raised by timeouts, and by idempotent functions whose store has not answered by then.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        timeout: float | None = 0.0,
        policy: str = "timeout",
        retry_after: float | None = None,
    ) -> None:
        TimeoutError.__init__(self, message, name=name, timeout=timeout)
        self.policy = policy
        self.retry_after = retry_after


class RetryExhaustedError(MeshHookError):
    """The last attempt of a retried call gave a result that was to be tried again.

    ``attempts`` is how many there were, and ``reason`` why there is no other, as in the event
    RetriesExhausted. ``last_result`` is that result; it stays out of texts, pickles and copies.
    Calls whose last attempt raised an error raise that error itself.
    """

    last_result: Any = None

    def __init__(
        self, message: str, *, name: str = "", attempts: int = 0, reason: str = "attempts"
    ) -> None:
        super().__init__(message)
        self.name = name
        self.attempts = attempts
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: value for name, value in vars(self).items() if name != "last_result"}
        return _rebuild, (type(self), self.args, fields)


class IdempotencyError(MeshHookError):
    """Base of what an idempotent function raises on its own account."""

    def __init__(self, message: str, *, name: str = "", key: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.key = key


class MissingKeyError(IdempotencyError):
    """The key of this call is missing, None or empty, so nothing could tell it from another."""


class KeyReusedError(IdempotencyError):
    """The key belongs to a call with other arguments."""


class InProgressError(IdempotencyError):
    """Another execution holds the key and did not end in time. ``retry_after`` is in seconds."""

    def __init__(
        self, message: str, *, name: str = "", key: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, name=name, key=key)
        self.retry_after = retry_after


class LeaseLostError(IdempotencyError):
    """The lease ran out, another execution took the key over, and its result is not available."""


class ResultUnavailableError(IdempotencyError):
    """The call has been executed, but its result could not be kept or read back."""


class ReentrantCallError(IdempotencyError):
    """An idempotent function called itself with the key that it is running under."""


class StoreError(MeshHookError):
    """A store answered with something that is not an answer."""


class StoreUnavailableError(StoreError):
    """A store did not answer in time, or cannot be reached."""


class InjectedFaultError(MeshHookError):
    """A fault that chaos has injected on purpose. It is no refusal: it stands for a failed call."""

    def __init__(self, message: str = "an injected fault", *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class ConfigurationError(MeshHookError, ValueError):
    """A setting is wrong. Raised where it is written; names argument, value and fix."""

    _argument: str | None = None
    """The one that is wrong whatever the others are; None if only several together are."""
