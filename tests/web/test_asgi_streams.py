"""Streams as tasks: they end when the client leaves, stalls, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sys
import threading
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe.web import asgi
from tests.waiting import GIVE_UP, Called, eventually_async


def awaited(test: Any) -> Any:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/events",
    "query_string": b"stats=1",
    "headers": [],
    "client": None,
}

STREAM = {"REQUEST_METHOD": "GET", "PATH_INFO": "/events", "wsgi.multithread": True}


class Client:
    """The other end of one ASGI call."""

    def __init__(self, app: Any, **scope: Any) -> None:
        self.sent: list[Any] = []
        self.leave = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self.error: Exception | None = None
        self.task = asyncio.create_task(app({**SCOPE, **scope}, self._receive, self._send))

    async def _receive(self) -> Any:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent)

    async def told(self, what: bytes) -> None:
        assert await eventually_async(lambda: what in self.body)


def others() -> set[Any]:
    """Return the tasks beside this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture
def app(registry: mh.Registry) -> Any:
    """Give endpoints over one circuit."""
    mh.circuit_breaker("payments")
    app = mh.asgi_app(max_streams=2)
    yield app
    app.close()


@awaited
async def test_a_client_that_leaves(app: Any) -> None:
    """Its tasks end, its listener is gone, and nothing is asked of policies for it."""
    client = Client(app)
    await client.told(b"event: stats")
    assert mh.events.wanted(mh.events.CallFailed)
    assert app._endpoints.audience.streams == 1
    client.leave.set()
    await client.task
    assert others() == set()
    assert app._endpoints.audience.streams == 0
    assert not mh.events.wanted(mh.events.CallFailed)


@awaited
async def test_a_client_that_is_cancelled(app: Any) -> None:
    """The same, and the cancellation passes through."""
    client = Client(app)
    await client.told(b"event: stats")
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    assert others() == set()
    assert app._endpoints.audience.streams == 0


@awaited
async def test_a_client_that_leaves_while_it_stalls(app: Any) -> None:
    """What is being sent to it is given up."""
    client = Client(app)
    await client.told(b"event: hello")
    client.takes.clear()
    await asyncio.sleep(0.01)
    client.leave.set()
    await client.task
    assert others() == set()


