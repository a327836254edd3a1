"""Canonical text of values: what tells keys and arguments apart, in any process and on any day.

Equal values of one type give the same text and all others another one: every piece carries its type
and, where it has no fixed end, its length. So ``("x:y", "z")`` is not ``("x", "y:z")``, and ``1``
is neither ``"1"`` nor ``True`` nor ``1.0``. Classes go by their qualified name, without the module,
so that moving one does not make other keys of its values. A time is as it is written: the same
moment in another zone is another value. Text with an address in it would differ from run to run, so
an object whose value cannot be seen has no canonical text and is refused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
from collections.abc import Callable, Iterable
from typing import Any

_LONGEST_KEY = 200


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
    return "h" + digest(text, size=32)


def canonical(value: Any) -> str:
    """Return the canonical text of ``value``; TypeError if it has none."""
    return (ENCODERS.get(type(value)) or _encode_other)(value)


def digest(text: str, size: int = 8) -> str:
    """Return a digest of ``text`` of so many bytes: short enough, and the text cannot be seen."""
    import hashlib  # not before it is needed, as below

    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _items(tag: str, texts: Iterable[str]) -> str:
    pieces = list(texts)
    return f"{tag}{len(pieces)}:{''.join(pieces)}"


def _pair(item: tuple[Any, Any]) -> str:
    return canonical(item[0]) + canonical(item[1])


ENCODERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "n;",
    bool: lambda value: "t;" if value else "f;",
    int: lambda value: f"i{value:x};",
    float: lambda value: f"d{float.__repr__(value or 0.0)};",  # -0.0 is 0.0
    str: lambda value: f"s{len(value)}:{value}",
    bytes: lambda value: f"b{len(value)}:{value.hex()}",
    tuple: lambda value: _items("T", map(canonical, value)),
    list: lambda value: _items("L", map(canonical, value)),
    dict: lambda value: _items("M", sorted(map(_pair, value.items()))),
    set: lambda value: _items("S", sorted(map(canonical, value))),
    frozenset: lambda value: _items("F", sorted(map(canonical, value))),
}
"""By exact type; what is not here has its text from :func:`canonical` alone."""


@functools.cache
def _shown() -> tuple[tuple[type, Callable[[Any], str]], ...]:
    """Return the types whose text shows the whole value, and what shows it."""
    # Not before they are needed: together they take as long to import as all of meshhook.
    import decimal
    import fractions
    import pathlib
    import uuid

    exact = decimal.Context(
        prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, capitals=1, traps=[]
    )

    def decimal_text(value: decimal.Decimal) -> str:
        return exact.to_sci_string(exact.normalize(value)) if value else "0"

    return (
        (dt.datetime, dt.datetime.isoformat),
        (dt.date, dt.date.isoformat),
        (dt.time, dt.time.isoformat),
        (dt.timedelta, repr),
        (decimal.Decimal, decimal_text),
        (fractions.Fraction, str),
        (complex, repr),
        (uuid.UUID, str),
        (pathlib.PurePath, str),
        (bytearray, bytearray.hex),
    )


def _encode_other(value: Any) -> str:
    kind = type(value)
    name = canonical(kind.__qualname__)
    if isinstance(value, enum.Enum):
        return f"E{name}{canonical(value.value)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
        return f"C{name}" + _items("", (_pair((each, getattr(value, each))) for each in fields))
    for shown, show in _shown():
        if isinstance(value, shown):
            text = show(value)
            return f"{shown.__name__}{len(text)}:{text}"
    if isinstance(value, str):
        return canonical(str.__str__(value))
    for base, encode in ENCODERS.items():
        if isinstance(value, base):
            return f"C{name}{encode(value)}" if base is tuple else encode(value)
    raise TypeError(f"the value of a {kind.__qualname__} cannot be seen from outside")
