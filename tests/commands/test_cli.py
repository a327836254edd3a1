"""The command line as a whole: one module a command, quick, and nothing of it in a program."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import meshhook.commands
from meshhook import cli
from meshhook.commands import act
from meshhook.observe import control
from tests.commands.terminal import COMMAND, PATH, run
from tests.observe.canned import canned, happening, http, policies, policy, stream

HELPERS = {"live", "servers", "words"}
"""Modules beside the commands that are none themselves."""


def test_every_module_is_a_command_and_every_command_a_module() -> None:
    """One that is not in the list would be seen by nobody."""
    modules = {each.name for each in pkgutil.iter_modules(meshhook.commands.__path__)}
    assert set(cli.COMMANDS) == modules - HELPERS
    assert len(cli.COMMANDS) == len(set(cli.COMMANDS))


def test_the_version() -> None:
    """It is that of the package."""
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout == f"meshhook {importlib.metadata.version('meshhook')}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_has_a_parser_and_something_to_run(name: str) -> None:
    """Under its own name, with a line of help and a description."""
    command = importlib.import_module(f"meshhook.commands.{name}")
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    command.add_to(commands)
    assert list(commands.choices) == [name]
    assert callable(command.run)
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"usage: meshhook {name}" in done.stdout
    assert "None" not in done.stdout


def loaded(program: str) -> set[str]:
    """Return which modules a program has imported in the end."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys, json; print(json.dumps([*sys.modules]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--version", 0),
        ("top --help", 0),
        ("config schema", 0),
        ("config check right.toml", 0),
        ("config check wrong.toml", 1),
        ("completion bash", 0),
        ("policies --json URL", 0),
        ("top --json URL", 0),
        ("top --once URL", 0),
        ("top --plain URL", 0),
        ("events URL", 0),
        ("events --follow URL", 0),
        ("health URL", 1),
    ],
)
def test_a_reader_that_went_away_is_no_error(command: str, code: int, tmp_path: Path) -> None:
    """The code is 0, as if all was read, or what a short answer has always; nothing is said."""
    (tmp_path / "right.toml").write_text("[defaults.retry]\nmax_attempts = 5\n")
    (tmp_path / "wrong.toml").write_text("[defaults.retry]\nmax_attempt = 5\n")
    event = {"instance": {"id": "a"}, "events": [happening()], "recent": [happening()]}
    answers = {
        "/policies": http(policies(*(policy(f"p{at}") for at in range(2_000)))),
        "/events": http(event),
        "/health": http({"status": "failing", "ready": False}),
    }
    if "--follow" in command:
        answers["/events"] = stream(("hello", event))
    with canned(answers) as server:
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [*COMMAND, *command.replace("URL", server.url).split()],
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": PATH, "PYTHONUNBUFFERED": ""},
                timeout=60,
                check=False,
            )
        finally:
            os.close(write)
    assert (done.returncode, done.stderr) == (code, "")


def test_what_can_be_done_is_what_policies_know() -> None:
    """The command has a list of its own, for it is read before anything is imported."""
    assert tuple(act._ACTIONS) == control._OF_A_BREAKER
    assert act._LONGEST == control.LONGEST


def test_the_help_says_what_the_actions_do() -> None:
    """A line for each; the rest is laid out as that of all commands."""
    done = run("act", "--help", COLUMNS="80")
    for action in act._ACTIONS.items():
        assert re.search(r"\n  {} +{}\n".format(*action), done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80


HEAVY = {"rich", "shtab", "http.client", "ssl", "urllib.request", "asyncio.base_events", "socket"}


def test_the_help_imports_nothing_heavy() -> None:
    """It is there at once."""
    before = loaded("import meshhook")
    after = loaded("from meshhook.cli import make_parser; make_parser().format_help()")
    added = after - before
    assert not added & HEAVY
    assert not [each for each in added if each.startswith("meshhook.observe")]


def test_a_program_imports_nothing_of_it() -> None:
    """Neither commands nor the observers nor what they need."""
    modules = loaded("from meshhook import *")
    assert not [each for each in modules if each.startswith(("meshhook.commands", "meshhook.cli"))]
    assert "meshhook.observe.fleet.fleet" not in modules
