"""Scopes: what holds in a ``with`` block, or for as long as a test function runs.

A generator with one ``yield`` becomes a :class:`Scope`. Around a function it is opened anew for
each call; an async function is awaited in it, which the decorators of contextlib do not do.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from meshhook.colour import is_async

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Scope(Generic[T]):
    """Something that holds in a block: ``with scope as value``, or ``@scope`` on a function."""

    def __init__(self, begin: Callable[[], contextlib.AbstractContextManager[T]]) -> None:
        self._begin = begin
        self._open: list[contextlib.AbstractContextManager[T]] = []

    def __enter__(self) -> T:
        opened = self._begin()
        value = opened.__enter__()
        self._open.append(opened)
        return value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._open.pop().__exit__(kind, error, traceback)

    def __call__(self, fn: F, /) -> F:
        """Hold while ``fn`` runs, a sync or async function."""
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(f"{fn!r} runs while it is iterated: use `with` inside of it")
        call: Any
        if is_async(fn):

            @functools.wraps(fn)
            async def call(*args: Any, **kwargs: Any) -> Any:
                with self._begin():
                    return await fn(*args, **kwargs)

        else:

            @functools.wraps(fn)
            def call(*args: Any, **kwargs: Any) -> Any:
                with self._begin():
                    return fn(*args, **kwargs)

        return call  # type: ignore[no-any-return]


def scoped(generator: Callable[P, Iterator[T]]) -> Callable[P, Scope[T]]:
    """Make a function that returns a :class:`Scope` of a generator with one ``yield``."""
    begin = contextlib.contextmanager(generator)

    @functools.wraps(generator)
    def make(*args: P.args, **kwargs: P.kwargs) -> Scope[T]:
        return Scope(lambda: begin(*args, **kwargs))

    return make
