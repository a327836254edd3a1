"""The ledger: what the service has really executed, read straight from its file.

The file has no name, so nothing of it is left behind by whoever dies. Reads say where they read and
never move the position of the file, which belongs to the process that writes.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

_CHUNK = 1 << 20


class Charge(NamedTuple):
    """One charge that was executed."""

    order: str
    attempt: str
    receipt: str


class Ledger:
    """The lines of the file ``descriptor``, as far as they have been read. For one thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0
        self._rest = b""
        self.charges: list[Charge] = []
        self.per_order: dict[str, int] = {}
        self.void: set[str] = set()
        self.starts: dict[int, int] = {}
        """Process id to port, of each service that has begun to listen."""

    def read(self) -> None:
        """Take in what was written since the last time."""
        while chunk := os.pread(self._descriptor, _CHUNK, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "charged":
            charge = Charge(entry["order"], entry["attempt"], entry["receipt"])
            self.charges.append(charge)
            self.per_order[charge.order] = self.per_order.get(charge.order, 0) + 1
        elif entry["kind"] == "void":
            self.void.add(entry["attempt"])
        else:
            self.starts[entry["pid"]] = entry["port"]
