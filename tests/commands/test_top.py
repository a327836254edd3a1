"""``meshhook top`` in real terminals, on real services: what it shows, and how it leaves."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshhook import cli
from tests.commands.services import TOKEN, Service, service
from tests.commands.terminal import Terminal, columns, run, terminal
from tests.observe.canned import Canned, canned, happening, http, policies, policy
from tests.servers import free_port
from tests.waiting import eventually


@pytest.fixture
def many() -> Iterator[Canned]:
    """Run a server with more policies than fit on a screen."""
    listed = [policy(f"p{at:02}", calls=at, failures=0) for at in range(60)]
    with canned({"/policies": http(policies(*listed))}) as server:
        server.answers["/events"] = http({"events": [happening(at) for at in range(3)]})
        yield server


def first_row(text: str) -> str:
    """Return the name in the first row of the table."""
    lines = text.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("status"))
    return (lines[at + 1].split() + [""] * 3)[2]


@pytest.fixture
def top(many: Canned) -> Iterator[Terminal]:
    """Run top on it, and wait for the first picture."""
    with terminal("top", "--interval", "0.2", many.url) as running:
        running.until(lambda text: "p00" in text)
        yield running


def test_a_circuit_that_opens_is_seen() -> None:
    """In a real service: within two readings it is at the top, and below is what happened."""
    with service() as running, terminal("top", "--interval", "0.2", running.url) as top:
        text = top.until(lambda text: "payments" in text)
        assert "  ready  3 policies" in text
        running.do("pay(); fail()")
        text = top.until(lambda text: "NOT READY" in text and "->" in text)
        assert first_row(text) == "payments"
        assert re.search(r"failing! +circuit_breaker +payments +open [\d.]+ s", text)
        assert "circuit_breaker/payments  circuit changed: closed -> open, 3 failures" in text
        assert "日本語サービス" in text
        running.do("payments.reset()")
        top.until(lambda text: "  ready  " in text and "open -> closed" in text)
        top.press("q")
        assert top.ended() == 0
        assert top.is_restored()
        assert "canary" not in top.output


def test_rates_come_from_two_readings() -> None:
    """Calls a second, while they happen."""
    with service() as running, terminal("top", "--interval", "0.1", running.url) as top:
        top.until(lambda text: "payments" in text)
        running.do("for _ in range(1000): pay()")

        def rate(text: str) -> Any:
            found = re.search(r"payments +closed +([\d.,]+) ", text)
            return found and float(found[1].replace(",", "")) > 100

        top.until(rate)


def test_a_lost_link_is_said_and_found_again() -> None:
    """The service is killed, and comes back on its port: top says since when, and goes on."""
    running = Service()
    port = running.port
    try:
        with terminal("top", "--interval", "0.1", running.url) as top:
            top.until(lambda text: "payments" in text)
            running.kill()
            text = top.until(lambda text: "LINK LOST at" in text)
            assert "(refused); trying again" in text
            assert "payments" in text
            running.start(port)
            text = top.until(lambda text: "LINK LOST" not in text and "payments" in text)
            assert "  ready  " in text
            running.pause()
            top.press("s")
            begun = time.monotonic()
            top.until(lambda text: ", by name" in text)
            assert time.monotonic() - begun < 3  # keys do not wait for a service that hangs
            top.until(lambda text: "(timed out)" in text)
            running.resume()
            top.until(lambda text: "LINK LOST" not in text)
            top.press("q")
            assert top.ended() == 0
    finally:
        running.kill()


def test_nobody_there_from_the_beginning() -> None:
    """Top waits for the service to come."""
    port = free_port()
    with terminal("top", "--interval", "0.1", f"http://127.0.0.1:{port}") as top:
        top.until(lambda text: "LINK LOST" in text and "refused" in text)
        with service(port):
            top.until(lambda text: "payments" in text and "LINK LOST" not in text)


def test_a_fleet_with_one_member_killed_and_one_that_hangs() -> None:
    """Sums of those that answer, who is different, and who cannot be reached, and why."""
    with service() as one, service() as two, service() as three, service() as four:
        for each in (one, two, three, four):
            each.do("pay()")
        urls = [each.url for each in (one, two, three, four)]
        command = ["top", "--interval", "0.2", "--timeout", "0.5", *urls]
        with terminal(*command, size=(150, 30)) as top:
            text = top.until(lambda text: "4 of 4 servers" in text)
            assert re.search(r"payments +closed +4 of 4 ", text)
            three.kill()
            four.pause()
            two.do("fail()")
            text = top.until(lambda text: "2 of 4 servers" in text and "open on 1" in text)
            assert f"! {three.url}: refused" in text
            assert f"! {four.url}: timed out" in text
            assert "! circuit_breaker/payments: open here, closed on 1, on " in text
            assert re.search(r"failing! +circuit_breaker +payments +open on 1 +2 of 2 \*", text)
            assert f"closed -> open, 3 failures in a row  on {two.url}" in text
            four.resume()
            top.until(lambda text: "3 of 4 servers" in text)
            top.press("q")
            assert top.ended() == 0
            assert top.is_restored()


def test_a_service_behind_authorisation() -> None:
    """The token is taken from the environment, and is in no list of processes nor on the screen."""
    with service(private=True) as running:
        with terminal("top", running.url, MESHHOOK_TOKEN=TOKEN) as top:
            top.until(lambda text: "payments" in text)
            assert TOKEN not in Path(f"/proc/{top.process.pid}/cmdline").read_text()
            assert TOKEN not in top.output
        with terminal("top", running.url) as top:
            top.until(lambda text: "401" in text)


def test_keys_sort_filter_and_move(top: Terminal) -> None:
    """What is pressed is done at once."""
    assert top.is_raw()
    assert "1 to 17 of 60, by trouble" in top.until(lambda text: "by trouble" in text)
    top.press("s")
    top.until(lambda text: "by name" in text)
    top.press("\x1b[B\x1b[B")
    assert first_row(top.until(lambda text: "3 to 19 of 60" in text)) == "p02"
    top.press("\x1b[6~")
    top.until(lambda text: "19 to 35 of 60" in text)
    top.press("\x1b[F")
    assert "p59" in top.until(lambda text: "44 to 60 of 60" in text)
    top.press("/5")
    top.until(lambda text: "filter: 5_" in text)
    top.press("x\x7f\r")
    text = top.until(lambda text: "1 to 15 of 15" in text)
    assert "with '5' of 60" in text
    top.press("\x1b")
    top.until(lambda text: "1 to 17 of 60" in text)
    top.press("q")
    assert top.ended() == 0
    assert top.is_restored()


@pytest.mark.parametrize(("columns_", "lines"), [(150, 40), (60, 12), (30, 8), (10, 4), (100, 24)])
def test_the_picture_follows_the_size(top: Terminal, columns_: int, lines: int) -> None:
    """A terminal that is made larger or smaller is filled, and nothing is longer than it."""
    top.resize(columns_, lines)
    top.until(lambda text: len(text.splitlines()) == lines)
    time.sleep(0.3)
    top.read(0.2)
    assert len(top.screen) == lines
    assert max(columns(line) for line in top.screen) <= columns_
    assert top.process.poll() is None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_the_terminal_is_left_as_it_was(top: Terminal, number: signal.Signals, code: int) -> None:
    """Whatever ends it: its mode, its screen, its cursor."""
    assert not top.is_restored()
    top.send(number)
    assert top.ended() == code
    assert top.is_restored()
    assert "Traceback" not in top.output


def test_ctrl_c_in_the_terminal(top: Terminal) -> None:
    """The key is the signal."""
    top.press("\x03")
    assert top.ended() == 130
    assert top.is_restored()


@pytest.mark.parametrize("after", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_a_signal_while_it_begins(many: Canned, after: float) -> None:
    """Before, while and after the terminal is set."""
    with terminal("top", many.url) as top:
        top.read(after)
        top.send(signal.SIGTERM)
        assert top.ended() in (143, -signal.SIGTERM)
        assert top.is_restored()


def test_a_crash_leaves_the_terminal_as_it_was(many: Canned) -> None:
    """A bug in the drawing shows its traceback on a screen that can be read."""
    broken = "import meshhook.commands.live.drawing as d; d._foot = None; "
    with terminal("top", many.url, before=broken) as top:
        assert top.ended() == 1
        assert top.is_restored()
        assert "TypeError" in top.output.rpartition("\x1b[?1049l")[2]


def test_ctrl_z_gives_the_terminal_back(top: Terminal) -> None:
    """While top is stopped the terminal is the shell's; with fg it is top's again."""
    top.send(signal.SIGTSTP)
    assert eventually(lambda: "T" in status(top))
    assert top.is_restored()
    top.send(signal.SIGCONT)
    assert eventually(top.is_raw)
    top.press("s")
    top.until(lambda text: "by name" in text)
    top.press("q")
    assert top.ended() == 0
    assert top.is_restored()


def status(top: Terminal) -> str:
    """Return the state of the process."""
    return Path(f"/proc/{top.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_terminal_that_hangs_up(many: Canned) -> None:
    """The window is closed: top ends, and does not spin."""
    top = Terminal("top", many.url)
    top.until(lambda text: "p00" in text)
    os.close(top.fd)
    os.close(top._slave)
    assert top.process.wait(10) in (129, 1)


def test_a_terminal_that_hangs_up_without_a_signal(many: Canned) -> None:
    """Under nohup nothing tells of it, and still nobody looks: top asks the service no more."""
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    top = Terminal("top", many.url, before=before)
    top.until(lambda text: "p00" in text)
    os.close(top.fd)
    os.close(top._slave)
    assert top.process.wait(10) == 129


def test_names_do_nothing_to_the_terminal() -> None:
    """Escape sequences and changes of direction in names, events and errors are made harmless."""
    evil = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
    listed = [policy(f"{evil}a", "circuit_breaker", "failing", f"open{evil}")]
    with canned({"/policies": http(policies(*listed, own=f"id{evil}"))}) as server:
        told = happening(name=evil, reason=evil, new=evil, **{evil: evil})
        server.answers["/events"] = http({"events": [told]})
        with terminal("top", server.url) as top:
            top.until(lambda text: "\ufffd[2J\ufffd]0;owned\ufffd\ufffd\ufffd31m" in text)
            server.answers["/policies"] = http({"error": evil}, 500)
            top.until(lambda text: "LINK LOST" in text)
            top.press("q")
            assert top.ended() == 0
    for bad in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b"):
        assert bad not in top.output


def test_no_colours_where_none_are_wanted(many: Canned) -> None:
    """The same picture, without any colour."""
    with terminal("top", many.url, NO_COLOR="1") as top:
        top.until(lambda text: "p00" in text)
        top.press("q")
        assert top.ended() == 0
        assert not re.search(r"\x1b\[[\d;]*3[0-7][\d;]*m", top.output)


def test_a_dumb_terminal_gets_tables_below_each_other(many: Canned) -> None:
    """No sequence at all, and Ctrl-C ends it."""
    with terminal("top", "--interval", "0.1", many.url, TERM="dumb") as top:
        assert eventually(lambda: top.read(0.05) or top.output.count("meshhook top") >= 3)
        top.press("\x03")
        assert top.ended() == 130
        assert "\x1b" not in top.output
        assert "p59" in top.output


def test_without_a_terminal_tables_are_written(many: Canned) -> None:
    """Into a file or a pipe, and all rows of them; once with --once."""
    done = run("top", "--once", "--sort", "name", "--filter", "p1", many.url, COLUMNS="100")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[2] for line in lines[2:12]] == [f"p1{at}" for at in range(10)]
    assert "p20" not in done.stdout
    assert lines[-1].endswith("closed -> open, consecutive failures")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("how", [["--once"], ["--plain", "--once"]])
def test_without_a_terminal_nothing_is_cut(how: list[str]) -> None:
    """A file is as wide as it has to be, unless somebody says how wide, and has no more blanks."""
    name, reason = "shop.orders.<locals>." + "n" * 150, "r" * 190
    told = policy(name, condition="an_unusually_long_condition_of_later", failures=1, calls=2)
    event = {"instance": {"id": "a"}, "events": [happening(1, reason=reason)]}
    with canned({"/policies": http(policies(told)), "/events": http(event)}) as server:
        done = run("top", *how, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        title, head, row, _, happened = done.stdout.splitlines()
        assert server.url in title
        assert {"policy", "rate/s", "slow", "p50", "p99", "rejected", "used"} <= {*head.split()}
        assert name in row
        assert "an unusually long condition of later" in row
        assert happened.endswith(reason)
        assert len(row) < 400
        assert max(map(len, run("top", *how, server.url, COLUMNS="80").stdout.splitlines())) == 80


def test_keys_of_a_pipe_are_none(many: Canned) -> None:
    """Standard input may be anything while the picture is drawn in a terminal."""
    with terminal("top", many.url, keys=False) as top:
        top.until(lambda text: "p00" in text)
        top.read(0.3)
        assert "q quit" not in "\n".join(top.screen)
        top.send(signal.SIGTERM)
        assert top.ended() == 143
        assert top.is_restored()


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], many: Canned
) -> None:
    """JSON does not need it."""
    monkeypatch.setattr("meshhook.commands.top.find_spec", lambda name: None)
    assert cli.main(["top", many.url]) == 1
    assert "pip install 'meshhook[cli]'" in capsys.readouterr().err
    assert cli.main(["top", "--json", many.url]) == 0


def test_ten_thousand_policies() -> None:
    """They are read and drawn, and keys are followed."""
    listed = [policy(f"p{at:05}", calls=at, failures=0, window=None) for at in range(10_000)]
    with (
        canned({"/policies": http(policies(*listed))}) as server,
        terminal("top", server.url, size=(120, 40)) as top,
    ):
        top.until(lambda text: "10000 policies" in text)
        top.press("/p0999\r")
        top.until(lambda text: "1 to 10 of 10," in text)
        top.press("q")
        assert top.ended() == 0
