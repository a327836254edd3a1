"""How many attempts run beyond one for each call: those of calls that wait, and those left behind.

A call that waits has the right to one attempt; each further one takes a place, and keeps it until
it has ended, also when nobody waits for it any more. That bounds the threads and tasks of a hedge.

A place is an object, and free again as soon as nobody has it. So whatever an interrupt cuts short,
no place is lost: it goes with the call or the attempt that had it.
"""

from __future__ import annotations

import threading
from typing import TypeAlias
from weakref import ref


class Place:
    """The place of one attempt, taken for as long as somebody has it."""

    __slots__ = ("__weakref__",)


Places: TypeAlias = set[ref[Place]]


def _place(places: Places) -> Place:
    """Make a place, which is among ``places`` until it is gone."""
    place = Place()
    # The callback is no Python, so nothing can interrupt it.
    places.add(ref(place, places.discard))
    return place


class Extras:
    """The places of one hedge. Safe to use from any thread."""

    __slots__ = ("_left_behind", "_lock", "_waited_for", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.start_anew()

    def start_anew(self) -> None:
        """Begin again in a forked child, where none of the threads and tasks goes on."""
        # Held by who takes a place, so that no more are taken than there are.
        self._lock = threading.RLock()
        self._waited_for: Places = set()
        self._left_behind: Places = set()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return len(self._waited_for) + len(self._left_behind)

    @property
    def running_on(self) -> int:
        """How many of them are those of attempts that nobody waits for."""
        return len(self._left_behind)

    def take(self, held: list[Place]) -> bool:
        """Put a place for one more attempt into ``held``; False if there is none."""
        with self._lock:
            if self.taken >= self.most:
                return False
            held.append(_place(self._waited_for))
            return True

    def leave(self, held: list[Place], running: int) -> list[Place]:
        """Let go of a call that held places; return one for each of its attempts that runs on.

        They need one each, though there may be none: a call that was interrupted has none for its
        first attempt.
        """
        with self._lock:
            held.clear()
            return [_place(self._left_behind) for _ in range(running)]
