"""The arguments that all commands share which ask servers, and what becomes of their errors."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshhook.errors import ConfigurationError
from meshhook.settings import duration

if TYPE_CHECKING:
    from meshhook.observe.fleet.fleet import Fleet
    from meshhook.observe.remote.client import Remote, RemoteError

DONE, REFUSED, MISUSED, UNREACHABLE = 0, 1, 2, 3
"""Codes to exit with: 3 also where the answer is none of ours."""

TOKEN = "MESHHOOK_TOKEN"  # noqa: S105 - the name of it

CODES = (
    "Exits with 0 when all is well, 1 when a server refuses, 2 when the arguments make no sense, "
    "and 3 when a server cannot be reached or does not answer as meshhook does."
)
_SHORTEST, _LONGEST = 0.1, 3600.0
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_PATHS = ("/policies", "/events", "/metrics", "/fleet", "/health/live", "/health/ready", "/health")
"""Of endpoints, which are no part of a URL here."""


def add_arguments(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """Add where the servers are, and how to ask them."""
    about = "where a service shows its policies, such as http://127.0.0.1:9464"
    if several:
        parser.add_argument(
            "urls", metavar="URL", nargs="+", type=_url, help=f"{about}; several are one fleet"
        )
    else:
        # Shells cannot complete what comes after any number of words.
        parser.add_argument("urls", metavar="URL", nargs=1, type=_url, help=about)
        parser.add_argument(
            "--also",
            metavar="URL",
            action="append",
            default=[],
            type=_url,
            help="another process to do it in; may be given several times",
        )
    parser.add_argument(
        "--timeout", type=seconds, default=3.0, help="seconds to wait for an answer (default 3)"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"read the token for the servers from a file (default: the variable {TOKEN})",
    )
    parser.add_argument(
        "--token-header",
        metavar="NAME",
        help="send the token in this header (default: Authorization, as a bearer token)",
    )


def seconds(text: str, *, least: float = _SHORTEST, most: float = _LONGEST) -> float:
    """Read a duration off the command line: a number of seconds, or text such as 5m."""
    try:
        value = float(text)
    except ValueError:
        try:
            value = duration("it", text)
        except ConfigurationError:
            value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(
            f"must be {least:g} to {most:.0f} seconds, such as 30 or 5m, got {text!r}"
        )
    return value


def _url(text: str) -> str:
    from meshhook.observe.remote.address import Address

    try:
        Address.of(text)
    except ConfigurationError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def remotes(options: argparse.Namespace) -> list[Remote]:
    """Make the servers that the arguments name."""
    from meshhook.observe.remote.client import Remote

    token, header = _token(options), options.token_header
    urls = [*options.urls, *getattr(options, "also", ())]
    return [Remote(url, timeout=options.timeout, token=token, header=header) for url in urls]


def fleet(options: argparse.Namespace) -> Fleet:
    """Make the fleet that the arguments name."""
    from meshhook.observe.fleet.fleet import Fleet

    token, header = _token(options), options.token_header
    return Fleet(options.urls, options.timeout, token=token, header=header)


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file is None:
        return os.environ.get(TOKEN) or None
    try:
        return Path(options.token_file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigurationError(f"--token-file cannot be read: {why}") from None


def telling(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Have ``run`` tell its errors in one line, with the code to exit with."""

    @functools.wraps(run)
    def told(options: argparse.Namespace) -> int:
        from meshhook.observe.remote.client import RemoteError

        # Names may have characters that this terminal knows nothing of.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        try:
            return run(options)
        except RemoteError as exc:
            return complain_of(options, remotes(options)[0], exc)
        except ConfigurationError as exc:
            complain(options, str(exc))
            return MISUSED

    return told


def complain(options: argparse.Namespace, what: str) -> None:
    """Say what is wrong."""
    print(f"meshhook {options.command}: {what}", file=sys.stderr, flush=True)


def complain_of(options: argparse.Namespace, remote: Remote, error: RemoteError) -> int:
    """Say what is wrong with a server; return the code to exit with."""
    complain(options, in_words(remote, error))
    return code_of(error)


def in_words(remote: Remote, error: RemoteError) -> str:
    """Say what is wrong with a server, and what may be done about it."""
    return f"{remote.url}: {with_hint(remote, error)}"


def with_hint(remote: Remote, error: RemoteError) -> str:
    """Say what is wrong, and what may be done about it, without the URL."""
    status = getattr(error, "status", None)
    if status == _UNAUTHORIZED:
        return f"{error} (give a token by {TOKEN} or --token-file)"
    path = next(filter(remote.url.endswith, _PATHS), "")
    if status == _NOT_FOUND and path:
        return f"{error} (leave off {path}: the URL is where the endpoints are mounted)"
    return str(error)


def code_of(error: RemoteError) -> int:
    """Return the code for a server that said no, or for one that did not answer as ours do."""
    from meshhook.observe.remote.client import RefusedError

    return REFUSED if isinstance(error, RefusedError) and error.said else UNREACHABLE


def complain_of_members(options: argparse.Namespace, document: dict[str, Any]) -> int:
    """Say which members of a fleet could not be reached; return the code to exit with."""
    for member in document["members"]:
        if member["error"]:
            complain(options, f"{member['url']}: {member['error']}")
    return UNREACHABLE if document["unreachable"] else DONE


def print_json(document: Any) -> None:
    """Print one document; control characters are escaped in it."""
    print(json.dumps(document, indent=2))
