"""Judges: which exceptions a policy is about, as types or a predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from meshhook.errors import IdempotencyError, RejectedError
from meshhook.settings import exceptions, function, wrong

ExceptionTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
Judge: TypeAlias = ExceptionTypes | Callable[[Exception], bool]
"""Which exceptions: a type, several, or a predicate."""

OUR_OWN = (RejectedError, IdempotencyError)
"""What policies raise on their own account: it says nothing about what is called."""


def check_judge(argument: str, value: Any) -> Judge:
    """Return ``value``: exception types as a tuple, or a predicate."""
    if callable(value) and not isinstance(value, type):
        return function(argument, value, "error")  # type: ignore[no-any-return]
    return exceptions(argument, value)


def check_errors(argument: str, value: Any, wanted: str) -> Judge:
    """Return ``value`` likewise, if it has types of errors at all: no cancellation, no interrupt.

    ``BaseException`` alone may stand for all errors.
    """
    judge = check_judge(argument, value)
    if isinstance(judge, tuple):
        never = [kind.__qualname__ for kind in judge if not issubclass(kind, Exception)]
        if not judge or (never and judge != (BaseException,)):
            raise wrong(argument, value, wanted)
    return judge


def matches(
    judge: Judge, exc: BaseException, of_group: Callable[[Iterable[bool]], bool] = any
) -> bool:
    """Tell whether ``exc`` is one of ``judge``, or of a group ``any`` or ``all`` that are in it.

    What a predicate raises goes through.
    """
    if not isinstance(judge, tuple):
        return bool(judge(exc))  # type: ignore[arg-type]
    if isinstance(exc, judge):
        return True
    return isinstance(exc, BaseExceptionGroup) and of_group(
        matches(judge, each, of_group) for each in exc.exceptions
    )


def names_our_own(judge: Judge) -> bool:
    """Tell whether ``judge`` asks for what policies raise on their own account."""
    return isinstance(judge, tuple) and any(issubclass(kind, OUR_OWN) for kind in judge)
