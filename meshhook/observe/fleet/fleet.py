"""A fleet: several processes, each named by the URL where it shows its policies, seen as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from meshhook.errors import ConfigurationError
from meshhook.events import logger
from meshhook.observe.fleet.merging import Answered, Line, merge
from meshhook.observe.remote.address import token_headers
from meshhook.observe.remote.asking import Asking, NotInTimeError
from meshhook.observe.remote.client import Remote
from meshhook.observe.remote.untrusted import read_policies
from meshhook.settings import Duration, duration

MOST_MEMBERS = 1_000


class Members(Protocol):
    """Where the members of a fleet are found, if they are not a list that stands.

    A shared store or a service discovery can be one: ``urls`` is asked at each reading, in a thread
    and for no longer than an answer of a member may take. While it fails or takes longer, the
    members are those that it named last.
    """

    def urls(self) -> Iterable[str]:
        """Return the URLs of all members there are now."""


class Fleet:
    """Several processes, each named by its URL. Safe to use from any thread.

    Args:
        members: their URLs, such as ``http://10.0.0.7:9464``, or :class:`Members` that lists them.
        timeout: how long the answer of one member may take, as a whole. Default 2 s.
        token: sent to each member as ``Authorization: Bearer``; never shown.
        header: the header to send the token in instead, as it is.

    Raises:
        ConfigurationError: when a URL or a setting cannot be used. The message shows no URL, for
            one may have a password anywhere.
    """

    def __init__(
        self,
        members: Iterable[str] | Members,
        timeout: Duration = 2.0,
        *,
        token: str | None = None,
        header: str | None = None,
    ) -> None:
        self._timeout = duration("timeout", timeout)
        self._remote = partial(Remote, timeout=self._timeout, token=token, header=header)
        self._asking = Asking()
        self._late: dict[Remote, int] = {}
        self._readings = 0
        self._known: dict[str, Remote] = {}
        self._list: Callable[[], Iterable[str]] | None = getattr(members, "urls", None)
        token_headers(token, header)
        if self._list is None:
            self._known = {each.url: each for each in map(self._remote, _listed(members))}

    def __repr__(self) -> str:
        where = ", ".join(each.url for each in self._known.values())
        return f"<Fleet: {where}>" if where else "<Fleet>"

    def read(self) -> dict[str, Any]:
        """Ask all members at the same time, and put together what they say; fit for JSON.

        It takes about one ``timeout``, two for more than 64 members, and one more to find them if
        they are no list. It raises nothing: a member that cannot be reached, or answers with
        something odd, has an ``error`` in a few words.
        """
        members = self._members()
        # Whoever has kept us waiting lately is asked last, so that it keeps nobody else.
        order = sorted(members, key=lambda each: self._late.get(each, 0))
        questions = {each: partial(_ask, each) for each in order}
        seconds = self._timeout * (1 if len(members) <= self._asking.most else 2)
        begun = time.time()
        answers = self._asking.all(questions, seconds)
        self._readings += 1
        self._late = {each: self._lateness(each, answer) for each, answer in answers.items()}
        return {"time": begun, **merge([(each.url, answers[each]) for each in members])}

    def _lateness(self, member: Remote, answer: Any) -> int:
        """Return in which reading a member has kept us waiting last, 0 for one that answers."""
        if isinstance(answer, NotInTimeError) and not answer.asked:
            return self._late.get(member, 0)
        return 0 if isinstance(answer, Answered) else self._readings

    def _members(self) -> list[Remote]:
        """Return the members there are now, each always as the same object."""
        if self._list is not None:
            listed = self._list
            urls = self._asking.all({self: lambda: list(listed())}, self._timeout)[self]
            if isinstance(urls, list):
                self._known = self._found(urls)
            else:
                logger.warning(
                    "the members of a fleet cannot be listed (%s): those known stay",
                    type(urls).__name__,
                )
        return list(self._known.values())

    def _found(self, urls: list[Any]) -> dict[str, Remote]:
        known = {}
        for url in urls[:MOST_MEMBERS]:
            try:
                known[url] = self._known.get(url) or self._remote(url)
            except (ConfigurationError, TypeError) as error:  # TypeError: it is no text
                logger.warning("a member of a fleet is passed over: %s", error)
        return known


def _listed(members: Any) -> list[Any]:
    if isinstance(members, (str, bytes)) or not isinstance(members, Iterable):
        raise ConfigurationError("members must be a list of URLs, or an object with urls()")
    urls = list(members)
    if len(urls) > MOST_MEMBERS:
        raise ConfigurationError(f"a fleet has at most {MOST_MEMBERS} members, got {len(urls)}")
    return urls


def _ask(member: Remote) -> Answered:
    """Ask one member."""
    begun = time.monotonic()
    told = read_policies(member.get("/policies"))
    lines = [Line.of(each) for each in told.policies.values()]
    return Answered(told, lines, time.monotonic() - begun)
