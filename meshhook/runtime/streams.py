"""Streams: how a policy stands between a generator and whoever iterates it.

A policy says what it does around one stream by a :class:`Visit`; the two functions here make the
driver of it, a generator function of either colour. ``send``, ``throw`` and ``close`` (``asend``,
``athrow`` and ``aclose``) pass through, and the inner generator is closed when the outer one is.

How a stream ends is told as the exception that it raised, None if it gave all of its items, or a
GeneratorExit where its consumer ended it: by closing it, by throwing it away, or by an exception of
his own that he threw in and that came back. Policies judge nothing but an ``Exception``, so what
the consumer does is neither success nor failure.

Async generators are closed by their outer one alone. The hooks of the event loop are kept from the
inner ones, or the loop would close both at the same time, and neither of them could.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import Any, TypeAlias

from meshhook.tracebacks import hide_steps

Call: TypeAlias = Callable[..., Any]
Ended: TypeAlias = BaseException | None
"""How a stream ended: see above."""
Step: TypeAlias = Callable[[Callable[[Any], Any], Any], Any]
"""Goes on to the next item, as ``method(value)`` does; async, as ``await method(value)`` does."""

NOT_YET: Any = object()
"""In place of the first item, while it has not been asked for."""


class Over:
    """In place of the first item of a stream that has none: what the generator returned."""

    __slots__ = ("result",)

    def __init__(self, result: Any = None) -> None:
        self.result = result


def _nothing(_: Any) -> None:
    """Do nothing."""


class Visit:
    """What one policy does around one stream.

    Args:
        end: called once, with how the stream ended.
        step: goes on to the next item under whatever the policy sets for that time. Nothing of the
            policy may be in force between two steps: that time belongs to the consumer.
        inner: the generator, where it has been started already.
        item: its first item, then.
        shut: closes the sync generator that it is given, if there is more to it.
    """

    __slots__ = ("_end", "inner", "item", "shut", "step")

    def __init__(
        self,
        end: Callable[[Ended], object] = _nothing,
        *,
        step: Step | None = None,
        inner: Any = None,
        item: Any = NOT_YET,
        shut: Callable[[Any], object] | None = None,
    ) -> None:
        self._end = end
        self.step = step
        self.inner = inner
        self.item = item
        self.shut = shut

    def end(self, how: Ended) -> None:
        """Tell the policy, if it has not been told yet."""
        end, self._end = self._end, _nothing
        end(how)

    def __del__(self) -> None:
        # An async generator is forgotten, and not closed, when its event loop has been closed.
        if self._end is not _nothing:
            self.end(GeneratorExit())


def driver(begin: Callable[[Any, dict[str, Any]], Visit], call: Call) -> Call:  # noqa: C901
    """Make a generator function around ``call``; ``begin`` is called at the first item.

    It is one function, as the async one is: each further one would cost time at each item.
    """

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: C901
        visit = begin(args, kwargs)
        inner, item, step = visit.inner, visit.item, visit.step
        is_consumers = False
        try:
            if inner is None:
                inner = call(*args, **kwargs)
            del args, kwargs  # a stream that is suspended needs them no more
            send, throw = inner.send, inner.throw
            if step is not None:
                send, throw = partial(step, send), partial(step, throw)
            if item is NOT_YET:
                item = send(None)
            while type(item) is not Over:
                try:
                    sent = yield item
                except GeneratorExit:
                    is_consumers = True
                    raise
                except BaseException as exc:
                    thrown = exc
                else:
                    item = send(sent)
                    continue
                # Out of the handler, so that it shows nothing of ours as the context.
                try:
                    item = throw(thrown)
                except BaseException as exc:
                    is_consumers = exc is thrown
                    raise
                finally:
                    del thrown
            result = item.result
        except StopIteration as done:
            result = done.value
        except BaseException as exc:
            try:
                _close(inner, visit)
            finally:
                visit.end(GeneratorExit() if is_consumers else exc)
                hide_steps(exc)
            raise
        visit.end(None)
        return result

    return guarded


def async_driver(  # noqa: C901
    begin: Callable[[Any, dict[str, Any]], Awaitable[Visit]], call: Call
) -> Call:
    """Make an async generator function around ``call``; ``begin`` is awaited at the first item."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: C901, PLR0912
        visit = await begin(args, kwargs)
        inner, item, step = visit.inner, visit.item, visit.step
        is_consumers = False
        try:
            if inner is None:
                inner = call(*args, **kwargs)
            del args, kwargs
            send, throw = inner.asend, inner.athrow
            first: Call = partial(_without_hooks, send)
            if step is not None:
                first, send, throw = partial(step, first), partial(step, send), partial(step, throw)
            if item is NOT_YET:
                item = await first(None)
            while type(item) is not Over:
                try:
                    sent = yield item
                except GeneratorExit:
                    is_consumers = True
                    raise
                except BaseException as exc:
                    thrown = exc
                else:
                    item = await send(sent)
                    continue
                try:
                    item = await throw(thrown)
                except BaseException as exc:
                    is_consumers = exc is thrown
                    raise
                finally:
                    del thrown
        except StopAsyncIteration:
            pass
        except BaseException as exc:
            try:
                if inner is not None:
                    await inner.aclose()
            finally:
                visit.end(GeneratorExit() if is_consumers else exc)
                hide_steps(exc)
            raise
        visit.end(None)

    return guarded


def _close(inner: Any, visit: Visit) -> None:
    if visit.shut is not None and inner is not None:
        visit.shut(inner)
    elif inner is not None:
        inner.close()


def _without_hooks(start: Callable[[Any], Any], value: Any) -> Any:
    """Start an inner async generator, which takes the hooks that are set at this moment."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _leave_to_outer)
    try:
        return start(value)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_outer(_inner: Any) -> None:
    """Do nothing: the outer generator is thrown away as well, and closes this one."""


def first(inner: Any) -> Any:
    """Return the first item of a generator that a visit is to go on with, or Over."""
    try:
        return next(inner)
    except StopIteration as done:
        return Over(done.value)


async def first_async(inner: Any) -> Any:
    """Return likewise, of an async generator."""
    try:
        return await _without_hooks(inner.asend, None)
    except StopAsyncIteration:
        return Over()


def gives_items(value: Any, *, asynchronous: bool) -> bool:
    """Tell whether ``value`` can stand in for a stream: text is one item, and not its letters."""
    kinds: Any = (AsyncIterable, Iterable) if asynchronous else Iterable
    return isinstance(value, kinds) and not isinstance(value, (str, bytes, bytearray))


def generator_of(items: Iterable[Any]) -> Generator[Any, Any, Any]:
    """Give the items of any iterable as a generator does."""
    return (yield from items)


async def async_generator_of(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, Any]:
    """Give the items of any iterable, async or not, as an async generator does."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
