"""The endpoints without a socket: one request through ASGI or WSGI, as servers hand it over.

The WSGI application is watched by ``wsgiref.validate``, so whatever it does against PEP 3333 fails
the test.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import meshhook as mh


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""

    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wsgi:
    """The endpoints behind WSGI."""

    name = "wsgi"

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.app = mh.wsgi_app(*args, **settings)

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        root: str = "",
    ) -> Reply:
        """Send one request; ``target`` is percent-encoded, with its query."""
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(path, "latin-1"),
            "SCRIPT_NAME": root,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "REMOTE_ADDR": "127.0.0.1",
        }
        for name, value in (headers or {}).items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        if "HTTP_HOST" not in environ:
            environ["HTTP_HOST"] = "testserver"
        setup_testing_defaults(environ)
        if not path and not root:
            environ["PATH_INFO"] = ""
        begun: list[Any] = []

        def start(status: str, head: list[tuple[str, str]], _exc_info: Any = None) -> Any:
            begun.extend((status, head))
            return lambda _data: None

        told = validator(self.app)(environ, start)
        try:
            whole = b"".join(told)
        finally:
            told.close()
        status, head = begun
        return Reply(int(status[:3]), {name.lower(): value for name, value in head}, whole)


class Asgi:
    """The endpoints behind ASGI."""

    name = "asgi"

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.app = mh.asgi_app(*args, **settings)

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        root: str = "",
    ) -> Reply:
        """Send one request; ``target`` is percent-encoded, with its query."""
        return asyncio.run(self.ask_async(method, target, headers, body, root))

    async def ask_async(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        root: str = "",
    ) -> Reply:
        """Do the same in a loop that runs."""
        path, _, query = target.partition("?")
        sent_headers = {"host": "testserver", **{k.lower(): v for k, v in (headers or {}).items()}}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": root + unquote(path),
            "raw_path": (root + path).encode(),
            "root_path": root,
            "query_string": query.encode(),
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in sent_headers.items()
            ],
            "client": ("127.0.0.1", 1234),
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop()
            return await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *bodies = sent
        assert start["type"] == "http.response.start"
        assert not bodies[-1].get("more_body", False)
        return Reply(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(each["body"] for each in bodies),
        )


CARRIERS = {"wsgi": Wsgi, "asgi": Asgi}
