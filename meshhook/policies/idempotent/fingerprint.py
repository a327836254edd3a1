"""Fingerprints: what must be the same about a call when its key comes again.

A fingerprint is the canonical text of the arguments that count. With ``"auto"`` those are all that
the key does not cover; where it covers all, there is no fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from meshhook.canonical import ENCODERS, canonical, digest
from meshhook.errors import ConfigurationError
from meshhook.keys import (
    VARIADIC,
    Key,
    KeyOf,
    bind_arguments,
    compile_field,
    compile_key,
    fields_of,
    signature_of,
)

Fingerprint: TypeAlias = bool | str | tuple[str, ...] | Callable[..., Any]
"""Which arguments of a call must be the same when its key comes again; ``"auto"`` or False too."""

LONGEST = 256
"""Longer ones become digests: they are kept for as long as their results."""


def compile_fingerprint(
    fingerprint: Fingerprint, fn: Callable[..., Any], key: Key, *, longest: int
) -> Callable[[tuple[Any, ...], dict[str, Any]], str] | None:
    """Compile what fingerprints calls of ``fn``; None if their key says everything already.

    Fingerprints of more than ``longest`` characters become digests.
    """
    if fingerprint is False:
        return None
    if fingerprint != "auto":
        if isinstance(fingerprint, str):
            read = compile_field(fingerprint, fingerprint, fn, "fingerprint")
        else:  # checked with the settings
            read = compile_key(fingerprint, fn, "fingerprint")  # type: ignore[arg-type]
        return _joined([read], ["fingerprint"], fn, longest)
    left = _uncovered(fn, key)
    if not left:
        return None
    parameters = signature_of(fn).parameters
    if any(parameters[name].kind in VARIADIC for name in left):
        return _joined([_argument_of_any_kind(name, fn) for name in left], left, fn, longest)
    return _joined([compile_field(name, name, fn) for name in left], left, fn, longest)


def _uncovered(fn: Callable[..., Any], key: Key) -> list[str]:
    """Return the arguments of ``fn`` that its key does not hold whole; the object is none."""
    covered = set() if callable(key) else {each for each in fields_of(key) if "." not in each}
    names = list(signature_of(fn).parameters)
    if names[:1] in (["self"], ["cls"]):
        del names[0]
    return [name for name in names if name not in covered]


def _argument_of_any_kind(name: str, fn: Callable[..., Any]) -> KeyOf:
    signature = signature_of(fn)
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
            except (KeyError, TypeError):
                text = _named(value, name, fn)
            return text if len(text) <= longest else digest(text, size=16)

        return fingerprint_of_one

    def fingerprint_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        values = [read(args, kwargs) for read in readers]
        try:
            text = "".join([encoders[type(value)](value) for value in values])
        except (KeyError, TypeError):
            text = "".join([_named(*each, fn) for each in zip(values, names, strict=True)])
        return text if len(text) <= longest else digest(text, size=16)

    return fingerprint_of


def _named(value: Any, name: str, fn: Callable[..., Any]) -> str:
    try:
        return canonical(value)
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
    raise ConfigurationError(
        "fingerprint must be 'auto', False, the name of an argument, a tuple of names or a "
        f"callable over the arguments, got {fingerprint!r}"
    )
