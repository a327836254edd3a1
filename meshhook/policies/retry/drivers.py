"""The drivers of a retry: the first attempt, and the way to further ones, once for each colour.

A call that goes well at once touches nothing but a counter. The others make a series, which
decides; further attempts are made outside of the handler of the error before, so that their errors
have nothing of ours in their context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.policies.retry.judgement import is_unwanted
from meshhook.policies.retry.series import Series
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking

if TYPE_CHECKING:
    from meshhook.policies.retry.policy import Retry

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]
Begin: TypeAlias = Callable[[], float | None]
"""What is done at the start of each call."""


def straight(policy: Retry, call: Call) -> Call:
    """Retry on errors."""
    tally, plain = policy.tally, guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
        except Exception as exc:
            series = Series(policy, None)
            series.failed_call(exc)
        except BaseException:
            tally.ignored += 1
            raise
        else:
            if type(result) not in plain:
                guard.check_result(result)
            tally.successes += 1
            return result
        _again(series, call, args, kwargs)
        if series.error is None:
            return series.result
        try:
            raise series.error
        finally:
            series.let_go()

    return guarded


def straight_async(policy: Retry, call: AsyncCall) -> AsyncCall:
    """Retry on errors, async."""
    tally = policy.tally

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except Exception as exc:
            series = Series(policy, None)
            series.failed_call(exc)
        except BaseException:
            tally.ignored += 1
            raise
        else:
            tally.successes += 1
            return result
        await _again_async(series, call, args, kwargs)
        if series.error is None:
            return series.result
        try:
            raise series.error
        finally:
            series.let_go()

    return guarded


def watched(policy: Retry, call: Call, begin: Begin) -> Call:
    """Retry on errors and results, within a budget or a time."""
    tally, plain, judge = policy.tally, guard.PLAIN, policy.settings.on_result

    def guarded(*args: Any, **kwargs: Any) -> Any:
        started = begin()
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
        except Exception as exc:
            series = Series(policy, started)
            series.failed_call(exc)
        except BaseException:
            tally.ignored += 1
            raise
        else:
            if type(result) not in plain:
                guard.check_result(result)
            if judge is None or not is_unwanted(policy, judge, result):
                tally.successes += 1
                return result
            series = Series(policy, started)
            series.refused(result)
        _again(series, call, args, kwargs)
        if series.error is None:
            return series.result
        try:
            raise series.error
        finally:
            series.let_go()

    return guarded


def watched_async(policy: Retry, call: AsyncCall, begin: Begin) -> AsyncCall:
    """Retry on errors and results, within a budget or a time, async."""
    tally, judge = policy.tally, policy.settings.on_result

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        started = begin()
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except Exception as exc:
            series = Series(policy, started)
            series.failed_call(exc)
        except BaseException:
            tally.ignored += 1
            raise
        else:
            if judge is None or not is_unwanted(policy, judge, result):
                tally.successes += 1
                return result
            series = Series(policy, started)
            series.refused(result)
        await _again_async(series, call, args, kwargs)
        if series.error is None:
            return series.result
        try:
            raise series.error
        finally:
            series.let_go()

    return guarded


def _again(series: Series, call: Call, args: Any, kwargs: dict[str, Any]) -> None:
    """Try again until it goes well or has to end; the series has the outcome."""
    while series.may_go_on() and run_blocking(series.pause(BLOCKING)):
        series.begin_next()
        try:
            result = call(*args, **kwargs)
        except Exception as exc:
            series.failed_call(exc)
            continue
        except BaseException:
            series.interrupted()
            raise
        if type(result) not in guard.PLAIN:
            guard.check_result(result)
        if series.accepts(result):
            return


async def _again_async(series: Series, call: AsyncCall, args: Any, kwargs: dict[str, Any]) -> None:
    """Try again until it goes well or has to end, async."""
    while series.may_go_on() and await series.pause(ASYNCIO):
        series.begin_next()
        try:
            result = await call(*args, **kwargs)
        except Exception as exc:
            series.failed_call(exc)
            continue
        except BaseException:
            series.interrupted()
            raise
        if series.accepts(result):
            return
