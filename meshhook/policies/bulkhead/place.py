"""A place: the slots of a bulkhead, or those of one key, with what belongs to them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from meshhook.policies.bulkhead.stats import Tally
from meshhook.runtime.slots import Slots

if TYPE_CHECKING:
    from meshhook.policies.bulkhead.settings import BulkheadSettings


class Place:
    """Slots, counters, and the rule that sets their number, if one does."""

    __slots__ = ("_lock", "_rule", "gone_as", "slots", "tally", "touched", "users")

    def __init__(self, settings: BulkheadSettings, limit: int) -> None:
        self.slots = Slots(limit, newest_first=settings.order == "lifo")
        self.tally = Tally()
        self._rule = None if settings.limit is None else settings.limit.start()
        self.touched = False  # these three are the family's
        self.users = 0
        self.gone_as: int | None = None
        self.renew_lock()

    def renew_lock(self) -> None:
        """Make the lock anew, in a forked child."""
        self._lock = threading.RLock()

    def is_idle(self) -> bool:
        """Tell whether no call is in here."""
        return self.slots.in_use == 0 and self.slots.waiting == 0

    def learn(self, began: float, now: float, *, is_drop: bool = False) -> tuple[int, int] | None:
        """Tell the rule of a call that ended; return the limit before and now, if it changed."""
        slots = self.slots
        with self._lock:
            rule = self._rule
            if rule is None:
                return None
            if is_drop:
                rule.drop(began, now)
            else:
                rule.success(began, now, slots.in_use)
            old, new = slots.limit, rule.limit
            if old == new:
                return None
            slots.set_limit(new)
        slots.settle()
        return old, new

    def resize(self, limit: int) -> int:
        """Change the number of slots by hand; return what it was."""
        with self._lock:
            old = self.slots.limit
            self.slots.set_limit(limit)
        self.slots.settle()
        return old

    def change(self, settings: BulkheadSettings, limit: int) -> tuple[int, int]:
        """Go by other settings; return the limit before and now.

        ``limit`` is the fixed one, if it is fixed: an adaptive one goes on from where it is.
        """
        slots = self.slots
        with self._lock:
            old = slots.limit
            if settings.limit is None:
                self._rule, new = None, limit
            elif self._rule is None:
                self._rule = settings.limit.start(old)
                new = self._rule.limit
            else:
                self._rule = settings.limit.follow(self._rule)
                new = self._rule.limit
            slots.newest_first = settings.order == "lifo"
            slots.set_limit(new)
        slots.settle()
        return old, new

    def restart(self, settings: BulkheadSettings) -> None:
        """Begin again with the limit that was set; who holds a slot keeps it."""
        with self._lock:
            self._rule = None if settings.limit is None else settings.limit.start()
            self.slots.set_limit(settings.max_concurrent)
        self.slots.settle()
