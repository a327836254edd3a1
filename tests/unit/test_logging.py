"""Events as log records."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.observe.logging import REPEAT_AFTER, log_events

EVERY_EVENT = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
]
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def handled_by(handler: logging.Handler, name: str = "tests.own") -> Iterator[logging.Logger]:
    """Have a logger send everything to ``handler`` for a while."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Log events of every level, and collect the records."""
    collecting = Collecting()
    with handled_by(collecting, "meshhook"), log_events(summary_every=None):
        yield collecting.records


def seen(records: list[logging.LogRecord]) -> list[tuple[str, str]]:
    """Return level and event of each record."""
    return [(record.levelname, record.event) for record in records]  # type: ignore[attr-defined]


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record has beside the standard attributes."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def fail() -> None:
    raise ConnectionError("secret text")


def test_a_circuit_that_opens_is_a_warning(records: list[logging.LogRecord], frozen: Any) -> None:
    """Opening warns, what happens once a call is DEBUG, and recovery is INFO."""
    registry = mh.Registry()
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=5, registry=registry)
    with pytest.raises(ConnectionError):
        breaker.call(fail)
    with pytest.raises(mh.CircuitOpenError):
        breaker.call(fail)
    frozen.tick(6)
    breaker.call(int)
    assert sorted(seen(records[:2])) == [("DEBUG", "call_failed"), ("WARNING", "circuit_changed")]
    assert seen(records[2:]) == [
        ("DEBUG", "call_rejected"),
        ("INFO", "circuit_changed"),
        ("INFO", "circuit_changed"),
    ]
    opened = next(each for each in records if each.levelname == "WARNING")
    assert opened.name == "meshhook"
    assert opened.getMessage() == "circuit 'db' went from closed to open: 1 failures in a row"
    assert extra(opened) == {
        "event": "circuit_changed",
        "policy": "circuit_breaker",
        "policy_name": "db",
        "old": "closed",
        "new": "open",
        "reason": "1 failures in a row",
        "keyed": False,
    }


@pytest.mark.parametrize(
    ("new", "keyed", "level"),
    [
        ("open", False, "WARNING"),
        ("forced_open", False, "WARNING"),
        ("disabled", False, "WARNING"),
        ("metrics_only", False, "WARNING"),
        ("half_open", False, "INFO"),
        ("closed", False, "INFO"),
        ("open", True, "INFO"),
    ],
)
def test_levels_of_transitions(
    records: list[logging.LogRecord], new: str, keyed: bool, level: str
) -> None:
    """Less protection or service warns; recovery, and one circuit of many, informs."""
    events.emit(
        events.CircuitChanged(policy="p", name="n", old="closed", new=new, reason="", keyed=keyed)
    )
    assert seen(records) == [(level, "circuit_changed")]


@pytest.mark.parametrize("abandoned", [False, True])
def test_levels_of_timeouts(records: list[logging.LogRecord], abandoned: bool) -> None:
    """A call that goes on running is one of many when it matters, so it is DEBUG as well."""
    events.emit(events.CallTimedOut(policy="p", name="n", timeout=2.5, abandoned=abandoned))
    assert seen(records) == [("DEBUG", "call_timed_out")]
    assert records[0].getMessage() == "p 'n': a call did not end within 2.5 s"


@pytest.mark.parametrize(("seconds", "time"), [(None, "good"), (60.0, "60 s")])
def test_an_operator_is_told_of(
    records: list[logging.LogRecord], seconds: float | None, time: str
) -> None:
    """Who did what, and until when, is a warning; a name of several lines makes no new record."""
    events.emit(
        events.OperatorActed(
            policy="circuit_breaker",
            name="db",
            action="force_open",
            author="ada\nWARNING forged",
            seconds=seconds,
        )
    )
    assert seen(records) == [("WARNING", "operator_acted")]
    assert records[0].getMessage() == (
        f"circuit_breaker 'db': force_open by 'ada\\nWARNING forged', for {time}"
    )
    assert extra(records[0])["seconds"] == seconds


def test_a_store_that_goes_on_failing_does_not_flood(
    records: list[logging.LogRecord], frozen: Any
) -> None:
    """For each policy there is a warning a minute; the failures in between are DEBUG."""
    for name in ("a", "a", "b"):
        events.emit(events.StoreFailed(policy="idempotent", name=name, verb="begin", error="E"))
    frozen.tick(REPEAT_AFTER + 1)
    events.emit(events.StoreFailed(policy="idempotent", name="a", verb="begin", error="E"))
    assert [record.levelname for record in records] == ["WARNING", "DEBUG", "WARNING", "WARNING"]


