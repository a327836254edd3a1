"""A FastAPI service in front of a failing upstream, run by uvicorn with two workers.

Everything that its operators look at and act with, against the real processes.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import browser
from tests.servers import Server, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.fault

CANARY = f"canary{secrets.token_hex(6)}"
TOKEN = f"token{secrets.token_hex(8)}"
WORKERS = 2
ENOUGH = 400
"""Requests by which each worker has had many."""


class Upstream(http.server.ThreadingHTTPServer):
    """Answers with a price, or with an error that shows what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.fails = False
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"the price of {self.path}".encode()
                self.send_response(500 if upstream.fails else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Shop:
    """The service, its upstream and its store; and everything that was read from it."""

    def __init__(self, tmp_path: Path, store: Server, upstream: Upstream) -> None:
        self.upstream = upstream
        self.base = f"http://127.0.0.1:{free_port()}"
        self.log = tmp_path / "log"
        (tmp_path / "metrics").mkdir()
        self.environment = {
            **os.environ,
            "SHOP_UPSTREAM": upstream.url,
            "SHOP_STORE": store.url,
            "SHOP_FOLDER": str(tmp_path / "members"),
            "SHOP_TOKEN": TOKEN,
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
        }
        self.client = httpx.Client(timeout=20)
        self.seen: list[str] = []
        port = self.base.rpartition(":")[2]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "tests.endtoend.shop:app"),
                    *("--port", port, "--workers", str(WORKERS), "--no-access-log"),
                ],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def get(self, url: str, **headers: str) -> httpx.Response:
        answer = self.client.get(url, headers=headers)
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def post(self, url: str, body: Any = None, **headers: str) -> httpx.Response:
        answer = self.client.post(url, json=body or {}, headers=headers)
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def ops(self, path: str) -> Any:
        return self.get(f"{self.base}/ops{path}").json()

    def members(self) -> list[str]:
        with contextlib.suppress(httpx.TransportError):
            return [each["url"] for each in self.ops("/fleet")["members"] if each["reachable"]]
        return []

    def load(self, requests: int = ENOUGH) -> int:
        """Ask for prices from many sides, each time anew, so that both workers are asked.

        Return how many were told.
        """
        host, port = self.base.removeprefix("http://").split(":")

        def ask(_number: int) -> bool:
            with contextlib.closing(http.client.HTTPConnection(host, int(port), 20)) as connection:
                connection.request("GET", f"/price/{CANARY}")
                return connection.getresponse().status == HTTPStatus.OK

        with ThreadPoolExecutor(16) as pool:
            return sum(pool.map(ask, range(requests)))

    def conditions(self) -> set[str]:
        """Return the conditions of the circuit, one of each worker."""
        return {
            self.get(f"{url}/policies/circuit_breaker/upstream").json()["condition"]
            for url in self.members()
        }

    def metric(self, metric: str, /, **labels: str) -> float:
        text = self.get(f"{self.base}/ops/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "meshhook", *arguments],
            env={**self.environment, "MESHHOOK_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.seen += [done.stdout, done.stderr]
        return done

    def stop(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Give the service with both workers at work."""
    store = Server("valkey", password=CANARY)
    store.start()
    upstream = Upstream()
    threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
    shop = Shop(tmp_path_factory.mktemp("shop"), store, upstream)
    try:
        assert eventually(lambda: len(shop.members()) == WORKERS), shop.log.read_text()
        yield shop
    finally:
        shop.stop()
        upstream.shutdown()
        upstream.server_close()
        store.kill()


def test_what_operators_see_and_do(shop: Shop) -> None:
    """From the first healthy request to the last, with a failing upstream in between."""
    base, members = shop.base, shop.members()
    told: list[str] = []
    with contextlib.ExitStack() as opened:
        opened.enter_context(following(members[0], told))

        # While all is well: each worker is ready, and a scrape sums them up exactly.
        answered = shop.load()
        for _ in range(3):
            shop.post(f"{base}/charge/{CANARY}/{CANARY}")
        assert shop.ops("/health/live") == {"status": "alive"}
        assert [shop.get(f"{url}/health/ready").status_code for url in members] == [200, 200]
        assert eventually(
            lambda: (
                shop.metric(
                    "meshhook_calls_total",
                    policy="circuit_breaker",
                    name="upstream",
                    outcome="success",
                )
                == answered
                > 0
            )
        )
        assert shop.conditions() == {"closed"}
        assert shop.command("health", *members).returncode == 0

        # The upstream fails: both circuits open; nobody is dead, but no worker is ready.
        shop.upstream.fails = True
        assert shop.load() == 0
        assert shop.conditions() == {"open"}
        assert [shop.get(f"{url}/health/live").status_code for url in members] == [200, 200]
        assert [shop.get(f"{url}/health/ready").status_code for url in members] == [503, 503]
        assert shop.command("health", *members).returncode == 1
        top = shop.command("top", *members, "--json").stdout
        circuit = next(
            each
            for each in json.loads(top)["policies"]
            if (each["policy"], each["name"]) == ("circuit_breaker", "upstream")
        )
        assert (circuit["condition"], circuit["members"]) == ("open", WORKERS)
        assert eventually(lambda: shop.metric("meshhook_circuit_state", state="open") == WORKERS)
        assert eventually(lambda: any("circuit_changed" in line for line in told))
        look_at_the_page(shop, members[0])

        # Whoever has no right to act, or is sent by another site, changes nothing.
        reset = "/policies/circuit_breaker/upstream/reset"
        allowed = {"authorization": f"Bearer {TOKEN}", "x-meshhook": "act"}
        for url in (*members, f"{base}/ops"):
            for headers in (
                {"x-meshhook": "act"},
                {"x-meshhook": "act", "authorization": f"Bearer {CANARY}"},
                {**allowed, "origin": "https://elsewhere.example"},
                {**allowed, "sec-fetch-site": "cross-site"},
            ):
                assert shop.post(url + reset, **headers).status_code in (401, 403)
        assert shop.conditions() == {"open"}

        # An operator closes the circuits of a service that is well again, and that is on record.
        shop.upstream.fails = False
        for url in members:
            assert shop.post(url + reset, **allowed).status_code == 200
        assert shop.conditions() == {"closed"}
        shop.load(40)
        assert [shop.get(f"{url}/health/ready").status_code for url in members] == [200, 200]
        for url in members:
            recent = shop.get(f"{url}/events?recent=1", accept="application/json").json()
            acted = [each for each in recent["events"] if each["event"] == "operator_acted"]
            assert [(each["action"], each["author"]) for each in acted] == [("reset", "ann")]
        isolated = shop.command(
            *("act", members[0], "circuit_breaker/upstream", "isolate", "--seconds", "60")
        )
        assert isolated.returncode == 0, isolated.stderr
        assert shop.conditions() == {"closed", "forced_open"}
        for url in (*members, f"{base}/ops"):
            for path in ("/policies", "/health", "/metrics", "/events?recent=1", "/"):
                shop.get(url + path)
        shop.command("policies", *members)
        shop.command("events", *members)

    # What was planted in arguments, keys, results, errors and the URL of the store is nowhere.
    shop.seen += [shop.log.read_text(), *told]
    assert "went from closed to open" in shop.log.read_text()
    shown = "\n".join(text for text in shop.seen if "receipt" not in text)
    assert "upstream" in shown
    assert CANARY not in shown
    assert TOKEN not in shown


@contextlib.contextmanager
def following(url: str, told: list[str]) -> Iterator[None]:
    """Follow the events of a worker meanwhile."""
    with httpx.stream("GET", f"{url}/events?stats=1", timeout=None) as answer:

        def follow() -> None:
            with contextlib.suppress(httpx.HTTPError, httpx.StreamError):
                told.extend(answer.iter_lines())

        threading.Thread(target=follow, daemon=True).start()
        yield


def look_at_the_page(shop: Shop, url: str) -> None:
    """See the open circuit on the dashboard, in a real browser where there is one."""
    if browser.find_chromium() is None and os.environ.get("CI") != "true":
        return
    with browser.chromium() as chromium:
        tab = browser.Tab(chromium)
        tab.page.goto(url)
        tab.page.get_by_text("Open", exact=True).first.wait_for(timeout=10_000)
        shop.seen.append(tab.page.content())
        assert tab.problems == []
        tab.close()


def test_workers_end_although_somebody_follows_their_events(shop: Shop) -> None:
    """SIGTERM ends the service within seconds, with streams of both servers open."""
    told: list[str] = []
    with following(shop.members()[0], told), following(f"{shop.base}/ops", told):
        assert eventually(lambda: len(told) > 2)
        shop.process.send_signal(signal.SIGTERM)
        assert shop.process.wait(15) in (0, -signal.SIGTERM)
    log = shop.log.read_text()
    assert "Traceback" not in log
    assert "Finished server process" in log
