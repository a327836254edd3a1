"""Codec: values as JSON text that comes back with the same types, or is refused.

JSON alone turns tuples into lists, enums into numbers and keys into text without a word. Here what
JSON keeps faithfully is plain JSON; other values of the standard library are tagged; and whatever
cannot come back as it was raises NotRepresentableError, so that its caller can remember that there
was a result. Classes of the user are only those named beforehand, see :meth:`Codec.for_type`: text
from a store never decides what is imported, and nothing is ever unpickled.

    plain      {"total": 3}
    tagged     ~{"~": "tuple", "of": [1, 2]}       a mark in front, then an object for each tag
"""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from meshhook.stores.tags import TAGS, Tag, tag_of

MAX_DEPTH = 100
"""How deep values may be nested, both ways."""

_ATOMS = frozenset({str, int, bool, type(None)})
_TAG = "~"
_read = json.JSONDecoder().raw_decode


def _writer(make: Any) -> Callable[[Any], str]:
    """Return what writes values of which it is known that JSON can hold them, and not in circles.

    ``JSONEncoder.encode`` makes its C encoder anew for each value, at the price of the writing.
    """
    if make is None:  # an interpreter that has json in Python only
        return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    # Circles to look for, what to make of other types, how to write text, indent, separators; and
    # none of sorted keys, skipped keys, NaN.
    pieces = make(*(None, None, json.encoder.encode_basestring, None, ":", ",", *[False] * 3))
    return lambda value: "".join(pieces(value, 0))


_write = _writer(getattr(json.encoder, "c_make_encoder", None))


class NotRepresentableError(TypeError):
    """A value, or one inside it, cannot be kept so that it comes back as it was."""


class UndecodableError(ValueError):
    """A text is not what this codec writes: damaged, of another version, or of unknown classes."""


