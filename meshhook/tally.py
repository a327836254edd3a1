"""Tallies: the counters of a policy, which any number of threads add to."""

from __future__ import annotations

import threading
from typing import Any, ClassVar, Self

from meshhook import guard


class LockedNumber:
    """A number for interpreters without a GIL, where ``+= 1`` on an int would lose some."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._value = 0

    def __iadd__(self, more: int) -> Self:
        with self._lock:
            self._value += more
        return self

    def __int__(self) -> int:
        return self._value


class Tally:
    """Counters named in the ``__slots__`` of the class: ``tally.x += 1`` in a thread loses none.

    Under the GIL nothing can come between the read and the write of that statement.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        number: Any = int if guard.GIL_ENABLED else LockedNumber
        for counter in self.__slots__:
            setattr(self, counter, number())

    def read(self) -> dict[str, int]:
        """Return the counters by name."""
        return {counter: int(getattr(self, counter)) for counter in self.__slots__}
