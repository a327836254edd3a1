"""The command line as a whole: one module a command, quick, and nothing of it in a program."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import pkgutil
import subprocess
import sys

import pytest

import meshhook.commands
from meshhook import cli
from meshhook.commands import act
from meshhook.observe import control
from tests.commands.terminal import run

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


def test_what_can_be_done_is_what_policies_know() -> None:
    """The command has a list of its own, for it is read before anything is imported."""
    assert act._ACTIONS == control._OF_A_BREAKER
    assert act._LONGEST == control.LONGEST


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
