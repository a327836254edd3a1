"""Flights: who runs which key in this process, so that everybody else can wait for it.

A flight is in its store's table from before the store is asked until the store has acknowledged the
end. It lands exactly once: with a result that all who wait share, or with none, and then they try
again, so that one of them takes the lead. Threads and tasks of any loops may meet at one flight.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any

from meshhook import forks
from meshhook.stores.protocol import Key, Store


def _nobody(_: Flight) -> None:
    """Stand for who is not there any more."""


class Flight:
    """One execution of one key. Safe to share between threads, tasks and event loops."""

    kind: str | None = None
    """What it landed with: ``"value"`` or ``"opaque"`` as in a record, ``"failed"`` with the error
    for whoever waits, or None for no result."""
    payload: Any = None
    _landed = False
    _callbacks: dict[Callable[[Flight], object], None] | None = None

    def __init__(self, table: Flights, at: Key, fingerprint: str | None) -> None:
        self.at = at
        self.fingerprint = fingerprint
        self.thread: int | None = get_ident()
        """The thread that it goes on in; None when its caller has left, and it only has to land."""
        self._table = table

    def done(self) -> bool:
        """Tell whether it has landed."""
        return self._landed

    def land(self, kind: str | None = None, payload: Any = None) -> None:
        """Leave the table and wake whoever waits, once."""
        with self._table.lock:
            if not self._landed:
                self.kind = kind
                self.payload = payload
                # Before it has landed: an interrupt in between must leave none that nobody lands.
                self._table.remove_locked(self)
                self._landed = True
        # One by one: who is interrupted here lands it again, and the others are still called.
        while self._callbacks:
            with self._table.lock:
                fn = next(iter(self._callbacks), _nobody)
                self._callbacks.pop(fn, None)
            fn(self)

    def add_done_callback(self, fn: Callable[[Flight], object]) -> None:
        """Call ``fn(flight)`` when it lands, in the thread that lands it; at once if it has."""
        with self._table.lock:
            if not self._landed:
                if self._callbacks is None:
                    self._callbacks = {}
                self._callbacks[fn] = None
                return
        fn(self)

    def remove_done_callback(self, fn: Callable[[Flight], object]) -> None:
        """Do not call ``fn`` any more."""
        with self._table.lock:
            # Once it has landed, whoever landed it goes through them.
            if self._callbacks and not self._landed:
                self._callbacks.pop(fn, None)


class Flights:
    """The flights of one store."""

    def __init__(self) -> None:
        # Reentrant: a coroutine that is thrown away lands its flight wherever the collector runs.
        self.lock = threading.RLock()
        # Removed from under the lock; to join is atomic by itself.
        self._by_key: dict[Key, Flight] = {}
        self.join_or_get = self._by_key.setdefault
        """``join_or_get(key, flight)``: the flight that leads, which may be the given one."""

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, at: Key) -> Flight | None:
        """Return the flight of a key, if there is one."""
        return self._by_key.get(at)

    def remove_locked(self, flight: Flight) -> None:
        """Forget ``flight``, and no other of the same key."""
        if self._by_key.get(flight.at) is flight:
            del self._by_key[flight.at]

    def forget(self) -> None:
        """Forget all flights: those who would land them are not in this process."""
        self.lock = threading.RLock()
        self._by_key.clear()


_lock = threading.RLock()
_tables: weakref.WeakKeyDictionary[Store, Flights] = weakref.WeakKeyDictionary()


def flights_of(store: Store) -> Flights:
    """Return the table of ``store``, the same for all who use that store."""
    with _lock:
        table = _tables.get(store)
        if table is None:
            table = _tables[store] = Flights()
        return table


def _forget_all() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()
    for table in list(_tables.values()):
        table.forget()


forks.after_in_child(_forget_all)
