"""The demo as lines of text: one a second, and one for each thing that happens."""

from __future__ import annotations

from typing import TextIO

from meshhook.demo.journal import ANSWERED, FAILED, REFUSED, TIMED_OUT
from meshhook.demo.report import Report
from meshhook.demo.stage import Scene

_EVERY = 1.0


class PlainView:
    """Writes to ``out``, a pipe or a terminal of any kind. Also the view that shows nothing."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._shown = 0
        self._last = 0.0

    def begin(self, scene: Scene) -> None:
        """Say what is about to be seen."""
        self._line(
            f"A flaky service (process {scene.service.pid}, port {scene.service.port}), threads "
            f"and tasks that call it, records in {scene.store}; {scene.seconds:g} s"
        )
        if scene.dashboard:
            self._line(f"Dashboard: {scene.dashboard}")

    def frame(self, scene: Scene) -> None:
        """Say what has happened, and once a second how things are going."""
        notes = [note for note in scene.notes if note.rare]
        for note in notes[self._shown :]:
            self._line(f"{note.at:6.1f} s  {note.text}")
        self._shown = len(notes)
        if scene.at - self._last < _EVERY:
            return
        self._last += _EVERY
        rates, charges = scene.rates, scene.service.ledger.charges
        circuit = scene.policies.registry.circuit_breakers["service"]
        self._line(
            f"{scene.at:6.1f} s  {rates[ANSWERED]:4} answered {rates[FAILED]:4} failed "
            f"{rates[TIMED_OUT]:4} timed out {rates[REFUSED]:4} refused a second;  "
            f"circuit {circuit.state.value.replace('_', '-'):9} "
            f"charges {len(charges)} for {len(scene.service.ledger.per_order)} orders"
        )

    def end(self, scene: Scene) -> None:
        """Say what is left to say."""
        self.frame(scene)

    def report(self, report: Report) -> None:
        """Print the report."""
        self._line("\n".join(report.lines()))

    def _line(self, text: str) -> None:
        if self._out is not None:
            print(text, file=self._out, flush=True)
