"""What comes again and again: let through once in so many seconds for each policy."""

from __future__ import annotations

from meshhook.events import Event


class Repeats:
    """Counts the events that are left out. Not locked: where two meet, a count may be one off."""

    def __init__(self, after: float, most: int) -> None:
        self._after = after
        self._most = most
        self._known: dict[tuple[type[Event], str, str], list[float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def left_out_before(self, event: Event, now: float) -> int | None:
        """Return how many were left out since the last one; None if this one is left out as well.

        Only events of the same kind and policy count.
        """
        at = type(event), event.policy, event.name
        known = self._known.get(at)
        if known is not None and 0 <= now - known[0] < self._after:
            known[1] += 1
            return None
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[at] = [now, 0]
        return 0 if known is None else int(known[1])
