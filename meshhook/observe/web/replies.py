"""What each route answers to somebody who was let in. It may take a while; it waits for nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

from meshhook.errors import ConfigurationError
from meshhook.events import kinds_by_name
from meshhook.guessing import hint
from meshhook.health import Status
from meshhook.observe.instance import instance
from meshhook.observe.web import files, routes
from meshhook.observe.web.exchange import JSON, Answer, Request, refused, told, with_policies
from meshhook.observe.web.orders import BadOrderError, seconds_in
from meshhook.observe.web.wish import Wish

if TYPE_CHECKING:
    from meshhook.observe.web.endpoints import Endpoints

BUSY: Final = ("Retry-After", "5")
NO_METRICS: Final = "metrics need prometheus_client: pip install 'meshhook[prometheus]'"

_MOST_COMPARED = 1000
"""Names: looking for what was meant may take some milliseconds, and no more."""


def _index(
    _here: Endpoints, request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    if not request.path and request.root:
        # The page names its parts from where it stands, so its address has to end in a slash.
        last = quote(request.root.rpartition("/")[2])
        return told({"moved": f"{last}/"}, 308, ("Location", f"{last}/"))
    page = files.served("index.html", request.headers.get("if-none-match", ""))
    return page or refused(404, "the page is not installed")


def _static(
    _here: Endpoints, request: Request, parts: tuple[str, ...], _author: str | None
) -> Answer:
    file = files.served(parts[0], request.headers.get("if-none-match", ""))
    return file or refused(404, "there is no such file")


def _live(
    _here: Endpoints, _request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    return told({"status": "alive"})


def _ready(
    here: Endpoints, request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    health = here.registry.health()
    short: dict[str, Any] = {"status": str(health.status), "ready": health.ready}
    if here.may_name_policies(request):
        short["failing"] = health.failing
    return told(short, 200 if short["ready"] else 503)


def _health(
    here: Endpoints, _request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    return told(here.registry.health().to_dict())


def _metrics(
    here: Endpoints, request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    from meshhook.observe.prometheus import exposition

    if find_spec("prometheus_client") is None:
        return refused(501, NO_METRICS)
    body, media_type = exposition(here.registry, request.headers.get("accept", ""))
    return Answer(headers=(("Content-Type", media_type),), body=body)


def _policies(
    here: Endpoints, _request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    policies = here.audience.snapshots.policies()
    # By the rules of Health, without ten thousand objects that nobody looks at.
    health = {
        "status": max((each["status"] for each in policies), key=_gravity, default="ok"),
        "ready": not any(each["critical"] and each["status"] == "failing" for each in policies),
    }
    body = with_policies(policies, instance=instance(), health=health)
    return Answer(headers=(("Content-Type", JSON),), body=body + b"\n")


def _policy(
    here: Endpoints, _request: Request, parts: tuple[str, ...], _author: str | None
) -> Answer:
    kind, name = parts
    found = here.audience.snapshots.policy(kind, name)
    if found is None:
        found = here.audience.snapshots.policy(kind, name.removesuffix("/"))
    return told(found) if found is not None else _no_such(here, kind, name.removesuffix("/"))


def _no_such(here: Endpoints, kind: str, name: str) -> Answer:
    """Answer to a GET of what is no policy. What comes after one may be an action."""
    owner, _, action = name.rpartition("/")
    policy = here.audience.snapshots.policy(kind, owner)
    if policy is not None and action in policy["actions"]:
        return refused(405, "this is an action; use POST", ("Allow", "POST"))
    return _no_policy(here, kind, name)


def _act(here: Endpoints, request: Request, parts: tuple[str, ...], author: str | None) -> Answer:
    kind, name, action = parts
    before = here.audience.snapshots.policy(kind, name)
    if before is None:
        return _no_policy(here, kind, name)
    if action not in before["actions"]:
        return refused(400, f"what can be done here: {', '.join(before['actions'])}")
    try:
        seconds = seconds_in(request.body)
        here.control.act(kind, name, action, seconds=seconds, author=author or "")
    except LookupError:
        return refused(404, "there is no such policy")
    except BadOrderError as error:
        return refused(400, str(error))
    except ConfigurationError as error:
        # It tells of the action and the seconds, which are known to be what they should.
        return refused(400, str(error))
    # Of several workers behind one address this one alone has done it.
    after = here.audience.snapshots.policy(kind, name) or before
    return told({**after, "instance": instance()})


def _no_policy(here: Endpoints, kind: str, name: str) -> Answer:
    return refused(404, f"there is no such policy{_near(name, here.registry.of_kind(kind))}")


def _near(word: str, known: Collection[str]) -> str:
    """Say which of the names that there are may have been meant; nothing that was sent is told."""
    return "" if len(known) > _MOST_COMPARED else hint(word, known)


def _events(
    here: Endpoints, request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    kinds = None
    if request.query.get("kinds"):
        kinds = tuple(kind.strip() for kind in request.query["kinds"].split(","))
        known = kinds_by_name()
        for kind in kinds:
            if kind not in known:
                listed = ", ".join(sorted(known))
                return refused(
                    400,
                    f"there is no such kind{_near(kind, known)}; kinds may name these: {listed}",
                )
    if _is_asked_for("recent", request) or JSON in request.headers.get("accept", ""):
        return told({"instance": instance(), "events": here.audience.recent(kinds)})
    if here.is_closed:
        return refused(503, "the server stops", BUSY)
    return Answer(
        headers=(("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")),
        stream=Wish(kinds, _is_asked_for("stats", request)),
    )


def _is_asked_for(what: str, request: Request) -> bool:
    return request.query.get(what, "") not in ("", "0")


def _fleet(
    here: Endpoints, _request: Request, _parts: tuple[str, ...], _author: str | None
) -> Answer:
    if here.fleet is None:
        return refused(404, "no fleet= was given, so only this process is known here")
    return told(here.fleet.read())


def _gravity(status: str) -> int:
    return Status(status).gravity


Reply: TypeAlias = Callable[["Endpoints", Request, tuple[str, ...], "str | None"], Answer]
REPLIES: Final[Mapping[routes.Route, Reply]] = {
    routes.INDEX: _index,
    routes.STATIC: _static,
    routes.HEALTH: _health,
    routes.LIVE: _live,
    routes.READY: _ready,
    routes.METRICS: _metrics,
    routes.POLICIES: _policies,
    routes.POLICY: _policy,
    routes.ACT: _act,
    routes.EVENTS: _events,
    routes.FLEET: _fleet,
}
assert len(REPLIES) == len(routes.ROUTES)  # noqa: S101
