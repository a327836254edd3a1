"""Mounted in each framework, run by a real server: everything is there, and it stops in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.web.clients import Following, Process, ask, gunicorn, uvicorn, wsgiref

ACT = {"x-meshhook": "act", "authorization": "Bearer right"}
THREADED: dict[str, Callable[[], Process]] = {
    "fastapi": lambda: uvicorn("fastapi_app"),
    "starlette": lambda: uvicorn("starlette_app"),
    "django under asgi": lambda: uvicorn("django_asgi_app"),
    "plain asgi": lambda: uvicorn("plain_asgi_app"),
    "plain asgi that has to live": lambda: uvicorn("plain_asgi_app", "--lifespan", "on"),
    "asgi without a lifespan": lambda: uvicorn("careless_asgi_app"),
    "asgi that cannot live, but has to": lambda: uvicorn("careless_asgi_app", "--lifespan", "on"),
    "flask": lambda: gunicorn("flask_app"),
    "flask, made before the fork": lambda: gunicorn("flask_app", "--preload"),
    "django under wsgi": lambda: gunicorn("django_wsgi_app"),
    "plain wsgi": lambda: gunicorn("plain_wsgi_app"),
}
SINGLE: dict[str, Callable[[], Process]] = {
    "gunicorn": lambda: gunicorn("plain_wsgi_app", threads=1),
    "wsgiref": lambda: wsgiref("plain_wsgi_app"),
}
SOON = 0.3
"""An event is at the client within so many seconds."""


@pytest.fixture(params=THREADED)
def service(request: pytest.FixtureRequest) -> Iterator[Process]:
    """Run one service."""
    with THREADED[request.param]() as running:
        yield running


def test_a_framework_serves_the_endpoints(service: Process) -> None:
    """Pages, probes, an act, a stream in time, and a stop that nobody delays."""
    port = service.port
    assert ask(port, "GET", "/close").status == 200
    assert ask(port, "GET", "/meshhook/policies").json["policies"][0]["name"] == "payments"
    assert ask(port, "GET", "/meshhook/health/live").json == {"status": "alive"}
    moved = ask(port, "GET", "/meshhook")
    assert moved.status in (307, 308)
    assert moved.headers["location"].endswith("meshhook/")
    page = ask(port, "GET", "/meshhook/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert ask(port, "GET", "/meshhook/static/dashboard.js").status == 200
    assert ask(port, "GET", "/meshhook/policies/circuit_breaker/a%2Fb%23%3F").status == 404
    head = ask(port, "HEAD", "/meshhook/policies")
    assert (head.status, head.body) == (200, b"")
    path = "/meshhook/policies/circuit_breaker/payments"
    assert ask(port, "POST", f"{path}/disable", {"x-meshhook": "act"}).status == 401
    reply = ask(port, "POST", f"{path}/isolate", ACT, b'{"seconds": 50}')
    assert (reply.status, reply.json["condition"]) == (200, "forced_open")
    assert ask(port, "GET", path).json["until"] > 40
    with Following(port, "/meshhook/events?stats=1") as stream:
        assert stream.reply.headers["content-type"].startswith("text/event-stream")
        hello = stream.next()
        assert hello.event == "hello"
        assert hello.data["can_act"] is True
        assert "circuit_changed" in {each["event"] for each in hello.data["recent"]}
        assert stream.next("stats").data["full"] is True
        took = []
        for action in ("close", "open") * 3:
            began = time.monotonic()
            ask(port, "GET", f"/{action}")
            told = stream.next("events")
            assert told.data["events"][-1]["event"] == "circuit_changed"
            took.append(told.at - began)
        assert min(took) < SOON
        assert service.stop() < 10
    assert "Traceback" not in service.output()


@pytest.mark.parametrize("server", SINGLE)
def test_a_server_of_one_thread_is_not_held(server: str) -> None:
    """There a stream is short, and clients come back for more."""
    with SINGLE[server]() as service:
        with Following(service.port, "/meshhook/events?stats=1") as stream:
            assert stream.next().event == "hello"
            assert stream.next().event == "stats"
            assert stream.rest() == b""
            assert b"retry: 2000\n" in stream.raw
        assert ask(service.port, "GET", "/meshhook/policies").status == 200


def test_an_application_beside_has_all_the_rest() -> None:
    """Only what is below the place is ours; a name that begins alike is not."""
    with gunicorn("plain_wsgi_app") as service:
        assert ask(service.port, "GET", "/meshhooks").body == b"meshhooks"
        assert ask(service.port, "GET", "/meshhook/nope").status == 404
    with uvicorn("plain_asgi_app") as service:
        assert ask(service.port, "GET", "/meshhooks").body == b"meshhooks"
        assert ask(service.port, "GET", "/meshhook/nope").status == 404
