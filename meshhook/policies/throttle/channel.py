"""A channel: what a throttle knows of one service, or of one key."""

from __future__ import annotations

from typing import NamedTuple

from meshhook.rules.throttling import Throttling


class Channel(Throttling):
    """Requests and answers of the window, and what was counted since the start."""

    __slots__ = ("failures", "gone_as", "ignored", "rejected", "touched", "users")

    def __init__(self, k: float, window: float, minimum: int, most: float, *, now: float) -> None:
        super().__init__(k, window, minimum, most, now=now)
        self.failures = 0
        self.ignored = 0
        self.rejected = 0
        self.gone_as: int | None = None
        self.touched = False
        self.users = 0


class Gone(NamedTuple):
    """What channels had counted that have made room for others."""

    number: int = 0
    accepted: int = 0
    failures: int = 0
    ignored: int = 0
    rejected: int = 0

    def and_also(self, channel: Channel) -> Gone:
        """Add what one more has counted.

        It is numbered first, so that a reader who finds it among the members still can tell whether
        it is in what has gone already.
        """
        channel.gone_as = self.number + 1
        return Gone(
            channel.gone_as,
            self.accepted + channel.accepted,
            self.failures + channel.failures,
            self.ignored + channel.ignored,
            self.rejected + channel.rejected,
        )
