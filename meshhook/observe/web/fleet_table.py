"""The table of a fleet, asked for once for all who look at the same time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from meshhook import forks
from meshhook.errors import ConfigurationError

FLEET_EVERY: Final = 1.0


class FleetTable:
    """The table of a fleet, whose members are asked once for all who want it at the same time."""

    def __init__(self, fleet: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._monotonic = monotonic
        self._table: dict[str, Any] = {}
        self._until = -math.inf
        self.renew_locks()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        self._lock = threading.RLock()

    def read(self) -> dict[str, Any]:
        """Return the table, a second old at most."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._table = self._fleet.read()
                self._until = self._monotonic() + FLEET_EVERY
            return self._table


def fleet_table(fleet: Any) -> FleetTable | None:
    """Return the table of what was given as ``fleet=``; None for nothing."""
    if isinstance(fleet, str):
        # Not shown: it may hold a password.
        raise ConfigurationError("fleet must be a list of URLs, got one piece of text")
    if isinstance(fleet, (list, tuple, set, frozenset)) and not fleet:
        return None
    from meshhook.observe.fleet.fleet import Fleet

    return FleetTable(fleet if isinstance(fleet, Fleet) else Fleet(fleet))
