"""What a client of the stream is told, when, and at what cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.events import CallFailed, CallRejected, CircuitChanged, LeaseLost
from meshhook.observe.remote.server_sent import Parser
from meshhook.observe.web import stopping
from meshhook.observe.web.audience import Audience
from meshhook.observe.web.conversation import BATCH_EVERY, HEARTBEAT, LOOK_UP, MOST, Conversation
from meshhook.observe.web.endpoints import Endpoints
from meshhook.observe.web.wish import Wish


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give the clock of the clients."""
    return Clock()


@pytest.fixture
def audience(registry: mh.Registry) -> Iterator[Audience]:
    """Give endpoints that nothing carries."""
    endpoints = Endpoints(
        registry,
        authorize=None,
        authorize_read=None,
        dashboard=True,
        fleet=(),
        hosts=None,
        trust_forwarded=False,
        max_streams=3,
        may_be_async=False,
    )
    yield endpoints.audience
    endpoints.close()


@pytest.fixture
def follow(audience: Audience, clock: Clock) -> Any:
    """Begin conversations that go by the clock."""

    def begin(*kinds: str, stats: bool = False) -> Following:
        woken: list[int] = []
        wish = Wish(kinds or None, stats)
        return Following(Conversation(audience, wish, lambda: woken.append(1), clock), woken)

    return begin


class Following:
    def __init__(self, talk: Conversation, woken: list[int]) -> None:
        self.talk = talk
        self.woken = woken
        self.hello, *self.first = parsed(talk.begin())

    def next(self) -> list[tuple[str, Any]]:
        return parsed(self.talk.next())


def parsed(told: bytes) -> list[tuple[str, Any]]:
    """Return the messages as event and data."""
    return [(each.event, json.loads(each.data)) for each in Parser().feed(told)]


def refuse(times: int = 1) -> None:
    """Let a policy refuse calls."""
    for _ in range(times):
        mh.events.emit(
            CallRejected(policy="bulkhead", name="desk", reason="full", retry_after=None)
        )


def change(name: str = "payments") -> None:
    """Let a circuit open."""
    mh.events.emit(
        CircuitChanged(policy="circuit_breaker", name=name, old="closed", new="open", reason="x")
    )


def test_a_client_is_greeted(follow: Any) -> None:
    """With who we are, what happened of late, oldest first, and what can be done here."""
    change("a")
    change("b")
    refuse()
    event, data = follow().hello
    assert event == "hello"
    assert set(data) == {"instance", "recent", "can_act", "fleet"}
    assert [each["name"] for each in data["recent"]] == ["a", "b"]
    assert (data["can_act"], data["fleet"]) == (False, False)
    assert data["recent"][0].keys() == {
        "id", "time", "event", "policy", "name", "old", "new", "reason", "keyed",
    }  # fmt: skip


def test_what_happens_is_told_once(follow: Any) -> None:
    """What is in the greeting is not told again, and what comes after it is."""
    change("before")
    one = follow()
    assert one.next() == []
    change("after")
    refuse()
    ((event, data),) = one.next()
    assert event == "events"
    assert [(each["event"], each["name"]) for each in data["events"]] == [
        ("circuit_changed", "after"), ("call_rejected", "desk"),
    ]  # fmt: skip
    assert data["dropped"] == 0
    assert one.next() == []


def test_what_happens_while_greeting_is_told_once(
    follow: Any, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client listens already when the greeting is written."""
    recent = audience.recent

    def slowly(kinds: Any) -> Any:
        change("meanwhile")
        return recent(kinds)

    monkeypatch.setattr(audience, "recent", slowly)
    one = follow()
    assert [each["name"] for each in one.hello[1]["recent"]] == ["meanwhile"]
    assert one.next() == []


def test_only_the_kinds_that_are_wished_for(follow: Any) -> None:
    """In the greeting, too; and nobody builds the others."""
    change()
    one = follow("lease_lost", "call_rejected")
    assert one.hello[1]["recent"] == []
    change()
    refuse()
    mh.events.emit(LeaseLost(policy="idempotent", name="charge", key_hash="x"))
    ((_, data),) = one.next()
    assert {each["event"] for each in data["events"]} == {"call_rejected", "lease_lost"}
    assert not any("key_hash" in each for each in data["events"])  # it tells a key that is guessed
    assert not mh.events.wanted(CallFailed)
    assert mh.events.wanted(CallRejected)
    one.talk.close()
    assert not mh.events.wanted(CallRejected)
    assert mh.events.wanted(CircuitChanged)


def test_it_is_woken_once_a_batch(follow: Any) -> None:
    """However much happens, for that is the cost of the call."""
    one = follow()
    refuse(1000)
    assert len(one.woken) == 1
    one.next()
    refuse()
    assert len(one.woken) == 2


def test_batches_are_not_too_many(follow: Any, clock: Clock) -> None:
    """After one it rests for a while; the first one comes at once."""
    one = follow()
    assert one.talk.rest() == 0
    refuse()
    one.next()
    assert one.talk.rest() == pytest.approx(BATCH_EVERY)
    clock.now += BATCH_EVERY
    assert one.talk.rest() == 0


def test_too_much_is_counted(follow: Any) -> None:
    """A batch has so many events; what is notable is in it, and the rest is a number."""
    one = follow()
    refuse(50)
    change()
    refuse(1000)
    ((_, data),) = one.next()
    assert len(data["events"]) == MOST
    assert data["dropped"] == 1051 - MOST
    assert [each["name"] for each in data["events"] if each["event"] == "circuit_changed"]
    assert sorted(each["id"] for each in data["events"]) == [each["id"] for each in data["events"]]


def test_an_event_is_written_once_for_all(
    follow: Any, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients cost little more than one."""
    written: list[Any] = []
    real = mh.observe.feed.Occurrence.to_dict  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "meshhook.observe.feed.Occurrence.to_dict", lambda self: written.append(1) or real(self)
    )
    several = [follow() for _ in range(3)]
    refuse(10)
    assert len({json.dumps(each.next()) for each in several}) == 1
    assert len(written) == 10


