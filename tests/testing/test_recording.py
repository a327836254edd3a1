"""record_events: what was told, and assertions that say what was told instead."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import meshhook as mh
from meshhook.events import CallFailed, CallRejected, CircuitChanged, Event, emit, wanted
from meshhook.testing import force_open, like, record_events

CHANGED = CircuitChanged(
    policy="circuit_breaker", name="db", old="closed", new="open", reason="1 failures in a row"
)
FAILED = CallFailed(policy="circuit_breaker", name="db", error="OSError")


def tell(*events: Event) -> None:
    for event in events:
        emit(event)


def test_it_records_every_event_while_it_is_open(registry: mh.Registry) -> None:
    """In order; nothing before and nothing after."""
    tell(FAILED)
    with record_events() as events:
        tell(FAILED, CHANGED)
    tell(FAILED)
    assert list(events) == [FAILED, CHANGED]
    assert (len(events), events[0], events[-1:]) == (2, FAILED, [CHANGED])
    assert not wanted(CallFailed)


def test_it_records_only_the_kinds_that_are_asked_for() -> None:
    """Nothing else is even built."""
    with record_events(CircuitChanged) as events:
        assert not wanted(CallFailed)
        tell(FAILED, CHANGED)
    assert list(events) == [CHANGED]


def test_what_is_recorded_is_found_by_kind_and_fields() -> None:
    """A base class finds those of its subclasses."""
    with record_events() as events:
        tell(FAILED, CHANGED, FAILED)
    assert events.of(CallFailed) == [FAILED, FAILED]
    assert events.of(CircuitChanged, new="open", name="db") == [CHANGED]
    assert events.of(CircuitChanged, new="closed") == []
    assert events.of(Event) == [FAILED, CHANGED, FAILED]
    events.clear()
    assert list(events) == []


@pytest.mark.parametrize(
    "expected",
    [
        (FAILED, CHANGED),
        (CallFailed, CircuitChanged),
        (like(CallFailed, error="OSError"), like(CircuitChanged, old="closed", new="open")),
        (Event, Event),
    ],
)
def test_a_sequence_is_given_by_events_classes_or_fields(expected: Any) -> None:
    """Whichever says what the test is about."""
    with record_events() as events:
        tell(FAILED, CHANGED)
    events.assert_sequence(*expected)
    events.assert_in_order(*expected)


WRONG: list[tuple[tuple[Any, ...], str]] = [
    ((CHANGED,), "event 1 should be CircuitChanged(policy='circuit_breaker', name='db', "),
    ((FAILED,), "event 2 should be nothing more; these were told:\n  1. CallFailed("),
    ((), "event 1 should be nothing more; these were told:\n> 1. CallFailed("),
    ((CallFailed, CallFailed), "event 2 should be CallFailed; these were told:\n  1. CallFailed("),
    ((CallFailed, CircuitChanged, CallRejected), "event 3 should be CallRejected; these were told"),
    (
        (CallFailed, like(CircuitChanged, new="closed")),
        (
            "event 2 should be CircuitChanged(new='closed'); these were told:\n"
            "  1. CallFailed(policy='circuit_breaker', name='db', error='OSError')\n"
            "> 2. CircuitChanged(policy='circuit_breaker', name='db', old='closed', new='open', "
        ),
    ),
]


@pytest.mark.parametrize(("expected", "message"), WRONG)
def test_a_wrong_sequence_is_shown_beside_what_was_told(expected: Any, message: str) -> None:
    """With an arrow at the first event that is another."""
    with record_events() as events:
        tell(FAILED, CHANGED)
    with pytest.raises(AssertionError) as caught:
        events.assert_sequence(*expected)
    assert str(caught.value).startswith(message)


def test_others_may_stand_between_events_in_order() -> None:
    """But each is looked for after the one before it."""
    with record_events() as events:
        tell(FAILED, FAILED, CHANGED, FAILED)
    events.assert_in_order(FAILED, CHANGED)
    events.assert_in_order(CHANGED, FAILED)
    events.assert_in_order()
    with pytest.raises(AssertionError) as caught:
        events.assert_in_order(FAILED, CHANGED, CHANGED)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("no CircuitChanged(policy=")
    assert lines[0].endswith(" was told after event 3; these were told:")
    assert [line[0] for line in lines[1:]] == [" ", " ", ">", " "]
    with pytest.raises(AssertionError, match="^no CallRejected was told; these were told:"):
        events.assert_in_order(CallRejected)


def test_one_event_is_returned_and_another_number_is_an_error() -> None:
    """The message says how often it was told, and what was told altogether."""
    with record_events() as events:
        tell(FAILED, CHANGED, FAILED)
    assert events.assert_one(CircuitChanged, name="db", new="open") is CHANGED
    with pytest.raises(AssertionError, match="CallFailed should be told once, and was told 2 time"):
        events.assert_one(CallFailed)
    with pytest.raises(AssertionError, match=r"CallFailed\(name='x'\) should .* was told never"):
        events.assert_one(CallFailed, name="x")


def test_no_event_may_be_told() -> None:
    """None of a kind, or none at all."""
    with record_events() as events:
        tell(FAILED)
    events.assert_none(CircuitChanged)
    events.assert_none(CallFailed, name="x")
    with pytest.raises(AssertionError, match="^no CallFailed should be told; these were told:"):
        events.assert_none(CallFailed)
    with pytest.raises(AssertionError, match="^no event should be told; these were told:"):
        events.assert_none()
    events.clear()
    events.assert_none()
    with pytest.raises(AssertionError, match="was told never; nothing was told$"):
        events.assert_one(CallFailed)


def test_a_field_that_no_event_has_is_an_error() -> None:
    """A typing error is not a condition that never holds."""
    with record_events() as events, pytest.raises(TypeError, match="CircuitChanged has no nwe; it"):
        events.of(CircuitChanged, nwe="open")


def test_it_shows_what_it_has() -> None:
    """As a list of the events."""
    with record_events() as events:
        tell(FAILED)
    assert repr(events) == f"<Events [{FAILED!r}]>"


def test_events_of_policies_are_recorded(registry: mh.Registry) -> None:
    """What a breaker tells, from its own calls."""
    breaker = mh.circuit_breaker("db", registry=registry)
    with record_events() as events, force_open(breaker), pytest.raises(mh.CircuitOpenError):
        breaker.call(len, "abc")
    events.assert_sequence(
        like(CircuitChanged, name="db", new="forced_open"),
        like(CallRejected, name="db", reason="forced_open"),
        like(CircuitChanged, name="db", new="closed"),
    )


def test_events_of_all_threads_are_recorded() -> None:
    """None is lost."""
    with record_events() as events:
        threads = [threading.Thread(target=lambda: tell(*[FAILED] * 500)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(events) == 4000
