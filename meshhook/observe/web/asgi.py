"""The endpoints as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from meshhook.colour import is_async
from meshhook.observe.web import routes, security
from meshhook.observe.web.conversation import Conversation, broke_off
from meshhook.observe.web.endpoints import TOO_MANY, Endpoints, Visit
from meshhook.observe.web.exchange import Answer, Request, below, refused
from meshhook.observe.web.orders import BODY_LIMIT, broken_off
from meshhook.observe.web.replies import BUSY
from meshhook.observe.web.security import AsyncAuthorize, Authorize, ask, ask_async
from meshhook.observe.web.wish import Wish
from meshhook.registry import Registry

T = TypeVar("T")
Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

STALLED = 30.0
"""A client that takes nothing for so many seconds is told nothing more."""

BODY_WITHIN = 10.0
READERS = 4
"""So many threads read statistics; the loop itself never does, for there may be thousands."""


class AsgiApp:
    """What :func:`asgi_app` returns: call it as ASGI says, and ``close()`` it to end streams."""

    def __init__(self, endpoints: Endpoints, place: tuple[str, Application] | None) -> None:
        self._endpoints = endpoints
        self._place = place
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def close(self) -> None:
        """End all streams, and stop to listen to events."""
        self._endpoints.close()
        self._pools.clear()  # the threads of each end when nobody waits for it any more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._place is not None:
            await self._answer_beside(*self._place, scope, receive, send)
        else:
            await self._answer_here(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open and close as the server says; a service beside us may not stay to hear it."""

        async def overheard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._endpoints.open()
            elif message["type"] == "lifespan.shutdown":
                self.close()
            return message

        live = _live_alone if self._place is None else self._place[1]
        await live(scope, overheard, send)

    async def _answer_beside(
        self, at: str, beside: Application, scope: Scope, receive: Receive, send: Send
    ) -> None:
        root, path = _place_of(scope)
        if below(at, path) is None:
            await beside(scope, receive, send)
        else:
            # The path holds the root from here on, as ASGI has it; not every server does that.
            here = {**scope, "root_path": root + at, "path": root + path}
            await self._answer_here(here, receive, send)

    async def _answer_here(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _body(receive) if scope["method"] == "POST" else b""
        except TimeoutError:
            await _send_whole(send, broken_off())
            return
        if body is None:
            return
        request = _request(scope, body)
        answer = await self._answer(request)
        if answer.stream is not None and request.method != "HEAD":
            await self._stream(answer, answer.stream, receive, send)
            return
        await _send_whole(send, answer, is_head=request.method == "HEAD")

    async def _answer(self, request: Request) -> Answer:
        visit = self._endpoints.examine(request)
        if not isinstance(visit, Visit):
            return visit
        author = None
        if visit.authorize is not None:
            author = await _who_asks(visit.authorize, request)
        if visit.match.route is routes.LIVE:
            return visit.answer()  # however busy the threads are
        # The members of a fleet may take their time, and nobody else waits for them.
        threads = 1 if visit.match.route is routes.FLEET else READERS
        return await self._in_thread(visit.answer, author, threads=threads)

    async def _in_thread(self, work: Callable[..., T], *args: Any, threads: int = READERS) -> T:
        # A forked child has no threads of its parent's.
        at = os.getpid(), threads
        pool = self._pools.get(at)
        if pool is None:
            pool = ThreadPoolExecutor(threads, thread_name_prefix="meshhook-web")
            pool = self._pools.setdefault(at, pool)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work, *args)
        finally:
            if self._endpoints.is_closed:  # this pool may have come after the close
                self._pools.clear()

    async def _stream(self, answer: Answer, wish: Wish, receive: Receive, send: Send) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ready.set)

        talk = self._endpoints.audience.converse(wish, wake)
        if talk is None:
            await _send_whole(send, refused(503, TOO_MANY, BUSY))
            return
        gone = loop.create_task(_until_gone(receive))
        telling = loop.create_task(self._tell(talk, ready, answer, send))
        try:
            await asyncio.wait({gone, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            talk.close()
            gone.cancel()
            telling.cancel()
            await asyncio.gather(gone, telling, return_exceptions=True)

    async def _tell(
        self, talk: Conversation, ready: asyncio.Event, answer: Answer, send: Send
    ) -> None:
        try:
            await _start(send, answer)
            await _send_in_time(send, await self._in_thread(talk.begin))
            while not talk.is_over:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(talk.pause()):
                        await ready.wait()
                if ready.is_set():
                    await asyncio.sleep(talk.rest())
                    ready.clear()
                heavy = talk.reads_statistics
                told = await self._in_thread(talk.next) if heavy else talk.next()
                if told:
                    await _send_in_time(send, told)
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # the client is gone, or takes nothing
        except Exception as error:
            broke_off(error)


async def _live_alone(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _start(send: Send, answer: Answer) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.all_headers()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _send_whole(send: Send, answer: Answer, *, is_head: bool = False) -> None:
    await _start(send, answer)
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})


async def _send_in_time(send: Send, told: bytes) -> None:
    async with asyncio.timeout(STALLED):
        await send({"type": "http.response.body", "body": told, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _who_asks(authorize: Any, request: Request) -> str | None:
    if is_async(authorize):
        return await ask_async(authorize, request)
    # It may look into a database, so it does not hold up the loop.
    return await asyncio.to_thread(ask, authorize, request)


async def _body(receive: Receive) -> bytes | None:
    """Read the body, and no more than what is sure to be too much; None if the client is gone.

    Raises TimeoutError for one that does not come.
    """
    body = b""
    async with asyncio.timeout(BODY_WITHIN):
        while len(body) <= BODY_LIMIT:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
    return body


def _place_of(scope: Scope) -> tuple[str, str]:
    """Return where the application is mounted, and the path below; some servers leave that out."""
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    rest = below(root, path)
    return root, path if rest is None else rest


def _request(scope: Scope, body: bytes) -> Request:
    root, path = _place_of(scope)
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=path,
        root=root,
        query=dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))),
        headers=headers,
        client=client[0] if client else None,
        body=body,
    )