class Codec:
    """Encode values as text and back. Stateless; safe to share between threads and tasks.

    ``classes`` are the dataclasses, enums and named tuples that it may make instances of.
    """

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self._classes = {_name(each): each for each in classes}
        self._tags = {**TAGS, **{name: _class_tag(each) for name, each in self._classes.items()}}

    @classmethod
    def for_type(cls, annotation: Any) -> Codec:
        """Make a codec that knows the classes in an annotation, and in the fields of those.

        Dataclasses, enums and named tuples count, however deep they stand, as in
        ``list[Receipt] | None``.
        """
        return cls(dict.fromkeys(_classes_in(annotation, set())))

    def encode(self, value: Any) -> str:
        """Return ``value`` as text. Raises NotRepresentableError."""
        try:
            if _is_plain(value, MAX_DEPTH):
                return _write(value)
            return _TAG + _write(self._tagged(value, MAX_DEPTH))
        except NotRepresentableError:
            raise
        except Exception as error:
            # The call has run: whatever is odd about its result must not look like its failure.
            raise NotRepresentableError(f"{type(error).__name__}: {error}") from error

    def decode(self, text: str) -> Any:
        """Return the value that a text stands for. Raises UndecodableError."""
        try:
            if text[:1] != _TAG:
                value, end = _read(text)
                if end == len(text) and _is_shallow(text, value):
                    return value
            else:
                value, end = _read(text, 1)
                if end == len(text):
                    return self._untagged(value, MAX_DEPTH)
        except UndecodableError:
            raise
        except Exception as error:
            # What a hostile text makes the types below raise has no bounds.
            raise UndecodableError(f"the text cannot be read: {type(error).__name__}") from None
        raise UndecodableError("the text cannot be read: it goes on after its end, or too deep")

    def _tagged(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _ATOMS or (kind is float and value - value == 0):
            return value
        if depth <= 0:
            raise NotRepresentableError(f"values nested deeper than {MAX_DEPTH} cannot be kept")
        if kind is list:
            return [self._tagged(each, depth - 1) for each in value]
        if kind is dict and all(type(key) is str for key in value) and _TAG not in value:
            return {key: self._tagged(each, depth - 1) for key, each in value.items()}
        name = tag_of(value)
        if name is None and self._classes.get(_name(kind)) is kind:
            name = _name(kind)
        parts = None if name is None else self._tags[name].take_apart(value)
        if parts is None:
            raise NotRepresentableError(f"a {kind.__qualname__} cannot be kept as JSON")
        return {_TAG: name, "of": [self._tagged(each, depth - 1) for each in parts]}

    def _untagged(self, value: Any, depth: int) -> Any:
        if depth < 0:
            raise UndecodableError("the text cannot be read: nested too deep")
        if type(value) is list:
            return [self._untagged(each, depth - 1) for each in value]
        if type(value) is not dict:
            return value
        if _TAG not in value:
            return {key: self._untagged(each, depth - 1) for key, each in value.items()}
        name = value[_TAG]
        tag = self._tags.get(name)
        if tag is None:
            raise UndecodableError(f"the text names a type that is not expected here: {name!r}")
        return tag.put_together([self._untagged(each, depth - 1) for each in value["of"]])


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether JSON keeps ``value`` as it is."""
    kind = type(value)
    if kind is dict:
        if _TAG in value:
            return False
        for key in value:
            if type(key) is not str:
                return False
        inside = value.values()
    elif kind is list:
        inside = value
    else:
        # NaN and the infinities have no JSON.
        return kind in _ATOMS or (kind is float and value - value == 0)
    if depth <= 0:
        return False
    for each in inside:  # noqa: SIM110 - all() would cost a generator for each level
        if type(each) not in _ATOMS and not _is_plain(each, depth - 1):
            return False
    return True


def _is_shallow(text: str, value: Any) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return True
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [each for outer in level for each in _containers_in(outer)]
        if not level:
            return True
    return False


def _containers_in(value: Any) -> list[Any]:
    inside = value.values() if type(value) is dict else value if type(value) is list else ()
    return [each for each in inside if type(each) in (dict, list)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _classes_in(annotation: Any, seen: set[Any]) -> Iterator[type]:
    for inner in typing.get_args(annotation):
        yield from _classes_in(inner, seen)
    if not isinstance(annotation, type) or annotation in seen:
        return
    seen.add(annotation)
    if issubclass(annotation, enum.Enum):
        yield annotation
    elif _is_restorable(annotation):
        yield annotation
        try:
            hints = typing.get_type_hints(annotation)
        except Exception:
            # A name that cannot be resolved: its values will be refused, as unknown ones are.
            return
        for inner in hints.values():
            yield from _classes_in(inner, seen)


def _is_restorable(kind: type) -> bool:
    # A dataclass over a builtin type has state that its fields do not show.
    return _is_named_tuple(kind) or (
        dataclasses.is_dataclass(kind) and kind.__new__ is object.__new__
    )


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _class_tag(kind: Any) -> Tag:
    if issubclass(kind, enum.Flag):
        return Tag(lambda value: [value.value], lambda parts: kind(*parts))
    if issubclass(kind, enum.Enum):
        return Tag(lambda value: [value.name], lambda parts: kind[parts[0]])
    if _is_named_tuple(kind):
        return Tag(
            lambda value: None if getattr(value, "__dict__", None) else list(value),
            lambda parts: _same_length(kind, parts),
        )
    return _dataclass_tag(kind)


def _same_length(kind: Any, parts: list[Any]) -> Any:
    if len(parts) != len(kind._fields):
        raise UndecodableError(f"{kind.__qualname__} has other fields now")
    return tuple.__new__(kind, parts)


def _dataclass_tag(kind: Any) -> Tag:
    names = [field.name for field in dataclasses.fields(kind)]

    def take_apart(value: Any) -> list[Any] | None:
        if len(getattr(value, "__dict__", ())) not in (0, len(names)):
            return None  # attributes beside the fields would be lost
        return [[name, getattr(value, name)] for name in names]

    def put_together(parts: list[Any]) -> Any:
        if [name for name, _ in parts] != names:
            raise UndecodableError(f"{kind.__qualname__} has other fields now")
        value = object.__new__(kind)  # its __init__ has run once, for the first caller
        for name, each in parts:
            object.__setattr__(value, name, each)
        return value

    return Tag(take_apart, put_together)
