"""The deadline across the wire: the time that is left, in a header of a request.

What travels is a duration, never a moment: clocks of two machines do not agree, durations do. It is
rounded down, so that who is called never has more time than who waits. What comes from outside is
not trusted: a value that cannot be read is no value, and no value gives more time than the server
allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from email.message import Message
from typing import Any, Final, TypeAlias

from meshhook.deadline import deadline, remaining
from meshhook.errors import ConfigurationError
from meshhook.settings import Duration, duration

Headers: TypeAlias = Mapping[Any, Any] | Message | Iterable[tuple[Any, Any]]
"""A mapping, a message or pairs, of text or bytes; the names in any case, or as WSGI has them."""

MILLISECONDS: Final = "X-Request-Timeout-Ms"
GRPC: Final = "grpc-timeout"

_NAMES: Final = {name.lower(): name for name in (MILLISECONDS, GRPC)}

_UNITS: Final = {"n": (1, 10**9), "u": (1, 10**6), "m": (1, 10**3)} | {
    "S": (1, 1),
    "M": (60, 1),
    "H": (3600, 1),
}
"""Seconds in each unit of gRPC as a fraction, the finest first."""

_MOST_UNITS = 10**8 - 1
"""gRPC has eight digits."""
_MOST_MILLISECONDS = 10**15 - 1
"""More than 30,000 years: more digits limit nothing, and only cost time to read."""

_WHOLE = re.compile(r"[ \t]*([0-9]{1,15})[ \t]*")
_GRPC = re.compile(r"[ \t]*([0-9]{1,8})([HMSmun])[ \t]*")


def deadline_headers(*names: str, reserve: Duration = 0.0) -> dict[str, str]:
    """Return the headers that tell whom you call how much time is left; none without a deadline.

    With nothing left they say 0, and a server that heeds them does not begin.

    Args:
        names: which headers: ``"X-Request-Timeout-Ms"`` (the default), ``"grpc-timeout"``, or both.
        reserve: seconds to keep back for the way there and back, or a duration such as ``"20ms"``.

    Raises:
        ConfigurationError: for another header, or a reserve that is no duration.
    """
    chosen = [_known(name) for name in names or (MILLISECONDS,)]
    kept_back = duration("reserve", reserve, zero=True)
    left = remaining()
    if left is None:
        return {}
    left = max(0.0, left - kept_back)
    return {name: _grpc(left) if name == GRPC else _milliseconds(left) for name in chosen}


def deadline_from(
    headers: Headers,
    *,
    default: Duration | None = None,
    max: Duration | None = None,  # noqa: A002 - what it is
) -> AbstractContextManager[None]:
    """Set the deadline of the block to what the headers of a request leave: ``with`` it.

    Both headers are read, the shortest time counts, and what cannot be read is as if it were not
    there. An earlier deadline from outside stays in force. As with :func:`deadline`, nothing is
    interrupted.

    Args:
        headers: a mapping or pairs, of text or bytes: those of an HTTP library or ``http.server``,
            the ``headers`` of an ASGI scope, a WSGI environment, the metadata of gRPC.
        default: the time of a request that says nothing. Default ``max``, or no limit without it.
        max: the most time that any request gets, whatever it says. A server that is open to others
            sets it.

    Raises:
        ConfigurationError: for a default or a maximum that is no duration.
    """
    given = None if default is None else duration("default", default)
    most = None if max is None else duration("max", max)
    told = min(_times(headers), default=None)
    limits = [each for each in (given if told is None else told, most) if each is not None]
    return deadline(min(limits)) if limits else nullcontext()


def _known(name: str) -> str:
    known = _NAMES.get(name.lower()) if isinstance(name, str) else None
    if known is None:
        raise ConfigurationError(
            f"no header {name!r} tells of a deadline: use {', '.join(map(repr, _NAMES.values()))}"
        )
    return known


def _floor(seconds: float, numerator: int, denominator: int) -> int:
    """Return how many whole units of ``numerator / denominator`` seconds are in ``seconds``."""
    above, below = seconds.as_integer_ratio()  # exact, as multiplying floats is not
    return above * denominator // (below * numerator)


def _milliseconds(seconds: float) -> str:
    return str(min(_floor(seconds, 1, 1_000), _MOST_MILLISECONDS))


def _grpc(seconds: float) -> str:
    for unit, (numerator, denominator) in _UNITS.items():
        number = _floor(seconds, numerator, denominator)
        if number <= _MOST_UNITS:
            return f"{number}{unit}"
    return f"{_MOST_UNITS}H"


def _times(headers: Headers) -> Iterator[float]:
    """Read the times in seconds that can be read."""
    # Those of http.server and http.client are messages, and no mapping.
    pairs = headers.items() if isinstance(headers, (Mapping, Message)) else headers
    for name, values in pairs:
        header = _header(name)
        for value in values if isinstance(values, (list, tuple)) else (values,):
            seconds = _seconds(header, _text(value)) if header else None
            if seconds is not None:
                yield seconds


def _header(name: object) -> str | None:
    """Return which of our headers ``name`` is: ``HTTP_GRPC_TIMEOUT`` is one in WSGI."""
    text = _text(name).lower()
    if text.startswith("http_"):
        text = text.removeprefix("http_").replace("_", "-")
    return _NAMES.get(text)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _seconds(header: str, value: str) -> float | None:
    if header == MILLISECONDS:
        whole = _WHOLE.fullmatch(value)
        return int(whole[1]) / 1_000 if whole else None
    match = _GRPC.fullmatch(value)
    if match is None:
        return None
    numerator, denominator = _UNITS[match[2]]
    return int(match[1]) * numerator / denominator
