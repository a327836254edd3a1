"""The watchdog: one thread that raises an exception in threads whose call has run out of time.

A call enters itself in ``watched`` and takes itself out when it ends; both are single operations on
a dict, so a call that ends in time takes no lock. Whoever takes an entry out has decided: if the
call does, no exception ever comes; if the watchdog does, the call must :meth:`Watchdog.settle`, and
after that no exception comes any more.

A thread has room for one exception of this kind, so the watchdog sends it the next one only when
the last one is settled. The longest waiting goes first: of nested calls the outermost.

What is swallowed, by an ``except`` of the user's or where exceptions are printed and forgotten, is
sent again after a second.

The watchdog keeps real time, whatever the clock of the process says. A forked child gets its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import queue
import sys
import threading
import time
import types
from collections.abc import Callable

from meshhook import forks
from meshhook.runtime.expiry import AGAIN, SOON, Expired, is_interruptible

_PROTOTYPE = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)
_set_async_exc = _PROTOTYPE(("PyThreadState_SetAsyncExc", ctypes.pythonapi))
_CHANCES = 3
"""Jumps back that a thread makes for an exception that is on its way; it comes at the first."""

LONGEST_DELAY = 0.02
"""Seconds that an exception is put off while the thread is between two lines of a policy. A call
that does nothing but go through policies would never be interrupted otherwise."""

keys = itertools.count()
"""Where a call gets the key of its entry."""


class Watchdog:
    """Interrupts calls by thread. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # The clock is captured on purpose: a frozen one would never get anywhere.
        self.clock = clock
        self.watched: dict[int, tuple[int, float]] = {}
        """By key: the thread of the call, and the moment when its time is up."""
        self.wakes_at = float("inf")
        """A call that is due before this moment must :meth:`wake` the watchdog."""
        self._start_anew()

    def _start_anew(self) -> None:
        self.watched.clear()
        self.wakes_at = float("inf")
        # Reentrant, as all of these: a signal handler may call what comes back in here.
        self._lock = threading.RLock()
        # guarded by _lock; by thread, the key of the call, and when it was fired at last
        self._firing: dict[int, int] = {}
        self._fired_at: dict[int, float] = {}
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None  # written under _lock

    def wake(self) -> None:
        """Have a new look at what is watched; start the thread if there is none."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(
                        target=self._watch, name="meshhook-watchdog", daemon=True
                    )
                    thread.start()
                    self._thread = thread
        self._bell.put(None)

    def settle(self, key: int) -> None:
        """Make sure that the exception for a call will not come any more. Call it in its thread.

        It may come at the first bytecodes of this; then call it again.
        """
        thread = threading.get_ident()
        try:
            with self._lock:
                if self._firing.get(thread) != key:
                    return
                self._fired_at.pop(thread, None)
            # Let it come. Taking it back would leave CPython 3.11 and 3.12 looking for it at each
            # call for good, and under a tracer 3.11 would never get past one.
            for _ in range(_CHANCES):
                pass
        except Expired as exc:
            if exc.limit != key:
                raise
        with self._lock:
            del self._firing[thread]
            self._fired_at.pop(thread, None)  # it may have come before that was done above
        self._bell.put(None)

    def has_fired(self, key: int, exc: Expired) -> bool:
        """Tell whether ``exc`` came for this call; either way, nothing comes for it any more."""
        self.watched.pop(key, None)
        self.settle(key)
        return bool(exc.limit == key)

    def _watch(self) -> None:
        while True:
            # First ask for every new call to ring, then look: none can slip through in between.
            self.wakes_at = float("inf")
            soonest = self._fire_due(self.clock())
            self.wakes_at = soonest
            patience = min(max(soonest - self.clock(), 0.0), threading.TIMEOUT_MAX)
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=patience)

    def _fire_due(self, now: float) -> float:
        """Send exceptions to the threads whose time is up; return when the next one will be."""
        soonest = float("inf")
        for key, (thread, due) in self.watched.copy().items():
            if due > now:
                soonest = min(soonest, due)
            elif _is_put_off(thread, now - due):
                soonest = min(soonest, now + SOON)
            else:
                self._fire(key, thread)
        for thread, fired_at in self._fired_at.copy().items():
            soonest = min(soonest, self._fire_again(thread, fired_at, now))
        return soonest

    def _fire_again(self, thread: int, fired_at: float, now: float) -> float:
        """Send what was swallowed once more, by a finalizer or an ``except``; return when next."""
        if now < fired_at + AGAIN:
            return fired_at + AGAIN
        if _is_put_off(thread, now - fired_at - AGAIN):
            return now + SOON
        with self._lock:
            if thread in self._fired_at:
                self._fired_at[thread] = now
                if not _set_async_exc(thread, _expired(self._firing[thread])):
                    del self._firing[thread], self._fired_at[thread]  # the thread has ended
        return now + AGAIN

    def _fire(self, key: int, thread: int) -> None:
        with self._lock:
            if thread in self._firing or self.watched.pop(key, None) is None:
                return
            self._firing[thread] = key
            self._fired_at[thread] = self.clock()
            if not _set_async_exc(thread, _expired(key)):
                del self._firing[thread], self._fired_at[thread]


def _expired(key: int) -> type[Expired]:
    """Make the exception of a call: only a class can be sent to a thread."""
    return type("Expired", (Expired,), {"limit": key})


def _is_put_off(thread: int, late: float) -> bool:
    """Tell whether to wait until ``thread`` is out of a policy, unless it is too late for that."""
    return late < LONGEST_DELAY and not is_interruptible(_frame_of(thread))


def _frame_of(thread: int) -> types.FrameType | None:
    return sys._current_frames().get(thread)


watchdog = Watchdog()

forks.after_in_child(watchdog._start_anew)
