"""What each path answers, the same through ASGI and WSGI."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import meshhook as mh
from meshhook.observe.web import files
from meshhook.observe.web.routes import ROUTES
from tests.web.carriers import Wsgi

AUTHOR = {"authorization": "Bearer right", "x-meshhook": "act"}
NAMES = [
    "payments",
    "a/b",
    "a//b/",
    "shop.orders.<locals>.charge#2",
    "zürich/café ✓",
    "100% + more?&=;",
    "reset",
    "stock/reset",
    "..",
    "a\\b\"c'd",
]


def authorize(request: Any) -> str | None:
    """Let in who knows the word."""
    return "olga" if request.headers.get("authorization") == "Bearer right" else None


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    """Give one circuit to look at."""
    breaker = mh.circuit_breaker("payments", critical=True)
    breaker.call(len, "abc")
    return breaker


def test_all_policies(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """Who answers, how it does, and each policy with its statistics."""
    reply = carry().ask("GET", "/policies")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert set(reply.json) == {"instance", "health", "policies"}
    assert reply.json["health"] == {"status": "ok", "ready": True}
    assert reply.json["instance"]["pid"] > 0
    (policy,) = reply.json["policies"]
    assert policy["policy"] == "circuit_breaker"
    assert policy["name"] == "payments"
    assert policy["status"] == "ok"
    assert policy["condition"] == "closed"
    assert policy["critical"] is True
    assert policy["stats"]["calls"] == 1
    assert "reset" in policy["actions"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("safe", ["", "/"], ids=["slashes encoded", "slashes as they are"])
def test_any_name_can_be_asked_for(carry: Any, name: str, safe: str) -> None:
    """Slashes, dots, brackets, numbers, spaces, other alphabets: a name is a name."""
    mh.circuit_breaker(name)
    app = carry(authorize=authorize)
    path = f"/policies/circuit_breaker/{quote(name, safe=safe)}"
    for target in (path, f"{path}/"):
        reply = app.ask("GET", target)
        assert (reply.status, reply.json["name"]) == (200, name)
    reply = app.ask("POST", f"{path}/force_open", AUTHOR)
    assert reply.status == 200, reply.body
    assert (reply.json["name"], reply.json["condition"]) == (name, "forced_open")


@pytest.mark.parametrize(
    "path",
    ["/policies/circuit_breaker/nobody", "/policies/nothing/payments", "/nope", "/static",
     "/policies/circuit_breaker", "/policies//payments", "/static/../endpoints.py", "/fleet",
     "/health/alive", "/policies/circuit_breaker/%FF%FE", "//", "/static/"],
)  # fmt: skip
def test_what_is_not_there(carry: Any, breaker: mh.CircuitBreaker, path: str) -> None:
    """404, and JSON that says so."""
    reply = carry().ask("GET", path)
    assert reply.status == 404
    assert set(reply.json) == {"error"}


@pytest.mark.parametrize("end", ["", "/"])
def test_what_may_have_been_meant(carry: Any, breaker: mh.CircuitBreaker, end: str) -> None:
    """Who reads a policy that is not there is told as much as who acts on it."""
    reply = carry().ask("GET", f"/policies/circuit_breaker/paymnts{end}")
    assert reply.status == 404
    assert reply.json["error"] == "there is no such policy; did you mean 'payments'?"


def test_liveness_says_that_the_process_answers(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """Whatever its circuits do: a restart would not heal what they guard against."""
    breaker.force_open()
    reply = carry().ask("GET", "/health/live")
    assert (reply.status, reply.json) == (200, {"status": "alive"})


def test_readiness_goes_by_critical_policies(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """503 while one of them fails, with its name; what else fails is none of its business."""
    mh.circuit_breaker("mail").force_open()
    app = carry()
    reply = app.ask("GET", "/health/ready")
    assert reply.status == 200
    assert reply.json == {
        "status": "failing",
        "ready": True,
        "failing": [],
    }
    breaker.force_open()
    reply = app.ask("GET", "/health/ready")
    assert (reply.status, reply.json["ready"]) == (503, False)
    assert reply.json["failing"] == ["circuit_breaker/payments"]


def test_health_in_detail(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """What Registry.health() says."""
    reply = carry().ask("GET", "/health")
    assert reply.json == mh.registry.health().to_dict()


def test_metrics_for_prometheus(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """The text of the collector, in the format that the scraper asks for."""
    app = carry()
    reply = app.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    assert (
        b'meshhook_calls_total{name="payments"'
        in reply.body.replace(b'outcome="success",policy="circuit_breaker",', b"")
        or b"meshhook_calls_total{" in reply.body
    )
    reply = app.ask("GET", "/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


def test_metrics_without_the_client(carry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr("meshhook.observe.web.replies.find_spec", lambda name: None)
    reply = carry().ask("GET", "/metrics")
    assert reply.status == 501
    assert "pip install 'meshhook[prometheus]'" in reply.json["error"]


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/live", "/health/ready", "/metrics", "/policies", "/events",
             "/policies/circuit_breaker/payments", "/static/dashboard.css"]
)  # fmt: skip
def test_head_is_get_without_a_body(carry: Any, breaker: mh.CircuitBreaker, path: str) -> None:
    """The same status and headers; of a stream, too, which does not begin."""
    app = carry()
    head = app.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    if path != "/events":
        got = app.ask("GET", path)
        assert head.headers.keys() == got.headers.keys()
        assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "x"])
@pytest.mark.parametrize("path", [route.path for route in ROUTES])
def test_other_methods_are_refused(carry: Any, method: str, path: str) -> None:
    """405 with what is allowed; there is no answer to a preflight, which is a refusal."""
    reply = carry(authorize=authorize).ask(method, path)
    assert reply.status == 405
    allowed = reply.headers["allow"].split(", ")
    assert "GET" in allowed
    assert ("POST" in allowed) == path.endswith("{action}")
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/policies", "/health", "/events", "/policies/a/b"])
def test_only_actions_are_posted(carry: Any, path: str) -> None:
    """405 elsewhere."""
    reply = carry(authorize=authorize).ask("POST", path, AUTHOR)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert reply.json["error"] == "this path cannot be used so; it takes GET, HEAD"


@pytest.mark.parametrize("end", ["", "/"])
def test_actions_are_only_posted(carry: Any, breaker: mh.CircuitBreaker, end: str) -> None:
    """405 where the path is an action of a policy that there is."""
    reply = carry(authorize=authorize).ask("GET", f"/policies/circuit_breaker/payments/reset{end}")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.json["error"] == "this is an action; use POST"
    for path in ("payments/nothing", "paymnts/reset"):
        assert carry().ask("GET", f"/policies/circuit_breaker/{path}").status == 404
    slashed = mh.circuit_breaker("payments/reset")
    assert carry().ask("GET", f"/policies/circuit_breaker/{slashed.name}").status == 200


@pytest.mark.parametrize("path", ["/health/", "/health/live/", "/policies/", "/metrics/"])
def test_a_slash_at_the_end_changes_nothing(carry: Any, path: str) -> None:
    """As many write it so."""
    assert carry().ask("GET", path).status == 200


def test_the_page(carry: Any) -> None:
    """It is HTML, names its parts relatively, and need not be sent twice."""
    app = carry()
    reply = app.ask("GET", "/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b'href="/' not in reply.body
    assert b'src="/' not in reply.body
    assert b"//" not in reply.body.replace(b"<!doctype html>", b"").replace(
        b"http://www.w3.org/2000/svg", b""
    )
    assert reply.headers["cache-control"] == "no-cache"
    tag = reply.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = app.ask("GET", "/", {"if-none-match": known})
        assert (again.status, again.body) == (304, b"")
    assert app.ask("GET", "/", {"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize(
    ("file", "media_type"),
    [("dashboard.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml"),
     ("dashboard.js", "text/javascript; charset=utf-8")],
)  # fmt: skip
def test_the_parts_of_the_page(carry: Any, file: str, media_type: str) -> None:
    """Each with its type, for nothing is guessed."""
    reply = carry().ask("GET", f"/static/{file}")
    assert (reply.status, reply.headers["content-type"]) == (200, media_type)
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_without_the_page(carry: Any) -> None:
    """dashboard=False leaves the endpoints alone."""
    app = carry(dashboard=False)
    assert app.ask("GET", "/").status == 404
    assert app.ask("GET", "/static/dashboard.css").status == 404
    assert app.ask("GET", "/policies").status == 200


@pytest.mark.parametrize("root", ["/meshhook", "/ops/mesh hook/zürich"])
def test_mounted_below_a_prefix(carry: Any, breaker: mh.CircuitBreaker, root: str) -> None:
    """All paths are there, and without the slash the page says where it really is."""
    app = carry()
    if app.name == "wsgi":
        root = root.encode().decode("latin-1")
    assert app.ask("GET", "/policies", root=root).status == 200
    assert app.ask("GET", "/", root=root).status == 200
    reply = app.ask("GET", "", root=root)
    last = "meshhook/" if root == "/meshhook" else "z%C3%BCrich/"
    assert (reply.status, reply.headers["location"]) == (308, last)


def test_without_any_path(carry: Any) -> None:
    """Some servers give none for the root."""
    assert carry().ask("GET", "").status == 200


def test_recent_events_without_a_stream(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """For scripts: what happened of late, as JSON."""
    app = carry()
    breaker.force_open()
    mh.circuit_breaker("mail").force_open()
    for target, headers in (
        ("/events?recent=1", {}),
        ("/events", {"accept": "application/json"}),
    ):
        reply = app.ask("GET", target, headers)
        assert set(reply.json) == {"instance", "events"}
        first, second = reply.json["events"]
        assert first["event"] == "circuit_changed"
        assert (first["name"], first["old"], first["new"]) == ("payments", "closed", "forced_open")
        assert second["name"] == "mail"
        assert first["id"] < second["id"]
    assert app.ask("GET", "/events?recent=1&kinds=lease_lost").json["events"] == []


@pytest.mark.parametrize("recent", ["", "0"])
def test_a_stream_of_which_the_recent_ones_are_not_asked_for(carry: Any, recent: str) -> None:
    """As with stats, 0 is a no."""
    reply = carry().ask("HEAD", f"/events?recent={recent}")
    assert reply.headers["content-type"] == "text/event-stream"


def test_kinds_that_there_are_not(carry: Any) -> None:
    """An error that names those that there are."""
    reply = carry().ask("GET", "/events?kinds=circuit_changed,circuit_chnaged")
    assert reply.status == 400
    assert "did you mean 'circuit_changed'?" in reply.json["error"]
    assert "lease_lost" in reply.json["error"]
    assert "chnaged" not in reply.json["error"]


def test_the_fleet(carry: Any) -> None:
    """The table of the processes that were named."""
    reply = carry(fleet=["http://127.0.0.1:9"]).ask("GET", "/fleet")
    assert reply.status == 200
    assert reply.json["unreachable"] == 1


def test_a_fleet_is_asked_once_for_all(carry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many dashboards are no burden for its members."""
    asked: list[int] = []
    monkeypatch.setattr(
        "meshhook.observe.fleet.fleet.Fleet.read", lambda self: asked.append(1) or {"members": []}
    )
    app = carry(fleet=["http://127.0.0.1:9"])
    assert [app.ask("GET", "/fleet").status for _ in range(5)] == [200] * 5
    assert len(asked) == 1


