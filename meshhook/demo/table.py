"""The demo as a live table: who calls, what each policy does about it, and what happens.

The only module that imports rich. States are told in words; colour only adds to them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshhook import events
from meshhook.demo.invariants import times
from meshhook.demo.journal import ANSWERED, FAILED, OUTCOMES, REFUSED, TIMED_OUT
from meshhook.demo.report import Report
from meshhook.demo.stage import Scene

_BAR = 16
_ROOM_FOR_DETAILS = 100
_ROOM_FOR_PROMISES = 30
_LINES_BUT_NOTES = 21
_FEWEST_NOTES, _MOST_NOTES = 2, 14
_STATES = {"closed": "bold green", "open": "bold white on red", "half_open": "bold yellow"}
_CALLERS = {
    "quote by threads": [("quote", "threads")],
    "quote by tasks": [("quote", "tasks")],
    "charge by threads": [("charge", "threads")],
    "charge by tasks": [("charge", "tasks")],
    "settle by either": [("settle", "threads"), ("settle", "tasks")],
}
_OUTCOME_STYLES = {ANSWERED: "green", FAILED: "red", TIMED_OUT: "magenta", REFUSED: "yellow"}


class TableView:
    """Draws the table in place, a few times a second."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def begin(self, scene: Scene) -> None:
        """Draw the empty table."""
        self._live.start()
        self.frame(scene)

    def frame(self, scene: Scene) -> None:
        """Draw the table anew."""
        size = self._console.size
        self._live.update(draw(scene, size.width, size.height), refresh=True)

    def end(self, scene: Scene) -> None:
        """Take the table away."""
        self._live.stop()

    def report(self, report: Report) -> None:
        """Print the report, promises in colour."""
        for line in report.lines():
            text = Text(line)
            text.highlight_words(["  kept "], "green")
            text.highlight_words(["  BROKEN "], "bold white on red")
            for heading in report.headings():
                text.highlight_regex(rf"^  {heading} ", "bold")
            self._console.print(text, soft_wrap=True)


def draw(scene: Scene, width: int, height: int) -> RenderableType:
    """Draw the scene so that it fits a terminal of that size; 80 x 24 is enough."""
    promises = _promises(scene, short=height < _ROOM_FOR_PROMISES)
    page = [Text.assemble("dashboard ", (scene.dashboard, "underline"))] if scene.dashboard else []
    taken = _LINES_BUT_NOTES + len(page) + len(promises.plain.splitlines())
    room = max(_FEWEST_NOTES, min(height - taken, _MOST_NOTES))
    return Group(
        _acts(scene),
        _progress(scene),
        *page,
        Text(),
        _policies(scene, details=width >= _ROOM_FOR_DETAILS),
        Text(),
        _callers(scene),
        Text(),
        _notes(scene, room),
        Text(),
        promises,
    )


def _acts(scene: Scene) -> Text:
    text = Text("meshhook demo  ", style="bold", no_wrap=True, overflow="ellipsis")
    for number, act in enumerate(scene.acts):
        style = "reverse" if number == scene.number else "dim not bold"
        text.append(f" {act.title} ", style)
    return text


def _progress(scene: Scene) -> RenderableType:
    pid = scene.service.pid
    service = f"service {pid}" if pid else "no service"
    row = Table.grid(padding=(0, 2))
    row.add_column(no_wrap=True)
    row.add_column(width=_BAR)
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_row(
        f"{scene.left:4.1f} s left",
        ProgressBar(total=scene.seconds, completed=min(scene.at, scene.seconds), width=_BAR),
        f"{service} on port {scene.service.port}: {scene.act.about}",
    )
    return row


