"""Retry-After: for how long what was called wants to be left alone, read from what it gave.

An error or a response may say so in an attribute ``retry_after``, in seconds, or in a header
``Retry-After``, its own or that of its ``response``, in seconds or as an HTTP date. What cannot be
read, is not finite or is not in the future says nothing. Reading never raises.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

HEADER = "Retry-After"
_SECONDS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,18})?")
_LONGEST_DATE = 64
_BEYOND = 1e18
"""Seconds that nobody means."""


def told(source: object) -> float | None:
    """Return for how many seconds from now ``source`` asks to be left alone; None if it does not.

    A group of errors asks for as long as the one that asks for longest.
    """
    if isinstance(source, BaseExceptionGroup):
        return max(filter(None, map(told, source.exceptions)), default=None)
    try:
        return in_seconds(getattr(source, "retry_after", None)) or _in_headers(source)
    except Exception:
        return None  # an attribute that is computed, or headers of some kind of their own


def _in_headers(source: object) -> float | None:
    for holder in (getattr(source, "response", None), source):
        asked = in_seconds(_header(getattr(holder, "headers", None)))
        if asked is not None:
            return asked
    return None


def _header(headers: Any) -> Any:
    """Find the header; a mapping may know it in other letters, or in bytes."""
    if headers is None:
        return None
    value = headers.get(HEADER)
    if value is None and isinstance(headers, Mapping):
        for name, each in headers.items():
            if _text(name).lower() == HEADER.lower():
                return each
    return value


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def in_seconds(value: Any) -> float | None:
    """Return a number, a timedelta or the text of a header in seconds, if it is above 0."""
    if isinstance(value, (str, bytes)):
        seconds = _of_text(_text(value).strip())
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < _BEYOND else math.nan
    else:
        return None
    return seconds if 0.0 < seconds < math.inf else None


def _of_text(text: str) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    if len(text) > _LONGEST_DATE:
        return math.nan
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
