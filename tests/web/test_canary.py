"""A secret, planted wherever users have some, is in no answer and no record of the log."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe.logging import log_events
from meshhook.observe.web.routes import ROUTES
from tests.web.clients import Following, ask

SECRET = "c4n4ry"


class LeakyError(Exception):
    def __init__(self) -> None:
        super().__init__(f"failed with {SECRET}")


def authorize(request: Any) -> str | None:
    """Fail with what it was given, as a careless one does."""
    word = request.headers.get("authorization", "")
    if word == "Bearer fails":
        raise LeakyError
    return "olga" if word == f"Bearer {SECRET}" else None


def use_everything(secret: str) -> None:
    """Call through every kind of policy with a secret in arguments, keys, results and errors."""
    store = mh.RedisStore(f"redis://user:{secret}@127.0.0.1:1/0", timeout=0.05)

    @mh.fallback(value=secret, name="fallback")
    @mh.retry(max_attempts=2, base_delay=0.001, name="retry")
    @mh.circuit_breaker("breaker", key="{who}", failure_threshold=1)
    @mh.throttle(name="throttle")
    @mh.rate_limit("1000/s", key="{who}", name="limit")
    @mh.bulkhead(5, key="{who}", name="bulkhead")
    @mh.timeout(5, name="timeout")
    def fail(who: str) -> str:
        raise LeakyError

    @mh.idempotent("{who}", name="idempotent")
    def once(who: str) -> dict[str, str]:
        return {who: who}

    @mh.idempotent("{who}", name="remote", store=store)
    def remote(who: str) -> str:
        return who

    @mh.hedge(delay=5, idempotent=True, name="hedge")
    @mh.chaos(rate=0.0, name="chaos")
    def fine(who: str) -> str:
        return who

    for _ in range(3):
        fail(secret)
        once(secret)
        fine(secret)
    with pytest.raises(mh.StoreError):
        remote(secret)


@pytest.mark.parametrize("guarded", [False, True], ids=["open", "guarded"])
def test_a_secret_is_told_nowhere(
    registry: mh.Registry,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    guarded: bool,
) -> None:
    """Not what is called, returned or raised, not where records are, not who asks with what."""
    caplog.set_level(logging.DEBUG)
    told: list[bytes] = []

    def note(reply: Any) -> None:
        told.append(repr(reply).encode() + reply.body)

    settings: dict[str, Any] = {"authorize": authorize}
    if guarded:
        settings["authorize_read"] = authorize
    member = f"http://{SECRET}@127.0.0.1:1/{SECRET}?token={SECRET}"
    with (
        mh.serve(0, fleet=["http://127.0.0.1:1"], **settings) as server,
        log_events(),
        Following(server.port, "/events?stats=1", {"Authorization": f"Bearer {SECRET}"}) as stream,
    ):
        stream.next("stats")
        use_everything(SECRET)
        named = [each.name for each in mh.registry]
        assert len(named) >= 10
        for word in ("", f"Bearer {SECRET}", f"Bearer wrong {SECRET}", "Bearer fails"):
            headers = {
                "Authorization": word, "Cookie": f"session={SECRET}", "X-Meshhook": "act",
                "X-Whatever": SECRET, "User-Agent": SECRET, "Referer": f"http://a/{SECRET}",
            }  # fmt: skip
            for route in ROUTES:
                if route.path == "/events":
                    continue
                path = route.path.format(
                    kind="circuit_breaker", name="breaker", action="isolate", file="dashboard.js"
                )
                for body in (None, f'{{"seconds": "{SECRET}"}}', f'{{"{SECRET}": 1}}', SECRET):
                    data = None if body is None else body.encode()
                    note(ask(server.port, route.method, f"{path}?{SECRET}={SECRET}", headers, data))
            note(ask(server.port, "GET", "/events?recent=1", headers))
            note(ask(server.port, "GET", f"/events?kinds={SECRET}", headers))
            note(ask(server.port, "GET", "/policies", {**headers, "Host": SECRET}))
            note(ask(server.port, "POST", f"/{SECRET}", {**headers, "Origin": f"http://{SECRET}"}))
            note(ask(server.port, SECRET, f"/policies/{SECRET}/{SECRET}", headers))
            note(ask(server.port, "POST", f"/policies/timeout/timeout/{SECRET}", headers))
        note(
            ask(
                server.port, "POST", "/policies/circuit_breaker/breaker/isolate",
                {"Authorization": f"Bearer {SECRET}", "X-Meshhook": "act"}, b'{"seconds": 50}',
            )
        )  # fmt: skip
        while "operator_acted" not in str(stream.next("events").data):
            pass
    everything = b"".join(told) + stream.raw
    assert b"LeakyError" in everything  # the type is told, so it was looked for where it could be
    assert SECRET.encode() not in everything
    assert SECRET not in caplog.text
    for record in caplog.records:
        assert SECRET not in str(vars(record))
    assert all(SECRET not in each for each in capfd.readouterr())
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.serve(0, fleet=[member, 7])  # type: ignore[list-item]
    assert SECRET not in str(caught.value)
    assert SECRET not in os.environ.values()
