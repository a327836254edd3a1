"""How structlog renders the records of log_events: with all of their fields, by itself."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

import meshhook as mh
from meshhook.observe.logging import log_events


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Leave structlog as it was."""
    yield
    structlog.reset_defaults()


def handler(renderer: Any, *pre_chain: Any) -> logging.StreamHandler[io.StringIO]:
    """Make a handler that renders with structlog, as its documentation has it."""
    made = logging.StreamHandler(io.StringIO())
    made.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                *pre_chain,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    return made


def logged_with(made: logging.StreamHandler[io.StringIO]) -> list[str]:
    """Open and refuse with a handler in place; return the lines."""
    logger = logging.getLogger("tests.structlog")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(made)
    try:
        with log_events(logger):
            breaker = mh.circuit_breaker("db", failure_threshold=1)
            breaker.force_open()
            with pytest.raises(mh.CircuitOpenError):
                breaker.call(int)
    finally:
        logger.removeHandler(made)
    return made.stream.getvalue().splitlines()


def test_every_field_is_rendered(registry: mh.Registry) -> None:
    """As JSON: the stable name is the event, and ``logger`` is who wrote it."""
    changed, rejected, summary = map(
        json.loads, logged_with(handler(structlog.processors.JSONRenderer()))
    )
    assert changed == {
        "event": "circuit_changed",
        "level": "warning",
        "logger": "tests.structlog",
        "policy": "circuit_breaker",
        "policy_name": "db",
        "old": "closed",
        "new": "forced_open",
        "reason": "set by hand",
        "keyed": False,
    }
    assert rejected["event"] == "call_rejected"
    assert rejected["retry_after"] is None
    assert summary["event"] == "call_rejected_summary"
    assert (summary["count"], summary["reasons"]) == (1, {"forced_open": 1})


def test_the_message_can_be_kept(registry: mh.Registry) -> None:
    """Whoever wants the sentence as well renames it before the fields are added."""
    changed, *_ = map(
        json.loads,
        logged_with(
            handler(
                structlog.processors.JSONRenderer(), structlog.processors.EventRenamer("message")
            )
        ),
    )
    assert changed["event"] == "circuit_changed"
    assert changed["message"] == "circuit 'db' went from closed to forced_open: set by hand"


@pytest.mark.parametrize(
    "renderer",
    [
        structlog.dev.ConsoleRenderer(colors=False),
        structlog.processors.KeyValueRenderer(),
        structlog.processors.LogfmtRenderer(),
    ],
    ids=lambda renderer: type(renderer).__name__,
)
def test_every_renderer_takes_them(registry: mh.Registry, renderer: Any) -> None:
    """Values are numbers, text, flags and None. Logfmt knows no mappings, but shows them."""
    lines = logged_with(handler(renderer))
    assert len(lines) == 3
    assert all("db" in line for line in lines)


def test_a_program_that_logs_by_structlog_gets_ours_beside_its_own(registry: mh.Registry) -> None:
    """Over the standard library there is one handler for both."""
    made = handler(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger("tests")
    root.addHandler(made)
    try:
        logger = logging.getLogger("tests.program")
        logger.setLevel(logging.INFO)
        with log_events(logger):
            structlog.get_logger("tests.program").info("order_taken", order=5)
            mh.circuit_breaker("db").force_open()
    finally:
        root.removeHandler(made)
    own, ours = map(json.loads, made.stream.getvalue().splitlines())
    assert own == {
        "event": "order_taken",
        "order": 5,
        "level": "info",
        "logger": "tests.program",
    }
    assert (ours["event"], ours["policy_name"], ours["logger"]) == (
        "circuit_changed",
        "db",
        "tests.program",
    )
