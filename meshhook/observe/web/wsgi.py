"""The endpoints as a WSGI application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from meshhook.observe.web import security
from meshhook.observe.web.audience import Audience
from meshhook.observe.web.conversation import Conversation, broke_off
from meshhook.observe.web.endpoints import TOO_MANY, Endpoints, Visit
from meshhook.observe.web.exchange import Answer, Request, below, refused
from meshhook.observe.web.orders import BODY_LIMIT, broken_off
from meshhook.observe.web.replies import BUSY
from meshhook.observe.web.security import Authorize, ask
from meshhook.observe.web.wish import Wish
from meshhook.registry import Registry
from meshhook.runtime.bell import Bell

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_DIGITS = 20
"""A length of more digits is too much in any case."""


class WsgiApp:
    """What :func:`wsgi_app` returns: call it as WSGI says, and ``close()`` it to end streams."""

    def __init__(self, endpoints: Endpoints, place: tuple[str, Application] | None) -> None:
        self._endpoints = endpoints
        self._place = place

    def close(self) -> None:
        """End all streams, and stop to listen to events."""
        self._endpoints.close()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, as WSGI has it."""
        if self._place is not None:
            at, beside = self._place
            rest = below(at, environ.get("PATH_INFO", ""))
            if rest is None:
                return beside(environ, start_response)
            root = environ.get("SCRIPT_NAME", "") + at
            environ = {**environ, "SCRIPT_NAME": root, "PATH_INFO": rest}
        method = environ["REQUEST_METHOD"]
        body = _body(environ) if method == "POST" else b""
        answer = broken_off() if body is None else self._answer(_request(environ, body))
        stream: _Stream | None = None
        if answer.stream is not None and method != "HEAD":
            stream = _begun(self._endpoints.audience, answer.stream, environ)
            answer = answer if stream is not None else refused(503, TOO_MANY, BUSY)
        status = HTTPStatus(answer.status)
        try:
            start_response(f"{status.value} {status.phrase}", answer.all_headers())
        except BaseException:
            if stream is not None:
                stream.close()  # nobody else has it
            raise
        if stream is not None:
            return stream
        return [] if method == "HEAD" else [answer.body]

    def _answer(self, request: Request) -> Answer:
        visit = self._endpoints.examine(request)
        if not isinstance(visit, Visit):
            return visit
        author = None if visit.authorize is None else ask(visit.authorize, request)
        return visit.answer(author)


def _request(environ: Environ, body: bytes) -> Request:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name == "CONTENT_TYPE"
    }
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_decoded(environ.get("PATH_INFO", "")),
        root=_decoded(environ.get("SCRIPT_NAME", "")),
        query=dict(parse_qsl(environ.get("QUERY_STRING", ""))),
        headers=headers,
        client=environ.get("REMOTE_ADDR"),
        body=body,
    )


def _encoded(text: str) -> str:
    """Return text as WSGI gives it: one character a byte."""
    return text.encode().decode("latin-1")


def _decoded(text: str) -> str:
    """Return text that WSGI gives as one character a byte."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _body(environ: Environ) -> bytes | None:
    """Read the body, and no more than what is sure to be too much; None if it is not all there."""
    length = environ.get("CONTENT_LENGTH") or ""
    in_pieces = "HTTP_TRANSFER_ENCODING" in environ
    is_number = re.fullmatch(r"[0-9]+", length) is not None
    if environ.get("wsgi.input_terminated") and (in_pieces or not is_number):
        return _read(environ, BODY_LIMIT + 1)
    if in_pieces or (length and not is_number):
        return None  # who knows where it ends
    # Of thousands of digits Python makes no number.
    expected = BODY_LIMIT + 1 if len(length) > _DIGITS else min(int(length or 0), BODY_LIMIT + 1)
    body = _read(environ, expected)
    return None if body is None or len(body) < expected else body


def _read(environ: Environ, most: int) -> bytes | None:
    """Read as much, or to the end; None if the client breaks off."""
    body = b""
    try:
        while len(body) < most and (piece := environ["wsgi.input"].read(most - len(body))):
            body += piece
    except OSError:
        return None
    return body


def _begun(audience: Audience, wish: Wish, environ: Environ) -> _Stream | None:
    ready = Bell()
    talk = audience.converse(wish, ready.ring)
    if talk is None:
        return None
    return _Stream(talk, ready, is_short=not environ.get("wsgi.multithread"))


class _Stream:
    """The stream of one client. It holds the thread that iterates over it.

    A server that has one thread in all could do nothing else meanwhile, so there the stream is
    short, and clients come back for more.
    """

    def __init__(self, talk: Conversation, ready: Bell, *, is_short: bool) -> None:
        self._talk = talk
        self._told = self._tell(talk, ready, is_short=is_short)

    @staticmethod
    def _tell(talk: Conversation, ready: Bell, *, is_short: bool) -> Iterator[bytes]:
        try:
            if is_short:
                yield talk.begin(retry=2000)
                return
            yield talk.begin()
            while not talk.is_over:
                if ready.wait(talk.pause()):
                    talk.closing.wait(talk.rest())
                told = talk.next()
                if told:
                    yield told
        except Exception as error:
            broke_off(error)

    def __iter__(self) -> Iterator[bytes]:
        return self._told

    def close(self) -> None:
        """End the stream; the server calls it when the client is gone, too."""
        self._talk.close()


def wsgi_app(
    registry: Registry | None = None,
    *,
    authorize: Authorize | None = None,
    authorize_read: Authorize | None = None,
    dashboard: bool = True,
    fleet: Any = (),
    hosts: Iterable[str] | None = None,
    trust_forwarded: bool = False,
    beside: Application | None = None,
    at: str = "/meshhook",
    max_streams: int = 20,
) -> WsgiApp:
    """Return the endpoints as a WSGI application, to be mounted in Flask, Django or alone.

    Args:
        registry: whose policies are shown. Default ``meshhook.registry``.
        authorize: who may change something: a function of the request (``method``, ``path``,
            ``headers`` by name in lower case, ``client``) that returns the name of who acts, or
            None for nobody who may. Without it nothing can be changed.
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
        max_streams: so many clients may follow the events at a time; each holds a thread of the
            server.

    Raises:
        ConfigurationError: for settings that cannot be used, naming the argument and what to
            write instead.

    Safe to share between threads.
    """
    place = None if beside is None else (_encoded(security.checked_place(at)), beside)
    return WsgiApp(
        Endpoints(
            registry,
            authorize=authorize,
            authorize_read=authorize_read,
            dashboard=dashboard,
            fleet=fleet,
            hosts=hosts,
            trust_forwarded=trust_forwarded,
            max_streams=max_streams,
            may_be_async=False,
        ),
        place,
    )
