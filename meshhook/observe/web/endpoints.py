"""The endpoints: what each request is answered, whatever carries it.

:meth:`Endpoints.examine` decides without waiting what a request is: refused, or a visit that needs
the word of an ``authorize`` callable, which may be async. :meth:`Visit.answer` then reads what is
asked for. That may take a while where there are many policies, so an event loop has it done by a
thread; it never waits for a store or for a call.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from meshhook.observe.control import Control
from meshhook.observe.process_files import directory_from_environment
from meshhook.observe.snapshot import Snapshots
from meshhook.observe.web import routes, security
from meshhook.observe.web.audience import Audience
from meshhook.observe.web.exchange import Answer, Request, refused
from meshhook.observe.web.failures import report
from meshhook.observe.web.fleet_table import fleet_table
from meshhook.observe.web.orders import BODY_LIMIT
from meshhook.observe.web.replies import REPLIES
from meshhook.registry import Registry
from meshhook.settings import flag

TOO_MANY: Final = "too many clients follow the events already; max_streams= tells how many may"
_PROBES: Final = frozenset({routes.LIVE, routes.READY})


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
            report(f"a request for {self.match.route.path} could not be answered", error)
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
        self._dashboard = flag("dashboard", dashboard)
        self.fleet = fleet_table(fleet)
        self.control = Control(self.registry)
        if directory_from_environment() is not None:
            # From the start, and not only when a scrape happens to come to this worker.
            from meshhook.observe.multiprocess import start_multiprocess

            start_multiprocess(self.registry)
        self.audience = Audience(
            Snapshots(self.registry, self.control),
            max_streams,
            can_act=authorize is not None,
            fleet=self.fleet is not None,
        )

    @property
    def is_closed(self) -> bool:
        """Whether there are no streams."""
        return self.audience.closing.is_set()

    def open(self) -> None:
        """Serve streams, and listen, again after a close."""
        self.audience.open()

    def close(self) -> None:
        """End all streams, and stop to listen. What is asked for later is answered still."""
        self.audience.close()

    def examine(self, request: Request) -> Answer | Visit:
        """Tell what a request is: one that is refused, or one to answer."""
        method = "GET" if request.method == "HEAD" else request.method
        match = routes.match(method, request.path or "/")
        is_probe = match is not None and match.route in _PROBES
        if self._gate.is_foreign(request) and not is_probe:
            return refused(421, security.FOREIGN)
        if match is None or (match.route in (routes.INDEX, routes.STATIC) and not self._dashboard):
            return refused(404, "there is no such path")
        if match.route.method != method:
            allowed = routes.allowed(match)
            why = f"this path cannot be used so; it takes {allowed}"
            return refused(405, why, ("Allow", allowed))
        if match.route is routes.ACT:
            return self._examine_act(request, match)
        authorize = None if is_probe else self._authorize_read
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

    def may_name_policies(self, request: Request) -> bool:
        """Tell whether a probe, which has no name to give, may be told names: others may be too."""
        return self._authorize_read is None and not self._gate.is_foreign(request)

    def turn_away(self, visit: Visit) -> Answer:
        """Answer to somebody who was not let in."""
        acts = visit.match.route is routes.ACT
        return security.denied(visit.request, "authorize" if acts else "authorize_read")

    def reply(self, visit: Visit, author: str | None) -> Answer:
        """Answer a request of somebody who was let in."""
        return REPLIES[visit.match.route](self, visit.request, visit.match.parts, author)
