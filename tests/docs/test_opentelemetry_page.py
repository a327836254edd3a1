"""The page on OpenTelemetry names what there is, and nothing else; so do those on logging."""

from __future__ import annotations

import inspect
import re

from meshhook import events
from meshhook.observe.forms import SUMS
from meshhook.observe.opentelemetry import instrument
from meshhook.observe.opentelemetry.instruments import INSTRUMENTS, kind_of
from meshhook.observe.opentelemetry.spans import _FIELDS, SPAN_EVENTS
from meshhook.observe.summaries import AT_ONCE, MOST_COUNTS, MOST_REASONS
from tests.docs.pages import ROOT, code, section, table

PAGE = (ROOT / "docs" / "opentelemetry.md").read_text(encoding="utf-8")
LOGGING = (ROOT / "docs" / "events-and-logging.md").read_text(encoding="utf-8")


def codes(cell: str) -> list[str]:
    """Return what a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_defaults_are_the_real_ones() -> None:
    """The table names the parameters, in order, with their defaults."""
    parameters = inspect.signature(instrument).parameters
    rows = table(section(PAGE, "Defaults"))
    assert [(code(name), eval(code(default))) for name, default, _ in rows] == [
        (name, each.default) for name, each in parameters.items()
    ]


def test_every_instrument_is_in_the_table() -> None:
    """With its kind, unit, attributes and description, in order."""
    assert table(section(PAGE, "Instruments")) == [
        [
            f"`{each.name}`",
            kind_of(each).replace("up_down_", "up-down "),
            f"`{each.unit}`" if each.unit else "",
            " ".join(f"`{label}`" for label in each.labels),
            each.help,
        ]
        for each in INSTRUMENTS
    ]


def test_every_span_event_is_in_the_table() -> None:
    """With its own attributes, and what counts it on the span."""
    common = ["meshhook.policy", "meshhook.name"]
    rows = table(section(PAGE, "Span events"))
    assert [(code(name), codes(fields), codes(counter)) for name, fields, counter in rows] == [
        (
            name,
            [shown for _, shown in _FIELDS[kind] if shown not in common],
            [counter] if counter else [],
        )
        for kind, (name, counter) in SPAN_EVENTS.items()
    ]


def test_every_summary_is_in_the_table() -> None:
    """With the event that it counts."""
    rows = table(section(LOGGING, "Summaries"))
    kinds = {
        name: getattr(events, name) for name in (re.findall(r"\[(\w+)\]", r[1])[0] for r in rows)
    }
    assert [
        (code(event), kind) for (event, *_), kind in zip(rows, kinds.values(), strict=True)
    ] == [(form.event, kind) for kind, form in SUMS.items()]
    about = section(LOGGING, "Summaries")
    assert f"most {AT_ONCE} summaries" in about
    assert f"Counts of {MOST_COUNTS:,} policies" in about
    assert f"more than {MOST_REASONS} reasons" in about