@awaited
async def test_a_client_that_takes_nothing(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a while, for it takes the place of another."""
    monkeypatch.setattr(asgi, "STALLED", 0.02)
    client = Client(app)
    await client.told(b"event: hello")
    client.takes.clear()
    await asyncio.wait_for(client.task, 30)
    assert others() == set()
    assert app._endpoints.audience.streams == 0


@awaited
async def test_a_connection_that_breaks(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Some servers raise when they send to nobody: the end, and no word of it."""
    client = Client(app)
    await client.told(b"event: hello")
    client.error = BrokenPipeError()
    await asyncio.wait_for(client.task, 30)
    assert caplog.text == ""
    assert others() == set()


@awaited
async def test_a_failure_of_ours_ends_the_stream(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells where, and not what."""
    client = Client(app)
    await client.told(b"event: stats")

    def fail(token: Any) -> Any:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(app._endpoints.audience.snapshots, "changes_since", fail)
    await asyncio.wait_for(client.task, 30)
    assert "RuntimeError at " in caplog.text
    assert "s3cret" not in caplog.text


@awaited
async def test_the_end_of_the_server(app: Any) -> None:
    """Streams end as whole answers, soon; later ones are told to come back."""
    client = Client(app)
    await client.told(b"event: stats")
    app.close()
    await asyncio.wait_for(client.task, 5)
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}
    assert others() == set()
    late = Client(app)
    await late.task
    assert late.sent[0]["status"] == 503


@awaited
async def test_the_lifespan(app: Any) -> None:
    """Is answered, and its end ends the streams."""
    client = Client(app)
    await client.told(b"event: hello")
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    await asyncio.wait_for(client.task, 5)


class Life:
    """A server that lives with an application: it starts up, and shuts down when it is told to."""

    def __init__(self, app: Any) -> None:
        self._messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
        self._stop = asyncio.Event()
        self.sent: list[str] = []
        self.task = asyncio.create_task(app({"type": "lifespan"}, self._receive, self._send))

    async def _receive(self) -> Any:
        if len(self._messages) == 1:
            await self._stop.wait()
        return self._messages.pop()

    async def _send(self, message: Any) -> None:
        self.sent.append(message["type"].removeprefix("lifespan."))

    async def started(self) -> None:
        """Wait until it has started up, or has no mind to."""
        assert await eventually_async(lambda: self.sent or self.task.done())

    async def end(self) -> None:
        """Shut down."""
        self._stop.set()
        await self.task


async def lives(scope: Any, receive: Any, send: Any) -> None:
    """Do as ASGI has it."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    assert not mh.events.wanted(mh.events.CallFailed), "the streams have ended by now"
    await send({"type": "lifespan.shutdown.complete"})


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """Care for nothing but requests."""


async def starts_up_only(scope: Any, receive: Any, send: Any) -> None:
    """Do not stay for the end."""
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def raises(scope: Any, receive: Any, send: Any) -> None:
    """Know requests only, as Django does."""
    raise ValueError(scope["type"])


@pytest.mark.parametrize("beside", [None, lives])
@awaited
async def test_a_second_life(registry: mh.Registry, beside: Any) -> None:
    """Is as good as the first: a start opens what an end has closed, for new clients alone."""
    mh.circuit_breaker("payments")
    app = mh.asgi_app(beside=beside, at="/mesh")
    path = "/events" if beside is None else "/mesh/events"
    for _ in range(2):
        life = Life(app)
        await life.started()
        client = Client(app, path=path)
        await client.told(b"event: stats")
        await life.end()
        assert life.sent == ["startup.complete", "shutdown.complete"]
        assert not mh.events.wanted(mh.events.CircuitChanged)
        await asyncio.wait_for(client.task, 5)
        late = Client(app, path=path)
        await late.task
        assert late.sent[0]["status"] == 503


@pytest.mark.parametrize("beside", [returns, starts_up_only, raises])
@awaited
async def test_a_service_without_an_end(registry: mh.Registry, beside: Any) -> None:
    """Servers run it all the same, so the endpoints beside it stay open."""
    app = mh.asgi_app(beside=beside)
    life = Life(app)
    with contextlib.suppress(ValueError):
        await life.task
    client = Client(app, path="/meshhook/events")
    await client.told(b"event: hello")
    mh.circuit_breaker("payments").force_open()
    await client.told(b"circuit_changed")
    app.close()
    await client.task


@awaited
async def test_web_sockets_are_refused(app: Any) -> None:
    """Before they are open."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/events"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


@awaited
async def test_so_many_and_no_more(app: Any) -> None:
    """503 for a third; a place that is left is free again."""
    first, second = Client(app), Client(app)
    await first.told(b"event: hello")
    await second.told(b"event: hello")
    third = Client(app)
    await third.task
    assert third.sent[0]["status"] == 503
    assert (b"retry-after", b"5") in third.sent[0]["headers"]
    first.leave.set()
    await first.task
    fourth = Client(app)
    await fourth.told(b"event: hello")
    for each in (second, fourth):
        each.leave.set()
        await each.task


@awaited
async def test_a_body_that_does_not_come(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not waited for, for long; one that is given up is not answered at all."""
    monkeypatch.setattr(asgi, "BODY_WITHIN", 0.01)
    slow = Client(app, method="POST", path="/policies/circuit_breaker/payments/reset")
    await asyncio.wait_for(slow.task, 30)
    assert slow.sent[0]["status"] == 400
    gone = Client(app, method="POST", path="/policies/circuit_breaker/payments/reset")
    gone.leave.set()
    await gone.task
    assert gone.sent == []


@awaited
async def test_liveness_needs_no_thread(app: Any) -> None:
    """It answers while all threads that read are busy."""
    busy, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        loop.call_soon_threadsafe(busy.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()

    blocked = [asyncio.create_task(app._in_thread(block)) for _ in range(10)]
    await busy.wait()
    live = Client(app, path="/health/live")
    await asyncio.wait_for(live.task, 5)
    assert live.sent[0]["status"] == 200
    go.set()
    await asyncio.gather(*blocked)


@awaited
async def test_threads_end_with_the_application(registry: mh.Registry) -> None:
    """Also those that were busy then, or are needed later; it may be kept, and lives again."""
    before = set(threading.enumerate())

    def started() -> set[threading.Thread]:
        return set(threading.enumerate()) - before

    app = mh.asgi_app()
    busy, go = threading.Event(), threading.Event()
    working = asyncio.create_task(app._in_thread(lambda: busy.set() or go.wait(GIVE_UP)))
    looking = Client(app, path="/policies")
    await looking.task
    assert await eventually_async(busy.is_set)
    assert started()
    for _ in range(2):
        life = Life(app)
        await life.started()
        client = Client(app)
        await client.told(b"event: stats")
        await life.end()
        await client.task
        late = Client(app, path="/policies")
        await late.task
        assert late.sent[0]["status"] == 200
        go.set()
        assert await working
        assert await eventually_async(lambda: not started())


@awaited
async def test_readiness_waits_for_no_fleet(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members that do not answer keep those waiting who look at the fleet, and nobody else."""
    app = mh.asgi_app(fleet=["http://127.0.0.1:9"])
    busy, go = threading.Event(), threading.Event()

    def read() -> dict[str, Any]:
        busy.set()
        go.wait()
        return {}

    monkeypatch.setattr(app._endpoints.fleet, "read", read)
    looking = [Client(app, path="/fleet") for _ in range(10)]
    assert await asyncio.to_thread(busy.wait, 5)
    for path in ("/health/ready", "/metrics", "/policies"):
        other = Client(app, path=path)
        await asyncio.wait_for(other.task, 5)
        assert other.sent[0]["status"] == 200
    go.set()
    await asyncio.gather(*(each.task for each in looking))
    assert {each.sent[0]["status"] for each in looking} == {200}
    app.close()


def test_a_loop_that_is_closed_under_a_stream(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks no call that would wake it."""
    wakes: list[Any] = []
    converse = app._endpoints.audience.converse
    monkeypatch.setattr(
        app._endpoints.audience,
        "converse",
        lambda wish, wake: wakes.append(wake) or converse(wish, wake),
    )

    async def begin() -> None:
        client = Client(app)
        await client.told(b"event: hello")
        client.leave.set()
        await client.task

    asyncio.run(begin())
    (wake,) = wakes
    assert wake() is None


@awaited
async def test_a_body_in_pieces(registry: mh.Registry) -> None:
    """Is put together, and given up when it is too long."""
    mh.circuit_breaker("payments")
    app = mh.asgi_app(authorize=lambda request: "olga")
    for pieces, status in (([b'{"sec', b'onds": 9}'], 200), ([b" " * 1000] * 9, 413)):
        messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
        messages.append({"type": "http.request"})
        sent: list[Any] = []

        async def receive(messages: Any = messages) -> Any:
            return messages.pop(0)

        async def send(message: Any, sent: Any = sent) -> None:
            sent.append(message)

        scope = {
            **SCOPE,
            "method": "POST",
            "path": "/policies/circuit_breaker/payments/isolate",
            "headers": [(b"x-meshhook", b"act"), (b"x-a", b"1"), (b"X-A", b"2")],
        }
        await app(scope, receive, send)
        assert sent[0]["status"] == status
        assert len(messages) == (0 if status == 200 else 5)
    app.close()


def test_a_wsgi_stream_that_fails(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ends, and the log tells where; nothing of it is left."""
    app = mh.wsgi_app()

    def fail(self: Any) -> bytes:
        raise RuntimeError("s3cret")

    monkeypatch.setattr("meshhook.observe.web.conversation.Conversation.next", fail)
    stream = app(STREAM, lambda status, headers: None)
    assert app._endpoints.audience.streams == 1
    assert b"event: hello" in b"".join(stream)
    stream.close()  # type: ignore[attr-defined]
    assert app._endpoints.audience.streams == 0
    assert "RuntimeError at " in caplog.text
    assert "s3cret" not in caplog.text
    app.close()


def test_a_wsgi_answer_that_cannot_be_started(registry: mh.Registry) -> None:
    """Leaves the place of its stream to others."""
    app = mh.wsgi_app(max_streams=1)

    def fail(_status: str, _headers: Any) -> None:
        raise BrokenPipeError

    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            app(STREAM, fail)
        assert app._endpoints.audience.streams == 0
    app.close()


@pytest.mark.parametrize("step", range(3))
def test_an_event_in_a_wsgi_stream_that_begins_to_wait(registry: mh.Registry, step: int) -> None:
    """A finalizer may bring it on in the thread of the stream, at any step; it is told."""
    breaker = mh.circuit_breaker("payments")
    steps = itertools.count()

    def interrupt(_frame: Any, what: str, _arg: Any) -> Any:
        if what == "line" and next(steps) == step:
            breaker.force_open()
        return interrupt

    def follow() -> bytes:
        stream = app(STREAM, lambda status, headers: None)
        pieces = iter(stream)
        assert b"event: hello" in next(pieces)
        sys.settrace(lambda frame, *_: interrupt if frame.f_code.co_name == "wait" else None)
        try:
            return next(pieces)
        finally:
            sys.settrace(None)
            stream.close()  # type: ignore[attr-defined]

    app = mh.wsgi_app()
    assert b"circuit_changed" in Called("sync", follow).result()
    app.close()


@pytest.mark.parametrize("length", [None, "", "x", "-1", "20", "4096", "999999999", "²"])
@pytest.mark.parametrize("terminated", [True, False])
def test_no_more_of_a_wsgi_body_is_read(
    registry: mh.Registry, length: str | None, terminated: bool
) -> None:
    """Than was announced and is allowed; without an end nothing is read, for it may never come."""
    asked: list[int] = []

    class Input:
        def read(self, most: int) -> bytes:
            asked.append(most)
            return b""

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/policies/circuit_breaker/payments/reset",
        "wsgi.input": Input(),
        "wsgi.input_terminated": terminated,
    }
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    app = mh.wsgi_app(authorize=lambda request: "olga")
    app(environ, lambda status, headers: None)
    app.close()
    known = {"20": [20], "4096": [4096], "999999999": [4097]}
    assert asked == known.get(str(length), [4097] if terminated else [])
