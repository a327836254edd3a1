"""A fleet: what its members say, put together, whatever they say."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import pkgutil
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

import meshhook as mh
import meshhook.policies
from meshhook.budgets import RetryBudgetStats
from meshhook.observe.fleet.counters import COUNTERS
from meshhook.observe.fleet.fleet import Fleet
from meshhook.observe.remote.client import Remote
from meshhook.stats import Stats
from tests.commands.services import service
from tests.observe.canned import Canned, canned, http, policies, policy
from tests.servers import free_port
from tests.waiting import eventually

SECRET = "canary-77aa"


@contextlib.contextmanager
def fleet_of(*answers: Any, timeout: float = 5.0, **settings: Any) -> Iterator[Fleet]:
    """Run a server for each answer, a document or bytes or a function; give the fleet of them."""
    with contextlib.ExitStack() as stack:
        urls = []
        for answer in answers:
            told = http(answer) if isinstance(answer, (dict, list)) else answer
            urls.append(stack.enter_context(canned({"/policies": told})).url)
        yield Fleet(urls, timeout, **settings)


def read(*answers: Any, **settings: Any) -> dict[str, Any]:
    """Read a fleet of such members once; what comes out is plain JSON."""
    with fleet_of(*answers, **settings) as fleet:
        document = fleet.read()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    return document


def breaker(condition: str = "closed", **stats: Any) -> dict[str, Any]:
    """Make a circuit breaker called payments."""
    status = {"closed": "ok", "half_open": "degraded"}.get(condition, "failing")
    return policy("payments", status=status, condition=condition, **stats)


def one(document: dict[str, Any]) -> dict[str, Any]:
    """Return the only policy of a fleet."""
    (found,) = document["policies"]
    return dict(found)


def test_members_that_agree() -> None:
    """Counters are summed up; the members are told in the order in which they were given."""
    calls = {"calls": 10, "successes": 9, "failures": 1, "rejected": 2, "opened": 0}
    document = read(
        policies(breaker(**calls), own="a:1:1"),
        policies(breaker(**calls), policy("db", "bulkhead", max_concurrent=5), own="b:1:1"),
    )
    assert [each["id"] for each in document["members"]] == ["a:1:1", "b:1:1"]
    assert document["unreachable"] == 0
    assert document["members"][1] == {
        "url": document["members"][1]["url"],
        "id": "b:1:1",
        "reachable": True,
        "error": None,
        "status": "ok",
        "ready": True,
        "policies": 2,
        "seconds": document["members"][1]["seconds"],
    }
    assert 0 < document["members"][1]["seconds"] < 5
    assert abs(document["time"] - time.time()) < 60
    payments = next(each for each in document["policies"] if each["name"] == "payments")
    assert payments == {
        "policy": "circuit_breaker",
        "name": "payments",
        "status": "ok",
        "condition": "closed",
        "critical": False,
        "members": 2,
        "differing": False,
        "outliers": [],
        "sums": {"calls": 20, "successes": 18, "failures": 2, "rejected": 4, "opened": 0},
        "by_member": {
            own: {"status": "ok", "condition": "closed", "failure_share": None, "p99": None}
            for own in ("a:1:1", "b:1:1")
        },
    }


def test_only_counters_are_summed_up() -> None:
    """Settings, gauges and peaks of several processes have no sum."""
    stats = {
        "max_concurrent": 5,
        "in_use": 1,
        "waiting": 1,
        "peak": 3,
        "admitted": 10,
        "waited": 1,
        "rejected": 2,
        "abandoned": 0,
        "keys": 3,
        "evicted": 1,
    }
    document = read(
        policies(policy("db", "bulkhead", **stats), own="a:1:1"),
        policies(policy("db", "bulkhead", **stats), own="b:1:1"),
    )
    assert one(document)["sums"] == {
        "admitted": 20,
        "waited": 2,
        "rejected": 4,
        "abandoned": 0,
        "evicted": 2,
    }


GAUGES = {
    "bulkhead": {"max_concurrent", "in_use", "waiting", "peak", "keys", "max_queue", "full"},
    "chaos": {"injections"},
    "circuit_breaker": {"consecutive_failures"},
    "fallback": {"kept"},
    "hedge": {"running_on"},
    "idempotent": {"running"},
    "rate_limit": {"waiting", "remaining", "keys"},
    "retry": set(),
    "retry_budget": {"left"},
    "throttle": {"window_requests", "window_accepted"},
    "timeout": {"abandoned", "max_abandoned"},
}
"""Whole numbers among the statistics that are no counters."""


def every_stats() -> dict[str, type[Stats]]:
    """Return the statistics of every kind of policy, found in its folder."""
    found: dict[str, type[Stats]] = {"retry_budget": RetryBudgetStats}
    for each in pkgutil.iter_modules(meshhook.policies.__path__):
        module = importlib.import_module(f"meshhook.policies.{each.name}.stats")
        (found[each.name],) = (
            kind
            for kind in vars(module).values()
            if isinstance(kind, type)
            and kind.__module__ == module.__name__
            and issubclass(kind, Stats)
        )
    return found


@pytest.mark.parametrize(("kind", "stats"), every_stats().items())
def test_every_whole_number_is_a_counter_or_is_not(kind: str, stats: type[Stats]) -> None:
    """A new field of the statistics has to be sorted into one or the other."""
    hints = get_type_hints(stats)
    whole = {
        field.name for field in dataclasses.fields(stats) if hints[field.name] in (int, int | None)
    }
    assert set(COUNTERS[kind]) <= whole <= set(COUNTERS[kind]) | GAUGES[kind]
    assert not set(COUNTERS[kind]) & GAUGES[kind]


def test_a_kind_that_is_not_known_yet() -> None:
    """A newer member may have it: what many have is summed up."""
    new = policy("x", "antigravity", "degraded", "floating", calls=3, failures=1, height=7)
    document = read(policies(new, own="a:1:1"), policies(new, own="b:1:1"))
    assert one(document)["sums"] == {"calls": 6, "failures": 2}
    assert one(document)["condition"] == "floating"


def test_one_that_is_open_while_others_are_closed() -> None:
    """The status is the worst, and who is different is said."""
    document = read(
        policies(breaker(), own="a:1:1"),
        policies(breaker("open"), own="b:1:1", status="failing", ready=False),
        policies(breaker(), own="c:1:1"),
        policies(breaker(), own="d:1:1"),
    )
    payments = one(document)
    assert (payments["status"], payments["condition"]) == ("failing", "open")
    assert payments["differing"]
    assert payments["outliers"] == [{"id": "b:1:1", "why": "open here, closed on 3"}]
    assert [each["ready"] for each in document["members"]] == [True, False, True, True]


@pytest.mark.parametrize(
    ("conditions", "outliers"),
    [
        (["closed", "open"], ["b: open here, closed on 1"]),
        (["half_open", "open", "open"], ["a: half open here, open on 2"]),
        (["open", "open", "closed", "closed"], ["a: open here, closed on 2"] * 1),
        (["open", "open"], []),
    ],
)
def test_what_is_usual(conditions: list[str], outliers: list[str]) -> None:
    """What most are; if as many are otherwise, the calmer are usual."""
    members = [
        policies(breaker(condition), own=f"{'abcd'[at]}") for at, condition in enumerate(conditions)
    ]
    said = [f"{each['id']}: {each['why']}" for each in one(read(*members))["outliers"]]
    if len(conditions) == 4:
        assert said == ["a: open here, closed on 2", "b: open here, closed on 2"]
    else:
        assert said == outliers


def latency(p99: float) -> dict[str, float]:
    """Make quantiles."""
    return {"p50": p99 / 2, "p95": p99, "p99": p99}


def test_members_that_are_far_from_the_median() -> None:
    """By the share of failures, in the window or since the start, and by the latency."""
    window = {"calls": 50, "failures": 40, "failure_rate": 0.8}
    document = read(
        policies(breaker(calls=100, failures=2, latency=latency(0.1)), own="a"),
        policies(breaker(calls=100, failures=60, latency=latency(0.12)), own="b"),
        policies(breaker(calls=100, failures=0, latency=latency(2.5)), own="c"),
        policies(breaker(calls=100, failures=0, window=window, latency=latency(0.05)), own="d"),
        policies(breaker(calls=100, failures=0, latency=latency(0.1)), own="e"),
    )
    assert one(document)["outliers"] == [
        {"id": "b", "why": "fails 60% of its calls, the median is 2%"},
        {"id": "d", "why": "fails 80% of its calls, the median is 2%"},
        {"id": "c", "why": "its p99 is 2.5 s, the median is 0.1 s"},
    ]
    assert one(document)["by_member"]["d"] == {
        "status": "ok",
        "condition": "closed",
        "failure_share": 0.8,
        "p99": 0.05,
    }


def test_what_is_not_far() -> None:
    """A few calls say nothing, nor do two members, nor differences that nobody feels."""
    few = read(
        policies(breaker(calls=100, failures=0), own="a"),
        policies(breaker(calls=5, failures=5), own="b"),
        policies(breaker(calls=100, failures=0), own="c"),
    )
    two = read(
        policies(breaker(calls=100, failures=0, latency=latency(0.01)), own="a"),
        policies(breaker(calls=100, failures=100, latency=latency(9)), own="b"),
    )
    near = read(
        policies(breaker(calls=100, failures=1, latency=latency(0.001)), own="a"),
        policies(breaker(calls=100, failures=15, latency=latency(0.04)), own="b"),
        policies(breaker(calls=100, failures=1, latency=latency(0.001)), own="c"),
    )
    assert one(few)["outliers"] == one(two)["outliers"] == one(near)["outliers"] == []


def test_trouble_comes_first() -> None:
    """The worst, then those that differ, then by name."""
    calm = [policy(name) for name in "ca"]
    document = read(
        policies(*calm, breaker("open"), policy("z", status="degraded", condition="x"), own="a"),
        policies(*calm, breaker("open"), policy("b"), policy("z"), own="b"),
    )
    assert [each["name"] for each in document["policies"]] == ["payments", "z", "a", "b", "c"]


def test_what_cannot_be_reached_is_said() -> None:
    """The others are there as ever."""
    with canned({"/policies": http(policies(breaker(), own="a"))}) as server:
        nobody = f"http://127.0.0.1:{free_port()}"
        document = Fleet([nobody, server.url]).read()
    assert document["unreachable"] == 1
    assert document["members"][0] == {
        "url": nobody,
        "id": None,
        "reachable": False,
        "error": "refused",
        "status": None,
        "ready": None,
        "policies": 0,
        "seconds": None,
    }
    assert one(document)["members"] == 1


def test_a_process_that_is_named_twice_is_counted_once() -> None:
    """By two addresses of one machine, or through one that stands before several workers."""
    document = read(policies(breaker(calls=3), own="a"), policies(breaker(calls=3), own="a"))
    first, second = document["members"]
    assert first["error"] is None
    assert second["error"] == f"the same process as {first['url']}, not counted again"
    assert document["unreachable"] == 0
    assert (one(document)["members"], one(document)["sums"]) == (1, {"calls": 3})


HUGE = 10**30
GOOD = policies(breaker())


def bad(**changes: Any) -> dict[str, Any]:
    """Make an answer with one policy that is not as it should be."""
    return policies({**breaker(), **changes})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([], "the answer is not an object"),
        ({}, "health is not an object"),
        ({**GOOD, "health": []}, "health is not an object"),
        ({**GOOD, "health": {"status": "fine", "ready": True}}, "health.status is not one of ok"),
        ({**GOOD, "health": {"status": ["ok"], "ready": True}}, "health.status is not one of ok"),
        ({**GOOD, "health": {"status": "ok", "ready": 1}}, "health.ready is not true or false"),
        ({**GOOD, "policies": {}}, "policies is not a list"),
        ({**GOOD, "policies": [7]}, "a policy is not an object"),
        ({**GOOD, "instance": None}, "instance is not an object"),
        ({**GOOD, "instance": {"id": 7}}, "instance.id is not text"),
        ({**GOOD, "instance": {"id": ""}}, "instance.id is not text"),
        (bad(name=None), "name is not text"),
        (bad(policy=["x"]), "policy is not text"),
        (bad(status=None), "status is not one of"),
        (bad(condition={}), "condition is not text"),
        (bad(critical="yes"), "critical is not true or false"),
        (bad(actions="reset"), "actions is not a list"),
        (bad(actions=[1]), "actions is not text"),
        (bad(until="soon"), "until is not a number"),
        (bad(until=True), "until is not a number"),
        (bad(stats=[]), "stats is not an object"),
        (bad(stats={"calls": "7"}), "calls is not a whole number"),
        (bad(stats={"calls": 7.5}), "calls is not a whole number"),
        (bad(stats={"calls": True}), "calls is not a whole number"),
        (bad(stats={"calls": -1}), "calls is not a whole number"),
        (bad(stats={"calls": HUGE}), "calls is not a whole number"),
        (bad(stats={"latency": 7}), "latency is not an object"),
        (bad(stats={"latency": {"p99": "7"}}), "p99 is not a number"),
        (bad(stats={"latency": {"p99": HUGE}}), "p99 is not a number"),
        (bad(stats={"calls": 50, "window": {"failure_rate": []}}), "failure_rate is not a number"),
    ],
)
def test_answers_of_the_wrong_shape_are_errors_of_that_member(answer: Any, why: str) -> None:
    """The others are there as ever; what was answered is not shown."""
    document = read(answer, policies(breaker(calls=1), own="good"))
    first, second = document["members"]
    assert first["error"].startswith(f"answered with something else than ours do: {why}")
    assert not first["reachable"]
    assert second["reachable"]
    assert one(document)["sums"] == {"calls": 1}


def test_infinity_is_no_number() -> None:
    """JSON can say 1e999, and no page could read what came of it."""
    answer = http(
        json.dumps(bad(stats={"latency": {"p99": 7.25}})).replace("7.25", "1e999").encode()
    )
    assert "p99 is not a number" in read(answer)["members"][0]["error"]


def test_text_of_members_does_nothing_to_a_terminal() -> None:
    """Control characters and changes of direction are replaced, and long names cut."""
    name = "pay\x1b[2J\u202e\n\ud800" + "x" * 10_000
    document = read(policies({**breaker(), "name": name}, own="a\x07b"))
    assert one(document)["name"].startswith("pay\ufffd[2J\ufffd\ufffd\ufffdxxx")
    assert len(one(document)["name"]) == 200
    assert document["members"][0]["id"] == "a\ufffdb"


def dripping(connection: socket.socket, request: bytes) -> None:
    """Send an answer that takes for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.01)


