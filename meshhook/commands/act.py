"""``meshhook act``: force a circuit open, disable or reset a policy, in a running service."""

from __future__ import annotations

import argparse
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.observe.remote.client import Remote

_LONGEST = 7 * 86_400.0
_ACTIONS = {
    "force_open": "a circuit refuses all calls",
    "disable": "a circuit lets all calls pass and protects nobody",
    "metrics_only": "a circuit lets all calls pass and goes on counting",
    "reset": "a policy is as new: a circuit is closed and judges again",
    "isolate": "a circuit refuses all calls, for --seconds",
}
"""What there may be, and for how long: a service says so if it has another mind."""

_MEANT = {"close": "reset", "enable": "reset", "open": "force_open"}
_NOT_FOUND = 404


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "act",
        help="force a circuit open, disable or reset a policy of a running service",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(
            "Does something to one policy of a service, if the service knows who you are and lets "
            "you: see --token-file. It is told as an event. Each URL is one process: behind an "
            "address with several workers one of them does it, and the others go on as they were. "
            f"{servers.CODES}",
            78,
        ),
        epilog="\n".join(["actions:", *(f"  {each:<21} {_ACTIONS[each]}" for each in _ACTIONS)]),
    )
    servers.add_arguments(parser, several=False)
    parser.add_argument("policy", metavar="KIND/NAME", type=_policy, help="which policy")
    parser.add_argument("action", choices=tuple(_ACTIONS), type=_action, help="what to do to it")
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
    return kind.replace("-", "_"), name


def _action(text: str) -> str:
    action = text.replace("-", "_")
    if action in _MEANT:
        meant = _MEANT[action]
        raise argparse.ArgumentTypeError(f"there is no {text!r}; {meant}: {_ACTIONS[meant]}")
    return action


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
            if getattr(exc, "status", None) == _NOT_FOUND:
                _complain_of_kind(options, remote)
    return code


def _complain_of_kind(options: argparse.Namespace, remote: Remote) -> None:
    """Say which kinds there are, where the one that was asked for is none of them."""
    from meshhook.guessing import hint
    from meshhook.observe.remote.client import RemoteError
    from meshhook.observe.remote.untrusted import read_policies

    try:
        there = read_policies(remote.get("/policies")).policies
    except RemoteError:
        return  # what is wrong with it was said
    kind, name = options.policy
    kinds = sorted({kind for kind, _ in there})
    if kinds and kind not in kinds:
        near = hint(f"{kind}/{name}", map("/".join, there))
        servers.complain(options, f"{remote.url}: the kinds there are {', '.join(kinds)}{near}")


def _told(document: Any) -> str:
    from meshhook.commands.words import seconds, spaced
    from meshhook.observe.remote.untrusted import instance_of, read_policy

    policy = read_policy(document)
    until = f", for {seconds(policy.until)}" if policy.until is not None else ""
    # An older service does not say who it is.
    where = f"  on {instance_of(document)}" if "instance" in document else ""
    return f"{policy.kind}/{policy.name}  {policy.status}: {spaced(policy.condition)}{until}{where}"
