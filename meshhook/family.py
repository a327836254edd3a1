"""A family: one state per key, made when first asked for, bounded in number.

When a family is full, a new key takes the place of an old one that nobody would miss: one that no
call holds, that its owner calls idle and that was not asked for since the last look. Where no such
key is found, new keys share one overflow state, so that memory stays bounded and no open circuit is
ever forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

LOOK = 64
"""How many old keys one new key may look at before it goes to the overflow."""


class Member(Protocol):
    """What a family holds: it can be marked as touched, and counts the calls that hold it."""

    touched: bool
    users: int


M = TypeVar("M", bound=Member)


def _as_it_is(_: object) -> None:
    """Welcome a member, or let it go, by leaving it alone."""


class Family(Generic[M]):
    """States by key. Safe to share between threads and tasks."""

    def __init__(
        self,
        make: Callable[[], M],
        idle: Callable[[M], bool],
        max_keys: int,
        welcome: Callable[[M], object] = _as_it_is,
        farewell: Callable[[M], object] = _as_it_is,
    ) -> None:
        """``welcome`` sees each new state under the lock, just before it becomes a member.

        ``farewell`` sees each one that is evicted, under the lock and while it is one still.
        """
        self._make = make
        self._welcome = welcome
        self._farewell = farewell
        self._idle = idle
        self._max_keys = max_keys
        self.renew_locks()
        self._members: dict[Hashable, M] = {}  # written under _lock
        self._hand: deque[Hashable] = deque()  # guarded by _lock: keys, the next to look at first
        self._overflow: M | None = None
        self.evicted = 0

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        # Reentrant: hashing a key, or a finalizer, may run code that comes back here.
        self._lock = threading.RLock()

    def get(self, key: Hashable) -> M:
        """Return the state of ``key``, made now if it is new. It may be evicted at any time."""
        return self._find_or_make(key, hold=False)

    def hold(self, key: Hashable) -> M:
        """Return the state of ``key``, made now if it is new, and keep it until it is let go."""
        return self._find_or_make(key, hold=True)

    def _find_or_make(self, key: Hashable, *, hold: bool) -> M:
        made = None
        while True:
            with self._lock:
                member = self._look_up(key)
                if member is None and made is not None:
                    member = self._place(key, made)
                if member is not None:
                    member.touched = True
                    if hold:
                        member.users += 1
                    return member
            # Made with the lock free, for it may ask a callable of the user's for a setting.
            made = self._make()

    def let_go(self, member: M) -> None:
        """Give back what :meth:`hold` returned."""
        with self._lock:
            # Of those before a fork, a child has only that of the call which has forked.
            member.users = max(0, member.users - 1)

    def find(self, key: Hashable) -> M | None:
        """Return the state of ``key`` if there is one of its own."""
        return self._look_up(key)

    def _look_up(self, key: Hashable) -> M | None:
        try:
            return self._members.get(key)
        except TypeError as error:
            raise TypeError(
                f"key must be hashable: {error}; name a field of it, such as '{{user.id}}', "
                "or use a callable"
            ) from None

    def resize(self, max_keys: int) -> None:
        """Have room for another number of keys; idle ones leave if there are too many."""
        with self._lock:
            self._max_keys = max_keys
            # Once to see who is not asked for any more, and once more for those who are.
            looks = 2 * len(self._hand)
        while looks > 0:
            with self._lock:  # let go in between, for calls that wait for it
                if len(self._members) <= self._max_keys:
                    return
                has_evicted = self._evict()
            looks -= 0 if has_evicted else LOOK

    def _place(self, key: Hashable, made: M) -> M:
        if len(self._members) > self._max_keys:
            self._evict()  # there were more once, which could not be idle
        if len(self._members) >= self._max_keys and not self._evict():
            if self._overflow is None:
                self._welcome(made)
                self._overflow = made
            return self._overflow
        self._welcome(made)
        self._members[key] = made
        self._hand.append(key)
        return made

    def _evict(self) -> bool:
        for _ in range(min(LOOK, 2 * len(self._hand))):
            key = self._hand.popleft()
            member = self._members[key]
            if not member.touched and member.users == 0 and self._idle(member):
                self._farewell(member)
                del self._members[key]
                self.evicted += 1
                return True
            member.touched = False
            self._hand.append(key)
        return False

    def all_members(self) -> list[M]:
        """Return the states; who is welcomed after this is not among them, all others are."""
        with self._lock:
            return self.members()

    def members(self) -> list[M]:
        """Return the states, the overflow included. Takes no lock."""
        overflow = [] if self._overflow is None else [self._overflow]
        return [*self._members.copy().values(), *overflow]
