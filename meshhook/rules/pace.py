"""The pace of calls: after how long a call is slower than most of the recent ones.

Durations are kept in two sketches, one for the current half of the window and one for the half
before it, so that what is older than the window is forgotten and what is remembered is never less
than half of it.
"""

from __future__ import annotations

from meshhook.rules.sketch import Sketch

_FRESH_SHARE = 20
"""The delay is worked out anew when one in so many durations is new: sorting them costs."""


class Pace:
    """The durations of the last ``window`` seconds, and the delay that they make.

    The delay is the ``quantile`` of them, rounded up to the next slice of the sketch and at least
    ``least``: then no more calls than the share left over exceed it, also when all take the same
    time. It is None while fewer than ``samples`` are known. Not safe to use from several threads at
    once.
    """

    __slots__ = (
        "_delay",
        "_fresh",
        "_half",
        "_least",
        "_old",
        "_past",
        "_quantile",
        "_recent",
        "_samples",
        "_since",
    )

    def __init__(
        self, quantile: float, samples: int, least: float, window: float, now: float
    ) -> None:
        self._quantile = quantile
        self._samples = samples
        self._least = least
        self._half = window / 2
        self._past = Sketch()  # what is out of the window: it makes no delay any more
        self._old = Sketch()
        self._recent = Sketch()
        self.clear(now)

    def change(
        self, quantile: float, samples: int, least: float, window: float, now: float
    ) -> None:
        """Go on with other numbers, and with the durations that are remembered."""
        self._turn(now)
        self._quantile, self._samples, self._least = quantile, samples, least
        self._half = window / 2
        self._turn(now)
        self._work_out()

    def clear(self, now: float) -> None:
        """Forget everything, but for :meth:`since_start`."""
        self._past = self.since_start()
        self._old = Sketch()
        self._recent = Sketch()
        self._since = now
        self._fresh = 0
        self._delay: float | None = None

    def add(self, now: float, seconds: float) -> None:
        """Remember one duration."""
        self._turn(now)
        self._recent.add(seconds)
        self._fresh += 1
        if self._fresh * _FRESH_SHARE >= self._old.count + self._recent.count:
            self._work_out()

    def delay(self, now: float) -> float | None:
        """Return after how many seconds a call is slow; None while that is not known."""
        self._turn(now)
        return self._delay

    def sketch(self, now: float) -> Sketch:
        """Return the durations that are remembered."""
        self._turn(now)
        return self._old.with_those_of(self._recent)

    def since_start(self) -> Sketch:
        """Return all durations, those that are older than the window included."""
        return self._past.with_those_of(self._old).with_those_of(self._recent)

    def _turn(self, now: float) -> None:
        """Forget the older half when the current one is over."""
        passed = now - self._since
        if 0 <= passed < self._half:
            return
        # A clock that went back tells nothing of the time between: the half begins anew.
        if passed >= 0:
            self._past = self._past.with_those_of(self._old)
            self._old, self._recent = self._recent, Sketch()
            if passed >= 2 * self._half:
                self._past = self._past.with_those_of(self._old)
                self._old = Sketch()
            self._work_out()
        self._since = now

    def _work_out(self) -> None:
        self._fresh = 0
        known = self._old.with_those_of(self._recent)
        ceiling = known.ceiling(self._quantile) if known.count >= self._samples else None
        self._delay = None if ceiling is None else max(ceiling, self._least)
