"""The commands of ``meshhook``, one module each.

A command is a module with ``add_to(commands)``, which adds its parser, and ``run(options)``, which
does the work and returns the code to exit with; its name goes into ``COMMANDS`` of
:mod:`meshhook.cli`. What it needs it imports when it runs, so that ``meshhook --help`` is quick.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Parsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
