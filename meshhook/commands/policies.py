"""``meshhook policies``: the policies of one process or of many, as a table or as JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.commands.live.rows import Row

_HEADERS = ("status", "policy", "name", "condition", "calls", "fail", "p99", "rejected")
_NUMBERS = (4, 5, 6, 7)


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "policies",
        help="list the policies of running services",
        description=(
            "Lists the policies of a service, those in trouble first; several services are put "
            f"together as one fleet. {servers.CODES}"
        ),
    )
    servers.add_arguments(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--plain",
        action="store_true",
        help="for scripts: fields between tabs, no headers, shares from 0 to 1, seconds",
    )
    output.add_argument("--json", action="store_true", help="one document of JSON")


@servers.telling
def run(options: argparse.Namespace) -> int:
    """List the policies once."""
    from meshhook.commands.live.browsing import trouble
    from meshhook.commands.words import columns

    if options.json:
        return write_json(options)
    rows, code = _rows(options)
    rows.sort(key=trouble)
    if options.plain:
        for row in rows:
            print("\t".join(_plain(row)))
    else:
        print("\n".join(columns([_HEADERS, *map(_cells, rows)], right=_NUMBERS)))
    return code


def write_json(options: argparse.Namespace) -> int:
    """Write what one server says, or what several say put together."""
    if len(options.urls) > 1:
        document = servers.fleet(options).read()
        servers.print_json(document)
        return servers.complain_of_members(options, document)
    servers.print_json(servers.remotes(options)[0].get("/policies"))
    return servers.DONE


def _rows(options: argparse.Namespace) -> tuple[list[Row], int]:
    from meshhook.commands.live.rows import Rates, rows_of_fleet, rows_of_one
    from meshhook.observe.remote.untrusted import read_policies

    if len(options.urls) > 1:
        document = servers.fleet(options).read()
        code = servers.complain_of_members(options, document)
        return rows_of_fleet(document, Rates()), code
    said = read_policies(servers.remotes(options)[0].get("/policies"))
    return rows_of_one(said.policies.values(), Rates()), servers.DONE


def _plain(row: Row) -> list[str]:
    numbers = (row.calls, row.failures, row.p99, row.rejected)
    return [
        *(str(row.status), row.kind, row.name, row.condition),
        *("" if number is None else f"{number:.12g}" for number in numbers),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    from meshhook.commands.words import count, percent, seconds

    return (
        str(row.status),
        row.kind,
        row.name,
        row.condition,
        count(row.calls),
        percent(row.failures),
        seconds(row.p99),
        count(row.rejected),
    )
