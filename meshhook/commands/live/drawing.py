"""A picture as rich draws it, fitted to the terminal. The only module here that knows rich."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any, Literal, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meshhook.commands.live.browsing import View
from meshhook.commands.live.reading import Picture
from meshhook.commands.live.rows import Row
from meshhook.commands.words import clock, count, percent, rate, seconds
from meshhook.health import Status

_STYLES = {Status.OK: "green", Status.DEGRADED: "yellow", Status.FAILING: "bold white on red"}
_BAR = 8
_MOST_HAPPENED, _MOST_NOTICES = 8, 6
_FEWEST_ROWS = 4
"""What has happened is told where that many policies find room as well."""

_HEADERS_AND_FOOT = 2
_ENDLESS = 10_000
"""Columns of what is no terminal: nothing that is told is as long."""

_HIGH, _FULL = 0.7, 0.95
_KEYS = "q quit  s sort  / filter  arrows, page up and down: move"


class _Column(NamedTuple):
    """A column of the table; it is shown where the terminal has ``least`` columns or more.

    It has the same ``width`` at all times, if it can, so that nothing moves while numbers change.
    """

    title: str
    least: int
    width: int
    right: bool = True
    order: str = ""
    alone: bool = False
    """Whether there is nothing to show in it for a fleet."""


_COLUMNS = (
    _Column("status", 0, 8, right=False, order="trouble"),
    _Column("policy", 76, 15, right=False, order="policy"),
    _Column("name", 0, 8, right=False, order="name"),
    _Column("condition", 0, 12, right=False),
    _Column("members", 0, 9, right=False),
    _Column("rate/s", 44, 6, order="rate"),
    _Column("fail", 50, 5, order="failures"),
    _Column("slow", 100, 5, alone=True),
    _Column("p50", 92, 7, alone=True),
    _Column("p99", 62, 7, order="p99"),
    _Column("rejected", 84, 8, order="rejected"),
    _Column("used", 116, 14, right=False, order="usage", alone=True),
)


class _Console(Console):
    """A console that leaves it to the command line what a reader that went away means."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich calls this while it handles the error