def silent(connection: socket.socket, request: bytes) -> None:
    """Send nothing."""
    connection.recv(1)


def test_members_that_hang_or_mean_ill_hold_up_nobody() -> None:
    """Silence, a slow drip, ten megabytes, a bomb of brackets and garbage: one error each."""
    begun = time.monotonic()
    document = read(
        silent,
        dripping,
        http(b" " * (10 << 20)),
        http(b'{"a":' * 100_000),
        http(b"[]," * 500_000),
        b"\x00\x01\x02",
        policies(breaker(calls=1), own="good"),
        timeout=0.5,
    )
    assert time.monotonic() - begun < 3
    assert [each["error"] for each in document["members"]] == [
        "timed out",
        "timed out",
        "answered with more than 8 MiB",
        "answered with something that is no JSON",
        "answered with too much to take apart",
        "answered with something that is no HTTP",
        None,
    ]
    assert document["unreachable"] == 6
    assert one(document)["sums"] == {"calls": 1}


def test_a_name_that_is_looked_up_for_ever_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No timeout of a socket covers that."""
    gate = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow.example":
            gate.wait(30)
        return real("127.0.0.1" if host == "slow.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with canned({"/policies": http(policies(breaker()))}) as server:
        fleet = Fleet([f"http://slow.example:{server.port}", server.url], 0.3)
        for _ in range(3):
            begun = time.monotonic()
            members = fleet.read()["members"]
            assert [each["error"] for each in members] == ["timed out", None]
            assert time.monotonic() - begun < 2
        gate.set()


def test_many_dead_members_do_not_starve_the_living() -> None:
    """Whoever kept us waiting is asked last the next time."""
    with canned({"/policies": silent}) as dead, canned({"/policies": None}) as living:
        living.answers["/policies"] = http(policies(breaker(calls=1), own="good"))
        fleet = Fleet([f"{dead.url}/{at}" for at in range(150)] + [living.url], 0.2)
        for at in range(150):
            dead.answers[f"/{at}/policies"] = silent
        fleet._asking.most = 16
        for _ in range(30):
            begun = time.monotonic()
            document = fleet.read()
            assert time.monotonic() - begun < 3
            if document["members"][-1]["reachable"]:
                break
        document = fleet.read()
        assert document["members"][-1]["error"] is None
        assert document["unreachable"] == 150
        said = {each["error"] for each in document["members"]}
        assert said == {"timed out", "not asked in time: too many do not answer", None}


def test_an_error_of_our_own_is_one_of_that_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page about trouble must not be the next one; only the type is told."""

    def get(self: Any, path: str) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr("meshhook.observe.remote.client.Remote.get", get)
    document = Fleet(["http://a"]).read()
    assert document["members"][0]["error"] == "could not be asked: LookupError"


