"""Slots: so many calls at a time, and one queue for the threads and tasks that wait for one.

A free slot is an item of a list, so taking one is a single step that nothing can interrupt or come
between: ``free = slots.free; del free[-1]``, which raises IndexError when there is none. Drivers do
that without a lock, and give the slot back by an ``append`` to the list that they took it from.

While somebody waits, or there are more slots than there should be, ``slots.free`` is another list,
which stays empty, so that nobody who comes now goes before those who wait; and there is something
in ``watch``. Whoever gives a slot back looks at that, and if so calls :meth:`Slots.settle`.

No wake-up is lost. Whoever begins to wait is in ``watch`` before he looks for a free slot once
more, and whoever gives a slot back looks at ``watch`` after that: one of the two sees the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

Free: TypeAlias = list[bool]
"""The free slots; a call that holds a slot holds the list to give it back to."""

NEW: Final = False
"""A slot that was never taken. These are at the bottom, so they tell how many ever were in use."""
USED: Final = True
"""A slot that was given back."""


class Turn:
    """What one call has to do with the slots: it waits for one, holds one, or neither."""

    __slots__ = ("slot", "wake")

    slot: Free | None
    """Where the slot goes that this call holds; None while it holds none."""
    wake: Callable[[], bool]
    """Wakes whoever waits for this turn, from any thread; False if he cannot be reached."""

    def __init__(self) -> None:
        self.slot = None


def _empty(turn: Turn) -> None:
    """Give the slot of ``turn`` back, if it holds one; the caller has the lock."""
    slot, turn.slot = turn.slot, None
    if slot is not None:
        slot.append(USED)


class Gauges(NamedTuple):
    """How the slots are at one moment."""

    limit: int
    in_use: int
    waiting: int
    peak: int


class Slots:
    """So many slots. Safe to share between threads, tasks and event loops."""

    __slots__ = (
        "_again",
        "_all_free",
        "_debt",
        "_granted",
        "_is_settling",
        "_lock",
        "_peak",
        "_queue",
        "free",
        "limit",
        "newest_first",
        "watch",
    )

    def __init__(self, limit: int, *, newest_first: bool = False) -> None:
        self.limit = limit  # written under _lock, as all that follows
        self.watch: list[None] = []
        self.newest_first = newest_first
        self._queue: OrderedDict[Turn, None] = OrderedDict()
        self._granted: list[Turn] = []  # no deque, which is 600 bytes from the beginning
        self._peak = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: nobody waits in it, and all slots are free.

        What the call holds that has forked goes to a list that is no more.
        """
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        self._all_free: Free = [NEW] * self.limit
        self.free = self._all_free
        self._debt = 0
        """How many slots there are above the limit; they go as they are given back."""
        self._is_settling = self._again = False
        self._queue.clear()
        self._granted.clear()
        self.watch.clear()

    @property
    def in_use(self) -> int:
        """How many slots are taken."""
        return max(0, self.limit + self._debt - len(self._all_free))

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._queue)

    def gauges(self) -> Gauges:
        """Read limit, slots in use, who waits, and the most slots that ever were in use."""
        with self._lock:
            return Gauges(self.limit, self.in_use, self.waiting, self._highest())

    def _highest(self) -> int:
        return max(self._peak, self.limit + self._debt - self._all_free.count(NEW))

    def take(self, turn: Turn) -> bool:
        """Take a slot for ``turn``, if one is free and nobody was there before."""
        with self._lock:
            if self.watch:
                self._hand_out()
            free = self.free
            try:
                del free[-1]
            except IndexError:
                return False
            turn.slot = free
            return True

    def join(self, turn: Turn, wake: Callable[[], bool], most: int) -> bool:
        """Have ``turn`` wait; False if ``most`` wait already.

        ``wake`` is called when it has a slot: at once, perhaps.
        """
        turn.wake = wake
        with self._lock:
            if len(self._queue) >= most:
                return False
            self._queue[turn] = None
            self._watch()
        self.settle()
        return True

    def leave(self, turn: Turn) -> bool:
        """End the wait of ``turn``; tell whether it has a slot."""
        with self._lock:
            self._queue.pop(turn, None)
            return turn.slot is not None

    def give_back(self, turn: Turn) -> None:
        """Give back what ``turn`` holds, if it holds a slot, or its place in the queue.

        Once is enough, and twice is the same: for callers whose first try was interrupted.
        """
        with self._lock:
            self._queue.pop(turn, None)
            self._forget_granted(turn)
            _empty(turn)
        if self.watch or self._granted:
            self.settle()

    def set_limit(self, limit: int) -> None:
        """Change the number of slots, without waiting; call :meth:`settle` then.

        Calls that hold a slot above the new limit keep it to their end.
        """
        with self._lock:
            self._peak = self._highest()
            more = limit - self.limit
            self.limit = limit
            if more < 0:
                self._debt -= more
            else:
                self._all_free[:0] = [NEW] * more
            self._watch()

    def settle(self) -> None:
        """Take out the slots that are too many, and give free ones to those who wait."""
        with self._lock:
            self._hand_out()
        while True:
            try:
                turn = self._granted[0]
            except IndexError:
                return
            is_reached = turn.wake()
            # Not before he is awake, lest an interrupt lets him sleep on. Two threads may wake him.
            self._forget_granted(turn)
            if not is_reached:
                # His event loop has been closed, so the slot is for the next.
                with self._lock:
                    _empty(turn)
                    self._hand_out()

    def _forget_granted(self, turn: Turn) -> None:
        if self._granted:
            with contextlib.suppress(ValueError):
                self._granted.remove(turn)

    def _hand_out(self) -> None:
        """Find out what has to be done until nothing is left; the caller holds the lock."""
        self._again = True
        if self._is_settling:
            # The collector ran in the lines below, and what it ended came here: they do it.
            return
        self._is_settling = True
        try:
            while self._again:
                self._again = False
                self._pay_debt()
                self._grant()
                self._watch()
        finally:
            self._is_settling = False

    def _pay_debt(self) -> None:
        while self._debt:
            try:
                del self._all_free[-1]
            except IndexError:
                return
            self._debt -= 1

    def _grant(self) -> None:
        queue, free = self._queue, self._all_free
        while queue and not self._debt:
            turn = self._next()
            # No calls from here on, so nothing comes between: no interrupt, and no collector.
            if turn not in queue:
                continue
            try:
                del free[-1]
            except IndexError:
                return
            turn.slot = free
            del queue[turn]
            self._granted.append(turn)

    def _next(self) -> Turn:
        """Return who is next; somebody else if the collector ends others at this moment."""
        try:
            return next(reversed(self._queue) if self.newest_first else iter(self._queue))
        except (StopIteration, RuntimeError):
            return Turn()

    def _watch(self) -> None:
        if not self._queue and not self._debt:
            self.watch.clear()
            self.free = self._all_free
        elif not self.watch:
            self.free = []
            self.watch.append(None)