@pytest.mark.parametrize("kind", EVERY_EVENT, ids=lambda kind: kind.__name__)
def test_every_event_becomes_a_record(records: list[logging.LogRecord], kind: Any) -> None:
    """Each has a name of its own, a message, and all of its fields."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {name: name for name in fields}
    values |= {
        name: 1.5
        for name in fields
        if name in ("timeout", "late", "retry_after", "delay", "seconds")
    }
    events.emit(kind(**values))
    (record,) = records
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_")
    assert record.event == snake  # type: ignore[attr-defined]
    name = values.pop("name")
    assert extra(record) == {"event": snake, "policy_name": name, **values}
    assert "'name'" in record.getMessage()


def test_nothing_that_was_passed_or_raised_is_logged(
    records: list[logging.LogRecord], colour: Any
) -> None:
    """Not the arguments, not the key, not the text of the exception."""
    registry = mh.Registry()

    def ask(host: str, password: str) -> None:
        raise ConnectionError("the secret text")

    guard = mh.circuit_breaker("db", key="{host}", failure_threshold=1, registry=registry)(
        colour.paint(ask)
    )
    for _ in range(3):
        with pytest.raises((ConnectionError, mh.CircuitOpenError)):
            colour.call(guard, "secret host", password="secret password")
    assert len(records) >= 3
    for record in records:
        assert "secret" not in record.getMessage()
        assert "secret" not in repr(extra(record))
        assert record.exc_info is None


def test_a_record_is_made_for_json(records: list[logging.LogRecord]) -> None:
    """What it has beside the standard attributes is plain data."""
    mh.circuit_breaker("db", registry=mh.Registry()).force_open()
    assert json.loads(json.dumps(extra(records[0]))) == extra(records[0])


def test_another_logger_may_be_given() -> None:
    """The records go where they are told to, in that logger's format."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(event)s %(policy_name)s"))
    with handled_by(handler) as logger, log_events(logger):
        mh.circuit_breaker("db", registry=mh.Registry()).force_open()
    assert stream.getvalue() == "WARNING circuit_changed db\n"


@pytest.mark.parametrize("logger", ["meshhook", logging, 5])
def test_a_logger_is_a_logger(logger: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(TypeError, match="logger must be a logging.Logger, or left out, got"):
        log_events(logger)


def test_closing_ends_the_logging(caplog: pytest.LogCaptureFixture) -> None:
    """A closed subscription writes nothing more; two of them write twice."""
    breaker = mh.circuit_breaker("db", registry=mh.Registry())
    first, second = log_events(), log_events()
    breaker.force_open()
    first.close()
    breaker.disable()
    second.close()
    breaker.metrics_only()
    assert [record.new for record in caplog.records] == [  # type: ignore[attr-defined]
        "forced_open",
        "forced_open",
        "disabled",
    ]


def test_below_the_level_nothing_is_formatted(caplog: pytest.LogCaptureFixture) -> None:
    """At WARNING no record is made of single calls, and at ERROR none at all."""
    for level in ("WARNING", "ERROR"):
        caplog.set_level(level, "meshhook")
        breaker = mh.circuit_breaker("db", failure_threshold=2, registry=mh.Registry())
        with log_events():
            for _ in range(3):
                with pytest.raises((ConnectionError, mh.CircuitOpenError)):
                    breaker.call(fail)
    assert seen(caplog.records) == [
        ("WARNING", "circuit_changed"),
        ("WARNING", "call_rejected_summary"),
    ]


def test_events_of_other_making_are_left_out(records: list[logging.LogRecord]) -> None:
    """A kind of event that has no form is not logged, and breaks nothing."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(events.Event):
        pass

    events.emit(Own(policy="p", name="n"))
    assert records == []


def test_a_handler_may_use_guarded_functions() -> None:
    """A handler that ships records through a failing guarded client does not call itself."""
    shipped: list[str] = []
    breaker = mh.circuit_breaker("shipping", failure_threshold=1, registry=mh.Registry())

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shipped.append(record.event)  # type: ignore[attr-defined]
            with pytest.raises((ConnectionError, mh.CircuitOpenError)):
                breaker.call(fail)

    other = mh.circuit_breaker("other", registry=mh.Registry())
    with handled_by(Shipping()) as logger, log_events(logger):
        other.force_open()
        other.reset()
    assert shipped == ["circuit_changed", "circuit_changed"]


@pytest.mark.parametrize("name", ["tests.own", "meshhook"])
def test_a_failing_handler_breaks_no_call(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """What a handler raises is reported where failing listeners are, and the next event is told.

    That it fails there as well, because both loggers have it, makes no difference to the call.
    """

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError

    breaker = mh.circuit_breaker("db", registry=mh.Registry())
    with handled_by(Broken(), name) as logger, log_events(logger):
        breaker.force_open()
        breaker.reset()
    assert [record.name for record in caplog.records] == (
        ["meshhook.events"] * 2 if name == "tests.own" else []
    )


def test_a_hook_and_a_handler_that_both_fail_break_no_call() -> None:
    """What a hook raises is logged, and what a handler raises then is dropped."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError

    breaker = mh.circuit_breaker("db", record_result=lambda _: 1 / 0, registry=mh.Registry())
    with handled_by(Broken(), "meshhook"):
        assert breaker.call(len, "abc") == 3


def test_a_report_is_made_in_the_name_of_who_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    """The record tells this line, and has what was given as extra."""
    events.logger.warning("%s happened", "something", extra={"where": "here"})
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("meshhook.events", "something happened")
    assert (record.filename, record.funcName) == (
        "test_logging.py",
        "test_a_report_is_made_in_the_name_of_who_makes_it",
    )
    assert record.where == "here"  # type: ignore[attr-defined]


def test_tasks_and_threads_do_not_silence_one_another(records: list[logging.LogRecord]) -> None:
    """Every event of several threads is logged."""
    breaker = mh.circuit_breaker("db", failure_threshold=99, registry=mh.Registry())

    async def main() -> None:
        async def one() -> None:
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(breaker.call, fail)

        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(main())
    assert seen(records) == [("DEBUG", "call_failed")] * 20
