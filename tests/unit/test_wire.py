"""Deadlines across the wire: what is sent, what is read, and what nobody outside can do."""

from __future__ import annotations

import re
from email import message_from_string
from http.client import HTTPMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshhook as mh
from meshhook import wire

BOTH = (wire.MILLISECONDS, wire.GRPC)


def read(headers: Any, **settings: Any) -> float | None:
    """Return the time that is left under the deadline from these headers."""
    with mh.deadline_from(headers, **settings):
        return mh.remaining()


@pytest.mark.usefixtures("frozen")
def test_no_deadline_no_headers() -> None:
    """Who has no limit sets none."""
    assert mh.deadline_headers(*BOTH) == {}
    with mh.deadline(5), mh.deadline(None):
        assert mh.deadline_headers() == {}


@pytest.mark.usefixtures("frozen")
def test_the_headers() -> None:
    """One by default; names in any case, sent as they are written."""
    with mh.deadline(1.5):
        assert mh.deadline_headers() == {"X-Request-Timeout-Ms": "1500"}
        assert mh.deadline_headers("GRPC-Timeout") == {"grpc-timeout": "1500000u"}
        assert mh.deadline_headers(*BOTH, reserve="250ms") == {
            "X-Request-Timeout-Ms": "1250",
            "grpc-timeout": "1250000u",
        }


def test_time_that_passes_is_not_sent(frozen: Any) -> None:
    """What is left is told, 0 at the least."""
    with mh.deadline(1):
        frozen.tick(0.375)
        assert mh.deadline_headers() == {"X-Request-Timeout-Ms": "625"}
        assert mh.deadline_headers(reserve=0.75) == {"X-Request-Timeout-Ms": "0"}
        frozen.tick(5)
        assert mh.deadline_headers(*BOTH) == {"X-Request-Timeout-Ms": "0", "grpc-timeout": "0n"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0n"),
        (1e-10, "0n"),
        (1e-9 * 1.5, "1n"),
        (0.0625, "62500000n"),
        (0.125, "125000u"),
        (99.5, "99500000u"),
        (100.0, "100000m"),
        (99_999.5, "99999500m"),
        (100_000.0, "100000S"),
        (99_999_999.5, "99999999S"),
        (100_000_000.0, "1666666M"),
        (6e9, "1666666H"),
        (1e300, "99999999H"),
    ],
)
def test_grpc_units(seconds: float, text: str) -> None:
    """The finest unit in which eight digits are enough, rounded down."""
    assert wire._grpc(seconds) == text


@given(seconds=st.floats(0, 1e12))
def test_what_is_read_is_never_more_than_what_was_sent(seconds: float) -> None:
    """Nor less by much: a unit of the last digit."""
    in_ms = wire._seconds(wire.MILLISECONDS, wire._milliseconds(seconds))
    text = wire._grpc(seconds)
    in_grpc = wire._seconds(wire.GRPC, text)
    assert in_ms is not None
    assert in_grpc is not None
    assert in_ms <= seconds <= in_ms + 0.001 + seconds * 1e-15
    assert re.fullmatch("[0-9]{1,8}[HMSmun]", text)
    if seconds <= 99_999_999 * 3600:
        assert in_grpc <= seconds <= in_grpc + max(1e-9, seconds * 1e-5)


def test_very_long_times() -> None:
    """They are sent in as many digits as are read."""
    assert wire._milliseconds(1e300) == "9" * 15


