"""``meshhook top``: what the policies of one process or of many are doing, live in the terminal."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.commands.live.browsing import View
    from meshhook.commands.live.drawing import Canvas
    from meshhook.commands.live.reading import Poller, Reader

_ORDERS = ("trouble", "name", "policy", "rate", "failures", "p99", "rejected", "usage")
_GLANCE = 0.1


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "top",
        help="watch the policies of running services in the terminal",
        description=(
            "Shows the policies of a service, those in trouble first, and below them what has "
            "happened. Keys: q quits, s sorts, / filters, escape takes the filter away, arrows and "
            f"page keys move. {servers.CODES}"
        ),
    )
    servers.add_arguments(parser)
    parser.add_argument(
        "--interval", type=servers.seconds, default=1.0, help="seconds between readings (default 1)"
    )
    parser.add_argument(
        "--sort", choices=_ORDERS, default="trouble", help="by what (default trouble)"
    )
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="show what has this in its row"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--plain", action="store_true", help="write a table each time, instead of drawing in place"
    )
    output.add_argument("--json", action="store_true", help="write one document of JSON, and end")
    parser.add_argument("--once", action="store_true", help="write one table, and end")


@servers.telling
def run(options: argparse.Namespace) -> int:
    """Show what is going on until somebody has seen enough."""
    from meshhook.commands import policies

    if options.json:
        return policies.write_json(options)
    if not find_spec("rich"):
        servers.complain(options, "this needs rich: pip install 'meshhook[cli]'")
        return servers.REFUSED

    from meshhook.commands.live.browsing import View
    from meshhook.commands.live.drawing import Canvas
    from meshhook.commands.live.screen import is_capable

    view = View(options.sort, options.filter)
    canvas = Canvas()
    reader = _reader(options)
    if options.once:
        picture = reader.read()
        canvas.write(picture, view)
        return servers.UNREACHABLE if picture.status is None else servers.DONE
    poller = _start(reader, options.interval)
    try:
        if options.plain or not is_capable():
            return _write(canvas, poller, view)
        return _show(canvas, poller, view)
    finally:
        poller.close()


def _reader(options: argparse.Namespace) -> Reader:
    from meshhook.commands.live.reading import FleetReader, OneReader

    remotes = servers.remotes(options)
    if len(remotes) == 1:
        return OneReader(remotes[0])
    return FleetReader(servers.fleet(options), remotes, options.timeout)


def _start(reader: Reader, interval: float) -> Poller:
    from meshhook.commands.live.reading import Poller

    return Poller(reader, interval)


def _write(canvas: Canvas, poller: Poller, view: View) -> int:
    """Write each picture below the last one, until somebody presses Ctrl-C."""
    seen = 0
    while True:
        if poller.taken > seen:
            seen = poller.taken
            canvas.write(poller.picture, view)
            canvas.console.print()
        time.sleep(_GLANCE)


def _show(canvas: Canvas, poller: Poller, view: View) -> int:
    """Draw in place, and follow the keys."""
    from meshhook.commands.live.keyboard import Keyboard
    from meshhook.commands.live.screen import HUNG_UP, Screen

    keyboard = Keyboard()
    with Screen(canvas, keyboard) as screen:
        shown: object = None
        while screen.stopped is None and not view.quitting and not keyboard.gone:
            now = (poller.taken, canvas.size, int(time.monotonic()))
            if now != shown:
                shown = now
                canvas.show(poller.picture, view, keys=keyboard.there)
            for key in keyboard.keys(_GLANCE):
                view.press(key)
                shown = None
    if keyboard.gone:
        return HUNG_UP
    return servers.DONE if screen.stopped is None else screen.stopped