def _policies(scene: Scene, *, details: bool) -> Table:
    registry = scene.policies.registry
    circuit = registry.circuit_breakers["service"].stats()
    timeout = registry.timeouts["service"].stats()
    rates, counts = scene.rates, scene.journal.counts
    executed = len(scene.service.ledger.charges)
    retry, hedge = registry.retries["prices"].stats(), registry.hedges["prices"].stats()
    rate, slots = registry.rate_limits["prices"].stats(), registry.bulkheads["prices"].stats()
    budget = registry.retry_budgets["prices"].stats()
    passed = sum(rates[each] for each in (ANSWERED, FAILED, TIMED_OUT))
    rows: list[tuple[str | Text, ...]] = [
        (
            "circuit_breaker",
            _state(circuit),
            f"{passed:3} passed {rates[REFUSED]:3} refused",
            f"{circuit.calls:5,} passed {circuit.rejected:5,} refused",
            f"opened {times(circuit.opened)}",
        ),
        (
            "timeout",
            f" {scene.policies.limit:.2g} s",
            f"{rates[TIMED_OUT]:3} timed out",
            f"{counts[events.CallTimedOut]:5,} timed out",
            f"{timeout.abandoned} abandoned",
        ),
        (
            "idempotent",
            f" {scene.store.partition(' ')[0]}",
            f"{rates['executed']:3} done   {rates['replayed']:3} replayed",
            f"{executed:5,} done   {counts[events.ResultReplayed]:5,} replayed",
            f"{len(scene.calls.doubts)} in doubt",
        ),
        (
            "retry",
            f" {budget.left} left",
            f"{rates['retried']:3} again",
            f"{retry.retries:5,} again  {retry.recovered:5,} saved",
            f"{budget.refused} over budget",
        ),
        (
            "hedge",
            f" {hedge.delay or 0:.2g} s",
            f"{rates['hedged']:3} started",
            f"{hedge.hedges:5,} started{hedge.wins:5,} faster",
            f"{hedge.running_on} run on",
        ),
        (
            "rate_limit",
            f" {rate.remaining} left",
            "",
            f"{rate.waited:5,} waited {rate.rejected:5,} refused",
            rate.limit,
        ),
        (
            "bulkhead",
            f" {slots.in_use} of {slots.max_concurrent}",
            "",
            f"{slots.admitted:5,} passed {slots.rejected:5,} refused",
            f"{slots.peak} at most",
        ),
    ]
    headers = ("policy", "state", "a second", "since the start", "")
    shown = len(headers) if details else len(headers) - 1
    table = _table(*headers[:shown])
    for column, width in zip(table.columns, (15, 12, 23, 27, 15), strict=False):
        column.min_width = width
    for row in rows:
        table.add_row(*row[:shown])
    return table


def _state(circuit: Any) -> Text:
    words = circuit.state.replace("_", "-").upper()
    if circuit.retry_after:
        words += f" {circuit.retry_after:.1f} s"
    return Text(f" {words} ", _STATES.get(circuit.state, ""))


def _callers(scene: Scene) -> Table:
    table = _table("callers", *OUTCOMES, right=True)
    outcomes = scene.journal.outcomes
    for label, callers in _CALLERS.items():
        counts: Counter[str] = sum((outcomes.get(each, Counter()) for each in callers), Counter())
        cells = [
            Text(f"{counts[each]:,}", _OUTCOME_STYLES[each] if counts[each] else "dim")
            for each in OUTCOMES
        ]
        table.add_row(label, *cells)
    return table


def _notes(scene: Scene, room: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", width=8, style="dim")
    table.add_column(no_wrap=True, overflow="ellipsis")
    notes = scene.notes[-room:]
    for note in notes:
        text = Text(note.text, "" if note.rare else "dim")
        text.highlight_words(["closed"], "green")
        text.highlight_words(["half-open"], "yellow")
        text.highlight_regex(r"(?<!half-)\bopen\b", "red")
        if note.times > 1:
            text.append(f"  x {note.times}", "bold not dim")
        table.add_row(f"{note.at:.1f} s", text)
    for _ in range(room - len(notes)):
        table.add_row("", "")
    return table


def _promises(scene: Scene, *, short: bool) -> Text:
    """Show the promises; on a small screen those that are broken, and how many are kept."""
    kept = sum(verdict.kept for verdict in scene.verdicts)
    if short and scene.verdicts and kept == len(scene.verdicts):
        return Text.assemble(("kept  ", "green"), f"  all of {kept} promises")
    text = Text("\n").join(
        Text.assemble(
            ("kept  ", "green") if verdict.kept else ("BROKEN", "bold white on red"),
            f"  {verdict.promise:<47}  ",
            (verdict.evidence, "dim"),
        )
        for verdict in scene.verdicts
    )
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(*headers: str, right: bool = False) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline", pad_edge=False)
    for number, header in enumerate(headers):
        align: JustifyMethod = "right" if right and number else "left"
        table.add_column(header, justify=align, no_wrap=True, min_width=9)
    return table
