"""What a reader of the table has chosen: the order, the filter, and where in the table to look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshhook.commands.live.rows import Row

_LONGEST_FILTER = 60


def _most(read: Callable[[Row], float | int | None]) -> Callable[[Row], tuple[Any, ...]]:
    """Order by a number, the largest first, and those without one last."""

    def key(row: Row) -> tuple[Any, ...]:
        value = read(row)
        return value is None, -(value or 0), row.name, row.kind

    return key


def trouble(row: Row) -> tuple[Any, ...]:
    """Order by what somebody has to look at first."""
    return (
        -row.status.gravity,
        not row.critical,
        not row.outliers,
        -(row.rejecting or 0),
        -(row.failures or 0),
        row.name,
        row.kind,
    )


ORDERS: dict[str, Callable[[Row], tuple[Any, ...]]] = {
    "trouble": trouble,
    "name": lambda row: (row.name, row.kind),
    "policy": lambda row: (row.kind, row.name),
    "rate": _most(lambda row: row.rate),
    "failures": _most(lambda row: row.failures),
    "p99": _most(lambda row: row.p99),
    "rejected": _most(lambda row: row.rejected),
    "usage": _most(lambda row: row.usage),
}


class View:
    """A view on the rows, moved by keys. ``editing``: the keys go into the filter."""

    def __init__(self, order: str = "trouble", wanted: str = "") -> None:
        self.order = order
        self.filter = wanted
        self.editing = False
        self.first = 0
        self.quitting = False
        self._room = 1
        self._before = ""

    def press(self, key: str) -> None:
        """Take a key, by the names of :mod:`meshhook.commands.live.keyboard`."""
        if self.editing:
            self._edit(key)
            return
        match key:
            case "q" | "Q":
                self.quitting = True
            case "s" | "S":
                self._sort(1 if key == "s" else -1)
            case "/":
                self.editing, self._before = True, self.filter
            case "escape":
                self.filter, self.first = "", 0
            case _:
                self._move(key)

    def _sort(self, step: int) -> None:
        orders = list(ORDERS)
        self.order = orders[(orders.index(self.order) + step) % len(orders)]
        self.first = 0

    def _edit(self, key: str) -> None:
        match key:
            case "enter":
                self.editing = False
            case "escape":
                self.editing, self.filter = False, self._before
            case "backspace":
                self.filter = self.filter[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self.filter = (self.filter + key)[:_LONGEST_FILTER]
        self.first = 0

    def _move(self, key: str) -> None:
        page = max(1, self._room - 1)
        match key:
            case "down" | "j":
                self.first += 1
            case "up" | "k":
                self.first -= 1
            case "page down" | " ":
                self.first += page
            case "page up" | "b":
                self.first -= page
            case "home" | "g":
                self.first = 0
            case "end" | "G":
                self.first = 1 << 30

    def matching(self, rows: list[Row]) -> list[Row]:
        """Return the rows that pass the filter, in order."""
        words = self.filter.casefold().split()
        found = [
            row
            for row in rows
            if all(
                word in f"{row.kind}/{row.name} {row.condition} {row.status}".casefold()
                for word in words
            )
        ]
        return sorted(found, key=ORDERS[self.order])

    def visible(self, rows: list[Row], room: int) -> list[Row]:
        """Return the rows of ``rows`` to show where there is room for so many."""
        self._room = room
        self.first = max(0, min(self.first, len(rows) - room))
        return rows[self.first : self.first + room]
