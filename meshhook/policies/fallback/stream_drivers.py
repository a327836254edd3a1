"""The drivers of a fallback for streams: other items, where not even the first one came.

Once an item has been given, what goes wrong goes through as it is: half of one stream and all of
another are neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook.errors import ConfigurationError
from meshhook.policies.fallback.answers import NOTHING, Answers
from meshhook.runtime.streams import (
    Ended,
    Visit,
    async_driver,
    async_generator_of,
    driver,
    first,
    first_async,
    generator_of,
    gives_items,
)
from meshhook.settings import wrong

if TYPE_CHECKING:
    from meshhook.policies.fallback.policy import Fallback

Call: TypeAlias = Callable[..., Any]


def stream(fallback: Fallback, answers: Answers, call: Call) -> Call:
    """Answer errors before the first item of a generator function."""

    def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        try:
            inner = call(*args, **kwargs)
            return Visit(_end(fallback), inner=inner, item=first(inner))
        except Exception as exc:
            answer = answers.answer(exc, args, kwargs, None)
            if answer is NOTHING:
                raise
            return Visit(inner=generator_of(_items(fallback, answer, asynchronous=False)))
        except BaseException:
            fallback.tally.ignored += 1
            raise

    return driver(begin, call)


def stream_async(fallback: Fallback, answers: Answers, call: Call) -> Call:
    """Answer errors before the first item of an async generator function."""

    async def begin(args: Any, kwargs: dict[str, Any]) -> Visit:
        try:
            inner = call(*args, **kwargs)
            return Visit(_end(fallback), inner=inner, item=await first_async(inner))
        except Exception as exc:
            answer = await answers.answer_async(exc, args, kwargs, None)
            if answer is NOTHING:
                raise
            items = _items(fallback, answer, asynchronous=True)
            return Visit(inner=async_generator_of(items))
        except BaseException:
            fallback.tally.ignored += 1
            raise

    return async_driver(begin, call)


def _end(fallback: Fallback) -> Callable[[Ended], None]:
    tally = fallback.tally

    def end(how: Ended) -> None:
        if how is None:
            tally.successes += 1
        elif isinstance(how, Exception):
            tally.failures += 1
        else:
            tally.ignored += 1

    return end


def _items(fallback: Fallback, answer: Any, *, asynchronous: bool) -> Any:
    """Return what a handler gave, if it can be iterated."""
    if gives_items(answer, asynchronous=asynchronous):
        return answer
    raise TypeError(
        f"a handler of {fallback.kind} {fallback.name!r} gave {type(answer).__qualname__} in place "
        "of a stream; let it return a list of items, or be a generator function itself"
    )


def refuse_what_gives_no_items(fallback: Fallback, fn: Any, *, asynchronous: bool) -> None:
    """Raise for settings that are about a result, or a value that cannot stand in for a stream."""
    settings = fallback.settings
    name = fallback.default_name(fn)
    if settings.last_good is not None or settings.on_result is not None:
        raise ConfigurationError(
            f"last_good and on_result are about results, and {name} is a generator function, which "
            "has none: leave them out, and give a value or a handler"
        )
    if settings.value is None:
        return
    value = settings.value.value
    # What can be iterated once would be empty the next time.
    is_iterator = hasattr(value, "__next__") or hasattr(value, "__anext__")
    if is_iterator or not gives_items(value, asynchronous=asynchronous):
        raise wrong("value", value, f"a list of items, or the like, in place of the stream {name}")
