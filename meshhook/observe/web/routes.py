"""Which paths there are, and what each is for."""

from __future__ import annotations

from typing import Final, NamedTuple


class Route(NamedTuple):
    """One path, as it is written in the documentation. ``{name}`` may hold slashes."""

    method: str
    path: str


INDEX: Final = Route("GET", "/")
STATIC: Final = Route("GET", "/static/{file}")
HEALTH: Final = Route("GET", "/health")
LIVE: Final = Route("GET", "/health/live")
READY: Final = Route("GET", "/health/ready")
METRICS: Final = Route("GET", "/metrics")
POLICIES: Final = Route("GET", "/policies")
POLICY: Final = Route("GET", "/policies/{kind}/{name}")
ACT: Final = Route("POST", "/policies/{kind}/{name}/{action}")
EVENTS: Final = Route("GET", "/events")
FLEET: Final = Route("GET", "/fleet")

ROUTES: Final = (
    INDEX, STATIC, HEALTH, LIVE, READY, METRICS, POLICIES, POLICY, ACT, EVENTS, FLEET
)  # fmt: skip
_FIXED: Final = {route.path: route for route in ROUTES if "{" not in route.path}


class Match(NamedTuple):
    """What a path means: the route, and the parts that it leaves open."""

    route: Route
    parts: tuple[str, ...] = ()


def match(method: str, path: str) -> Match | None:
    """Return what ``path`` means, or None for nothing. HEAD has to be given as GET.

    Names are free: one may hold slashes and end in one. So of ``/policies/kind/...`` everything is
    the name, or with POST all but the last part. What is found may have another method: that path
    is there, and cannot be used so.
    """
    fixed = _FIXED.get(path) or _FIXED.get(path.rstrip("/"))
    if fixed is not None:
        return Match(fixed)
    if path.startswith("/static/"):
        return Match(STATIC, (path.removeprefix("/static/"),))
    if not path.startswith("/policies/"):
        return None
    kind, _, rest = path.removeprefix("/policies/").partition("/")
    if not kind or not rest:
        return None
    if method != "POST":
        return Match(POLICY, (kind, rest))
    name, _, action = rest.removesuffix("/").rpartition("/")
    return Match(ACT, (kind, name, action)) if name else Match(POLICY, (kind, rest))


def allowed(found: Match) -> str:
    """Return the methods that can be used with a path that means ``found``, for ``Allow``."""
    may_be_act = found.route is POLICY and "/" in found.parts[1].strip("/")
    return "GET, HEAD, POST" if may_be_act else "GET, HEAD"
