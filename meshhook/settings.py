"""Checks on settings. Each returns the value it accepts, or raises an error that can be acted on.

Every message names the argument, shows the value that was given, and says what to write instead.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from datetime import timedelta
from typing import Any, TypeAlias

from meshhook.colour import is_async
from meshhook.errors import ConfigurationError

Duration: TypeAlias = float | int | timedelta | str
"""Seconds as a number, a ``timedelta``, or text such as ``"250ms"``, ``"1.5s"``, ``"2m"``."""

_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*")
_LONGEST_SHOWN = 200
_PERCENT = 100
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def wrong(argument: str, value: object, wanted: str) -> ConfigurationError:
    """Build the error for a setting that cannot be used, whatever the others are."""
    return unfit(argument, f"{argument} must be {wanted}, got {_shown(value)}")


def unfit(argument: str, text: str) -> ConfigurationError:
    """Build the error that says ``text`` of a setting that is wrong, whatever the others are."""
    error = ConfigurationError(text)
    error._argument = argument
    return error


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__} that cannot be shown>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def differing(there: Any, here: Any) -> tuple[str, str]:
    """Return what differs between two settings of one kind, each as ``name=value, name=value``."""
    pairs = _differing(there, here)
    return (
        ", ".join(f"{name}={_shown(value)}" for name, value, _ in pairs),
        ", ".join(f"{name}={_shown(value)}" for name, _, value in pairs),
    )


def _differing(there: Any, here: Any) -> list[tuple[str, Any, Any]]:
    pairs = []
    for field in dataclasses.fields(there):
        name, left, right = field.name, getattr(there, field.name), getattr(here, field.name)
        if left == right:
            continue
        if dataclasses.is_dataclass(left) and type(left) is type(right):
            pairs += _differing(left, right)
        else:
            pairs.append((name, left, right))
    return pairs


def duration(argument: str, value: Duration, *, zero: bool = False) -> float:
    """Return ``value`` in seconds; it must be finite and above zero (or zero, if allowed)."""
    least = "0 or more" if zero else "more than 0"
    wanted = (
        f"a duration of {least} seconds: a number or text such as '250ms' (units: "
        f"{' '.join(_UNITS)})"
    )
    seconds = _as_seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        error = wrong(argument, value, wanted)
        if isinstance(value, str) and _is_number(value):
            error = unfit(argument, f"{error}; for seconds write '{value.strip()}s'")
        raise error
    return seconds


def _as_seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        return float(match[1]) * _UNITS[match[2]] if match else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) is not None


def count(argument: str, value: Any, *, least: int = 1) -> int:
    """Return ``value``, a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise wrong(argument, value, f"a whole number of {least} or more")
    return value


def flag(argument: str, value: Any) -> bool:
    """Return ``value``, which is True or False."""
    if not isinstance(value, bool):
        raise wrong(argument, value, "True or False")
    return value


def share(argument: str, value: Any) -> float:
    """Return ``value``, a share above 0 and up to 1; a percentage gets a hint."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        hint = ""
        if isinstance(value, (int, float)) and 1 < value <= _PERCENT:
            hint = f" (for {value:g} % write {value / _PERCENT:g})"
        raise wrong(argument, value, f"a share above 0 and up to 1{hint}")
    return float(value)


def printable(argument: str, value: Any) -> str:
    """Return ``value``, text that can be shown and is not blank."""
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise wrong(argument, value, "printable text that is not empty")
    return value


def choice(argument: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return ``value``, one of ``allowed``."""
    if value not in allowed:
        raise wrong(argument, value, "one of " + ", ".join(repr(each) for each in allowed))
    return str(value)


def function(argument: str, value: Any, *takes: str) -> Any:
    """Return ``value``, a plain function that can be called with so many arguments."""
    wanted = f"a function of {', '.join(takes)}"
    if not callable(value):
        raise wrong(argument, value, wanted)
    if is_async(value):
        raise wrong(argument, value, f"{wanted}, and no async one: nobody would await it")
    try:
        inspect.signature(value).bind(*takes)
    except TypeError:
        raise wrong(argument, value, wanted) from None
    except ValueError:
        pass  # some builtins do not tell what they take
    return value


def exceptions(argument: str, value: Any) -> tuple[type[BaseException], ...]:
    """Return ``value``, an exception type or several, as a tuple."""
    kinds = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise wrong(argument, value, "an exception type, or a tuple of exception types")
    return tuple(kinds)
