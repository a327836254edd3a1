"""The command line, ``meshhook`` or ``python -m meshhook``: each command is a module of its own."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = ("demo", "explain", "top", "policies", "events", "health", "act", "config", "completion")
"""In the order of the help: the modules of :mod:`meshhook.commands` that are commands."""

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the code to exit with.

    0: done, and nothing is wrong. 1: a promise was broken, a stack defeats itself, or the command
    could not be run. 2: the arguments make no sense. 3: a server cannot be reached. 130:
    interrupted. The help of each command says what its codes mean. A reader that went away, as
    ``head`` does, is no error.
    """
    code = 0
    try:
        try:
            code = _run(arguments)
        finally:
            # What is still to be written fails here, and not when the interpreter ends.
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; keep the interpreter from failing over it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _run(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from meshhook.observe.instance import version

        sys.stdout.write(f"meshhook {version() or 'of unknown version'}\n")
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    return int(options.run(options))


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; what it parses has ``run``, which runs the command."""
    parser = argparse.ArgumentParser(
        prog="meshhook", description="Resilience for Python functions: see it at work."
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name in COMMANDS:
        command = importlib.import_module(f"meshhook.commands.{name}")
        command.add_to(commands)
        commands.choices[name].set_defaults(run=command.run)
    return parser
