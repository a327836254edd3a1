"""How an async call is limited: it is cancelled, or sees to its deadline itself."""

from __future__ import annotations

import contextlib
import time
import types
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator
from contextvars import Token
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.deadline import current as deadline
from meshhook.runtime.timer import as_coroutine

if TYPE_CHECKING:
    from meshhook.policies.timeout.policy import Timeout

Call: TypeAlias = Callable[..., Any]
_COROUTINES = (types.CoroutineType, types.GeneratorType)


def _reset(token: Token[float | None]) -> None:
    # A coroutine that nobody awaits any more is closed in a context that is not its own.
    with contextlib.suppress(ValueError):
        deadline.reset(token)


def cooperative(policy: Timeout, call: Call, fn: Call) -> Callable[..., Awaitable[Any]]:
    """Set the deadline and let the coroutine see to it."""
    limit, tally, current = policy.settings.seconds, policy.tally, deadline

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        latest = began + limit
        outer = current.get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        token = current.set(latest)
        try:
            result = await call(*args, **kwargs)
        except BaseException as exc:
            _reset(token)
            policy.count_cooperative_error(exc, began, latest, limit)
            raise
        current.reset(token)
        tally.successes += 1
        return result

    return guarded


def cancelling(  # noqa: C901 - one function, because another call would cost too much
    policy: Timeout, call: Call, fn: Call
) -> Callable[..., Awaitable[Any]]:
    """Cancel the task at the deadline. A call that never suspends needs no timer at all.

    It is a coroutine in the form of a generator: one that runs a call up to its first suspension
    has to hand that on, and a coroutine cannot.
    """
    limit, tally, start = policy.settings.seconds, policy.tally, policy.timers.start
    get, set_, reset = deadline.get, deadline.set, deadline.reset

    @types.coroutine
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: C901 - as above
        began = time.monotonic()
        latest = began + limit
        outer = get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        token = set_(latest)
        entry = None
        try:
            coroutine = call(*args, **kwargs) if kwargs else call(*args)
            del args, kwargs  # a call that is suspended needs them no more
            if type(coroutine) not in _COROUTINES:
                coroutine = as_coroutine(coroutine)
            try:
                step = coroutine.send(None)
            except StopIteration as done:
                result = done.value
            else:
                entry = start(began, latest)
                while True:
                    try:
                        yield step
                    except BaseException as exc:
                        thrown = exc
                    else:
                        result = yield from coroutine
                        break
                    try:
                        # Out of the handler, so that it shows nothing of ours as the context.
                        step = coroutine.throw(thrown)
                    except StopIteration as done:
                        result = done.value
                        break
                    finally:
                        del thrown
        except BaseException as exc:
            _reset(token)
            has_expired = entry is not None and entry.end()
            if has_expired and isinstance(exc, CancelledError):
                raise policy.expired(fn, began, latest, limit) from exc
            policy.count_error(exc)
            raise
        reset(token)
        if entry is not None:
            entry.end()
        tally.successes += 1
        return result

    return guarded