def asgi_app(
    registry: Registry | None = None,
    *,
    authorize: Authorize | AsyncAuthorize | None = None,
    authorize_read: Authorize | AsyncAuthorize | None = None,
    dashboard: bool = True,
    fleet: Any = (),
    hosts: Iterable[str] | None = None,
    trust_forwarded: bool = False,
    beside: Application | None = None,
    at: str = "/meshhook",
    max_streams: int = 100,
) -> AsgiApp:
    """Return the endpoints as an ASGI application, to be mounted in FastAPI, Starlette or alone.

    Args:
        registry: whose policies are shown. Default ``meshhook.registry``.
        authorize: who may change something: a function of the request (``method``, ``path``,
            ``headers`` by name in lower case, ``client``), sync or async, that returns the name
            of who acts, or None for nobody who may. Without it nothing can be changed.
        authorize_read: the same for reading. Without it everybody may read who reaches the
            endpoints. The probes ``/health/live`` and ``/health/ready`` are open in any case.
        dashboard: whether the page is served at ``/``.
        fleet: the URLs of other processes to show at ``/fleet``.
        hosts: which names the ``Host`` of a request may have, without ports. Default all. The
            probes, which come by address, are answered in any case.
        trust_forwarded: whether ``X-Forwarded-Host`` comes from a proxy of yours and can be
            trusted.
        beside: the application of the service, where it has no way to mount another one: it
            answers all that is not below ``at``.
        at: where the endpoints are, with ``beside``.
        max_streams: so many clients may follow the events at a time.

    Raises:
        ConfigurationError: for settings that cannot be used, naming the argument and what to
            write instead.

    Safe to share between threads, tasks and event loops.
    """
    place = None if beside is None else (security.checked_place(at), beside)
    return AsgiApp(
        Endpoints(
            registry,
            authorize=authorize,
            authorize_read=authorize_read,
            dashboard=dashboard,
            fleet=fleet,
            hosts=hosts,
            trust_forwarded=trust_forwarded,
            max_streams=max_streams,
            may_be_async=True,
        ),
        place,
    )
