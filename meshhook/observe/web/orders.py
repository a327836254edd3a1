"""What is posted: for how many seconds something shall be done."""

from __future__ import annotations

import json
from typing import Final

from meshhook.observe.control import LONGEST
from meshhook.observe.web.exchange import Answer, refused

BODY_LIMIT: Final = 4096
"""More bytes than this are no order."""


def broken_off() -> Answer:
    """Answer to an order of which only a part has come: without the rest it may mean more."""
    return refused(400, "the body did not come whole; send it at once, with its Content-Length")


class BadOrderError(Exception):
    """What was posted cannot be used. What it says never repeats what was sent."""


def seconds_in(body: bytes) -> float | None:
    """Return for how many seconds something shall be done; None for until it is undone."""
    if not body.strip():
        return None
    try:
        posted = json.loads(body)
    except (ValueError, RecursionError):
        raise BadOrderError("the body is no JSON") from None
    if not isinstance(posted, dict) or posted.keys() - {"seconds"}:
        raise BadOrderError('the body may be {"seconds": 60}, or empty, and nothing else')
    seconds = posted.get("seconds")
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise BadOrderError("seconds must be a number, such as 300")
    if not 0 < seconds <= LONGEST:
        raise BadOrderError(f"seconds must be more than 0, and {LONGEST:.0f} at the most")
    return float(seconds)
