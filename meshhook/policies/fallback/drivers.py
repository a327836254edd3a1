"""The drivers of a fallback: the path of a call, once for each colour.

The plain ones look at errors only. The others judge results as well, and keep the good ones.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.policies.fallback.answers import NOTHING, Answers

if TYPE_CHECKING:
    from meshhook.policies.fallback.policy import Fallback

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]


def plain(fallback: Fallback, answers: Answers, call: Call) -> Call:
    """Answer errors."""
    tally, plain, answer = fallback.tally, guard.PLAIN, answers.answer

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
        except Exception as exc:
            result = answer(exc, args, kwargs, None)
            if result is NOTHING:
                raise
            return result
        except BaseException:
            tally.ignored += 1
            raise
        if type(result) not in plain:
            guard.check_result(result)
        tally.successes += 1
        return result

    return guarded


def plain_async(fallback: Fallback, answers: Answers, call: AsyncCall) -> AsyncCall:
    """Answer errors, async."""
    tally, answer = fallback.tally, answers.answer_async

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except Exception as exc:
            result = await answer(exc, args, kwargs, None)
            if result is NOTHING:
                raise
            return result
        except BaseException:
            tally.ignored += 1
            raise
        tally.successes += 1
        return result

    return guarded


def judging(fallback: Fallback, answers: Answers, call: Call) -> Call:
    """Answer errors and bad results, and keep good ones."""
    tally, plain, answer, place = fallback.tally, guard.PLAIN, answers.answer, answers.place
    last_good = answers.last_good

    def guarded(*args: Any, **kwargs: Any) -> Any:
        at = place(args, kwargs)
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
        except Exception as exc:
            found = answer(exc, args, kwargs, at)
            if found is NOTHING:
                raise
            return found
        except BaseException:
            tally.ignored += 1
            raise
        if type(result) not in plain:
            guard.check_result(result)
        if fallback.is_bad(result):
            found = answer(None, args, kwargs, at)
            return result if found is NOTHING else found
        tally.successes += 1
        if last_good is not None:
            last_good.keep(at, result, time.monotonic())
        return result

    return guarded


def judging_async(fallback: Fallback, answers: Answers, call: AsyncCall) -> AsyncCall:
    """Answer errors and bad results, and keep good ones, async."""
    tally, answer, place = fallback.tally, answers.answer_async, answers.place
    last_good = answers.last_good

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        at = place(args, kwargs)
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except Exception as exc:
            found = await answer(exc, args, kwargs, at)
            if found is NOTHING:
                raise
            return found
        except BaseException:
            tally.ignored += 1
            raise
        if fallback.is_bad(result):
            found = await answer(None, args, kwargs, at)
            return result if found is NOTHING else found
        tally.successes += 1
        if last_good is not None:
            last_good.keep(at, result, time.monotonic())
        return result

    return guarded
