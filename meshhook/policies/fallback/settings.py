"""The settings of a fallback: what stands in for a call, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook import guard
from meshhook.errors import ConfigurationError
from meshhook.judges import Judge, check_errors
from meshhook.keys import Key, check_key
from meshhook.settings import Duration, count, duration, function, unfit, wrong

Handler: TypeAlias = Callable[..., Any]
"""Makes the result out of the error, or out of the error and the arguments of the call."""

MAX_KEYS = 1_000


class Value:
    """A value that stands in for results. Equal to another of the same type that is equal."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(self.value) is not type(other.value):
            return False
        try:
            return self.value is other.value or bool(self.value == other.value)
        except Exception:  # an array does not tell
            return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSettings:
    """What a fallback was given, checked."""

    value: Value | None
    handler: tuple[Handler, ...]
    last_good: float | None
    key: Key | None
    max_keys: int
    on: Judge
    on_result: Callable[[Any], bool] | None


def fallback_settings(
    *,
    value: Any,
    handler: Any,
    last_good: Duration | None,
    key: Key | None,
    max_keys: int,
    on: Judge,
    on_result: Callable[[Any], bool] | None,
) -> FallbackSettings:
    """Check all settings of a fallback against each other."""
    if guard.is_target(value):
        raise unfit(
            "value",
            f"value={value!r} is a callable, so it does not tell what to give instead: write "
            "@fallback([]) for a value, or @fallback(handler=fn) for a function of the error "
            "(handler=lambda error: fn gives the callable itself)",
        )
    handlers = _handlers(handler)
    if value is ... and not handlers and last_good is None:
        raise ConfigurationError(
            "fallback has nothing to give: say value, handler or last_good, such as fallback([])"
        )
    if last_good is None and (key is not None or max_keys != MAX_KEYS):
        raise ConfigurationError(
            f"key={key!r} and max_keys={max_keys!r} are about last_good, and there is none: give "
            "last_good, or leave them out"
        )
    return FallbackSettings(
        value=None if value is ... else Value(value),
        handler=handlers,
        last_good=None if last_good is None else duration("last_good", last_good),
        key=None if key is None else check_key(key),
        max_keys=count("max_keys", max_keys),
        on=check_errors(
            "on",
            on,
            "types of errors that get a fallback; cancellation and interrupts never do",
        ),
        on_result=None if on_result is None else function("on_result", on_result, "result"),
    )


def _handlers(given: Any) -> tuple[Handler, ...]:
    if given is None:
        return ()
    handlers = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not handlers or not all(map(callable, handlers)):
        raise wrong("handler", given, "a function of the error, or a list of such functions")
    return handlers
