"""A series: the attempts of one call, and whether there is to be another.

It holds all that belongs to the call, and nothing else does. Drivers and blocks tell it how each
attempt ended, and ask for the next. The waiting is written once, over the verbs of the runtime.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshhook import events, retry_after
from meshhook.deadline import current, in_force
from meshhook.errors import RejectedError, RetryExhaustedError
from meshhook.events import logger
from meshhook.policies.retry import history
from meshhook.policies.retry.judgement import is_unwanted, is_worth_it
from meshhook.runtime.protocol import Runtime
from meshhook.tracebacks import set_context, set_traceback
from meshhook.wording import short

if TYPE_CHECKING:
    from meshhook.policies.retry.policy import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPause:
    """What ``before_sleep`` is told: a retry is about to wait.

    ``attempt`` is the number of the attempt that has failed, from 1; ``delay`` is for how many
    seconds it will wait; ``error`` is what the attempt raised, None if its result was refused;
    ``elapsed`` is how many seconds have passed since the first attempt failed.
    """

    attempt: int
    delay: float
    error: Exception | None
    elapsed: float


class Series:
    """The attempts of one call. Not to be shared."""

    __slots__ = (
        "_before",
        "_context",
        "_delay",
        "_earlier",
        "_failed_at",
        "_policy",
        "_started",
        "attempts",
        "error",
        "result",
    )

    def __init__(self, policy: Retry, started: float | None) -> None:
        self._policy = policy
        self._started = started
        self._failed_at: float | None = None
        self._before = 0.0
        self._delay = 0.0
        self._earlier: deque[Exception] | None = None
        self._context: BaseException | None = None
        self.attempts = 0
        self.error: Exception | None = None
        """What the last attempt raised; at the end what the call is to raise."""
        self.result: Any = None

    def failed(self, error: Exception) -> None:
        """Take in what an attempt has raised."""
        self._ended(error)
        self._context = error.__context__

    def failed_call(self, error: Exception) -> None:
        """Take in what a driver has caught, without the frame of the driver."""
        history.without_frame(error)
        self.failed(error)

    def refused(self, result: Any) -> None:
        """Take in a result that an attempt has returned, and that is to be tried again."""
        self._ended(None)
        self.result = result

    def accepts(self, result: Any) -> bool:
        """Take in what a further attempt has returned; tell whether the call returns it."""
        judge = self._policy.settings.on_result
        if judge is not None and is_unwanted(self._policy, judge, result):
            self.refused(result)
            return False
        self.succeeded()
        self.result = result
        return True

    def succeeded(self) -> None:
        """Count a call that has ended well."""
        tally = self._policy.tally
        tally.successes += 1
        if self.attempts:
            tally.recovered += 1
        self._let_go_of_errors()

    def _ended(self, error: Exception | None) -> None:
        self.error = error
        self.result = None
        self.attempts += 1
        if self._failed_at is None:
            self._failed_at = time.monotonic()

    def begin_next(self) -> Exception | None:
        """Put the last error away, which needs its traceback no more, and return it."""
        last = self.error
        if last is not None:
            if self._earlier is None:
                self._earlier = deque(maxlen=history.KEPT)
            self._earlier.append(last)
            set_traceback(last, None)
            self.error = None
        return last

    def may_go_on(self) -> bool:
        """Tell whether another attempt is due, and work out when; else get the error ready."""
        policy = self._policy
        settings = policy.settings
        if self.error is not None and not is_worth_it(policy, self.error):
            return self._end("aborted", "this error is not one to be retried")
        if settings.max_attempts is not None and self.attempts >= settings.max_attempts:
            return self._end("attempts", "")
        asked = self._asked()
        if asked > settings.max_retry_after:
            return self._end(
                "retry_after",
                f"it asks to be left alone for {short(asked)} s, which is more than "
                f"max_retry_after={short(settings.max_retry_after)}",
            )
        self._delay = policy.delay(self.attempts, self._before, asked, self.error)
        return self._fits()

    def _asked(self) -> float:
        """Return how many seconds the last outcome asks to be left alone for, or 0."""
        policy, error = self._policy, self.error
        settings = policy.settings  # once, for others may come in their place at any time
        outcome = self.result if error is None else error
        asked = None
        if settings.retry_after is not None:
            try:
                asked = retry_after.in_seconds(settings.retry_after(outcome))
            except Exception:
                logger.exception("retry_after of retry %r failed", policy._name)
        if asked is None and (settings.respect_retry_after or isinstance(error, RejectedError)):
            asked = retry_after.told(outcome)
        return asked or 0.0

    def _fits(self) -> bool:
        """Tell whether the pause ends before the call has to."""
        ends = time.monotonic() + self._delay
        latest = in_force(current.get())
        if latest is not None and ends >= latest:
            return self._end(
                "deadline", f"a pause of {short(self._delay)} s would not end before the deadline"
            )
        most = self._policy.settings.max_elapsed
        if most is not None and self._started is not None and ends >= self._started + most:
            return self._end(
                "max_elapsed",
                f"a pause of {short(self._delay)} s would not end within max_elapsed={short(most)}",
            )
        return True

    async def pause(self, runtime: Runtime) -> bool:
        """Wait for the next attempt, and tell whether there is one; else get the error ready."""
        policy = self._policy
        budget = policy.settings.budget
        taken = None
        goes_on = False
        try:
            if budget is not None:
                taken = budget.take()
                if taken is None:
                    return self._end("budget", f"retry budget {budget.name!r} is used up")
            self._announce()
            slept = await runtime.sleep(self._delay)
            goes_on = self._is_awake(slept=slept)
        except BaseException:
            policy.tally.ignored += 1
            self._let_go_of_errors()
            raise
        finally:
            if budget is not None and taken is not None and not goes_on:
                budget.give_back(taken)
        if goes_on:
            self._before = self._delay
            policy.tally.retries += 1
        return goes_on

    def _is_awake(self, *, slept: bool) -> bool:
        if not slept:
            return self._end("shutdown", "the process shuts down")
        latest = in_force(current.get())
        if latest is not None and time.monotonic() >= latest:
            return self._end("deadline", "the pause took longer than it should, past the deadline")
        return True

    def _announce(self) -> None:
        """Tell the hook and the events of the pause to come."""
        policy = self._policy
        before_sleep = policy.settings.before_sleep
        if before_sleep is not None:
            pause = RetryPause(
                attempt=self.attempts, delay=self._delay, error=self.error, elapsed=self._elapsed()
            )
            try:
                before_sleep(pause)
            except Exception:
                logger.exception("before_sleep of retry %r failed", policy._name)
        if events.wanted(events.CallRetried):
            events.emit(
                events.CallRetried(
                    policy=policy.kind,
                    name=policy._name or policy.kind,
                    attempt=self.attempts,
                    delay=self._delay,
                    error=self._error_name(),
                )
            )

    def _end(self, reason: str, why: str) -> bool:
        """Count a call that is not tried again, and get its error ready. Always False."""
        policy = self._policy
        policy.tally.failures += 1
        if reason == "aborted" and self.attempts == 1:
            return False
        policy.tally.ended_by[reason] += 1
        elapsed = self._elapsed()
        error_name = self._error_name()
        told = f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}"
        if self.attempts > 1:
            told += f", the last {short(round(elapsed, 3))} s after the first had failed"
        if why:
            told += f"; {why}"
        if self.error is None:
            exhausted = RetryExhaustedError(
                f"{policy.kind} {policy._name!r}: no result was accepted: {told}",
                name=policy._name or policy.kind,
                attempts=self.attempts,
                reason=reason,
            )
            exhausted.last_result = self.result
            self.error = exhausted
        if self.attempts > 1 or why:
            history.remember(self.error, self._earlier or (), f"meshhook: {told}")
        if events.wanted(events.RetriesExhausted):
            events.emit(
                events.RetriesExhausted(
                    policy=policy.kind,
                    name=policy._name or policy.kind,
                    attempts=self.attempts,
                    elapsed=elapsed,
                    error=error_name,
                    reason=reason,
                )
            )
        return False

    def _elapsed(self) -> float:
        return 0.0 if self._failed_at is None else max(0.0, time.monotonic() - self._failed_at)

    def _error_name(self) -> str:
        return "result" if self.error is None else type(self.error).__qualname__

    def interrupted(self) -> None:
        """Count a call whose attempt was cancelled or interrupted: it ends with that."""
        self._policy.tally.ignored += 1
        self._let_go_of_errors()

    def let_go(self) -> None:
        """Forget the error, which has been raised: whoever holds the series would be in a ring.

        A raise in a driver replaces what the error was raised in the handling of, if the caller is
        handling an error itself. That is put right.
        """
        if self.error is not None and not isinstance(self.error, RetryExhaustedError):
            set_context(self.error, self._context)
        self._let_go_of_errors()

    def _let_go_of_errors(self) -> None:
        self.error = self._context = self._earlier = None
