"""policies, health, events and act: what they print, and with which code they exit."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshhook import cli
from meshhook.commands import events as events_command
from tests.commands.services import TOKEN, Service, service
from tests.commands.terminal import COMMAND, ROOT, columns, run
from tests.observe.canned import Canned, canned, happening, http, policies, policy, stream
from tests.servers import free_port
from tests.waiting import eventually

SECRET = "canary-9c0e"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """Run a server that answers as the test says."""
    monkeypatch.delenv("MESHHOOK_TOKEN", raising=False)
    with canned() as running:
        yield running


@pytest.fixture(scope="module")
def payments() -> Iterator[Service]:
    """Run a real service with an open circuit."""
    with service() as running:
        running.do("pay(); search(); search(); fail()")
        yield running


def nobody() -> str:
    """Return a URL where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


LISTED = [
    policy("a", calls=1_234_567, failures=5, rejected=0, latency={"p99": 0.0125}),
    policy("日本語", "bulkhead", "degraded", "full", admitted=10, rejected=3),
    policy("evil\x1b[2J\tname", "timeout", calls=0, failures=0, timed_out=0),
    policy("pay", status="failing", condition="forced_open", calls=4, failures=3, rejected=7)
    | {"until": 42.0},
]


def test_policies_are_a_table(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Those in trouble first; names may be wide or evil, and the columns are where they belong."""
    server.answers["/policies"] = http(policies(*LISTED))
    assert cli.main(["policies", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r" {2,}", " | ", line) for line in lines] == [
        "status | policy | name | condition | calls | fail | p99 | rejected",
        "failing | circuit_breaker | pay | forced open 42 s | 4 | 75 % | - | 7",
        "degraded | bulkhead | 日本語 | full | 10 | - | - | 3",
        "ok | circuit_breaker | a | closed | 1.2M | 0.0 % | 12.5 ms | 0",
        "ok | timeout | evil\ufffd[2J\ufffdname | closed | 0 | - | - | -",
    ]
    assert {columns(line) for line in lines} == {columns(lines[0])}


def test_policies_for_scripts(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Fields between tabs, numbers as they are; a name can bring no tab of its own."""
    server.answers["/policies"] = http(policies(*LISTED))
    assert cli.main(["policies", "--plain", server.url]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == [
        "failing",
        "circuit_breaker",
        "pay",
        "forced open 42 s",
        "4",
        "0.75",
        "",
        "7",
    ]
    assert rows[2][4:] == ["1234567", f"{5 / 1234567:.12g}", "0.0125", "0"]
    assert {len(row) for row in rows} == {8}


def test_policies_as_json_are_the_answer_itself(
    server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document, with control characters escaped."""
    document = policies(*LISTED)
    server.answers["/policies"] = http(document)
    for command in ("policies", "top"):
        assert cli.main([command, "--json", server.url]) == 0
        out = capsys.readouterr().out
        assert json.loads(out) == document
        assert "\x1b" not in out


def test_several_servers_are_a_fleet(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums in one table; who cannot be reached is said beside it, and in the code."""
    server.answers["/policies"] = http(policies(policy("pay", calls=3, failures=0), own="a"))
    gone = nobody()
    with canned({"/policies": http(policies(policy("pay", calls=4, failures=1), own="b"))}) as two:
        assert cli.main(["policies", "--plain", server.url, two.url]) == 0
        out = capsys.readouterr().out
        assert out.split("\t")[2:6] == ["pay", "closed", "7", f"{1 / 7:.12g}"]
        assert cli.main(["policies", "--json", server.url, two.url, gone]) == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["policies"][0]["sums"] == {"calls": 7, "failures": 1}
    assert document["unreachable"] == 1
    assert err == f"meshhook policies: {gone}: refused\n"


@pytest.mark.parametrize(
    "command",
    ["policies", "health", "events", "top --once", "top --json", "top --json --once"],
)
def test_nobody_there_is_code_3(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says where and why."""
    gone = nobody()
    assert cli.main([*command.split(), gone]) == 3
    out, err = capsys.readouterr()
    assert "refused" in out + err
    assert gone in out + err
    assert (out + err).count("\n") == 1


@pytest.mark.parametrize("command", ["policies", "health", "events", "top --once"])
def test_what_is_no_meshhook_is_code_3(
    command: str, server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a page of something else."""
    for path in ("/policies", "/health", "/events"):
        server.answers[path] = http(b"<html>", content_type="text/html")
    assert cli.main([*command.split(), server.url]) == 3
    out, err = capsys.readouterr()
    assert "answered with something that is no JSON" in out + err


@pytest.mark.parametrize("said", [{"error": "no such path"}, b"<html>"])
@pytest.mark.parametrize("path", ["policies", "health/ready", "health", "metrics", "fleet"])
@pytest.mark.parametrize("command", ["policies", "health", "events", "act"])
def test_a_url_of_an_endpoint_is_one_too_many(
    command: str, path: str, said: Any, server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is copied out of a browser or the documentation; all commands take it alike."""
    for asked in ("policies", "health", "events", "policies/retry/a/reset"):
        server.answers[f"/mesh/{path}/{asked}"] = http(said, 404)
    more = ["retry/a", "reset"] if command == "act" else []
    code = cli.main([command, f"{server.url}/mesh/{path}", *more])
    assert code == (3 if said == b"<html>" else 1)
    out, err = capsys.readouterr()
    assert (out + err).endswith(
        f" (leave off /{path}: the URL is where the endpoints are mounted)\n"
    )


def test_health_of_one_that_wants_a_token(
    server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is there, and says no: code 1, as with the other commands; nobody there is worse."""
    server.answers["/health"] = http({"error": "say who you are"}, 401)
    why = "401: say who you are (give a token by MESHHOOK_TOKEN or --token-file)"
    assert cli.main(["health", server.url]) == 1
    assert capsys.readouterr().out == f"{server.url}  says no: {why}\n"
    assert cli.main(["health", "--json", server.url]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ready"], document["unreachable"]) == (False, 0)
    assert document["members"][0] == {
        "url": server.url,
        "reachable": True,
        "error": why,
        "status": None,
        "ready": False,
        "policies": {},
    }
    server.answers["/health"] = http({"error": "not you"}, 403)
    assert cli.main(["health", server.url, nobody()]) == 3
    assert f"{server.url}  says no: 403: not you\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["policies", "events", "events --follow", "top --once"])
def test_who_is_refused_is_told_how_to_be_let_in(
    command: str, server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that wants a token is there, and says no: code 1."""
    for path in ("/policies", "/events"):
        server.answers[path] = http({"error": "say who you are"}, 401)
    assert cli.main([*command.split(), server.url]) == 1
    assert capsys.readouterr().err == (
        f"meshhook {command.partition(' ')[0]}: {server.url}: 401: say who you are "
        "(give a token by MESHHOOK_TOKEN or --token-file)\n"
    )


def test_the_token_comes_from_the_environment_or_a_file(
    server: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never from the arguments, which everybody on the machine can read; the file wins."""
    server.answers["/policies"] = http(policies())
    monkeypatch.setenv("MESHHOOK_TOKEN", "from-environment")
    assert cli.main(["policies", server.url]) == 0
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert cli.main(["policies", "--token-file", str(file), server.url]) == 0
    header = ["--token-header", "X-Key"]
    assert cli.main(["policies", *header, "--token-file", str(file), server.url]) == 0
    sent = [request.decode() for request in server.requests]
    assert "Authorization: Bearer from-environment\r\n" in sent[0]
    assert "Authorization: Bearer from-file\r\n" in sent[1]
    assert "X-Key: from-file\r\n" in sent[2]
    assert "Authorization" not in sent[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token-file", "/nowhere", "http://a"], "--token-file cannot be read: No such file"),
        (["--token-header", "a b", "http://a"], "the name of the header"),
    ],
)
def test_a_token_that_cannot_be_had_is_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked."""
    assert cli.main(["policies", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_token_that_no_header_carries_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the right one with a blank too many."""
    monkeypatch.setenv("MESHHOOK_TOKEN", f"{SECRET} x")
    assert cli.main(["policies", "http://a"]) == 2
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policies"], "the following arguments are required: URL"),
        (["policies", f"http://a?token={SECRET}"], "has a query or a fragment"),
        (["policies", f"ftp://{SECRET}"], "is neither http:// nor https://"),
        (["policies", "--timeout", "0", "http://a"], "must be 0.1 to 3600 seconds"),
        (["top", "--interval", "nan", "http://a"], "such as 30 or 5m, got 'nan'"),
        (["top", "--sort", "luck", "http://a"], "invalid choice: 'luck'"),
        (["top", "--json", "--plain", "http://a"], "not allowed with argument"),
        (["act", "http://a", "payments", "reset"], "such as circuit_breaker/payments, got 'pay"),
        (["act", "http://a", "/x", "reset"], "must be the kind and the name"),
        (["act", "http://a", "retry/x", "explode"], "invalid choice: 'explode'"),
        (["act", "http://a", "x/y", "close"], "there is no 'close'; reset: a policy is as new"),
        (["act", "http://a", "x/y", "open"], "there is no 'open'; force_open: a circuit refuses"),
        (["act", "http://a", "x/y", "isolate", "--seconds", "8d"], "must be 0.1 to 604800 seconds"),
    ],
)
def test_arguments_that_make_no_sense_are_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what may be written, and shows no URL, for it may have a password in it."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert SECRET not in err


def health(status: str = "ok", *, ready: bool = True, **listed: Any) -> bytes:
    """Make the answer at `/health`."""
    return http({"status": status, "ready": ready, "policies": listed})


def test_health_of_one_that_is_ready(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Code 0, also while something that is not critical is in trouble."""
    troubled = {"status": "failing", "condition": "forced_open", "critical": False}
    server.answers["/health"] = health("failing", **{"circuit_breaker/a\x1b": troubled})
    assert cli.main(["health", server.url]) == 0
    assert capsys.readouterr().out == (
        f"{server.url}  failing, ready\n  circuit_breaker/a\ufffd  failing: forced open\n"
    )


def test_health_of_one_that_is_not_ready(
    server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1, and what it is that is critical."""
    critical = {"status": "failing", "condition": "open", "critical": True}
    fine = {"status": "ok", "condition": "ok", "critical": True}
    server.answers["/health"] = health("failing", ready=False, a=critical, b=fine)
    assert cli.main(["health", server.url]) == 1
    assert capsys.readouterr().out == (
        f"{server.url}  failing, NOT READY\n  a  failing: open, critical\n"
    )


def test_health_of_several(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """The worst code counts; in JSON there is always the same document."""
    server.answers["/health"] = health("failing", ready=False)
    gone = nobody()
    assert cli.main(["health", server.url, gone]) == 3
    assert capsys.readouterr().out == (
        f"{server.url}  failing, NOT READY\n{gone}  unreachable: refused\n"
    )
    assert cli.main(["health", "--json", server.url, gone]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "ready": False,
        "unreachable": 1,
        "members": [
            {
                "url": server.url,
                "reachable": True,
                "error": None,
                "status": "failing",
                "ready": False,
                "policies": {},
            },
            {
                "url": gone,
                "reachable": False,
                "error": "refused",
                "status": None,
                "ready": False,
                "policies": {},
            },
        ],
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"status": "fine", "ready": True},
        {"status": "ok", "ready": 1},
        {"status": "ok", "ready": True, "policies": []},
        {"status": "ok", "ready": True, "policies": {"a": 7}},
        {"status": "ok", "ready": True, "policies": {"a": {"status": "ok"}}},
    ],
)
def test_health_that_is_none_of_ours(odd: Any, server: Canned) -> None:
    """It is not taken for a yes."""
    server.answers["/health"] = http(odd)
    assert cli.main(["health", server.url]) == 3


def test_health_of_a_service_that_hangs(payments: Service) -> None:
    """A stopped process accepts connections: code 3 after the timeout, and well again later."""
    payments.pause()
    begun = time.monotonic()
    try:
        done = run("health", "--timeout", "0.3", payments.url, payments.url + "/x")
    finally:
        payments.resume()
    assert done.returncode == 3
    assert done.stdout.count("unreachable: timed out") == 2
    assert time.monotonic() - begun < 10
    assert run("health", payments.url).returncode == 1


def test_health_of_a_name_that_is_looked_up_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No timeout of a socket covers that."""
    gate = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        gate.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert cli.main(["health", "--timeout", "0.1", "http://slow.example"]) == 3
    assert capsys.readouterr().out == "http://slow.example  unreachable: timed out\n"
    gate.set()


def test_a_real_service_answers_all_of_it(payments: Service) -> None:
    """A critical circuit is open, and everything that is asked says so."""
    done = run("health", payments.url)
    assert done.returncode == 1
    assert "circuit_breaker/payments  failing: open, critical" in done.stdout
    lines = run("policies", payments.url).stdout.splitlines()
    assert re.search(r"failing +circuit_breaker +payments +open [\d.]+ s +4 +75 % .* 0", lines[1])
    assert any("日本語サービス" in line for line in lines)
    events = run("events", payments.url)
    assert "circuit_breaker/payments  circuit changed: closed -> open" in events.stdout
    document = json.loads(run("policies", "--json", payments.url).stdout)
    assert document["health"] == {"status": "failing", "ready": False}
    for secret in ("canary", TOKEN):
        assert secret not in json.dumps(document) + events.stdout


def test_acting_on_a_real_service() -> None:
    """With the right token it is done and shown; without, it is refused and not done."""
    with service() as running:
        at = ["act", running.url, "circuit_breaker/payments"]
        done = run(*at, "force_open", "--seconds", "1m", MESHHOOK_TOKEN=TOKEN)
        assert done.returncode == 0
        assert re.fullmatch(
            r"circuit_breaker/payments  failing: forced open, for (60|59\.\d) s  on \S+:\d+:\d+\n",
            done.stdout,
        )
        told = json.loads(run("policies", "--json", running.url).stdout)["policies"]
        assert (
            next(each for each in told if each["name"] == "payments")["condition"] == "forced_open"
        )
        refused = run(*at, "reset", MESHHOOK_TOKEN="wrong")
        assert refused.returncode == 1
        assert "403" in refused.stderr
        unknown = run("act", running.url, "retry/nobody", "reset", MESHHOOK_TOKEN=TOKEN)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "there is no such policy" in unknown.stderr
        near = run("act", running.url, "circuit_breaker/paymnts", "reset", MESHHOOK_TOKEN=TOKEN)
        assert "did you mean 'payments'?" in near.stderr
        again = run(*at, "reset", "--json", MESHHOOK_TOKEN=TOKEN)
        assert json.loads(again.stdout)["condition"] == "closed"
        events = run("events", running.url).stdout
        assert "force open by olga for 60 s" in events
        assert TOKEN not in done.stdout + refused.stderr + events
    gone = run(*at, "reset", MESHHOOK_TOKEN=TOKEN)
    assert (gone.returncode, "refused" in gone.stderr) == (3, True)


def test_names_are_sent_as_they_are(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """A name may have slashes and be of any script."""
    path = "/policies/retry/a%2Fb%20%C3%BC%3F/reset"
    server.answers[path] = http(policy("a/b ü?", "retry"))
    assert cli.main(["act", server.url, "retry/a/b ü?", "reset"]) == 0
    assert capsys.readouterr().out == "retry/a/b ü?  ok: closed\n"
    assert server.requests[0].endswith(b"{}")


def test_kinds_and_actions_may_have_dashes(server: Canned) -> None:
    """As options have them; names are taken as they are."""
    server.answers["/policies/circuit_breaker/a-b/force_open"] = http(policy("a-b"))
    assert cli.main(["act", server.url, "circuit-breaker/a-b", "force-open"]) == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "breaker",
            "the kinds there are circuit_breaker, retry; did you mean 'circuit_breaker/p'?",
        ),
        ("nope", "the kinds there are circuit_breaker, retry"),
        ("retry", None),
    ],
)
def test_a_kind_that_is_not_there(
    kind: str, said: str | None, server: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are there are named; of names of a kind that is there the service tells itself."""
    server.answers["/policies"] = http(policies(policy("p"), policy("x", "retry")))
    server.answers[f"/policies/{kind}/p/reset"] = http({"error": "no such policy"}, 404)
    assert cli.main(["act", server.url, f"{kind}/p", "reset"]) == 1
    lines = ["404: no such policy", *([said] if said else [])]
    assert capsys.readouterr().err.splitlines() == [
        f"meshhook act: {server.url}: {line}" for line in lines
    ]


def test_acting_on_several(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of them does it, says who it is, and the worst of the codes is told."""
    path = "/policies/retry/stock/reset"
    gone = nobody()
    with canned() as two:
        server.answers[path] = http(policy("stock", "retry") | {"instance": {"id": "a"}})
        two.answers[path] = http(policy("stock", "retry") | {"instance": {"id": "b"}})
        what = ["retry/stock", "reset"]
        act = ["act", "--also", gone, server.url, *what, "--also", two.url]
        assert cli.main(act) == 3
        out, err = capsys.readouterr()
        assert out == "retry/stock  ok: closed  on a\nretry/stock  ok: closed  on b\n"
        assert err == f"meshhook act: {gone}: refused\n"
        two.answers[path] = http({"error": "not allowed"}, 403)
        assert cli.main(["act", "--json", server.url, *what, "--also", two.url]) == 1
    assert json.loads(capsys.readouterr().out)["instance"] == {"id": "a"}


def test_events_are_lines(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """In order of time; each says what happened in words."""
    no = {"old": None, "new": None}
    why = "problems 2, told in the log meshhook.configuration, or by reload()"
    server.answers["/events"] = http(
        {
            "instance": {"id": "a"},
            "events": [
                happening(1),
                happening(2, event="call_rejected", old=None, new=None, retry_after=2.5),
                happening(3, name="\x1b]0;evil\x07", old="half_open", new="closed", reason="ok"),
                happening(4, event="operator_acted", action="disable", author="me", seconds=None),
                happening(5, event="configuration_rejected", reason="", problems=2, **no),
                happening(6, event="odd", old=None, new=None, reason="", keyed=True, x=10.0**9),
            ],
        }
    )
    assert cli.main(["events", server.url]) == 0
    lines = [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "circuit_breaker/payments  circuit changed: closed -> open, consecutive failures",
        "circuit_breaker/payments  call rejected: consecutive failures, retry after 2.5",
        "circuit_breaker/\ufffd]0;evil\ufffd  circuit changed: half open -> closed, ok",
        "circuit_breaker/payments  disable by me",
        f"circuit_breaker/payments  configuration rejected: {why}",
        "circuit_breaker/payments  odd: keyed, x 1000000000",
    ]


def test_events_of_several(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """Put in order of time, with the URL; in JSON with the instance, as sent, and escaped."""
    server.answers["/events"] = http({"instance": {"id": "a"}, "events": [happening(3, x="\x1b")]})
    with canned() as two:
        two.answers["/events"] = http({"instance": {"id": "b"}, "events": [happening(2)]})
        gone = nobody()
        assert cli.main(["events", server.url, two.url, gone]) == 3
        out, err = capsys.readouterr()
        assert [line.rpartition("  ")[2] for line in out.splitlines()] == [
            f"on {two.url}",
            f"on {server.url}",
        ]
        assert err == f"meshhook events: {gone}: refused\n"
        kinds = ["--kinds", "circuit_changed,call_rejected"]
        assert cli.main(["events", "--json", *kinds, server.url]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == {"instance": "a", **happening(3, x="\x1b")}
    assert "\x1b" not in out
    assert b"/events?recent=1&kinds=circuit_changed,call_rejected " in server.requests[-1]
    assert cli.main(["events", "--notable", server.url]) == 0
    assert b"&kinds=circuit_changed," in server.requests[-1]
    assert b"operator_acted" in server.requests[-1]
    assert b"call_rejected" not in server.requests[-1]


def test_events_that_nobody_remembers(server: Canned, capsys: pytest.CaptureFixture[str]) -> None:
    """That there are none is no news of them; kinds of other versions may be anything."""
    server.answers["/events"] = http({"instance": {"id": "a"}, "events": []})
    kinds = "circuit_changed,call_failed,new_thing, call_retried"
    assert cli.main(["events", "--kinds", kinds, server.url]) == 0
    said = "not remembered, so give --follow to see them: call_failed, call_retried"
    assert capsys.readouterr() == ("", f"meshhook events: {said}\n")
    for quiet in ([], ["--kinds", "circuit_changed"], ["--notable"]):
        assert cli.main(["events", *quiet, server.url]) == 0
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "odd",
    [
        {"events": {}},
        {"events": [7]},
        {"events": [happening() | {"time": "now"}]},
        {"events": [happening() | {"time": 10.0**17}]},
        {"events": [happening() | {"time": -1}]},
        {"events": [happening() | {"name": None}]},
        {"events": [happening() | {"id": -1}]},
        {"events": [happening() | {"x": {}}]},
        {"events": [], "instance": 7},
    ],
)
def test_events_that_are_none_of_ours(odd: Any, server: Canned) -> None:
    """Nothing of them is printed."""
    server.answers["/events"] = http({"instance": {"id": "a"}} | odd)
    assert cli.main(["events", server.url]) == 3


def follow(server: Canned, monkeypatch: pytest.MonkeyPatch, *connections: bytes) -> None:
    """Let the stream be these connections one after the other, and then refuse."""
    monkeypatch.setattr(events_command, "_PAUSES", (0.001,))
    waiting = list(connections)

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(waiting.pop(0) if waiting else http({"error": "enough"}, 403))

    server.answers["/events"] = answer


def hello(*recent: Any, own: str = "a") -> tuple[str, Any]:
    """Make the first message of a stream."""
    return "hello", {"instance": {"id": own}, "recent": list(recent)}


def more(*events: Any, dropped: int = 0) -> tuple[str, Any]:
    """Make a message with events."""
    return "events", {"events": list(events), "dropped": dropped}


def test_following_events(
    server: Canned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has happened, then what happens; after a lost link nothing is told twice.

    A process that was started anew counts from the beginning.
    """
    follow(
        server,
        monkeypatch,
        stream(hello(happening(1), happening(2)), more(happening(3)), more(dropped=7)),
        stream(hello(happening(2), happening(3), happening(4)), ("odd", {}), more(happening(5))),
        stream(hello(happening(1), own="b"), more(happening(2))),
        stream(end=b"event: hello\ndata: {\n\n"),
        stream(hello(), more({})),
        http({"error": "too many"}, 503),
    )
    assert cli.main(["events", "--follow", "--json", server.url]) == 1
    out, err = capsys.readouterr()
    told = [(each["instance"], each["id"]) for each in map(json.loads, out.splitlines())]
    assert told == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 1), ("b", 2)]
    assert "7 more events were not sent" in err
    assert err.count("link lost (the server ended the stream), trying again") == 3
    assert f"{server.url}: linked again\n" in err
    assert err.count("linked again, now to b\n") == 1
    assert err.splitlines()[-1].endswith("403: enough")
    assert len(server.requests) == 7


def brief(*messages: tuple[str, Any], retry: int = 0) -> bytes:
    """Make a stream that says when to come back, and ends at once."""
    head, _, body = stream(*messages).partition(b"\r\n\r\n")
    return head + b"\r\n\r\nretry: %d\n" % retry + body


def test_workers_that_take_turns_tell_nothing_twice(
    server: Canned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short streams come of one worker or of another; that is how it is, and no lost link."""
    follow(
        server,
        monkeypatch,
        brief(hello(happening(1), happening(2), own="a")),
        brief(hello(happening(1), own="b")),
        brief(hello(happening(1), happening(2), own="a")),
        brief(hello(happening(1), own="b")),
        brief(hello(happening(1), happening(2), happening(3), own="a")),
        brief(hello(own="a"), retry=10**8),
        brief(hello(happening(1), happening(2), own="b")),
        b"",
        brief(hello(happening(3), own="a")),
    )
    assert cli.main(["events", "--follow", "--json", server.url]) == 1
    out, err = capsys.readouterr()
    told = [(each["instance"], each["id"]) for each in map(json.loads, out.splitlines())]
    assert told == [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 2)]
    assert [line.removeprefix(f"meshhook events: {server.url}: ") for line in err.splitlines()] == [
        "link lost (the connection was lost), trying again",
        "linked again, now to a",
        "403: enough",
    ]


def test_of_workers_that_are_gone_nothing_is_kept(
    server: Canned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only of those that were there last: an address may have a new one every minute."""
    monkeypatch.setattr(events_command, "_MOST_INSTANCES", 2)
    owners = ("a", "b", "a", "c", "a", "b")
    follow(server, monkeypatch, *(brief(hello(happening(1), own=each)) for each in owners))
    assert cli.main(["events", "--follow", "--json", server.url]) == 1
    told = [json.loads(line)["instance"] for line in capsys.readouterr().out.splitlines()]
    assert told == ["a", "b", "c", "b"]


def test_following_a_real_service() -> None:
    """Events come as they happen; the service is killed and comes back, and so do its events."""
    running = Service()
    port = running.port
    follower = subprocess.Popen(
        [*COMMAND, "events", "--follow", "--json", running.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    lines: list[str] = []
    complaints: list[str] = []
    readers = [
        threading.Thread(target=lambda: lines.extend(iter(follower.stdout.readline, ""))),
        threading.Thread(target=lambda: complaints.extend(iter(follower.stderr.readline, ""))),
    ]
    for reader in readers:
        reader.start()

    def told(event: str, **fields: Any) -> bool:
        return any(
            each["event"] == event and fields.items() <= each.items()
            for each in map(json.loads, list(lines))
        )

    try:
        running.do("fail()")
        assert eventually(lambda: told("circuit_changed", new="open"))
        first = json.loads(lines[-1])["instance"]
        running.do("fail(1)")
        assert eventually(lambda: told("call_rejected"))
        running.kill()
        assert eventually(lambda: any("link lost" in each for each in complaints))
        running.start(port)
        running.do("fail()")
        assert eventually(lambda: json.loads(lines[-1])["instance"] != first)
        assert eventually(lambda: json.loads(lines[-1])["event"] == "circuit_changed")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
    finally:
        follower.kill()
        running.kill()
        for reader in readers:
            reader.join()
        follower.wait()
        for pipe in (follower.stdout, follower.stderr):
            pipe.close()
    assert not any("Traceback" in each for each in complaints)


def test_a_terminal_that_knows_few_characters(server: Canned) -> None:
    """What it cannot show is a question mark, and no traceback."""
    server.answers["/policies"] = http(policies(policy("日本語")))
    done = run("policies", server.url, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert " ??? " in done.stdout


def test_a_reader_that_went_away(server: Canned) -> None:
    """``meshhook policies | head -1`` ends quietly."""
    server.answers["/policies"] = http(policies(*(policy(f"p{at}") for at in range(5_000))))
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} policies --plain {server.url} | head -1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout == "ok\tcircuit_breaker\tp0\tclosed\t\t\t\t\n"
    assert done.stderr == ""
