"""The drivers of a retry for streams: attempts until one of them gives its first item.

From then on there is no way back: an item that has been given cannot be taken back, and to give it
again would be worse than the error. So what goes wrong later goes through as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from meshhook.policies.retry.series import Series
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.streams import Ended, Visit, async_driver, driver, first, first_async

if TYPE_CHECKING:
    from meshhook.policies.retry.policy import Retry

Call: TypeAlias = Callable[..., Any]
Begin: TypeAlias = Callable[[], float | None]
"""What is done at the start of each call."""


def stream(policy: Retry, call: Call, at_start: Begin) -> Call:
    """Retry a generator function until its first item is there."""

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        series, started = None, at_start()
        while True:
            try:
                inner = call(*args, **kwargs)
                item = first(inner)
            except Exception as exc:
                series = series or Series(policy, started)
                series.failed_call(exc)
            except BaseException:
                _interrupted(policy, series)
                raise
            else:
                return Visit(_end(policy, series), inner=inner, item=item)
            if not (series.may_go_on() and run_blocking(series.pause(BLOCKING))):
                _failed(series)
            series.begin_next()

    return driver(begin, call)


def stream_async(policy: Retry, call: Call, at_start: Begin) -> Call:
    """Retry an async generator function until its first item is there."""

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        series, started = None, at_start()
        while True:
            try:
                inner = call(*args, **kwargs)
                item = await first_async(inner)
            except Exception as exc:
                series = series or Series(policy, started)
                series.failed_call(exc)
            except BaseException:
                _interrupted(policy, series)
                raise
            else:
                return Visit(_end(policy, series), inner=inner, item=item)
            if not (series.may_go_on() and await series.pause(ASYNCIO)):
                _failed(series)
            series.begin_next()

    return async_driver(begin, call)


def _interrupted(policy: Retry, series: Series | None) -> None:
    if series is None:
        policy.tally.ignored += 1
    else:
        series.interrupted()


def _end(policy: Retry, series: Series | None) -> Callable[[Ended], None]:
    """Return what counts a stream at its end, which holds on to no error of the attempts."""
    tally, has_recovered = policy.tally, series is not None
    del series

    def end(how: Ended) -> None:
        if how is None:
            tally.successes += 1
            tally.recovered += has_recovered
        elif isinstance(how, Exception):
            tally.failures += 1
        else:
            tally.ignored += 1

    return end


def _failed(series: Series) -> NoReturn:
    error: Any = series.error  # there are no results that could have been refused
    try:
        raise error
    finally:
        del error
        series.let_go()