@given(seconds=st.floats(0, 1e5), names=st.sampled_from([BOTH, *[(each,) for each in BOTH]]))
def test_round_trip(seconds: float, names: tuple[str, ...]) -> None:
    """Through the headers and back, in real time: the far side has no more than this one."""
    with mh.deadline(seconds):
        headers = mh.deadline_headers(*names)
    far = read(headers)
    assert far is not None
    assert far <= seconds
    assert set(headers) == set(names)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-Timeout-Ms": "1500"},
        {"x-request-timeout-ms": " 1500 "},
        {b"X-REQUEST-TIMEOUT-MS": b"1500"},
        [("Accept", "*/*"), ("X-Request-Timeout-Ms", "1500")],
        [(b"accept", b"*/*"), (b"x-request-timeout-ms", b"1500")],
        (pair for pair in [("grpc-timeout", "1500m")]),
        {"HTTP_X_REQUEST_TIMEOUT_MS": "1500", "wsgi.version": (1, 0), "PATH_INFO": "/"},
        {"HTTP_GRPC_TIMEOUT": "1500m"},
        {"grpc-timeout": ["9S", "1500m"]},
        {"grpc-timeout": "1500m", "X-Request-Timeout-Ms": "2000"},
        {"grpc-timeout": "9S", "X-Request-Timeout-Ms": "1500"},
        {"grpc-timeout": "soon", "X-Request-Timeout-Ms": "1500"},
        [("grpc-timeout", "1500m"), ("grpc-timeout", "9S")],
        {None: "x", 5: "y", "grpc-timeout": "1500m"},
        message_from_string("Host: here\nX-Request-Timeout-Ms: 1500\n\n", _class=HTTPMessage),
    ],
)
def test_forms_of_headers(headers: Any) -> None:
    """Mappings and pairs, text and bytes, in any case; the shortest time counts."""
    assert read(headers) == 1.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 0.005), ("6u", 6e-6), ("7n", 7e-9)],
)
def test_units_are_read(text: str, seconds: float) -> None:
    """All six of them."""
    assert wire._seconds(wire.GRPC, text) == seconds


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-1", "+1", "1.5", "1e3", "0x10", "soon", "nan", "inf", "1 0", "1,2", "1500ms",
        "9" * 16, "9" * 10_000, "\u0661\u0662",
        "1\n", "\x00", None, 5, True, b"\xff", b"-1", [], {},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_there(value: Any) -> None:
    """It gives the default, and breaks nothing."""
    for name in BOTH:
        assert read({name: value}) is None
        assert read({name: value}, default=3) == 3
        assert read({name: value}, max=2) == 2


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    "value", ["123456789m", "1", "1s", "1h", "1 S", "-1S", "1SS", "S", "\u0661S"]
)
def test_what_is_no_timeout_of_grpc(value: str) -> None:
    """At most eight digits and a unit, and nothing else."""
    assert read({"grpc-timeout": value}) is None


@pytest.mark.usefixtures("frozen")
def test_nobody_gets_more_than_the_maximum() -> None:
    """Whether he asks for it, says nothing, or says nonsense."""
    for headers in ({"grpc-timeout": "99999999H"}, {}, {"grpc-timeout": "x"}):
        assert read(headers, max=30) == 30
        assert read(headers, max=30, default=60) == 30
    assert read({}, max=30, default="5s") == 5
    assert read({"X-Request-Timeout-Ms": "125"}, max=30, default=5) == 0.125
    assert read({"X-Request-Timeout-Ms": "0"}, max=30) == 0
    assert read({"X-Request-Timeout-Ms": "999999999999999"}) == 999_999_999_999.999


@pytest.mark.usefixtures("frozen")
def test_an_outer_deadline_stays() -> None:
    """Headers can only shorten it, and without any it is what it was."""
    with mh.deadline(2):
        assert read({"X-Request-Timeout-Ms": "5000"}) == 2
        assert read({"X-Request-Timeout-Ms": "500"}) == 0.5
        assert read({}) == 2
    assert read({}) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mh.deadline_headers("Timeout"), "no header 'Timeout' tells of a deadline: use"),
        (lambda: mh.deadline_headers(5), "no header 5"),
        (lambda: mh.deadline_headers(reserve=-1), "reserve must be a duration"),
        (lambda: mh.deadline_from({}, default=0), "default must be a duration"),
        (lambda: mh.deadline_from({}, max="long"), "max must be a duration"),
    ],
)
def test_wrong_settings(call: Any, message: str) -> None:
    """They fail where they are written, whether there is a deadline or not."""
    with pytest.raises(mh.ConfigurationError, match=message):
        call()
