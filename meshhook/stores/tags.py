"""The types of the standard library that JSON lacks: each is taken apart and put together again.

What a type is taken apart into goes through the codec again, so it may hold any other value.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

_NAMES: dict[type, str] = {
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    dict: "dict",
    bytes: "bytes",
    float: "float",
    decimal.Decimal: "decimal",
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "timedelta",
    uuid.UUID: "uuid",
}


class Tag(NamedTuple):
    """How values of one type are taken apart (None: this one cannot be) and put together."""

    take_apart: Callable[[Any], list[Any] | None]
    put_together: Callable[[list[Any]], Any]


def tag_of(value: Any) -> str | None:
    """Return the tag of a value's exact type; a subclass has none, for it would not come back."""
    kind = type(value)
    # A test that freezes time has put its own classes in the place of these two.
    if kind is dt.datetime:
        return "datetime"
    if kind is dt.date:
        return "date"
    return _NAMES.get(kind)


def _one(write: Callable[[Any], Any], read: Callable[[Any], Any]) -> Tag:
    return Tag(lambda value: [write(value)], lambda parts: read(*parts))


def _zone(value: dt.datetime | dt.time) -> list[Any] | None:
    """Return what brings the time zone of ``value`` back; None for a zone that cannot come back."""
    zone = value.tzinfo
    if zone is None:
        return []
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return [zone.key]
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        has_name = zone.tzname(None) != dt.timezone(offset).tzname(None)
        return None if has_name else [offset]
    return None


def _clock_tag(kind: Callable[[], Any]) -> Tag:
    def take_apart(value: Any) -> list[Any] | None:
        zone = _zone(value)
        return None if zone is None else [value.replace(tzinfo=None).isoformat(), zone, value.fold]

    def put_together(parts: list[Any]) -> Any:
        text, zone, fold = parts
        value = kind().fromisoformat(text).replace(fold=fold)
        if not zone:
            return value
        by_name = isinstance(zone[0], str)
        return value.replace(tzinfo=(zoneinfo.ZoneInfo if by_name else dt.timezone)(*zone))

    return Tag(take_apart, put_together)


TAGS: dict[str, Tag] = {
    "tuple": Tag(list, tuple),
    "set": Tag(list, set),
    "frozenset": Tag(list, frozenset),
    "dict": Tag(lambda value: [list(pair) for pair in value.items()], dict),
    "bytes": _one(
        lambda value: base64.b64encode(value).decode("ascii"),
        lambda text: base64.b64decode(text, validate=True),
    ),
    "float": _one(repr, float),
    "decimal": _one(str, decimal.Decimal),
    "uuid": _one(str, uuid.UUID),
    "date": Tag(lambda value: [value.isoformat()], lambda parts: dt.date.fromisoformat(*parts)),
    "time": _clock_tag(lambda: dt.time),
    "datetime": _clock_tag(lambda: dt.datetime),
    "timedelta": Tag(
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
}
"""By the name that stands in the text."""
