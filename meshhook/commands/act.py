"""``meshhook act``: force a circuit open, disable or reset a policy, in a running service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers

_ACTIONS = ("force_open", "disable", "metrics_only", "reset", "isolate")


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "act",
        help="force a circuit open, disable or reset a policy of a running service",
        description=(
            "Does something to one policy of a service, if the service knows who you are and lets "
            f"you: see --token-file. It is told as an event. {servers.CODES}"
        ),
    )
    servers.add_arguments(parser, several=False)
    parser.add_argument("policy", metavar="KIND/NAME", type=_policy, help="which policy")
    parser.add_argument("action", choices=_ACTIONS, help="what to do to it")
    parser.add_argument(
        "--seconds", type=servers.seconds, help="for how long; then it is as it was (default: on)"
    )
    parser.add_argument("--json", action="store_true", help="the policy afterwards, as JSON")


def _policy(text: str) -> tuple[str, str]:
    kind, _, name = text.partition("/")
    if not kind or not name:
        raise argparse.ArgumentTypeError(
            f"must be the kind and the name, such as circuit_breaker/payments, got {text!r}"
        )
    return kind, name


@servers.telling
def run(options: argparse.Namespace) -> int:
    """Do it, and show how the policy is then."""
    from meshhook.commands.words import seconds, spaced
    from meshhook.observe.untrusted import read_policy

    path = "/".join(quote(each, safe="") for each in (*options.policy, options.action))
    body: dict[str, Any] = {} if options.seconds is None else {"seconds": options.seconds}
    document = servers.remotes(options)[0].post(f"/policies/{path}", body)
    if options.json:
        servers.print_json(document)
        return servers.DONE
    policy = read_policy(document)
    until = f", for {seconds(policy.until)}" if policy.until is not None else ""
    print(f"{policy.kind}/{policy.name}  {policy.status}: {spaced(policy.condition)}{until}")
    return servers.DONE