@pytest.mark.parametrize("action", ["force_open", "disable", "metrics_only", "reset"])
def test_acting(carry: Any, breaker: mh.CircuitBreaker, action: str) -> None:
    """Who may acts, and the answer is the policy as it is then."""
    told: list[Any] = []
    with mh.subscribe(told.append, mh.events.OperatorActed):
        reply = carry(authorize=authorize).ask(
            "POST", f"/policies/circuit_breaker/payments/{action}", AUTHOR
        )
    assert reply.status == 200, reply.body
    assert reply.json["stats"]["state"] == breaker.stats().state
    assert reply.json["instance"]["pid"] == os.getpid()
    (event,) = told
    assert (event.author, event.action, event.seconds) == ("olga", action, None)


def test_acting_on_what_is_not_there(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """It says what may have been meant, but not among so many names that it takes long."""
    app = carry(authorize=authorize)
    reply = app.ask("POST", "/policies/circuit_breaker/paymnts/reset", AUTHOR)
    said = "there is no such policy"
    assert (reply.status, reply.json["error"]) == (404, f"{said}; did you mean 'payments'?")
    reply = app.ask("POST", "/policies/circuit_breaker/zzz/reset", AUTHOR)
    assert reply.json["error"] == said
    many = [mh.circuit_breaker(f"payments{number}") for number in range(1000)]
    reply = app.ask("POST", "/policies/circuit_breaker/paymnts/reset", AUTHOR)
    assert reply.json["error"] == said
    assert len(many) == 1000


def test_acting_for_a_time(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """The answer says how long it lasts, and the policy goes back by itself."""
    app = carry(authorize=authorize)
    path = "/policies/circuit_breaker/payments/isolate"
    reply = app.ask("POST", path, AUTHOR, json.dumps({"seconds": 60}).encode())
    assert reply.json["condition"] == "forced_open"
    assert 59 < reply.json["until"] <= 60
    breaker.reset()


BODIES = [
    (b"{", "no JSON"),
    (b"\xff", "no JSON"),
    (b"[" * 4000, "JSON"),
    (b"[]", "nothing else"),
    (b'{"second": 1}', "nothing else"),
    (b'{"seconds": 1, "author": "me"}', "nothing else"),
    (b'{"seconds": "60"}', "a number, such as 300"),
    (b'{"seconds": true}', "number"),
    (b'{"seconds": 0}', "more than 0"),
    (b'{"seconds": -1}', "more than 0"),
    (b'{"seconds": NaN}', "more than 0"),
    (b'{"seconds": 1e999}', "more than 0"),
    (b'{"seconds": 604801}', "604800"),
]


@pytest.mark.parametrize(("body", "why"), BODIES, ids=lambda each: repr(each)[:20])
def test_bodies_that_make_no_sense(
    carry: Any, breaker: mh.CircuitBreaker, body: bytes, why: str
) -> None:
    """400 and what is wrong, without repeating it; nothing is done."""
    reply = carry(authorize=authorize).ask(
        "POST", "/policies/circuit_breaker/payments/isolate", AUTHOR, body
    )
    assert reply.status == 400
    assert why in reply.json["error"]
    assert breaker.stats().state == "closed"


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"seconds": null}'])
def test_no_body_means_for_good(carry: Any, breaker: mh.CircuitBreaker, body: bytes) -> None:
    """Empty in whatever way."""
    path = "/policies/circuit_breaker/payments"
    app = carry(authorize=authorize)
    reply = app.ask("POST", f"{path}/force_open", AUTHOR, body)
    assert (reply.status, reply.json["until"]) == (200, None)
    reply = app.ask("POST", f"{path}/isolate", AUTHOR, body)
    assert reply.status == 400
    assert "seconds" in reply.json["error"]


def test_a_body_that_is_too_long(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """413, and no more of it is read than that takes."""
    reply = carry(authorize=authorize).ask(
        "POST", "/policies/circuit_breaker/payments/reset", AUTHOR, b" " * 4097
    )
    assert reply.status == 413


def test_what_cannot_be_done(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """The error names what can."""
    mh.timeout(1, name="slow").call(len, "abc")
    app = carry(authorize=authorize)
    reply = app.ask("POST", "/policies/circuit_breaker/payments/explode", AUTHOR)
    assert reply.status == 400
    assert "force_open" in reply.json["error"]
    reply = app.ask("POST", "/policies/timeout/slow/force_open", AUTHOR)
    assert (reply.status, reply.json["error"]) == (400, "what can be done here: reset")
    assert app.ask("POST", "/policies/timeout/slow/reset", AUTHOR).status == 200
    for path in ("/policies/timeout/other/reset", "/policies/other/slow/reset"):
        assert app.ask("POST", path, AUTHOR).status == 404


def test_numbers_that_json_does_not_know(
    carry: Any, breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They become null, for JSON.parse takes no Infinity."""
    monkeypatch.setattr(
        "meshhook.observe.snapshot.Snapshots.policies",
        lambda self: [{"status": "ok", "critical": False, "a": [-float("inf"), (1.5,)]}],
    )
    reply = carry().ask("GET", "/policies")
    assert reply.json["policies"] == [{"status": "ok", "critical": False, "a": [None, [1.5]]}]
    assert b"Infinity" not in reply.body


def test_a_failure_of_ours_says_nothing(
    carry: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500; the log has the type and the place, and not the text."""

    def fail(self: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("meshhook.observe.snapshot.Snapshots.policies", fail)
    reply = carry().ask("GET", "/policies")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "RuntimeError at " in caplog.text
    assert "test_routes.py" in caplog.text
    assert "secret" not in caplog.text


def hello_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Say hello for any path."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]


async def hello_asgi(scope: Any, receive: Any, send: Any) -> None:
    """Say hello for any path, and to web sockets and lifespans by their names."""
    if scope["type"] != "http":
        await send({"type": f"hello.{scope['type']}"})
        return
    root = scope["root_path"]
    body = f"hello {root}|{scope['path'].removeprefix(root)}".encode()
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("root", ["", "/shop"])
def test_beside_another_application(carry: Any, breaker: mh.CircuitBreaker, root: str) -> None:
    """What is below the place is ours, and all the rest is handed on as it came."""
    app = (
        carry(beside=hello_asgi, at="/ops/mesh")
        if is_asgi(carry)
        else carry(beside=hello_wsgi, at="/ops/mesh")
    )
    assert app.ask("GET", "/ops/mesh/policies", root=root).json["policies"]
    assert app.ask("GET", "/ops/mesh/", root=root).status == 200
    moved = app.ask("GET", "/ops/mesh", root=root)
    assert (moved.status, moved.headers["location"]) == (308, "mesh/")
    assert app.ask("GET", "/ops/mesh/nope", root=root).status == 404
    for path in ("/", "/ops", "/ops/meshes", "/policies"):
        assert app.ask("GET", path, root=root).body == f"hello {root}|{path}".encode()


def test_beside_at_a_place_in_any_script(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """WSGI gives paths by their bytes, and the place is found all the same."""
    app = carry(beside=hello_asgi if is_asgi(carry) else hello_wsgi, at="/münchen")
    assert app.ask("GET", "/m%C3%BCnchen/policies").json["policies"]
    moved = app.ask("GET", "/m%C3%BCnchen")
    assert (moved.status, moved.headers["location"]) == (308, "m%C3%BCnchen/")
    assert app.ask("GET", "/mu/policies").body.startswith(b"hello ")


@pytest.mark.parametrize("path", ["/meshhook/policies", "/shop/meshhook/policies"])
def test_beside_where_the_root_is_left_out_of_the_path(
    breaker: mh.CircuitBreaker, path: str
) -> None:
    """Some servers of ASGI have it in both, and some do not."""
    app = mh.asgi_app(beside=hello_asgi)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return await asyncio.Future()

    scope = {"type": "http", "method": "GET", "headers": [], "root_path": "/shop", "path": path}
    asyncio.run(app(scope, receive, send))
    app.close()
    assert (sent[0]["status"], len(json.loads(sent[1]["body"])["policies"])) == (200, 1)


def is_asgi(carry: Any) -> bool:
    """Tell which of the two it is."""
    return bool(carry().name == "asgi")


def test_what_is_no_request_is_handed_on(registry: mh.Registry) -> None:
    """The other application has its lifespan and its web sockets."""
    app = mh.asgi_app(beside=hello_asgi)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    for scope in (
        {"type": "websocket", "path": "/chat"},
        {"type": "websocket", "path": "/meshhook/events"},
        {"type": "lifespan"},
    ):
        asyncio.run(app(scope, receive, send))
    assert sent == ["hello.websocket", "websocket.close", "hello.lifespan"]
    app.close()


def test_without_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that was taken apart has no page, and says so."""
    monkeypatch.setattr(files.resources, "files", lambda package: tmp_path)
    assert files._files.__wrapped__() == {}
    (tmp_path / "static" / "folder").mkdir(parents=True)
    (tmp_path / "static" / "odd.xyz").write_bytes(b"1")
    found = files._files.__wrapped__()
    assert list(found) == ["odd.xyz"]
    assert found["odd.xyz"].media_type == "application/octet-stream"
    monkeypatch.setattr(files, "_files", dict)
    app = Wsgi()
    assert app.ask("GET", "/").json["error"] == "the page is not installed"
    app.app.close()
