"""Recording: the events of a test, and assertions that say what was seen instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from meshhook.events import Event, subscribe
from meshhook.testing.scoped import scoped

E = TypeVar("E", bound=Event)


class Like:
    """Any event of a class that has the fields given. Made by :func:`like`."""

    def __init__(self, kind: type[Event], fields: dict[str, Any]) -> None:
        self.kind = kind
        self.fields = fields

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"{self.kind.__name__}({fields})" if fields else self.kind.__name__

    def fits(self, event: Event) -> bool:
        """Tell whether ``event`` is one of these."""
        return isinstance(event, self.kind) and all(
            getattr(event, name) == value for name, value in self.fields.items()
        )


Expected: TypeAlias = Event | type[Event] | Like
"""What an assertion takes: an event, a class of events, or what :func:`like` returns."""


def like(kind: type[Event], /, **fields: Any) -> Like:
    """Return what stands for any event of ``kind`` with these fields, whatever its others are.

    Raises:
        TypeError: for a field that the class does not have.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in fields:
        if name not in known:
            raise TypeError(f"{kind.__name__} has no {name}; it has {', '.join(known)}")
    return Like(kind, fields)


class Events(Sequence[Event]):
    """The events that were told while it recorded, oldest first. Made by :func:`record_events`.

    Safe to use while other threads go on telling.
    """

    def __init__(self) -> None:
        self._seen: list[Event] = []

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> list[Event]: ...
    def __getitem__(self, at: int | slice) -> Event | list[Event]:
        return self._seen[at]

    def __len__(self) -> int:
        return len(self._seen)

    def __repr__(self) -> str:
        return f"<Events {self._seen!r}>"

    def of(self, kind: type[E], /, **fields: Any) -> list[E]:
        """Return the events of ``kind`` that have these fields."""
        wanted = like(kind, **fields)
        return [event for event in self if isinstance(event, kind) and wanted.fits(event)]

    def clear(self) -> None:
        """Forget what was told so far."""
        self._seen.clear()

    def assert_sequence(self, *expected: Expected) -> None:
        """Fail unless exactly these were told, in this order."""
        __tracebackhide__ = True
        seen, wanted = list(self), _likes(expected)
        pairs = zip(seen, wanted, strict=False)
        wrong = next((at for at, (event, each) in enumerate(pairs) if not each.fits(event)), None)
        if wrong is None and len(seen) != len(wanted):
            wrong = min(len(seen), len(wanted))
        if wrong is not None:
            missing = wanted[wrong] if wrong < len(wanted) else "nothing more"
            raise AssertionError(f"event {wrong + 1} should be {missing}; {_told(seen, wrong)}")

    def assert_in_order(self, *expected: Expected) -> None:
        """Fail unless these were told in this order; there may be others between them."""
        __tracebackhide__ = True
        seen, at = list(self), 0
        for each in _likes(expected):
            found = next((i for i in range(at, len(seen)) if each.fits(seen[i])), None)
            if found is None:
                after = f" after event {at}" if at else ""
                raise AssertionError(f"no {each} was told{after}; {_told(seen, at - 1)}")
            at = found + 1

    def assert_one(self, kind: type[E], /, **fields: Any) -> E:
        """Fail unless exactly one such event was told; return it."""
        __tracebackhide__ = True
        found = self.of(kind, **fields)
        if len(found) != 1:
            often = f"{len(found)} times" if found else "never"
            raise AssertionError(
                f"{like(kind, **fields)} should be told once, and was told {often}; "
                f"{_told(list(self))}"
            )
        return found[0]

    def assert_none(self, kind: type[Event] = Event, /, **fields: Any) -> None:
        """Fail if any such event was told; without arguments, if any event was."""
        __tracebackhide__ = True
        if self.of(kind, **fields):
            what = "no event" if kind is Event else f"no {like(kind, **fields)}"
            raise AssertionError(f"{what} should be told; {_told(list(self))}")


def _likes(expected: Sequence[Expected]) -> list[Like]:
    return [_like(each) for each in expected]


def _like(expected: Expected) -> Like:
    if isinstance(expected, Like):
        return expected
    if isinstance(expected, Event):
        names = [field.name for field in dataclasses.fields(expected)]
        return Like(type(expected), {name: getattr(expected, name) for name in names})
    return like(expected)


def _told(seen: Sequence[Event], marked: int = -1) -> str:
    """Return a list of what was told; an arrow shows the event that is at fault."""
    if not seen:
        return "nothing was told"
    lines = [f"{'>' if at == marked else ' '} {at + 1}. {each}" for at, each in enumerate(seen)]
    return "\n".join(["these were told:", *lines])


@scoped
def record_events(*kinds: type[Event]) -> Iterator[Events]:
    """Record every event, or those of ``kinds``, until the block ends.

    Events of all threads and tasks of the process are heard.
    """
    recorded = Events()
    with subscribe(recorded._seen.append, *kinds):
        yield recorded
