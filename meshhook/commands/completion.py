"""``meshhook completion``: what a shell needs to complete the commands and their options."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers

SHELLS = ("bash", "zsh", "tcsh")


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete the commands",
        description=(
            'Prints a script for a shell. For bash: put  eval "$(meshhook completion bash)"  '
            "into ~/.bashrc; for zsh, write it to a file named _meshhook in a folder of $fpath."
        ),
    )
    parser.add_argument("shell", choices=SHELLS)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    if not find_spec("shtab"):
        servers.complain(options, "this needs shtab: pip install 'meshhook[cli]'")
        return servers.REFUSED
    import shtab

    from meshhook.cli import make_parser

    print(shtab.complete(make_parser(), options.shell))
    return servers.DONE
