"""What is seen of the demo: notes, rates, the table, the lines and the report."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from meshhook import events
from meshhook.demo.invariants import Verdict
from meshhook.demo.journal import Call, Change
from meshhook.demo.plain import PlainView
from meshhook.demo.report import Report, make_report
from meshhook.demo.stage import Scene, describe
from meshhook.demo.table import TableView, draw
from tests.demo.scenes import quiet_scene, write_charges

REFUSAL = events.CallRejected(
    policy="circuit_breaker", name="service", reason="open", retry_after=0.5
)
OPENING = events.CircuitChanged(
    policy="circuit_breaker", name="service", old="half_open", new="open", reason="a trial failed"
)


def add_calls(scene: Scene, outcome: str, number: int, took: float = 0.1) -> None:
    began = scene.journal.began
    for _ in range(number):
        scene.journal.add(Call("quote", "tasks", began, 0.4, began, began + took, outcome))


def seen(scene: Scene, width: int = 100, height: int = 40) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(draw(scene, width, height))
    return console.export_text().splitlines()


def test_what_repeats_is_counted_and_what_is_rare_has_a_line_of_its_own() -> None:
    """Refusals within a second make one note, changes of a circuit one each."""
    with quiet_scene() as scene:
        for event in (REFUSAL, OPENING, REFUSAL, OPENING):
            scene.journal._note(event)
        scene.update(0.2)
        change = "circuit service: half-open -> open (a trial failed)"
        assert [(note.text, note.times) for note in scene.notes] == [
            ("circuit service: a call was refused at once", 2),
            (change, 1),
            (change, 1),
        ]


def test_what_repeats_after_a_while_is_noted_again() -> None:
    """A note counts what follows within a second, not what happens much later."""
    with quiet_scene() as scene:
        for at in (1.0, 1.9, 2.8, 4.0):
            scene.note("again", at, rare=False)
        assert [(note.at, note.times) for note in scene.notes] == [(1.0, 3), (4.0, 1)]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            events.CallFailed(policy="circuit_breaker", name="service", error="OSError"),
            "circuit service: a call failed with OSError",
        ),
        (
            events.CallTimedOut(policy="timeout", name="service", timeout=0.4, abandoned=True),
            "timeout service: 0.4 s are over, its thread was given up",
        ),
        (
            events.CallTimedOut(policy="timeout", name="service", timeout=0.4, abandoned=False),
            "timeout service: 0.4 s are over, it was cancelled",
        ),
        (
            events.AbandonedCallEnded(policy="timeout", name="service", late=0.3),
            "timeout service: a thread that was given up has ended",
        ),
        (
            events.ResultReplayed(policy="idempotent", name="charge", key_hash="0"),
            "idempotent charge: the receipt was given again",
        ),
        (
            events.LeaseLost(policy="idempotent", name="charge", key_hash="0"),
            "idempotent charge: LeaseLost",
        ),
    ],
)
def test_each_event_has_its_words(event: events.Event, text: str) -> None:
    """Also an event that the demo does not expect is told."""
    assert describe(event)[0] == text


def test_rates_are_those_of_the_last_second() -> None:
    """What happened longer ago than a second is not in the rate."""
    with quiet_scene() as scene:
        add_calls(scene, "answered", 50)
        for tenth in range(1, 31):
            add_calls(scene, "answered", 2)
            scene.update(tenth / 10)
        assert scene.rates["answered"] == 20
        assert scene.totals()["answered"] == 110


def test_the_table_fits_eighty_columns_and_twenty_four_lines() -> None:
    """The smallest terminal shows every part, and one line is left for the cursor."""
    with quiet_scene() as scene:
        for number in range(30):
            scene.note(f"note {number}")
        scene.update(3.0)
        lines = seen(scene, width=80, height=24)
        assert len(lines) < 24
        assert max(map(len, lines)) <= 80
        text = "\n".join(lines)
        for part in ("circuit_breaker", "charge by tasks", "note 29", "kept    all of 6"):
            assert part in text


def test_a_wide_table_shows_details() -> None:
    """With a hundred columns there is room for one more column."""
    with quiet_scene() as scene:
        add_calls(scene, "refused", 3)
        scene.update(1.0)
        lines = seen(scene)
        assert max(map(len, lines)) <= 100
        assert re.search(r"circuit_breaker +CLOSED +0 passed +3 refused .*opened 0 times", lines[4])
        assert "memory" in "\n".join(lines)


def test_states_are_told_in_words() -> None:
    """Without colours the table says as much as with them."""
    with quiet_scene() as scene:
        scene.policies.registry.circuit_breakers["service"].force_open()
        scene.verdicts = [Verdict("no order was charged twice", False, "2 charged more than once")]
        text = "\n".join(seen(scene))
        assert "FORCED-OPEN" in text
        assert "BROKEN  no order was charged twice" in text


def test_an_open_circuit_says_when_it_tries_again() -> None:
    """The state of an open circuit counts down."""
    with quiet_scene() as scene:
        breaker = scene.policies.registry.circuit_breakers["service"]
        for _ in range(10):
            with pytest.raises(OSError, match="down"), breaker:
                raise OSError("down")
        assert re.search(r" OPEN [01]\.\d s ", "\n".join(seen(scene)))


def test_the_table_view_draws_in_place_and_leaves_nothing() -> None:
    """The table goes away at the end; the report stays, its verdicts in colour."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30, color_system="standard")
    view = TableView(console)
    with quiet_scene() as scene:
        view.begin(scene)
        scene.note("something happened")
        scene.note("often", rare=False)
        scene.note("often", rare=False)
        view.frame(scene)
        view.end(scene)
        drawn = out.getvalue()
        assert "something happened" in drawn
        assert "x 2" in drawn
        view.report(make_report(scene, interrupted=False))
    assert "\x1b[32m  kept " in out.getvalue()


