"""``meshhook health``: is it ready? For people and for scripts."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.observe.remote.client import Remote

NOT_READY = 1
_SERVICE_UNAVAILABLE = 503


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "health",
        help="ask whether services are ready",
        description=(
            "Asks services how they are. Exits with 0 when all are ready, 1 when one is not or "
            "refuses to say so, 2 when the arguments make no sense, and 3 when one cannot be "
            "reached or does not answer as meshhook does."
        ),
    )
    servers.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one document of JSON")


@servers.telling
def run(options: argparse.Namespace) -> int:
    """Ask all at the same time; return the worst of their codes."""
    from meshhook.observe.remote.asking import Asking

    remotes = servers.remotes(options)
    found = Asking().all(
        {each: partial(_ask, each) for each in remotes}, options.timeout * (len(remotes) // 64 + 1)
    )
    members = [_member(each, found[each]) for each in remotes]
    unreachable = sum(not each["reachable"] for each in members)
    ready = all(each["ready"] for each in members)
    if options.json:
        servers.print_json({"ready": ready, "unreachable": unreachable, "members": members})
    else:
        for member in members:
            _tell(member)
    if unreachable:
        return servers.UNREACHABLE
    return servers.DONE if ready else NOT_READY


def _ask(remote: Remote) -> dict[str, Any]:
    """Ask one; what it says is ours from here on."""
    from meshhook.observe.remote.untrusted import read_health

    said = remote.get("/health", allowed=(200, _SERVICE_UNAVAILABLE))
    return read_health(said)


def _member(remote: Remote, answer: Any) -> dict[str, Any]:
    from meshhook.observe.remote.asking import NotInTimeError
    from meshhook.observe.remote.client import RemoteError

    member: dict[str, Any] = {
        "url": remote.url,
        "reachable": True,
        "error": None,
        "status": None,
        "ready": False,
        "policies": {},
    }
    match answer:
        case dict():
            return member | answer
        case RemoteError():
            is_there = servers.code_of(answer) == servers.REFUSED
            return member | {"reachable": is_there, "error": servers.with_hint(remote, answer)}
        case NotInTimeError():
            return member | {"reachable": False, "error": "timed out"}
        case _:
            raise answer


def _tell(member: dict[str, Any]) -> None:
    from meshhook.commands.words import spaced

    if member["error"]:
        what = "says no" if member["reachable"] else "unreachable"
        print(f"{member['url']}  {what}: {member['error']}")
        return
    print(f"{member['url']}  {member['status']}, {'ready' if member['ready'] else 'NOT READY'}")
    for name, policy in member["policies"].items():
        if policy["status"] != "ok":
            critical = ", critical" if policy["critical"] else ""
            print(f"  {name}  {policy['status']}: {spaced(policy['condition'])}{critical}")
