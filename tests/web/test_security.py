"""Who may read and who may act, and what no answer ever holds."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshhook as mh
from meshhook.observe.web.routes import ROUTES
from meshhook.observe.web.security import is_loopback
from tests.web.carriers import Asgi, Wsgi

PATH = "/policies/circuit_breaker/payments/force_open"
ACT = {"x-meshhook": "act", "authorization": "Bearer right"}
JSON = {"content-type": "application/json", "authorization": "Bearer right"}


def authorize(request: Any) -> str | None:
    """Let in who knows the word."""
    return "olga" if request.headers.get("authorization") == "Bearer right" else None


async def authorize_async(request: Any) -> str | None:
    """Do the same after a while."""
    await asyncio.sleep(0)
    return authorize(request)


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    """Give one circuit to act on."""
    return mh.circuit_breaker("payments")


def is_untouched(breaker: mh.CircuitBreaker) -> bool:
    """Tell whether nobody has done anything."""
    return breaker.stats().state == "closed"


# Acting.


def test_without_authorize_nothing_can_be_changed(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """403, and how to allow it."""
    reply = carry().ask("POST", PATH, ACT)
    assert reply.status == 403
    assert "authorize=" in reply.json["error"]
    assert is_untouched(breaker)


def test_nobody_without_a_name(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """401 for who did not say who it is, 403 for who may not."""
    app = carry(authorize=authorize)
    reply = app.ask("POST", PATH, {"x-meshhook": "act"})
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="meshhook"'
    assert reply.json["error"] == "who asks? send Authorization; authorize= wants to know"
    reply = app.ask("POST", PATH, {**ACT, "authorization": "Bearer wrong"})
    assert reply.status == 403
    assert b"wrong" not in reply.body
    assert is_untouched(breaker)


@pytest.mark.parametrize("headers", [ACT, JSON, {**JSON, "content-type": "Application/JSON; a=b"}])
def test_who_may_acts(carry: Any, breaker: mh.CircuitBreaker, headers: dict[str, str]) -> None:
    """With JSON, or with our header."""
    reply = carry(authorize=authorize).ask("POST", PATH, headers)
    assert reply.status == 200
    assert breaker.stats().state == "forced_open"


def test_an_async_authorize(breaker: mh.CircuitBreaker) -> None:
    """ASGI awaits it; WSGI says that it cannot, when it is made."""
    app = Asgi(authorize=authorize_async)
    assert app.ask("POST", PATH, {"x-meshhook": "act"}).status == 401
    assert app.ask("POST", PATH, ACT).status == 200
    app.app.close()
    with pytest.raises(mh.ConfigurationError, match="authorize must be .* and no async one"):
        Wsgi(authorize=authorize_async)


def test_authorize_sees_the_request(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """What it decides by; what is shown of it holds nothing that may be secret."""
    seen: list[Any] = []
    app = carry(authorize=lambda request: seen.append(request))
    app.ask("POST", PATH + "?token=s3cret", {**ACT, "X-User": "olga"}, b'{"seconds": 1}')
    (request,) = seen
    assert request.method == "POST"
    assert request.path == PATH
    assert request.headers["x-user"] == "olga"
    assert request.query == {"token": "s3cret"}
    assert request.client == "127.0.0.1"
    assert "s3cret" not in repr(request)
    assert "Bearer" not in repr(request)
    assert "seconds" not in repr(request)


@pytest.mark.parametrize("fails", [KeyError("s3cret"), ValueError("s3cret")])
def test_an_authorize_that_fails_lets_nobody_in(
    carry: Any, breaker: mh.CircuitBreaker, caplog: pytest.LogCaptureFixture, fails: Exception
) -> None:
    """Refused and logged with its place; its text, which may hold a token, is shown nowhere."""

    def failing(request: Any) -> str:
        raise fails

    async def failing_async(request: Any) -> str:
        raise fails

    app = carry(authorize=failing)
    apps = [app] if app.name == "wsgi" else [app, carry(authorize=failing_async)]
    for each in apps:
        caplog.clear()
        reply = each.ask("POST", PATH, ACT)
        assert reply.status == 403
        assert b"s3cret" not in reply.body
        assert f"{type(fails).__name__} at " in caplog.text
        assert "test_security.py" in caplog.text
        assert "s3cret" not in caplog.text
    assert is_untouched(breaker)


@pytest.mark.parametrize("author", [True, b"olga", "", " ", "a\nb", 7, ["olga"]])
def test_what_is_no_name(
    carry: Any, breaker: mh.CircuitBreaker, caplog: pytest.LogCaptureFixture, author: Any
) -> None:
    """A True is no author: refused, and the log says what is wanted."""
    assert carry(authorize=lambda request: author).ask("POST", PATH, ACT).status == 403
    assert "must return the name" in caplog.text
    assert is_untouched(breaker)


def test_a_coroutine_is_no_name(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """A lambda around an async function lets nobody in, and leaves no warning behind."""
    app = carry(authorize=lambda request: authorize_async(request))
    assert app.ask("POST", PATH, ACT).status == 403
    assert is_untouched(breaker)


def test_a_long_name_is_cut(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """At a hundred characters."""
    told: list[Any] = []
    with mh.subscribe(told.append, mh.events.OperatorActed):
        assert carry(authorize=lambda request: "x" * 500).ask("POST", PATH, ACT).status == 200
    assert told[0].author == "x" * 100


# Requests of other sites.


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "whatever"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://testserver:8080"},
        {"origin": "http://evil.example, http://testserver"},
        {"origin": "file://testserver"},
        {"origin": "http://["},
        {"origin": "http://user@testserver"},
    ],
)
def test_pages_of_other_sites_do_nothing(
    carry: Any, breaker: mh.CircuitBreaker, headers: dict[str, str]
) -> None:
    """However well they know the word: authorize is not even asked."""
    asked: list[Any] = []
    app = carry(authorize=lambda request: asked.append(request))
    reply = app.ask("POST", PATH, {**ACT, **JSON, **headers})
    assert reply.status == 403
    assert (asked, is_untouched(breaker)) == ([], True)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a",
     "text/plain; application/json", ""],
)  # fmt: skip
@pytest.mark.parametrize("own", [None, "yes", "act "])
def test_what_a_form_can_send_is_not_enough(
    carry: Any, breaker: mh.CircuitBreaker, kind: str, own: str | None
) -> None:
    """415: a form of a foreign page sends no JSON and no header of ours."""
    headers = {"authorization": "Bearer right", "content-type": kind}
    if own is not None:
        headers["x-meshhook"] = own
    reply = carry(authorize=authorize).ask("POST", PATH, headers, b'{"seconds": 1}')
    assert reply.status == 415
    assert "X-Meshhook: act" in reply.json["error"]
    assert is_untouched(breaker)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("testserver", "http://testserver"),
        ("testserver", "https://testserver"),
        ("TestServer", "http://testserver"),
        ("testserver:8000", "http://testserver:8000"),
        ("testserver:443", "https://testserver"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_our_own_page_may(carry: Any, breaker: mh.CircuitBreaker, host: str, origin: str) -> None:
    """Its Origin is the Host that it was loaded from."""
    headers = {**ACT, "host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    assert carry(authorize=authorize).ask("POST", PATH, headers).status == 200


def test_behind_a_proxy(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """The Host of the outside is believed from X-Forwarded-Host only if the proxy is trusted."""
    headers = {
        **ACT,
        "host": "10.0.0.7:8000",
        "origin": "https://ops.example",
        "x-forwarded-host": "ops.example, inner.example",
    }
    reply = carry(authorize=authorize).ask("POST", PATH, headers)
    assert reply.status == 403
    assert "trust_forwarded=True" in reply.json["error"]
    assert is_untouched(breaker)
    app = carry(authorize=authorize, trust_forwarded=True)
    assert app.ask("POST", PATH, headers).status == 200
    assert app.ask("POST", PATH, {**headers, "x-forwarded-host": "evil"}).status == 403


# Reading.


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil", "", "a, b"]
)
@pytest.mark.parametrize("path", ["/", "/policies", "/health", "/static/dashboard.js", "/x"])
def test_a_foreign_host_reads_nothing(carry: Any, host: str, path: str) -> None:
    """Where names are given, another one is refused: it may have been made to point here."""
    reply = carry(hosts=["localhost", "[::1]"]).ask("GET", path, {"host": host})
    assert reply.status == 421
    assert host not in reply.json["error"] or not host


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/ready/"])
def test_probes_come_by_address(carry: Any, path: str) -> None:
    """Kubernetes sends the address of the pod, which nobody knows beforehand."""
    app = carry(hosts=["ops.example"])
    assert app.ask("GET", path, {"host": "10.0.0.7:8000"}).status == 200
    assert app.ask("HEAD", path, {"host": "10.0.0.7:8000"}).status == 200
    assert app.ask("POST", path, {"host": "10.0.0.7:8000"}).status == 405


def test_a_probe_by_a_foreign_host_is_told_no_names(carry: Any, registry: mh.Registry) -> None:
    """A page whose name was made to point here learns a yes or a no."""
    mh.circuit_breaker("payments", critical=True).force_open()
    app = carry(hosts=["ops.example"])
    reply = app.ask("GET", "/health/ready", {"host": "evil.example"})
    assert (reply.status, reply.json) == (503, {"status": "failing", "ready": False})
    failing = app.ask("GET", "/health/ready", {"host": "ops.example"}).json["failing"]
    assert failing == ["circuit_breaker/payments"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "localhost.", "localhost.:1", "[::1]", "[::1]:9464"]
)
def test_a_host_of_ours(carry: Any, host: str) -> None:
    """With or without a port, in whatever case."""
    assert carry(hosts=["localhost", "::1"]).ask("GET", "/policies", {"host": host}).status == 200


def test_any_host_where_none_is_named(carry: Any) -> None:
    """A framework has its own list."""
    assert carry().ask("GET", "/policies", {"host": "whatever"}).status == 200


READABLE = [route.path for route in ROUTES if route.method == "GET"]


@pytest.mark.parametrize("path", READABLE)
def test_reading_can_need_a_name_too(carry: Any, breaker: mh.CircuitBreaker, path: str) -> None:
    """authorize_read= guards everything but the probes, which have no name to give."""
    path = path.format(kind="circuit_breaker", name="payments", file="dashboard.js")
    app = carry(authorize_read=authorize)
    is_probe = path in ("/health/live", "/health/ready")
    assert app.ask("GET", path).status == (200 if is_probe else 401)
    assert app.ask("HEAD", path).status == (200 if is_probe else 401)
    if path not in ("/events", "/fleet"):
        assert app.ask("GET", path, {"authorization": "Bearer right"}).status == 200


def test_who_may_not_read_is_told_by_which_argument(carry: Any, registry: mh.Registry) -> None:
    """So an operator does not look for it at the one that guards the acts."""
    app = carry(authorize=lambda request: "olga", authorize_read=authorize)
    reply = app.ask("GET", "/policies")
    assert reply.json["error"] == "who asks? send Authorization; authorize_read= wants to know"
    reply = app.ask("GET", "/policies", {"authorization": "Bearer wrong"})
    assert reply.status == 403
    assert reply.json["error"] == "authorize_read= did not accept this Authorization"


def test_a_probe_tells_strangers_no_names(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """Where reading is guarded, readiness is a yes or a no."""
    breaker.force_open()
    reply = carry(authorize_read=authorize).ask("GET", "/health/ready")
    assert reply.json == {"status": "failing", "ready": True}


def test_who_may_read_may_not_act(carry: Any, breaker: mh.CircuitBreaker) -> None:
    """They are two questions."""
    app = carry(authorize_read=lambda request: "reader", authorize=lambda request: None)
    assert app.ask("GET", "/policies").status == 200
    assert app.ask("POST", PATH, ACT).status == 403
    assert carry(authorize_read=lambda request: "reader").ask("POST", PATH, ACT).status == 403


# What every answer carries.


@pytest.mark.parametrize("path", [*READABLE, "/nope", PATH])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_every_answer_is_protected(
    carry: Any, breaker: mh.CircuitBreaker, method: str, path: str
) -> None:
    """Nothing foreign runs in the page, nothing frames it, nothing is kept by caches."""
    path = path.format(kind="circuit_breaker", name="payments", file="dashboard.js")
    if (method, path) == ("GET", "/events"):
        path = "/events?recent=1"
    headers = carry(authorize=authorize).ask(method, path, ACT).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert (headers["cache-control"] == "no-cache") == ("etag" in headers)
    assert not [name for name in headers if name.startswith("access-control")]
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../endpoints.py",
        "/static/..%2fendpoints.py",
        "/static/%2e%2e/endpoints.py",
        "/static/..%5cendpoints.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/dashboard.js%00.css",
        "/static/./dashboard.js",
        "/static/dashboard.js/",
        "/static/DASHBOARD.JS",
        "/static/index.html/../../__init__.py",
    ],
)
def test_only_the_listed_files_are_served(carry: Any, path: str) -> None:
    """A path is looked up among names, and never reaches a file system."""
    reply = carry().ask("GET", path)
    assert reply.status == 404
    assert b"import" not in reply.body


@given(
    path=st.text(max_size=60).map(lambda text: f"/{text}"),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
    query=st.text(max_size=30),
    headers=st.dictionaries(
        st.sampled_from(
            ["host", "origin", "accept", "content-type", "if-none-match", "sec-fetch-site",
             "x-meshhook", "authorization", "x-forwarded-host", "content-length-x"]
        ),
        st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40),
    ),
    body=st.binary(max_size=60),
)  # fmt: skip
def test_no_request_breaks_anything(
    path: str, method: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    """Whatever is sent, the answer is one of ours, protected, and no 500."""
    mh.circuit_breaker("payments")
    app = Asgi(authorize=authorize, hosts=["testserver"])
    try:
        target = quote(path, safe="/%") + "?" + quote(query, safe="=&%")
        reply = app.ask(method, target, headers, body)
    finally:
        app.app.close()
    assert reply.status in {200, 304, 400, 401, 403, 404, 405, 413, 415, 421}
    assert reply.headers["x-frame-options"] == "DENY"


# Settings.

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"authorize": "olga"}, "authorize must be a function of request"),
    ({"authorize": lambda: "olga"}, "authorize must be a function of request"),
    ({"authorize_read": 1}, "authorize_read must be a function of request"),
    ({"hosts": "localhost"}, "hosts must be a list of host names"),
    ({"hosts": [1]}, "hosts must be a list of host names"),
    ({"hosts": [" "]}, "hosts must be a list of host names"),
    ({"hosts": ["*"]}, "hosts must be whole names, or be left out where any name will do"),
    ({"hosts": ["a", "*.example.org"]}, "hosts must be whole names"),
    ({"hosts": 5}, "hosts must be a list of host names"),
    ({"trust_forwarded": 1}, "trust_forwarded must be True or False"),
    ({"dashboard": "yes"}, "dashboard must be True or False"),
    ({"max_streams": 0}, "max_streams must be a whole number of 1 or more"),
    ({"registry": "default"}, "registry must be a meshhook.Registry"),
    ({"fleet": "http://a:s3cret@b"}, "fleet must be a list of URLs"),
    ({"fleet": 7}, ""),
    ({"beside": print, "at": "meshhook"}, "at must be a path such as '/meshhook'"),
    ({"beside": print, "at": "/meshhook/"}, "at must be a path such as '/meshhook'"),
    ({"beside": print, "at": "/\ud800"}, "at must be a path such as '/meshhook'"),
    ({"beside": print, "at": None}, "at must be a path such as '/meshhook'"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_settings_that_cannot_be_used(carry: Any, settings: dict[str, Any], message: str) -> None:
    """The error names the argument; nothing listens on."""
    with pytest.raises(mh.ConfigurationError) as caught:
        carry(**settings)
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not mh.events.wanted(mh.events.CircuitChanged)


@pytest.mark.parametrize(
    ("address", "answer"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.7", False), ("::ffff:10.0.0.7", False)],
)  # fmt: skip
def test_what_is_the_loopback(address: str, answer: bool) -> None:
    """What nobody but this machine reaches."""
    assert is_loopback(address) is answer