class Canvas:
    """The terminal, drawn on in place while the canvas is entered."""

    def __init__(self) -> None:
        is_cut = sys.stdout.isatty() or os.environ.get("COLUMNS")
        self.console = _Console(highlight=False, width=None if is_cut else _ENDLESS)
        self._live: Live | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Its columns and lines, as they are now."""
        return self.console.size.width, self.console.size.height

    def __enter__(self) -> Self:
        self._live = Live(
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError):  # the terminal is gone
                live.stop()

    def show(self, picture: Picture, view: View, *, keys: bool) -> None:
        """Draw a picture."""
        if self._live is not None:
            drawn = draw(picture, view, *self.size, keys=keys, ascii_only=self._is_ascii)
            self._live.update(drawn, refresh=True)

    def write(self, picture: Picture, view: View) -> None:
        """Write a picture as lines, all of it, below what is there already."""
        lines = len(picture.rows) + 2 * _MOST_HAPPENED + _MOST_NOTICES + len(picture.notices)
        drawn = draw(picture, view, self.size[0], lines, keys=False, ascii_only=self._is_ascii)
        self.console.print(drawn)

    @property
    def _is_ascii(self) -> bool:
        return not self.console.encoding.startswith("utf")


def draw(
    picture: Picture, view: View, width: int, height: int, *, keys: bool, ascii_only: bool = False
) -> RenderableType:
    """Draw a picture so that it fits."""
    head = [_title(picture), *_notices(picture, height)]
    free = height - len(head) - _HEADERS_AND_FOOT
    happened = picture.happened[-_MOST_HAPPENED:]
    happened = happened[max(0, len(happened) - max(0, free - _FEWEST_ROWS - 1)) :]
    room = max(1, free - (len(happened) + 1 if happened else 0))
    rows = view.matching(picture.rows)
    visible = view.visible(rows, room)
    parts: list[RenderableType] = [*head, _table(visible, view, width, ascii_only=ascii_only)]
    if picture.at and not rows:
        parts.append(_one_line("no policy matches the filter" if picture.rows else "no policies"))
    if keys:
        parts += [Text("")] * (room - max(len(visible), picture.at > 0 and not rows))
    if happened:
        parts += [Text(""), *(_happened(moment, text) for moment, text in happened)]
    if keys or len(visible) < len(rows):
        parts.append(_foot(view, rows, len(visible), len(picture.rows), keys=keys))
    return Group(*parts)


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _title(picture: Picture) -> Text:
    line = _one_line("meshhook top  ", "bold")
    if picture.status is not None:
        line.append(f" {picture.status} ", _STYLES[picture.status])
        line.append(
            "  ready  " if picture.ready else "  NOT READY  ", "" if picture.ready else "red"
        )
        line.append(f"{len(picture.rows)} policies  {clock(picture.at)}  ", "not bold")
    elif not picture.lost:
        line.append("no server answers" if picture.at else "asking ", "not bold")
    line.append(picture.title, "not bold dim")
    return line


def _notices(picture: Picture, height: int) -> list[Text]:
    lines = []
    if picture.lost:
        ago = max(0.0, time.time() - picture.lost_at)
        lines.append(
            _one_line(
                f"LINK LOST at {clock(picture.lost_at)}, {ago:.0f} s ago ({picture.lost}); "
                "trying again, what is below is old",
                "bold white on red",
            )
        )
    room = max(0, min(_MOST_NOTICES, height // 2 - len(lines) - _HEADERS_AND_FOOT))
    shown = picture.notices[:room]
    lines += [_one_line(f"! {each}", "yellow") for each in shown]
    more = len(picture.notices) - len(shown)
    if more and room:
        lines.append(_one_line(f"! and {more} more", "yellow"))
    return lines


def _table(rows: list[Row], view: View, width: int, *, ascii_only: bool) -> Table:
    is_bounded = width < _ENDLESS
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=is_bounded
    )
    in_fleet = any(row.members for row in rows)
    shown = [
        at
        for at, column in enumerate(_COLUMNS)
        if width >= column.least and not (column.alone if in_fleet else column.title == "members")
    ]
    for at in shown:
        column = _COLUMNS[at]
        justify: Literal["left", "right"] = "right" if column.right else "left"
        style = "reverse" if column.order == view.order else ""
        is_name = column.title == "name"
        table.add_column(
            Text(column.title, style),
            justify=justify,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if is_name else None,
            min_width=column.width,
            max_width=None if is_name or not is_bounded else 2 * column.width,
        )
    for row in rows:
        cells = _cells(row, ascii_only=ascii_only)
        table.add_row(*(cells[at] for at in shown))
    return table


def _cells(row: Row, *, ascii_only: bool) -> tuple[Text, ...]:
    style = _STYLES[row.status]
    rejected = Text(count(row.rejected), "bold" if row.rejecting else "")
    return (
        Text(f"{row.status}{'!' if row.critical and row.status is Status.FAILING else ''}", style),
        Text(row.kind, "dim"),
        Text(row.name),
        Text(row.condition, "" if row.status is Status.OK else style),
        Text(f"{row.members}{' *' if row.outliers else ''}", "yellow" if row.outliers else ""),
        Text(rate(row.rate)),
        _graded(percent(row.failures), row.failures),
        _graded(percent(row.slow), row.slow),
        Text(seconds(row.p50)),
        Text(seconds(row.p99)),
        rejected,
        _bar(row.usage, ascii_only=ascii_only),
    )


def _graded(text: str, share: float | None) -> Text:
    if not share:
        return Text(text)
    return Text(text, "red" if share >= 0.5 else "yellow" if share >= 0.1 else "")  # noqa: PLR2004


def _bar(usage: float | None, *, ascii_only: bool) -> Text:
    if usage is None:
        return Text("")
    full = round(min(1.0, max(0.0, usage)) * _BAR)
    used, left = ("#", ".") if ascii_only else ("█", "░")
    style = "red" if usage >= _FULL else "yellow" if usage >= _HIGH else "green"
    return Text.assemble((used * full + left * (_BAR - full), style), f" {percent(usage)}")


def _happened(moment: float, text: str) -> Text:
    line = _one_line(f"{clock(moment)}  ", "dim")
    line.append(text, "not dim")
    return line


def _foot(view: View, rows: list[Row], visible: int, total: int, *, keys: bool) -> Text:
    if view.editing:
        return _one_line(
            f"filter: {view.filter}_   (enter to keep it, escape to leave it)", "reverse"
        )
    first = min(view.first + 1, len(rows))
    where = f"{first} to {view.first + visible} of {len(rows)}, by {view.order}"
    if view.filter:
        where += f", with {view.filter!r} of {total}"
    return _one_line(f"{where}   {_KEYS}" if keys else where, "reverse")


def console_of(**settings: Any) -> Console:
    """Make a console for pictures that are to be kept."""
    return Console(highlight=False, **settings)
