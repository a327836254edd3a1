"""``meshhook explain``: the policies around a function, and what is wrong with their order."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshhook.commands import Parsers


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "explain",
        help="show the policies around a function, and what is wrong with their order",
        description=(
            "Imports a module, and prints which policies a call of one of its functions passes, "
            "how long that takes at the most, and what defeats itself. Exits with 1 if anything "
            "does."
        ),
    )
    parser.add_argument("what", metavar="module:function", help="such as shop.prices:Shop.price")


def run(options: argparse.Namespace) -> int:
    """Explain a function; return 1 if its stack defeats itself."""
    from meshhook.composition.explanation import explain

    # As `python -m` has it: what is explained is found from where one stands.
    sys.path.insert(0, str(Path.cwd()))
    try:
        told = explain(pkgutil.resolve_name(options.what))
    except (ImportError, AttributeError, ValueError, TypeError) as exc:
        print(f"meshhook explain {options.what}: {exc}", file=sys.stderr)
        return 1
    print(told)
    return 1 if told.warnings else 0
