"""Canonical text of values: what tells keys and arguments apart, in any process and on any day.

Equal values of one type give the same text and all others another one: every piece carries its type
and, where it has no fixed end, its length. So ``("x:y", "z")`` is not ``("x", "y:z")``, and ``1``
is neither ``"1"`` nor ``True`` nor ``1.0``. Text with an address in it would differ from run to
run, so an object whose value cannot be seen has no canonical text and is refused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import hashlib
import pathlib
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from meshhook.errors import ConfigurationError
from meshhook.keys import (
    _VARIADIC,
    Key,
    KeyOf,
    _compile_field,
    _fields,
    bind_arguments,
    compile_key,
    signature_of,
)

Fingerprint: TypeAlias = bool | str | tuple[str, ...] | Callable[..., Any]
"""Which arguments of a call must be the same when its key comes again; ``"auto"`` or False too."""

_LONGEST_KEY = 200
LONGEST_FINGERPRINT = 256
"""Longer ones are digests: they are kept for as long as their results."""


def idempotency_key(*parts: Any) -> str:
    """Return one key for several values, different from that of any other values.

    It is the same in every process and is plain ASCII of at most 200 characters; what would be
    longer is a digest. Numbers, text, bytes, times, UUIDs, enums, dataclasses, and tuples, lists,
    dicts and sets of such values may be parts; None is one too. Raises TypeError for others.
    """
    if not parts:
        raise TypeError("idempotency_key() needs at least one part")
    return bounded("".join(map(canonical, parts)))


def bounded(text: str) -> str:
    """Return ``text`` if it is short and plain, else a digest that no canonical text can be."""
    if len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable():
        return text
    return "h" + _digest(text, 32)


def canonical(value: Any) -> str:
    """Return the canonical text of ``value``; TypeError if it has none."""
    return (_ENCODERS.get(type(value)) or _encode_other)(value)


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
            fingerprint = (fingerprint,)
        read = compile_key(fingerprint, fn)  # type: ignore[arg-type]  # checked with the settings
        return _joined([read], ["fingerprint"], fn, longest)
    parameters = signature_of(fn).parameters
    covered = {field for field in _fields(key) if "." not in field} if not callable(key) else set()
    names = [name for at, name in enumerate(parameters) if at or name not in ("self", "cls")]
    left = [name for name in names if name not in covered]
    if not left:
        return None
    if any(parameters[name].kind in _VARIADIC for name in left):
        return _joined([_argument_of_any_kind(name, fn) for name in left], left, fn, longest)
    return _joined([_compile_field(name, name, fn) for name in left], left, fn, longest)


def _argument_of_any_kind(name: str, fn: Callable[..., Any]) -> KeyOf:
    signature = signature_of(fn)
    return lambda args, kwargs: bind_arguments(signature, args, kwargs)[name]


def _joined(
    readers: list[KeyOf], names: list[str], fn: Callable[..., Any], longest: int
) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    encoders = _ENCODERS
    if len(readers) == 1:
        read, name = readers[0], names[0]

        def fingerprint_of_one(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
            value = read(args, kwargs)
            try:
                text = encoders[type(value)](value)
            except (KeyError, TypeError):
                text = _named(value, name, fn)
            return text if len(text) <= longest else _digest(text, 16)

        return fingerprint_of_one

    def fingerprint_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        values = [read(args, kwargs) for read in readers]
        try:
            text = "".join([encoders[type(value)](value) for value in values])
        except (KeyError, TypeError):
            text = "".join([_named(*each, fn) for each in zip(values, names, strict=True)])
        return text if len(text) <= longest else _digest(text, 16)

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
    return text if len(text) <= longest else _digest(text, 16)


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


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def digest(text: str) -> str:
    """Return a short digest of ``text``, for where the text itself must not be seen."""
    return _digest(text, 8)


def _items(tag: str, texts: Iterable[str]) -> str:
    pieces = list(texts)
    return f"{tag}{len(pieces)}:{''.join(pieces)}"


def _pair(item: tuple[Any, Any]) -> str:
    return canonical(item[0]) + canonical(item[1])


_ENCODERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "n;",
    bool: lambda value: "t;" if value else "f;",
    int: lambda value: f"i{value:x};",
    float: lambda value: f"d{float.__repr__(value)};",
    str: lambda value: f"s{len(value)}:{value}",
    bytes: lambda value: f"b{len(value)}:{value.hex()}",
    tuple: lambda value: _items("T", map(canonical, value)),
    list: lambda value: _items("L", map(canonical, value)),
    dict: lambda value: _items("M", sorted(map(_pair, value.items()))),
    set: lambda value: _items("S", sorted(map(canonical, value))),
    frozenset: lambda value: _items("F", sorted(map(canonical, value))),
}

_SHOWN: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (dt.datetime, dt.datetime.isoformat),
    (dt.date, dt.date.isoformat),
    (dt.time, dt.time.isoformat),
    (dt.timedelta, repr),
    (decimal.Decimal, str),
    (fractions.Fraction, str),
    (complex, repr),
    (uuid.UUID, str),
    (pathlib.PurePath, str),
    (bytearray, bytes.hex),
)
"""Types whose text shows the whole value."""


def _encode_other(value: Any) -> str:
    kind = type(value)
    name = canonical(kind.__qualname__)
    if isinstance(value, enum.Enum):
        return f"E{name}{canonical(value.value)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
        return f"C{name}" + _items("", (_pair((each, getattr(value, each))) for each in fields))
    for shown, show in _SHOWN:
        if isinstance(value, shown):
            text = show(value)
            return f"{shown.__name__}{len(text)}:{text}"
    if isinstance(value, str):
        return canonical(str.__str__(value))
    for base, encode in _ENCODERS.items():
        if isinstance(value, base):
            return f"C{name}{encode(value)}" if base is tuple else encode(value)
    raise TypeError(f"the value of a {kind.__qualname__} cannot be seen from outside")