def test_lines_are_not_kept_for_ever(follow: Any, audience: Audience) -> None:
    """Memory is bounded, however much happens."""
    one = follow()
    for _ in range(30):
        refuse(200)
        one.next()
    assert len(audience._lines) <= 2000


def test_statistics_are_told_while_they_change(
    follow: Any, audience: Audience, clock: Clock, frozen: Any
) -> None:
    """All of them first, and then what has changed and what is gone, every half second."""
    breaker = mh.circuit_breaker("payments")
    breaker.call(len, "abc")
    one = follow(stats=True)
    ((event, data),) = one.first
    assert event == "stats"
    assert (data["full"], data["total"], data["gone"]) == (True, 1, [])
    assert data["policies"][0]["stats"]["calls"] == 1
    assert one.next() == []
    assert not one.talk.reads_statistics
    clock.now += 0.5
    frozen.tick(0.6)
    ((_, data),) = one.next()
    assert (data["full"], data["policies"]) == (False, [])
    breaker.call(len, "abc")
    clock.now += 0.5
    frozen.tick(0.6)
    assert one.talk.reads_statistics
    ((_, data),) = one.next()
    assert [each["stats"]["calls"] for each in data["policies"]] == [2]


def test_without_a_wish_there_are_no_statistics(follow: Any, clock: Clock) -> None:
    """They cost a reading of all policies."""
    one = follow()
    assert one.first == []
    clock.now += 10
    assert not one.talk.reads_statistics


def test_clients_that_come_together_are_told_the_same(
    follow: Any, audience: Audience, frozen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read and written once."""
    mh.circuit_breaker("payments")
    written: list[int] = []
    real = audience.snapshots._read
    monkeypatch.setattr(
        audience.snapshots, "_read", lambda before: written.append(1) or real(before)
    )
    several = [follow(stats=True) for _ in range(3)]
    assert len({json.dumps(each.first) for each in several}) == 1
    assert len(written) == 1


def test_silence_has_a_heartbeat(follow: Any, clock: Clock) -> None:
    """So that both ends see that the line is alive; it comes at least every ten seconds."""
    assert HEARTBEAT <= 10
    one = follow()
    assert one.talk.next() == b""
    clock.now += HEARTBEAT
    assert one.talk.pause() == 0
    assert one.talk.next() == b":\n\n"
    assert one.talk.next() == b""
    assert parsed(b":\n\n") == []


def test_it_never_waits_for_long(follow: Any, clock: Clock) -> None:
    """For it looks whether the server stops."""
    for one in (follow(), follow(stats=True)):
        assert 0 < one.talk.pause() <= LOOK_UP
    clock.now += 0.4
    assert one.talk.pause() == pytest.approx(0.1)


def test_so_many_and_no_more(audience: Audience) -> None:
    """One that is closed makes room, and closing twice takes none away."""
    wish = Wish()
    talks = [audience.converse(wish, lambda: None) for _ in range(3)]
    assert audience.converse(wish, lambda: None) is None
    assert audience.streams == 3
    for _ in range(2):
        assert talks[0] is not None
        talks[0].close()
    assert audience.streams == 2
    assert audience.converse(wish, lambda: None) is not None


def test_closing_wakes_everybody(audience: Audience) -> None:
    """And nobody begins any more."""
    ready = threading.Event()
    talk = audience.converse(Wish(), ready.set)
    assert talk is not None
    assert not talk.is_over
    audience.close()
    assert ready.is_set()
    assert talk.is_over
    assert audience.converse(Wish(), ready.set) is None


def test_opening_after_a_close(audience: Audience) -> None:
    """Clients come again and are told what happens; those from before have still to go."""
    before = audience.converse(Wish(), lambda: None)
    assert before is not None
    audience.open()
    assert not before.is_over
    audience.close()
    audience.open()
    change("opened again")
    after = audience.converse(Wish(), lambda: None)
    assert after is not None
    assert before.is_over
    assert not after.is_over
    assert b"opened again" in after.begin()


class Server:
    should_exit: Any = False
    alive: Any = True

    def handle_exit(self, *_: object) -> None:
        """Stand for the handler of a server."""


@pytest.mark.parametrize("field", ["should_exit", "alive"])
def test_a_stop_of_the_server_is_seen(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """By what its handler of SIGTERM belongs to: uvicorn notes one thing, gunicorn another."""
    server = Server()
    monkeypatch.setattr(stopping.signal, "getsignal", lambda number: server.handle_exit)
    assert not stopping.is_stopping()
    setattr(server, field, field == "should_exit")
    assert stopping.is_stopping()


def test_the_end_of_the_main_thread_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter waits for other threads then, and streams may be in them."""

    class Ended:
        def is_alive(self) -> bool:
            return False

    monkeypatch.setattr(stopping.threading, "main_thread", Ended)
    assert stopping.is_stopping()


@pytest.mark.parametrize("handler", [None, print, lambda *_: None, 0])
def test_other_handlers_say_nothing(monkeypatch: pytest.MonkeyPatch, handler: Any) -> None:
    """Nor do objects that have such names for other things."""
    monkeypatch.setattr(stopping.signal, "getsignal", lambda number: handler)
    assert not stopping.is_stopping()
    server = Server()
    server.should_exit, server.alive = "maybe", 0
    monkeypatch.setattr(stopping.signal, "getsignal", lambda number: server.handle_exit)
    assert not stopping.is_stopping()
