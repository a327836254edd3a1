"""Readings: what the servers say, again and again, in a thread of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from meshhook.commands.live.rows import Rates, Row, rows_of_fleet, rows_of_one
from meshhook.commands.words import told
from meshhook.health import Status
from meshhook.observe.fleet.counters import counters
from meshhook.observe.fleet.fleet import Fleet
from meshhook.observe.remote.asking import Asking
from meshhook.observe.remote.client import Remote, RemoteError
from meshhook.observe.remote.untrusted import Happening, read_happenings, read_policies

_RECENT = "/events?recent=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that there is to be seen at one moment. ``happened`` is when and what, in order.

    ``lost`` is what is wrong since ``lost_at``, when the last question had no answer: then the rest
    is as it was before.
    """

    title: str
    at: float = 0.0
    status: Status | None = None
    ready: bool | None = None
    rows: list[Row] = field(default_factory=list)
    happened: list[tuple[float, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    lost: str = ""
    lost_at: float = 0.0


class Reader(Protocol):
    """Whoever can take a picture."""

    title: str

    def read(self) -> Picture:
        """Ask for all that is to be seen; RemoteError if nothing can be."""


class OneReader:
    """Reads one process."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._rates = Rates()
        self.title = remote.url

    def read(self) -> Picture:
        """Ask for the policies, and for what has happened."""
        said = read_policies(self._remote.get("/policies"))
        self._rates.add(
            time.monotonic(), {at: counters(each) for at, each in said.policies.items()}
        )
        return Picture(
            title=f"{self._remote.url}  {said.id}",
            at=time.time(),
            status=said.status,
            ready=said.ready,
            rows=rows_of_one(said.policies.values(), self._rates),
            happened=[(each.time, line_of(each)) for each in _recent(self._remote)],
        )


class FleetReader:
    """Reads several processes."""

    def __init__(self, fleet: Fleet, remotes: list[Remote], timeout: float) -> None:
        self._fleet = fleet
        self._remotes = {each.url: each for each in remotes}
        self._timeout = timeout
        self._asking = Asking()
        self._rates = Rates()
        self.title = f"{len(remotes)} servers"

    def read(self) -> Picture:
        """Ask everybody for everything; who cannot be reached is in the notices."""
        document = self._fleet.read()
        reachable = [each for each in document["members"] if each["reachable"]]
        sums = {(each["policy"], each["name"]): each["sums"] for each in document["policies"]}
        self._rates.add(time.monotonic(), sums)
        return Picture(
            title=f"{len(reachable)} of {self.title}",
            at=document["time"],
            status=max((Status(each["status"]) for each in reachable), default=None),
            ready=all(each["ready"] for each in reachable) if reachable else None,
            rows=rows_of_fleet(document, self._rates),
            happened=self._happened([each["url"] for each in reachable]),
            notices=notices_of(document),
        )

    def _happened(self, urls: list[str]) -> list[tuple[float, str]]:
        questions = {url: partial(_recent, self._remotes[url]) for url in urls}
        answers = self._asking.all(questions, self._timeout)
        lines = [
            (each.time, f"{line_of(each)}  on {url}")
            for url, answer in answers.items()
            if isinstance(answer, list)
            for each in answer
        ]
        return sorted(lines)


def notices_of(document: dict[str, Any]) -> list[str]:
    """Say which members of a fleet cannot be reached, and which are different."""
    missing = [f"{each['url']}: {each['error']}" for each in document["members"] if each["error"]]
    # The same name as below, and one that can be asked and acted on.
    urls = {each["id"]: each["url"] for each in document["members"] if each["reachable"]}
    return missing + [
        f"{policy['policy']}/{policy['name']}: {each['why']}, on {urls.get(each['id'], each['id'])}"
        for policy in document["policies"]
        for each in policy["outliers"]
    ]


def _recent(remote: Remote) -> list[Happening]:
    """Return what has happened, nothing where that is not told."""
    try:
        return read_happenings(remote.get(_RECENT).get("events"))
    except (RemoteError, AttributeError):
        return []


def line_of(happening: Happening) -> str:
    """Say what happened to what."""
    return f"{happening.kind}/{happening.name}  {told(happening)}"


class Poller:
    """Takes a picture every so many seconds, in a thread of its own, until it is closed."""

    def __init__(self, reader: Reader, interval: float) -> None:
        self.picture = Picture(title=reader.title)
        self.taken = 0
        self._reader = reader
        self._interval = interval
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meshhook-reading", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more pictures."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            begun = time.monotonic()
            self.picture = self._next()
            self.taken += 1
            self._closed.wait(max(0.0, begun + self._interval - time.monotonic()))

    def _next(self) -> Picture:
        try:
            return self._reader.read()
        except RemoteError as error:
            why = str(error)
        except Exception as error:
            why = f"could not be read: {type(error).__name__}"
        last = self.picture
        return replace(last, lost=why, lost_at=last.lost_at or time.time())