def test_plain_lines_tell_what_happens_and_how_it_goes() -> None:
    """One line for each rare note, one a second, and no colour."""
    out = io.StringIO()
    view = PlainView(out)
    with quiet_scene() as scene:
        view.begin(scene)
        scene.note("a circuit opened")
        scene.note("a refusal", rare=False)
        write_charges(scene, "a", "b")
        for tenth in range(1, 21):
            scene.update(tenth / 10)
            view.frame(scene)
        view.end(scene)
    lines = out.getvalue().splitlines()
    assert lines[1] == "   0.0 s  a circuit opened"
    assert [line[:8] for line in lines[2:]] == ["   1.0 s", "   2.0 s"]
    assert lines[2].endswith("circuit closed    charges 2 for 2 orders")
    assert "\x1b" not in out.getvalue()


def test_a_view_without_output_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """For a JSON report nothing else is written."""
    view = PlainView(None)
    with quiet_scene() as scene:
        view.begin(scene)
        scene.note("something")
        view.frame(scene)
        view.report(make_report(scene, interrupted=False))
    assert capsys.readouterr() == ("", "")


def report_of(scene: Scene) -> Report:
    scene.update(1.0)
    return make_report(scene, interrupted=True)


def test_time_saved_is_refusals_times_the_cost_of_a_call_in_vain() -> None:
    """A call in vain is one that failed or timed out; what was answered costs nothing here."""
    with quiet_scene() as scene:
        add_calls(scene, "failed", 1, took=0.1)
        add_calls(scene, "timed out", 1, took=0.4)
        add_calls(scene, "answered", 5, took=0.3)
        add_calls(scene, "refused", 8, took=0.0)
        report = report_of(scene)
    assert report.cost_of_a_failure == 0.25
    assert report.time_saved == 2.0
    assert report.calls == {
        "total": 15,
        "answered": 5,
        "failed": 1,
        "timed_out": 1,
        "refused": 8,
    }


def test_a_charge_executed_twice_breaks_the_report() -> None:
    """The ledger has the last word."""
    with quiet_scene() as scene:
        write_charges(scene, "a", "a", "b")
        report = report_of(scene)
    assert not report.kept
    assert report.charges["executed"] == 3
    assert any(line.startswith("  BROKEN  no order was charged twice") for line in report.lines())


def test_the_history_of_a_restless_circuit_is_cut_in_the_middle() -> None:
    """The report shows how it began and how it ended; JSON has all of it."""
    with quiet_scene() as scene:
        began = scene.journal.began
        scene.journal.changes = [
            Change(began + n, "half_open" if n % 2 else "open", "open", f"reason {n}")
            for n in range(40)
        ]
        report = report_of(scene)
    text = "\n".join(report.lines())
    assert len(report.circuit["history"]) == 40
    assert "... 16 more changes ..." in text
    assert "reason 0" in text
    assert "reason 20" not in text
    assert "39.0 s  half-open -> open       reason 39" in text


def test_a_store_that_failed_is_told_of() -> None:
    """Only then: it says why charges were asked for and neither executed nor answered."""
    with quiet_scene() as scene:
        assert "store failures" not in report_of(scene).headings()
        scene.journal.counts[events.StoreFailed] = 3
        report = report_of(scene)
    assert report.charges["store_failures"] == 3
    assert any(line.startswith("  store failures            3") for line in report.lines())
