"""What a group of benchmarks found: rows of figures, goals, and cases that could not be measured.

A table prints itself as text and turns into JSON. It does not know how anything was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One case. ``met`` is None where there is no goal."""

    case: str
    figures: dict[str, float]
    goal: str = ""
    met: bool | None = None


@dataclass
class Missing:
    """A case that could not be measured, and why. ``goal`` is the goal that stays unproven."""

    case: str
    reason: str
    goal: str = ""


@dataclass
class Table:
    """All the rows of one group. ``note`` says what the columns mean."""

    group: str
    title: str
    note: str = ""
    rows: list[Row] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def failures(self) -> list[str]:
        """Return a line for each goal that was missed or not measured."""
        missed = [
            f"{self.group}: {row.case}: goal {row.goal} missed"
            for row in self.rows
            if row.met is False
        ]
        unproven = [
            f"{self.group}: {case.case}: goal {case.goal} not measured ({case.reason})"
            for case in self.missing
            if case.goal
        ]
        return missed + unproven

    def to_dict(self) -> dict[str, Any]:
        """Return the table in a form fit for ``json.dumps``."""
        return {
            "group": self.group,
            "title": self.title,
            "note": self.note,
            "rows": [vars(row) for row in self.rows],
            "missing": [vars(case) for case in self.missing],
            "failures": self.failures(),
        }

    def text(self) -> str:
        """Return the table as text, with its columns aligned."""
        lines = [f"\n{self.group}: {self.title}"]
        if self.rows:
            columns = list(dict.fromkeys(name for row in self.rows for name in row.figures))
            cells = [["", *columns, "goal", ""], *(_cells(row, columns) for row in self.rows)]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines += [_line(line, widths) for line in cells]
        lines += [f"  not measured: {case.case}: {case.reason}" for case in self.missing]
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join(lines)


def _cells(row: Row, columns: list[str]) -> list[str]:
    figures = [number(row.figures[name]) if name in row.figures else "" for name in columns]
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    return [row.case, *figures, row.goal, verdict]


def _line(cells: list[str], widths: list[int]) -> str:
    name, *figures, verdict = cells
    numbers = "  ".join(cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=False))
    return f"  {name.ljust(widths[0])}  {numbers}  {verdict}".rstrip()


def number(value: float) -> str:
    """Return ``value`` with about three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
