"""The drivers of a hedge: the path of a call, once for each colour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.policies.hedge.race import Race
from meshhook.policies.hedge.tasks import Tasks
from meshhook.policies.hedge.threads import Threads
from meshhook.runtime.blocking import run_blocking

if TYPE_CHECKING:
    from meshhook.policies.hedge.policy import Hedge

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]
CountCall: TypeAlias = Callable[[], None] | None
"""How a budget is told of a call, where that is up to this hedge."""


def hedged(policy: Hedge, calls: tuple[Call, ...], count_call: CountCall) -> Call:
    """Race attempts in worker threads."""
    tally, plain, hedges = policy.tally, guard.PLAIN, len(calls) - 1

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if count_call is not None:
            count_call()
        try:
            _, result, error = run_blocking(
                Race(policy, Threads(policy, calls, args, kwargs), hedges).run()
            )
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback holds this frame
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            policy.count_error(exc)
            raise
        tally.successes += 1
        return result

    return guarded


def hedged_async(policy: Hedge, calls: tuple[AsyncCall, ...], count_call: CountCall) -> AsyncCall:
    """Race attempts in tasks."""
    tally, hedges = policy.tally, len(calls) - 1

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if count_call is not None:
            count_call()
        try:
            crew = Tasks(policy, calls, args, kwargs)
            _, result, error = await Race(policy, crew, hedges).run()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback holds this frame
        except BaseException as exc:
            policy.count_error(exc)
            raise
        tally.successes += 1
        return result

    return guarded


def refused(policy: Hedge, fn: Call) -> Call:
    """Refuse every call of a function that nothing declares safe to repeat."""

    def guarded(*_: Any, **__: Any) -> Any:
        raise policy.unrepeatable(fn)

    return guarded


def refused_async(policy: Hedge, fn: Call) -> AsyncCall:
    """Refuse every call likewise, async."""

    async def guarded(*_: Any, **__: Any) -> Any:
        raise policy.unrepeatable(fn)

    return guarded
