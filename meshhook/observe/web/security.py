"""Who may ask: which hosts and sites, and whom ``authorize`` lets in.

A browser sends requests for any page that asks it to. So a request that changes something must come
from a page of ours, or from no page at all: the browser says so itself (``Sec-Fetch-Site``,
``Origin``), and what a foreign form can send (no JSON, no header of ours) is not enough. And where
only names of this machine are expected in ``Host``, a foreign name that was made to point here (DNS
rebinding) reads nothing.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from meshhook.colour import is_async
from meshhook.observe.control import LONGEST_AUTHOR
from meshhook.observe.web import failures
from meshhook.observe.web.exchange import JSON, Answer, Request, refused
from meshhook.settings import flag, function, wrong

Authorize: TypeAlias = Callable[[Request], "str | None"]
AsyncAuthorize: TypeAlias = Callable[[Request], Awaitable["str | None"]]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
HEADER, HEADER_VALUE = "X-Meshhook", "act"

FOREIGN = "the Host of the request is none of this server's; hosts= names those that are"
NOBODY_MAY = (
    "nothing can be changed here: no authorize= was given; pass a function that takes the request "
    "and returns the name of who acts, or None"
)


def checked_authorize(argument: str, value: Any, *, may_be_async: bool) -> Any:
    """Return ``value``, a function of the request, or None."""
    if value is None:
        return None
    if may_be_async and callable(value) and is_async(value):
        return value
    return function(argument, value, "request")


def checked_hosts(value: Any) -> frozenset[str]:
    """Return the names that are allowed in ``Host``, without ports."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong("hosts", value, "a list of host names, such as ['ops.example.org']")
    hosts = list(value)
    if any(isinstance(host, str) and "*" in host for host in hosts):
        raise wrong("hosts", value, "whole names, or be left out where any name will do")
    if not all(isinstance(host, str) and host.strip() for host in hosts):
        raise wrong("hosts", value, "a list of host names, such as ['ops.example.org']")
    return frozenset(_name_of(host) for host in hosts)


def is_loopback(address: str) -> bool:
    """Tell whether nobody but this machine reaches ``address``, which is no name any more."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # which Python does not look at before 3.13
    return ip.is_loopback


def _name_of(host: str) -> str:
    """Return the name in ``name:port``, ``[address]:port`` or one without a port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.removesuffix(".")


def checked_place(at: Any) -> str:
    """Return ``at``, a path that begins with a slash and does not end in one."""
    is_path = isinstance(at, str) and at.startswith("/") and not at.endswith("/")
    if not is_path or not at.isprintable():
        raise wrong("at", at, "a path such as '/meshhook', without a slash at the end")
    return str(at)


class Gate:
    """Refuses what comes from where it must not."""

    def __init__(self, hosts: Iterable[str] | None, *, trust_forwarded: bool) -> None:
        self._trusts = flag("trust_forwarded", trust_forwarded)
        self._hosts = None if hosts is None else checked_hosts(hosts)

    def _host(self, request: Request) -> str | None:
        if self._trusts and "x-forwarded-host" in request.headers:
            return request.headers["x-forwarded-host"].partition(",")[0].strip()
        return request.headers.get("host")

    def is_foreign(self, request: Request) -> bool:
        """Tell whether ``Host`` is none of ours. No browser leaves it out; who does is let in."""
        host = self._host(request)
        return self._hosts is not None and host is not None and _name_of(host) not in self._hosts

    def refuses_to_act(self, request: Request) -> Answer | None:
        """Refuse what a foreign page could have had sent."""
        headers = request.headers
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return refused(403, "the request comes from a page of another site")
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin, self._host(request)):
            return refused(
                403,
                "the Origin of the request is not its Host; behind a proxy, let it pass the Host "
                "on, or let it set X-Forwarded-Host and give trust_forwarded=True",
            )
        is_json = headers.get("content-type", "").partition(";")[0].strip().lower() == JSON
        if not is_json and headers.get(HEADER.lower()) != HEADER_VALUE:
            return refused(
                415, f"send Content-Type: {JSON}, or the header {HEADER}: {HEADER_VALUE}"
            )
        return None

    @staticmethod
    def _is_ours(origin: str, host: str | None) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or host is None:
            return False
        default = ":443" if parts.scheme == "https" else ":80"
        return parts.netloc.lower() == host.strip().lower().removesuffix(default)


def denied(request: Request, by: str) -> Answer:
    """Answer to somebody who was not let in by the argument that ``by`` names."""
    if "authorization" in request.headers:
        return refused(403, f"{by}= did not accept this Authorization")
    challenge = ("WWW-Authenticate", 'Bearer realm="meshhook"')
    return refused(401, f"who asks? send Authorization; {by}= wants to know", challenge)


def ask(authorize: Authorize, request: Request) -> str | None:
    """Return who asks, by the word of ``authorize``; None for nobody that is let in."""
    try:
        return _author(authorize(request))
    except Exception as error:
        _report(error)
        return None


async def ask_async(authorize: AsyncAuthorize, request: Request) -> str | None:
    """Do the same for an async ``authorize``."""
    try:
        return _author(await authorize(request))
    except Exception as error:
        _report(error)
        return None


def _author(answer: Any) -> str | None:
    if inspect.iscoroutine(answer):
        answer.close()
    if answer is None:
        return None
    if not isinstance(answer, str) or not answer.isprintable() or not answer.strip():
        failures.log.error(
            "authorize= must return the name of who acts as printable text, or None; it returned "
            "an object of the type %s, so the request is refused",
            type(answer).__qualname__,
        )
        return None
    return answer[:LONGEST_AUTHOR]


def _report(error: Exception) -> None:
    # Its text may hold what the request is authorised with, so only the place is told.
    failures.report("authorize= failed, so the request is refused", error)
