"""Services with endpoints in them, one for each framework, to be run by real servers.

Each answers ``/open`` and ``/close`` by doing so to the circuit ``payments``, and has the endpoints
at ``/meshhook``. Run by hand: ``uvicorn --factory tests.web.service:fastapi_app``.
"""

from __future__ import annotations

from typing import Any

import meshhook as mh

AT = "/meshhook"
breaker = mh.circuit_breaker("payments")


def authorize(request: Any) -> str | None:
    """Let in who knows the word."""
    return "olga" if request.headers.get("authorization") == "Bearer right" else None


def do(action: str) -> str:
    """Open or close the circuit."""
    if action == "open":
        breaker.force_open()
    else:
        breaker.reset()
    return action


def fastapi_app() -> Any:
    """FastAPI, mounted, below a middleware of the kind that wraps every message."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.middleware("http")
    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app.mount(AT, mh.asgi_app(authorize=authorize))
    app.get("/open")(lambda: do("open"))
    app.get("/close")(lambda: do("close"))
    return app


def starlette_app() -> Any:
    """Starlette, mounted."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    def act(request: Any) -> Any:
        return PlainTextResponse(do(request.url.path.strip("/")))

    return Starlette(
        routes=[
            Route("/open", act),
            Route("/close", act),
            Mount(AT, mh.asgi_app(authorize=authorize)),
        ]
    )


def flask_app() -> Any:
    """Flask, by the middleware of Werkzeug."""
    from flask import Flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = Flask(__name__)
    app.get("/open")(lambda: do("open"))
    app.add_url_rule("/close", "close", lambda: do("close"))
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, {AT: mh.wsgi_app(authorize=authorize)}
    )
    return app


def _django() -> None:
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    def act(request: Any) -> HttpResponse:
        return HttpResponse(do(request.path.strip("/")))

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(path("open", act), path("close", act)),
        SECRET_KEY="x",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )
    django.setup()


def django_wsgi_app() -> Any:
    """Django, put beside it, for it has no way to mount another application."""
    _django()
    from django.core.wsgi import get_wsgi_application

    return mh.wsgi_app(authorize=authorize, beside=get_wsgi_application(), at=AT)


def django_asgi_app() -> Any:
    """The same under ASGI."""
    _django()
    from django.core.asgi import get_asgi_application

    return mh.asgi_app(authorize=authorize, beside=get_asgi_application(), at=AT)


def plain_wsgi_app() -> Any:
    """WSGI without any framework, and beside it."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [do(environ["PATH_INFO"].strip("/")).encode()]

    return mh.wsgi_app(authorize=authorize, beside=app, at=AT)


def plain_asgi_app() -> Any:
    """ASGI without any framework, and beside it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = do(scope["path"].strip("/")).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return mh.asgi_app(authorize=authorize, beside=app, at=AT)


def careless_asgi_app() -> Any:
    """A service that knows nothing of lifespans, and returns from them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = do(scope["path"].strip("/")).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return mh.asgi_app(authorize=authorize, beside=app, at=AT)
