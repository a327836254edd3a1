"""The command line: what it takes, what it refuses, and what it exits with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from meshhook import cli
from meshhook.commands import demo
from meshhook.demo import script, store, store_server
from meshhook.demo.processes import DemoError
from meshhook.demo.report import make_report
from tests.demo.scenes import quiet_scene, write_charges


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Help is not an error."""
    assert cli.main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "must be 2 to 600 seconds, such as 30 or 5m, got '0'"),
        (["--seconds", "nan"], "must be 2 to 600 seconds, such as 30 or 5m, got 'nan'"),
        (["--seconds", "soon"], "must be 2 to 600 seconds, such as 30 or 5m, got 'soon'"),
        (["--store", "mysql"], "must be memory, redis or a redis:// URL, got 'mysql'"),
        (["--plain", "--json"], "not allowed with argument"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the argument and says what may be written; the code is 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def played(monkeypatch: pytest.MonkeyPatch, *orders: str, interrupted: bool = False) -> None:
    """Let the demo end at once with charges for ``orders``."""

    def play(plan: Any, choice: str, view: Any, *, dashboard: bool) -> Any:
        with quiet_scene() as scene:
            write_charges(scene, *orders)
            scene.update(0.0)
            view.begin(scene)
            view.end(scene)
            return make_report(scene, interrupted=interrupted)

    monkeypatch.setattr(script, "play", play)


@pytest.mark.parametrize(
    ("orders", "interrupted", "code"),
    [
        (["a", "b"], False, 0),
        (["a", "b"], True, 130),
        (["a", "a"], False, 1),
        (["a", "a"], True, 1),
    ],
)
def test_the_exit_code_tells_whether_every_promise_was_kept(
    orders: list[str], interrupted: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 when all were kept, 130 when interrupted, 1 when one was broken in any case."""
    played(monkeypatch, *orders, interrupted=interrupted)
    assert cli.main(["demo", "--plain"]) == code


def test_json_is_all_there_is_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report can be read by a program."""
    played(monkeypatch, "a")
    assert cli.main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kept"] is True
    assert report["charges"]["executed"] == 1
    assert report["policies"]["circuit_breaker/service"]["state"] == "closed"


class Terminal:
    """Standard output, if it were a terminal."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def test_a_terminal_gets_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where rich is installed a terminal shows the live table."""
    played(monkeypatch, "a")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    assert cli.main(["demo"]) == 0
    assert " healthy again " in capsys.readouterr().out


@pytest.mark.parametrize(("term", "hint"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_cannot_show_the_table_gets_lines(
    term: str, hint: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without rich the demo says how to get it; a dumb terminal is not told to."""
    played(monkeypatch, "a")
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    assert cli.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("A flaky service")
    assert ("pip install 'meshhook[cli]'" in err) == hint


def test_ctrl_c_before_the_play_is_an_interruption_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever Ctrl-C comes, the code is 130."""

    def play(*_: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "play", play)
    assert cli.main(["demo"]) == 130


def test_a_reader_that_went_away_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``meshhook demo | head`` ends quietly, with 0 as every command."""

    def play(*_: Any, **_options: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(script, "play", play)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["demo", "--plain"]) == 0


@pytest.mark.parametrize(
    "choice", ["memory", "redis", "redis://host", "rediss://host", "unix:///s"]
)
def test_stores_that_can_be_named(choice: str) -> None:
    """Memory, Redis, or where a Redis is."""
    assert store.is_choice(choice)


@pytest.mark.parametrize("choice", ["", "disk", "http://host", "redis:", "rediss"])
def test_stores_that_cannot_be_named(choice: str) -> None:
    """Anything else is refused before the demo begins."""
    assert not store.is_choice(choice)


def test_a_redis_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo says where it looked and what to do; it exits with 1."""
    assert cli.main(["demo", "--plain", "--store", "redis://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert "127.0.0.1:1" in error
    assert "use --store memory" in error


def test_a_url_that_cannot_be_used_is_an_error_of_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the store has against its URL is passed on."""
    assert cli.main(["demo", "--plain", "--store", "redis://127.0.0.1:many"]) == 1
    assert "meshhook demo: " in capsys.readouterr().err


def test_without_a_server_of_its_own_it_looks_for_the_usual_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``--store redis`` expects a server on localhost where no package brings one."""
    monkeypatch.setattr(store_server, "find_spec", lambda name: None)
    monkeypatch.setattr(store, "LOCAL_REDIS", "redis://127.0.0.1:1")
    with pytest.raises(DemoError, match=r"127\.0\.0\.1:1"), store.open_store("redis"):
        pass
