"""Fingerprints: what must be the same about a call when its key comes again.

A fingerprint is the canonical text of the arguments that count. With ``"auto"`` those are all that
the key does not cover; where it covers all, there is no fingerprint.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from meshhook.canonical import ENCODERS, canonical, digest
from meshhook.keys import (
    VARIADIC,
    Callee,
    Key,
    KeyOf,
    bind_arguments,
    fields_of,
)
from meshhook.settings import wrong

Fingerprint: TypeAlias = bool | str | tuple[str, ...] | Callable[..., Any]
"""Which arguments of a call must be the same when its key comes again; ``"auto"`` or False too."""

LONGEST = 256
"""Longer ones become digests: they are kept for as long as their results."""


def compile_fingerprint(
    fingerprint: Fingerprint, callee: Callee, key: Key, *, longest: int
) -> Callable[[tuple[Any, ...], dict[str, Any]], str] | None:
    """Compile what fingerprints calls of ``callee``; None if their key says everything already.

    Fingerprints of more than ``longest`` characters become digests.
    """
    if fingerprint is False:
        return None
    if fingerprint != "auto":
        if isinstance(fingerprint, str):
            read = callee.compile_field(fingerprint, fingerprint, "fingerprint")
        else:  # checked with the settings
            read = callee.compile_key(fingerprint, "fingerprint")  # type: ignore[arg-type]
        return _joined([read], ["fingerprint"], callee.fn, longest)
    left = _uncovered(callee, key)
    if not left:
        return None
    parameters = callee.signature().parameters
    if any(parameters[name].kind in VARIADIC for name in left):
        readers = [_argument_of_any_kind(name, callee.signature()) for name in left]
    else:
        readers = [callee.compile_field(name, name) for name in left]
    return _joined(readers, left, callee.fn, longest)


def _uncovered(callee: Callee, key: Key) -> list[str]:
    """Return the arguments that the key does not hold whole; the object of a method is none."""
    covered = set() if callable(key) else {each for each in fields_of(key) if "." not in each}
    names = list(callee.signature().parameters)
    if names[:1] in (["self"], ["cls"]):
        del names[0]
    return [name for name in names if name not in covered]


def _argument_of_any_kind(name: str, signature: inspect.Signature) -> KeyOf:
    return lambda args, kwargs: bind_arguments(signature, args, kwargs)[name]


def _joined(
    readers: list[KeyOf], names: list[str], fn: Callable[..., Any], longest: int
) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    encoders = ENCODERS
    if len(readers) == 1:
        read, name = readers[0], names[0]

        def fingerprint_of_one(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
            value = read(args, kwargs)
            try:
                text = encoders[type(value)](value)
            except (KeyError, TypeError, RecursionError):
                text = _named(value, name, fn)
            return text if len(text) <= longest else digest(text, size=16)

        return fingerprint_of_one

    def fingerprint_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        values = [read(args, kwargs) for read in readers]
        try:
            text = "".join([encoders[type(value)](value) for value in values])
        except (KeyError, TypeError, RecursionError):
            text = "".join([_named(*each, fn) for each in zip(values, names, strict=True)])
        return text if len(text) <= longest else digest(text, size=16)

    return fingerprint_of


def _named(value: Any, name: str, fn: Callable[..., Any]) -> str:
    try:
        return canonical(value)
    except RecursionError:
        raise TypeError(
            f"{name!r} of {getattr(fn, '__qualname__', fn)}() contains itself, or is nested too "
            "deep to be compared; name the arguments that count, or give fingerprint=False"
        ) from None
    except TypeError as error:
        raise TypeError(
            f"{name!r} of {getattr(fn, '__qualname__', fn)}() cannot be compared with that of "
            f"another call: {error}; name the arguments that count, such as "
            "fingerprint=('order.id', 'amount'), or give a callable or fingerprint=False"
        ) from None


def fingerprint_of_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, longest: int
) -> str | None:
    """Return the fingerprint of arguments as they are spelled; None if there are none."""
    if not args and not kwargs:
        return None
    text = _named(args, "args", fn) + _named(kwargs, "kwargs", fn)
    return text if len(text) <= longest else digest(text, size=16)


def check_fingerprint(fingerprint: Any) -> Any:
    """Return the setting, or raise ConfigurationError."""
    names = isinstance(fingerprint, tuple) and all(isinstance(each, str) for each in fingerprint)
    if (
        fingerprint is False
        or isinstance(fingerprint, str)
        or callable(fingerprint)
        or (names and fingerprint)
    ):
        return fingerprint
    raise wrong(
        "fingerprint",
        fingerprint,
        "'auto', False, the name of an argument, a tuple of names or a callable over the arguments",
    )
