"""``meshhook events``: what has happened in running services, and with --follow what happens."""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshhook.commands import servers

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.observe.remote.client import Remote
    from meshhook.observe.remote.untrusted import Happening

_PAUSES = (0.5, 1.0, 2.0, 5.0)
_MOST_WAITING = 10_000
_MOST_INSTANCES = 1_000
"""Of one address: they are its workers, and those that came in their place."""


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "events",
        help="tell what has happened in running services",
        description=(
            "Tells what has happened lately: transitions of circuits, what operators have done and "
            "the like. With --follow it goes on with every event of every kind, or with --notable "
            "only with those, and connects again when the link is lost, until it is interrupted. "
            f"{servers.CODES}"
        ),
    )
    servers.add_arguments(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--kinds", metavar="KIND[,KIND]", default="", help="only these, such as circuit_changed"
    )
    which.add_argument("--notable", action="store_true", help="only what is rare: no single calls")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each event")


@servers.telling
def run(options: argparse.Namespace) -> int:
    """Tell what has happened, and follow if that is asked for."""
    remotes = servers.remotes(options)
    if options.notable:
        options.kinds = _notable()
    if options.follow:
        return _follow(options, remotes)
    return _tell_recent(options, remotes)


def _notable() -> str:
    from meshhook.events import event_name
    from meshhook.observe.notable import NOTABLE

    return ",".join(map(event_name, NOTABLE))


class _Told:
    """An event of a server: as it was read, and as it was sent."""

    def __init__(self, url: str, instance: str, happening: Happening, sent: dict[str, Any]) -> None:
        self.url = url
        self.instance = instance
        self.happening = happening
        self.sent = sent

    def line(self, options: argparse.Namespace) -> str:
        """Write it as a line."""
        from meshhook.commands.words import clock, told

        if options.json:
            return json.dumps({"instance": self.instance, **self.sent})
        each = self.happening
        where = f"  on {self.url}" if len(options.urls) > 1 else ""
        return f"{clock(each.time, date=True)}  {each.kind}/{each.name}  {told(each)}{where}"


def _told(url: str, instance: str, sent: Any) -> list[_Told]:
    from meshhook.observe.remote.untrusted import read_happenings

    return [
        _Told(url, instance, read, each)
        for read, each in zip(read_happenings(sent), sent, strict=True)
    ]


def _tell_recent(options: argparse.Namespace, remotes: list[Remote]) -> int:
    from meshhook.observe.remote.client import RemoteError
    from meshhook.observe.remote.untrusted import instance_of

    code = servers.DONE
    found: list[_Told] = []
    for remote in remotes:
        try:
            document = remote.get(f"/events?recent=1{_kinds(options, '&')}")
            found += _told(remote.url, instance_of(document), document.get("events"))
        except RemoteError as exc:
            code = max(code, servers.complain_of(options, remote, exc))
    for each in sorted(found, key=lambda told: told.happening.time):
        print(each.line(options))
    forgotten = _forgotten(options.kinds)
    if forgotten and code == servers.DONE:
        listed = ", ".join(forgotten)
        servers.complain(options, f"not remembered, so give --follow to see them: {listed}")
    return code


def _forgotten(kinds: str) -> list[str]:
    """Return those of the kinds that services tell of as they happen, and never afterwards."""
    from meshhook.events import kinds_by_name
    from meshhook.observe.notable import NOTABLE

    known = kinds_by_name()
    asked = (kind.strip() for kind in kinds.split(","))
    return [kind for kind in asked if kind in known and not issubclass(known[kind], NOTABLE)]


def _kinds(options: argparse.Namespace, before: str) -> str:
    return f"{before}kinds={quote(options.kinds, safe=',')}" if options.kinds else ""


def _follow(options: argparse.Namespace, remotes: list[Remote]) -> int:
    """Print what the threads of all servers bring, until each of them was sent away."""
    brought: queue.Queue[_Told | str | int] = queue.Queue(_MOST_WAITING)
    for remote in remotes:
        threading.Thread(target=_listen, args=(options, remote, brought), daemon=True).start()
    left, code = len(remotes), servers.DONE
    while left:
        match brought.get():
            case int() as sent_away:
                left, code = left - 1, max(code, sent_away)
            case str() as notice:
                servers.complain(options, notice)
            case event:
                print(event.line(options), flush=True)
    return code


def _listen(
    options: argparse.Namespace, remote: Remote, brought: queue.Queue[_Told | str | int]
) -> None:
    """Bring what one server tells; come back when the stream is over, but not when sent away."""
    from meshhook.observe.remote.client import RefusedError, RemoteError

    follower = _Follower(remote, f"/events{_kinds(options, '?')}")
    lost = 0
    while True:
        try:
            for each in follower.follow():
                lost = 0
                brought.put(each)
            if follower.retry is not None:
                # Streams of a server with one thread are short: no link is lost.
                lost = 0
                time.sleep(min(max(follower.retry, _PAUSES[0]), _PAUSES[-1]))
                continue
            why = "the server ended the stream"
        except RemoteError as exc:
            if isinstance(exc, RefusedError) and exc.is_final:
                brought.put(servers.in_words(remote, exc))
                brought.put(servers.code_of(exc))
                return
            why = str(exc)
        follower.was_lost = True
        if not lost:
            brought.put(f"{remote.url}: link lost ({why}), trying again")
        time.sleep(_PAUSES[min(lost, len(_PAUSES) - 1)])
        lost += 1


class _Follower:
    """Follows the stream of one server, over several connections; nothing is told twice.

    Behind one address there may be workers that take turns, so what was told last is known of each.
    ``retry`` is after how many seconds the server wants to be asked again, if it has said so.
    """

    def __init__(self, remote: Remote, path: str) -> None:
        self._remote = remote
        self._path = path
        self.was_lost = False
        self.retry: float | None = None
        self._instance = ""
        self._last: dict[str, int] = {}

    def follow(self) -> Iterator[_Told | str]:
        """Connect, and give the events, and notices of what was left out."""
        from meshhook.observe.remote.client import parse
        from meshhook.observe.remote.untrusted import instance_of, whole

        self.retry = None
        for message in self._remote.stream(self._path):
            self.retry = None if message.retry is None else message.retry / 1e3
            if message.event == "hello":
                hello = parse(message.data)
                instance = instance_of(hello)
                if self.was_lost:
                    other = "" if instance == self._instance else f", now to {instance}"
                    yield f"{self._remote.url}: linked again{other}"
                    self.was_lost = False
                self._instance = instance
                last = self._last.get(instance, -1)
                told = _told(self._remote.url, instance, hello.get("recent"))
                yield from self._marked([each for each in told if each.happening.id > last])
            elif message.event == "events":
                events = parse(message.data)
                yield from self._marked(
                    _told(self._remote.url, self._instance, events.get("events"))
                )
                dropped = whole(events, "dropped")
                if dropped:
                    yield f"{self._remote.url}: {dropped} more events were not sent"

    def _marked(self, told: list[_Told]) -> list[_Told]:
        last = self._last.pop(self._instance, -1)
        self._last[self._instance] = max((each.happening.id for each in told), default=last)
        if len(self._last) > _MOST_INSTANCES:
            del self._last[next(iter(self._last))]
        return told
