"""``meshhook act``: force a circuit open, disable or reset a policy, in a running service."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers

_LONGEST = 7 * 86_400.0
_ACTIONS = ("force_open", "disable", "metrics_only", "reset", "isolate")
"""What there may be, and for how long: a service says so if it has another mind."""


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "act",
        help="force a circuit open, disable or reset a policy of a running service",
        description=(
            "Does something to one policy of a service, if the service knows who you are and lets "
            "you: see --token-file. It is told as an event. Each URL is one process: behind an "
            "address with several workers one of them does it, and the others go on as they were. "
            f"{servers.CODES}"
        ),
    )
    servers.add_arguments(parser, several=False)
    parser.add_argument("policy", metavar="KIND/NAME", type=_policy, help="which policy")
    parser.add_argument("action", choices=_ACTIONS, help="what to do to it")
    parser.add_argument(
        "--seconds",
        type=partial(servers.seconds, most=_LONGEST),
        help="for how long, such as 300 or 5m, up to a week; then it is as it was (default: on)",
    )
    parser.add_argument(
        "--json", action="store_true", help="the policy afterwards, as JSON; one for each URL"
    )


def _policy(text: str) -> tuple[str, str]:
    kind, _, name = text.partition("/")
    if not kind or not name:
        raise argparse.ArgumentTypeError(
            f"must be the kind and the name, such as circuit_breaker/payments, got {text!r}"
        )
    return kind, name


@servers.telling
def run(options: argparse.Namespace) -> int:
    """Do it in each process, and show how the policy is then; return the worst of the codes."""
    from meshhook.observe.remote.client import RemoteError

    path = "/".join(quote(each, safe="") for each in (*options.policy, options.action))
    body: dict[str, Any] = {} if options.seconds is None else {"seconds": options.seconds}
    code = servers.DONE
    for remote in servers.remotes(options):
        try:
            document = remote.post(f"/policies/{path}", body)
            if options.json:
                servers.print_json(document)
            else:
                print(_told(document), flush=True)
        except RemoteError as exc:
            code = max(code, servers.complain_of(options, remote, exc))
    return code


def _told(document: Any) -> str:
    from meshhook.commands.words import seconds, spaced
    from meshhook.observe.remote.untrusted import instance_of, read_policy

    policy = read_policy(document)
    until = f", for {seconds(policy.until)}" if policy.until is not None else ""
    # An older service does not say who it is.
    where = f"  on {instance_of(document)}" if "instance" in document else ""
    return f"{policy.kind}/{policy.name}  {policy.status}: {spaced(policy.condition)}{until}{where}"
