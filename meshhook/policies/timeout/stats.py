"""What a timeout counts, and the statistics it makes of that."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Self

from meshhook import guard
from meshhook.stats import Stats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutStats(Stats):
    """What a timeout has seen.

    ``calls`` are those that have ended for their caller: successes + failures + ignored +
    timed_out. ``failures`` raised an exception of their own within the limit; ``ignored`` were
    cancelled or interrupted from outside. ``rejected`` calls never started. ``abandoned`` of the
    calls whose caller has gone are still running; ``abandoned_total`` says how many ever were.
    """

    seconds: float
    mode: str
    calls: int
    successes: int
    failures: int
    ignored: int
    timed_out: int
    rejected: int
    abandoned: int
    abandoned_total: int


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
    """The counters of one timeout: ``tally.successes += 1`` from any thread loses none.

    Under the GIL nothing can come between the read and the write of that statement.
    """

    __slots__ = ("failures", "ignored", "rejected", "successes", "timed_out")

    def __init__(self) -> None:
        number: Any = int if guard.GIL_ENABLED else LockedNumber
        self.successes: int = number()
        self.failures: int = number()
        self.ignored: int = number()
        self.timed_out: int = number()
        self.rejected: int = number()

    def read(self) -> dict[str, int]:
        """Return the counters by name, with the calls that they add up to."""
        numbers = {name: int(getattr(self, name)) for name in self.__slots__}
        return {"calls": sum(numbers.values()) - numbers["rejected"], **numbers}