def test_no_secret_is_shown() -> None:
    """Neither of the URL nor the token, in the answer, the repr or an error."""
    with canned({"/policies": http(policies(breaker()))}) as server:
        url = server.url.replace("//", f"//me:{SECRET}@")
        nobody = f"http://{SECRET}@127.0.0.1:{free_port()}"
        fleet = Fleet([url, nobody], token=f"t{SECRET}", header="X-Key")
        document = fleet.read()
        assert f"X-Key: t{SECRET}".encode() in server.requests[0]
    assert document["members"][0]["reachable"]
    assert document["members"][0]["url"].startswith("http://***@127.0.0.1:")
    assert SECRET not in json.dumps(document) + repr(fleet)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": f"http://{SECRET}"}, "members must be a list of URLs"),
        ({"members": 7}, "members must be a list of URLs"),
        ({"members": [f"http://a?{SECRET}"]}, "has a query"),
        ({"members": [None]}, "is no text"),
        ({"members": [[SECRET]]}, "is no text"),
        ({"members": [f"http://a/{at}" for at in range(1_001)]}, "at most 1000 members, got 1001"),
        ({"members": [], "timeout": 0}, "timeout must be a duration of more than 0 seconds"),
        ({"members": [], "timeout": "5"}, "timeout must be a duration"),
        ({"members": [], "token": f"{SECRET}\n"}, "a token must be text"),
        ({"members": [], "header": "a b"}, "the name of the header"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    """They fail where they are written, and show no secret."""
    with pytest.raises(mh.ConfigurationError, match=re.escape(message)) as caught:
        Fleet(**settings)
    assert SECRET not in str(caught.value)


def test_a_fleet_of_nobody() -> None:
    """It is not an error: members may come."""
    document = Fleet([]).read()
    assert (document["members"], document["policies"], document["unreachable"]) == ([], [], 0)
    assert repr(Fleet([])) == "<Fleet>"


class Found:
    """Members that are found, as a shared store would find them."""

    def __init__(self, *urls: Any) -> None:
        self.listed: Any = urls

    def urls(self) -> Any:
        if isinstance(self.listed, Exception):
            raise self.listed
        if callable(self.listed):
            return self.listed()
        return self.listed


@pytest.fixture
def server() -> Iterator[Canned]:
    """Run a member."""
    with canned({"/policies": http(policies(breaker(), own="a"))}) as running:
        yield running


def test_members_may_come_and_go(server: Canned) -> None:
    """They are listed anew at each reading."""
    found = Found()
    fleet = Fleet(found)
    assert fleet.read()["members"] == []
    found.listed = (url for url in [server.url])
    assert [each["id"] for each in fleet.read()["members"]] == ["a"]
    found.listed = []
    assert fleet.read()["members"] == []


def test_members_that_cannot_be_listed_stay(
    server: Canned, caplog: pytest.LogCaptureFixture
) -> None:
    """While the list fails or hangs, those known are asked; the log tells the type only."""
    found = Found(server.url)
    fleet = Fleet(found, 0.3)
    fleet.read()
    gate = threading.Event()
    for listed in (ConnectionError(SECRET), 7, lambda: gate.wait(30)):
        found.listed = listed
        caplog.clear()
        begun = time.monotonic()
        assert [each["id"] for each in fleet.read()["members"]] == ["a"]
        assert time.monotonic() - begun < 2
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "cannot be listed" in record.getMessage()
        assert SECRET not in record.getMessage()
    gate.set()


def test_a_listed_member_that_is_no_url_is_passed_over(
    server: Canned, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, and does not show it."""
    fleet = Fleet(Found(f"http://a?{SECRET}", server.url, None, [SECRET]))
    assert [each["id"] for each in fleet.read()["members"]] == ["a"]
    assert len(caplog.records) == 3
    assert SECRET not in caplog.text


def test_several_may_read_at_the_same_time(server: Canned) -> None:
    """Threads share what is asked, and each gets the whole answer."""
    fleet = Fleet([server.url])
    documents: list[Any] = []
    threads = [threading.Thread(target=lambda: documents.append(fleet.read())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["members"][0]["id"] for each in documents] == ["a"] * 8


def test_real_processes_of_which_one_is_killed_and_one_hangs() -> None:
    """Those that answer are summed up; the others are said, and are back when they are."""
    with service() as one, service() as two, service() as three, service() as four:
        for each in (one, two, three, four):
            each.do("pay(); pay()")
        fleet = Fleet([each.url for each in (one, two, three, four)], 0.5)
        everybody = fleet.read()
        assert everybody["unreachable"] == 0
        payments = found(everybody, "payments")
        assert (payments["members"], payments["sums"]["calls"]) == (4, 8)
        assert (payments["status"], payments["critical"], payments["differing"]) == (
            *("ok", True, False),
        )
        assert found(everybody, "日本語サービス")["policy"] == "bulkhead"
        three.kill()
        four.pause()
        two.do("fail()")
        assert eventually(lambda: not fleet.read()["members"][1]["ready"])  # a snapshot is kept
        begun = time.monotonic()
        some = fleet.read()
        assert time.monotonic() - begun < 5
        assert [each["error"] for each in some["members"]] == [None, None, "refused", "timed out"]
        assert [each["ready"] for each in some["members"]] == [True, False, None, None]
        payments = found(some, "payments")
        assert (payments["members"], payments["sums"]["calls"]) == (2, 7)
        assert (payments["status"], payments["condition"]) == ("failing", "open")
        second = some["members"][1]["id"]
        assert payments["outliers"] == [{"id": second, "why": "open here, closed on 1"}]
        four.resume()
        three.start(three.port)
        assert eventually(lambda: fleet.read()["unreachable"] == 0)
        again = fleet.read()
        assert found(again, "payments")["sums"]["calls"] == 9


def test_one_process_shows_the_fleet_that_it_knows() -> None:
    """The table at `/fleet` is the same; who asks for too much of a name gets no secret."""
    with service() as one, service() as two:
        nobody = f"http://me:{SECRET}@127.0.0.1:{free_port()}"
        with mh.serve(port=0, fleet=[one.url, two.url, nobody]) as server:
            document = Remote(server.url, timeout=10).get("/fleet")
    assert [each["error"] for each in document["members"]] == [None, None, "refused"]
    assert found(document, "payments")["members"] == 2
    assert SECRET not in json.dumps(document)


def found(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the policy of a name."""
    (policy_there,) = (each for each in document["policies"] if each["name"] == name)
    return dict(policy_there)
