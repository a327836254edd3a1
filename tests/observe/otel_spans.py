"""Spans that are collected in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meshhook.observe.opentelemetry import instrument


class Traces:
    """A tracer, and the spans that it has ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    def span(self, name: str = "request") -> Any:
        """Begin a span and make it the current one, for a block."""
        return self.tracer.start_as_current_span(name, record_exception=False)

    def ended(self) -> list[ReadableSpan]:
        """Return the spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def one(self) -> ReadableSpan:
        """Return the only one."""
        (span,) = self.ended()
        return span


def told(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """Return name and attributes of each event, without the prefix that all have."""
    return [
        (
            event.name.removeprefix("meshhook."),
            {
                name.removeprefix("meshhook."): value
                for name, value in (event.attributes or {}).items()
            },
        )
        for event in span.events
    ]


def names(span: ReadableSpan) -> list[str]:
    """Return the names of the events."""
    return [name for name, _ in told(span)]


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Collect spans, with what policies add to them."""
    made = Traces()
    with instrument(tracing=True):
        yield made
    made.provider.shutdown()
