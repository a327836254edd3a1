"""How many attempts run beyond one for each call: those of calls that wait, and those left behind.

A call that waits has the right to one attempt; each further one takes a place, and keeps it until
it has ended, also when nobody waits for it any more. That bounds the threads and tasks of a hedge.
"""

from __future__ import annotations

import threading


class Extras:
    """The places of one hedge. Safe to use from any thread."""

    __slots__ = ("_lock", "most", "running_on", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self.start_anew()

    def start_anew(self) -> None:
        """Begin again in a forked child, where none of the threads and tasks goes on."""
        self._lock = threading.RLock()
        self.taken = 0  # both written under _lock
        self.running_on = 0

    def take(self) -> bool:
        """Take a place for one more attempt; False if there is none."""
        with self._lock:
            if self.taken >= self.most:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        """Give back a place: an attempt less is running."""
        with self._lock:
            self.taken -= 1

    def leave(self, held: int, running: int) -> None:
        """Let go of a call that held so many places, and of whose attempts so many run on.

        They need a place each, though there may be none: a call that was interrupted has none for
        its first attempt.
        """
        with self._lock:
            self.taken += running - held
            self.running_on += running

    def ended(self) -> None:
        """Count the end of an attempt that ran on."""
        with self._lock:
            self.taken -= 1
            self.running_on -= 1
