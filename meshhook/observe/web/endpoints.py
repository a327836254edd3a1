"""The endpoints: what each request is answered, whatever carries it.

:meth:`Endpoints.examine` decides without waiting what a request is: refused, or a visit that needs
the word of an ``authorize`` callable, which may be async. :meth:`Visit.answer` then reads what is
asked for. That may take a while where there are many policies, so an event loop has it done by a
thread; it never waits for a store or for a call.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from meshhook import forks
from meshhook.errors import ConfigurationError
from meshhook.events import Event, event_name
from meshhook.health import Status
from meshhook.observe.control import LONGEST, Control
from meshhook.observe.feed import Feed, Occurrence
from meshhook.observe.snapshot import Snapshots, instance
from meshhook.observe.web import files, routes, security
from meshhook.observe.web.conversation import Conversation, message
from meshhook.observe.web.exchange import (
    JSON,
    Answer,
    Request,
    as_json,
    refused,
    told,
    with_policies,
)
from meshhook.observe.web.wish import Wish
from meshhook.registry import Registry
from meshhook.settings import count, wrong

BODY_LIMIT: Final = 4096
FLEET_EVERY: Final = 1.0
LINES_KEPT: Final = 2000
BUSY: Final = ("Retry-After", "5")
TOO_MANY: Final = "too many clients follow the events already; max_streams= tells how many may"
NO_METRICS: Final = "metrics need prometheus_client: pip install 'meshhook[prometheus]'"
_PROBES: Final = frozenset({routes.LIVE, routes.READY})

_log = logging.getLogger("meshhook.web")


class Visit(NamedTuple):
    """A request that may be answered, once ``authorize`` has said who asks."""

    endpoints: Endpoints
    request: Request
    match: routes.Match
    authorize: Any
    """Whom to ask first, a function or an async one; None where everybody may."""

    def answer(self, author: str | None = None) -> Answer:
        """Answer the request; ``author`` is who asks, where somebody was asked."""
        if self.authorize is not None and author is None:
            return self.endpoints.turn_away(self)
        try:
            return self.endpoints.reply(self, author)
        except Exception as error:
            _log.error(
                "a request for %s could not be answered: %s",
                self.match.route.path,
                security.whereabouts(error),
            )
            return refused(500, "this could not be answered; the log says where it failed")


class Endpoints:
    """The endpoints over one registry, with the feed and the control that they share."""

    def __init__(
        self,
        registry: Registry | None,
        *,
        authorize: Any,
        authorize_read: Any,
        dashboard: bool,
        fleet: Any,
        hosts: Any,
        trust_forwarded: bool,
        max_streams: int,
        may_be_async: bool,
    ) -> None:
        self.registry = Registry.given(registry)
        self._authorize = security.checked_authorize(
            "authorize", authorize, may_be_async=may_be_async
        )
        self._authorize_read = security.checked_authorize(
            "authorize_read", authorize_read, may_be_async=may_be_async
        )
        self._gate = security.Gate(hosts, trust_forwarded=trust_forwarded)
        if not isinstance(dashboard, bool):
            raise wrong("dashboard", dashboard, "True or False")
        self._dashboard = dashboard
        self._fleet = _fleet_of(fleet)
        self.max_streams = count("max_streams", max_streams)
        self.feed = Feed()
        self.control = Control(self.registry)
        self.snapshots = Snapshots(self.registry, self.control)
        self.closing = threading.Event()
        self.renew_locks()
        self._changes: tuple[tuple[int | None, int], bytes] = (None, 0), b""
        self._lines: dict[int, bytes] = {}
        self.feed.start()
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            # From the start, and not only when a scrape happens to come to this worker.
            from meshhook.observe.multiprocess import start_multiprocess

            start_multiprocess(self.registry)
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child, which has none of the clients."""
        was_closed = self.closing.is_set()
        self.closing = threading.Event()
        if was_closed:
            self.closing.set()
        self._lock = threading.RLock()
        self._streams: set[Conversation] = set()  # guarded by _lock

    def close(self) -> None:
        """End all streams, and stop to listen. What is asked for later is answered still."""
        with self._lock:
            self.closing.set()
            streams = list(self._streams)
        for each in streams:
            each.wake()
        self.feed.close()

    # What a request is.

    def examine(self, request: Request) -> Answer | Visit:
        """Tell what a request is: one that is refused, or one to answer."""
        foreign = self._gate.refuses(request)
        if foreign is not None:
            return foreign
        method = "GET" if request.method == "HEAD" else request.method
        match = routes.match(method, request.path or "/")
        if match is None or (match.route in (routes.INDEX, routes.STATIC) and not self._dashboard):
            return refused(404, "there is no such path")
        if match.route.method != method:
            return refused(405, "this path cannot be used so", ("Allow", routes.allowed(match)))
        if match.route is routes.ACT:
            return self._examine_act(request, match)
        authorize = None if match.route in _PROBES else self._authorize_read
        return Visit(self, request, match, authorize)

    def _examine_act(self, request: Request, match: routes.Match) -> Answer | Visit:
        if self._authorize is None:
            return refused(403, security.NOBODY_MAY)
        if len(request.body) > BODY_LIMIT:
            return refused(413, f"the body may have {BODY_LIMIT} bytes at the most")
        foreign = self._gate.refuses_to_act(request)
        if foreign is not None:
            return foreign
        return Visit(self, request, match, self._authorize)

    def turn_away(self, visit: Visit) -> Answer:
        """Answer to somebody who was not let in."""
        return security.denied(visit.request)

    def reply(self, visit: Visit, author: str | None) -> Answer:
        """Answer a request of somebody who was let in."""
        return _REPLIES[visit.match.route](self, visit.request, visit.match.parts, author)

    # What is answered.

    def _index(self, request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        if not request.path and request.root:
            # The page names its parts from where it stands, so its address has to end in a slash.
            last = quote(request.root.rpartition("/")[2])
            return told({"moved": f"{last}/"}, 308, ("Location", f"{last}/"))
        page = files.served("index.html", request.headers.get("if-none-match", ""))
        return page or refused(404, "the page is not installed")

    def _static(self, request: Request, parts: tuple[str, ...], _author: str | None) -> Answer:
        file = files.served(parts[0], request.headers.get("if-none-match", ""))
        return file or refused(404, "there is no such file")

    def _live(self, _request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        return told({"status": "alive"})

    def _ready(self, _request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        health = self.registry.health().to_dict()
        short: dict[str, Any] = {"status": health["status"], "ready": health["ready"]}
        if self._authorize_read is None:
            # A probe has no name; what it may not read otherwise, it is not told here.
            at_fault = [at for at, one in health["policies"].items() if one["status"] == "failing"]
            short["failing"] = at_fault
        return told(short, 200 if short["ready"] else 503)

    def _health(self, _request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        return told(self.registry.health().to_dict())

    def _metrics(self, request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        from meshhook.observe.prometheus import exposition

        if find_spec("prometheus_client") is None:
            return refused(501, NO_METRICS)
        body, media_type = exposition(self.registry, request.headers.get("accept", ""))
        return Answer(headers=(("Content-Type", media_type),), body=body)

    def _policies(self, _request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        policies = self.snapshots.policies()
        health = {
            "status": max((each["status"] for each in policies), key=_gravity, default="ok"),
            "ready": not any(each["critical"] and each["status"] == "failing" for each in policies),
        }
        body = with_policies(policies, instance=instance(), health=health)
        return Answer(headers=(("Content-Type", JSON),), body=body + b"\n")

    def _policy(self, _request: Request, parts: tuple[str, ...], _author: str | None) -> Answer:
        kind, name = parts
        found = self.snapshots.policy(kind, name)
        if found is None:
            found = self.snapshots.policy(kind, name.removesuffix("/"))
        return told(found) if found is not None else refused(404, "there is no such policy")

    def _act(self, request: Request, parts: tuple[str, ...], author: str | None) -> Answer:
        kind, name, action = parts
        before = self.snapshots.policy(kind, name)
        if before is None:
            return refused(404, "there is no such policy")
        if action not in before["actions"]:
            return refused(400, f"what can be done here: {', '.join(before['actions'])}")
        try:
            seconds = _seconds_in(request.body)
            self.control.act(kind, name, action, seconds=seconds, author=author or "")
        except LookupError:
            return refused(404, "there is no such policy")
        except _BadBodyError as error:
            return refused(400, str(error))
        except ConfigurationError as error:
            # It tells of the action and the seconds, which are known to be what they should.
            return refused(400, str(error))
        return told(self.snapshots.policy(kind, name) or before)

    def _events(self, request: Request, _parts: tuple[str, ...], _author: str | None) -> Answer:
        kinds = None
        if request.query.get("kinds"):
            kinds = tuple(kind.strip() for kind in request.query["kinds"].split(","))
            known = {event_name(kind) for kind in Event.__subclasses__()}
            if not known >= set(kinds):
                return refused(400, f"kinds may name these: {', '.join(sorted(known))}")
        if request.query.get("recent") or JSON in request.headers.get("accept", ""):
            return told({"instance": instance(), "events": self.recent(kinds)})
        if self.closing.is_set():
            return refused(503, "the server stops", BUSY)
        return Answer(
            headers=(("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")),
            stream=Wish(kinds, request.query.get("stats", "") not in ("", "0")),
        )

    def _fleet_table(
        self, _request: Request, _parts: tuple[str, ...], _author: str | None
    ) -> Answer:
        if self._fleet is None:
            return refused(404, "no fleet= was given, so only this process is known here")
        return told(self._fleet.read())

    # Streams.

    def stats_since(self, token: int | None) -> tuple[bytes, int]:
        """Return the message of what has changed since a reading, and the number of this one."""
        changes = self.snapshots.changes_since(token)
        at = token, changes.token
        known, line = self._changes
        if known != at:
            # Those who come together are told the same, which is made once.
            told = changes.to_dict()
            line = message("stats", with_policies(told.pop("policies"), **told))
            self._changes = at, line
        return line, changes.token

    @property
    def greeting(self) -> dict[str, Any]:
        """What every client of the stream is told first, but for what has happened."""
        return {
            "instance": instance(),
            "can_act": self._authorize is not None,
            "fleet": self._fleet is not None,
        }

    def recent(self, kinds: tuple[str, ...] | None) -> list[dict[str, Any]]:
        """Return the notable things that happened of late, oldest first."""
        shown = [each.to_dict() for each in self.feed.recent()]
        return [each for each in shown if kinds is None or each["event"] in kinds]

    def line_of(self, occurrence: Occurrence) -> bytes:
        """Return an occurrence as JSON, which is made once for all clients."""
        line = self._lines.get(occurrence.id)
        if line is None:
            if len(self._lines) >= LINES_KEPT:
                self._lines.clear()
            line = self._lines[occurrence.id] = as_json(occurrence.to_dict())
        return line

    def converse(self, wish: Wish, wake: Callable[[], object]) -> Conversation | None:
        """Begin to tell a client; None if there are too many. ``wake`` is called on any thread."""
        with self._lock:
            if self.closing.is_set() or len(self._streams) >= self.max_streams:
                return None
            talk = Conversation(self, wish, wake)
            self._streams.add(talk)
        return talk

    def part(self, talk: Conversation) -> None:
        """Forget a client."""
        with self._lock:
            self._streams.discard(talk)

    @property
    def streams(self) -> int:
        """How many clients are being told."""
        return len(self._streams)


_Reply = Callable[[Endpoints, Request, tuple[str, ...], "str | None"], Answer]
_REPLIES: Final[Mapping[routes.Route, _Reply]] = {
    routes.INDEX: Endpoints._index,
    routes.STATIC: Endpoints._static,
    routes.HEALTH: Endpoints._health,
    routes.LIVE: Endpoints._live,
    routes.READY: Endpoints._ready,
    routes.METRICS: Endpoints._metrics,
    routes.POLICIES: Endpoints._policies,
    routes.POLICY: Endpoints._policy,
    routes.ACT: Endpoints._act,
    routes.EVENTS: Endpoints._events,
    routes.FLEET: Endpoints._fleet_table,
}
assert len(_REPLIES) == len(routes.ROUTES)  # noqa: S101


class _Table:
    """The table of a fleet, which is asked once for all who want it at the same time."""

    def __init__(self, fleet: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._monotonic = monotonic
        self._table: dict[str, Any] = {}
        self._until = -math.inf
        self.renew_locks()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        self._lock = threading.RLock()

    def read(self) -> dict[str, Any]:
        """Return the table, a second old at most."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._table = self._fleet.read()
                self._until = self._monotonic() + FLEET_EVERY
            return self._table


def _fleet_of(fleet: Any) -> _Table | None:
    if isinstance(fleet, str):
        # Not shown: it may hold a password.
        raise ConfigurationError("fleet must be a list of URLs, got one piece of text")
    if isinstance(fleet, (list, tuple, set, frozenset)) and not fleet:
        return None
    from meshhook.observe.fleet import Fleet

    return _Table(fleet if isinstance(fleet, Fleet) else Fleet(fleet))


def _gravity(status: str) -> int:
    return Status(status).gravity


class _BadBodyError(Exception):
    """What was posted cannot be used. What it says never repeats what was sent."""


def _seconds_in(body: bytes) -> float | None:
    """Return for how many seconds something shall be done; None for until it is undone."""
    if not body.strip():
        return None
    try:
        posted = json.loads(body)
    except (ValueError, RecursionError):
        raise _BadBodyError("the body is no JSON") from None
    if not isinstance(posted, dict) or posted.keys() - {"seconds"}:
        raise _BadBodyError('the body may be {"seconds": 60}, or empty, and nothing else')
    seconds = posted.get("seconds")
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise _BadBodyError("seconds must be a number")
    if not 0 < seconds <= LONGEST:
        raise _BadBodyError(f"seconds must be more than 0, and {LONGEST:.0f} at the most")
    return float(seconds)
