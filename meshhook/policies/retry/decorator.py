"""The decorator ``retry`` and the loop ``retrying``: what they may be told, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.budgets import RetryBudget
from meshhook.judges import Judge
from meshhook.policies.retry.policy import Retry
from meshhook.policies.retry.series import RetryPause
from meshhook.policies.retry.settings import (
    MAX_RETRY_AFTER,
    BackoffLike,
    JitterLike,
    retry_settings,
)
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration, wrong

P = ParamSpec("P")
R = TypeVar("R")


@overload
def retry(fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def retry(
    *,
    max_attempts: int | None = 3,
    on: Judge = Exception,
    on_result: Callable[[Any], bool] | None = None,
    abort_on: Judge = (),
    backoff: BackoffLike = "exponential",
    base_delay: Duration = 0.1,
    max_delay: Duration = 5.0,
    factor: float = 2.0,
    jitter: JitterLike = "full",
    max_elapsed: Duration | None = None,
    respect_retry_after: bool = True,
    max_retry_after: Duration = MAX_RETRY_AFTER,
    retry_after: Callable[[Any], Duration | None] | None = None,
    budget: RetryBudget | None = None,
    before_sleep: Callable[[RetryPause], object] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Retry: ...


def retry(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    max_attempts: int | None = 3,
    on: Judge = Exception,
    on_result: Callable[[Any], bool] | None = None,
    abort_on: Judge = (),
    backoff: BackoffLike = "exponential",
    base_delay: Duration = 0.1,
    max_delay: Duration = 5.0,
    factor: float = 2.0,
    jitter: JitterLike = "full",
    max_elapsed: Duration | None = None,
    respect_retry_after: bool = True,
    max_retry_after: Duration = MAX_RETRY_AFTER,
    retry_after: Callable[[Any], Duration | None] | None = None,
    budget: RetryBudget | None = None,
    before_sleep: Callable[[RetryPause], object] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Any:
    """Call again what has failed, after a while; in the end raise the last error itself.

    Use it bare, with arguments, or as an object: ``@retry``, ``@retry(max_attempts=5)``,
    ``retry(on=OSError).call(fn)``, ``await retry().acall(fn)``, and for a block
    :func:`meshhook.retrying`. Only errors are retried, never a cancellation or an interrupt. The
    last error has a note that tells of the attempts, and :func:`meshhook.attempts_of` returns the
    errors before it. No pause begins that cannot end before the deadline. Durations are seconds
    (or ``timedelta``, or text such as ``"250ms"``).

    Args:
        fn: the function, where it is used bare.
        max_attempts: how often the function is called at most, the first call included. Default 3.
            None sets no limit, and needs ``max_elapsed``.
        on: errors that are retried: types, or a predicate. Of a group of errors one is enough. What
            policies refuse, errors of idempotent functions and the CancelledError of
            ``concurrent.futures`` are retried only if one of the types is theirs. Default
            ``Exception``.
        on_result: a predicate of the result; true means to try again.
        abort_on: errors that are not retried although they are in ``on``: types, or a predicate.
        backoff: how the delay grows: ``"exponential"``, ``"linear"``, ``"constant"``,
            ``"fibonacci"``, or a function of the number of the retry, from 1, or of that and the
            error. Default ``"exponential"``.
        base_delay: the first delay, before jitter. Default 0.1.
        max_delay: the longest delay, after jitter. Default 5.
        factor: by how much an exponential delay grows each time. Default 2.
        jitter: how delays are spread: ``"full"`` is anything up to the delay, ``"equal"`` from half
            of it, ``"decorrelated"`` from ``base_delay`` to three times the delay before, a number
            a share up and down, None or ``"none"`` nothing. Default ``"full"``.
        max_elapsed: seconds since the start of the call after which no attempt begins. It does not
            interrupt one: use a timeout for that. Default None, no limit.
        respect_retry_after: whether to wait for as long as the error or the result asks with an
            attribute ``retry_after`` or a header ``Retry-After``, with jitter on top only. What
            our own policies say is heeded in any case. Default True.
        max_retry_after: if it asks for more seconds than this, there is no further attempt. Default
            60.
        retry_after: a function of the error, or of the refused result, that returns how long to
            wait at least, or None where it cannot tell.
        budget: a :class:`meshhook.RetryBudget`, which bounds the retries of all who share it.
        before_sleep: a function that is called with a :class:`meshhook.RetryPause` before each
            pause.
        name: shared by all retries of that name in the registry; without one, each function that is
            decorated has its own counters, under its name.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        RetryExhaustedError: when called, if the last result was one to try again.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops. All that belongs to a call is its own.
    """
    given: Any = fn
    if guard.is_target(given):
        return retry()(given)
    if given is not None:
        raise wrong("retry", given, "used bare or with keywords, such as retry(max_attempts=3)")
    recipe = recipes(
        max_attempts=max_attempts,
        on=on,
        on_result=on_result,
        abort_on=abort_on,
        backoff=backoff,
        base_delay=base_delay,
        max_delay=max_delay,
        factor=factor,
        jitter=jitter,
        max_elapsed=max_elapsed,
        respect_retry_after=respect_retry_after,
        max_retry_after=max_retry_after,
        retry_after=retry_after,
        budget=budget,
        before_sleep=before_sleep,
    )
    return Retry.shared(name, recipe, registry)


recipes = Recipes(retry_settings, retry)


def retrying(
    *,
    max_attempts: int | None = 3,
    on: Judge = Exception,
    abort_on: Judge = (),
    backoff: BackoffLike = "exponential",
    base_delay: Duration = 0.1,
    max_delay: Duration = 5.0,
    factor: float = 2.0,
    jitter: JitterLike = "full",
    max_elapsed: Duration | None = None,
    respect_retry_after: bool = True,
    max_retry_after: Duration = MAX_RETRY_AFTER,
    retry_after: Callable[[Any], Duration | None] | None = None,
    budget: RetryBudget | None = None,
    before_sleep: Callable[[RetryPause], object] | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> Retry:
    """Retry a block: a loop over attempts, with a ``with`` block in it.

    Write ``for attempt in retrying(...):``, or ``async for`` in a coroutine, and in it ``with
    attempt:`` around all that is to be tried. An error of the block that is to be tried again is
    swallowed, and the loop goes on after a pause; any other goes through. The loop ends when a
    block has ended well. ``attempt.number`` counts from 1, ``attempt.previous`` is the error
    before. What this returns may be used for any number of loops, at the same time too.

    Takes the arguments of :func:`meshhook.retry`, but for ``on_result``: a block has none. Without
    a name it stays out of the registry.

    Raises:
        RuntimeError: in the loop, if its body is no ``with attempt:``.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops.
    """
    return retry(
        max_attempts=max_attempts,
        on=on,
        abort_on=abort_on,
        backoff=backoff,
        base_delay=base_delay,
        max_delay=max_delay,
        factor=factor,
        jitter=jitter,
        max_elapsed=max_elapsed,
        respect_retry_after=respect_retry_after,
        max_retry_after=max_retry_after,
        retry_after=retry_after,
        budget=budget,
        before_sleep=before_sleep,
        name=name,
        registry=registry,
    )
