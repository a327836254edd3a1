"""Canonical text: different values never meet in one key, and one value always gives the same."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import os
import pathlib
import subprocess
import sys
import threading
import types
import uuid
import zoneinfo
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import meshhook as mh
from meshhook.canonical import bounded, canonical, digest

LONGEST = 200
SIZE_OF_DIGEST = 1 + 64


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Shade(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    ONE = "1"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Place:
    x: Any
    y: Any = 0


class Pair(NamedTuple):
    x: Any
    y: Any


class Twins(NamedTuple):
    x: Any
    y: Any


ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
DIFFERENT: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    10,
    16,
    10**400,
    1.0,
    0.5,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
    1 + 0j,
    1j,
    "",
    "1",
    "n;",
    "True",
    "\N{SNOWMAN}",
    "\ud800",
    b"",
    b"1",
    b"31",
    bytearray(b""),
    bytearray(b"1"),
    (),
    (1,),
    (1, 2),
    ((1,), 2),
    (1, (2,)),
    ("ab", "c"),
    ("a", "bc"),
    [],
    [1],
    [1, 2],
    [[1], 2],
    [()],
    set(),
    {1},
    {"1"},
    frozenset(),
    frozenset({1}),
    {},
    {1: 2},
    {2: 1},
    {1: {2: 3}},
    {1: 2, 3: 4},
    {"1": 2},
    {(1, 2): 3},
    dt.date(2026, 1, 1),
    dt.datetime(2026, 1, 1),  # noqa: DTZ001 - one without a zone is another value
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 1, 0, 0, 0, 1, dt.UTC),
    dt.datetime(2026, 1, 1, tzinfo=ZONE),
    dt.time(),
    dt.time(tzinfo=dt.UTC),
    dt.timedelta(),
    dt.timedelta(days=1),
    dt.timedelta(microseconds=1),
    decimal.Decimal(1),
    decimal.Decimal("1.1"),
    decimal.Decimal("1E+5"),
    decimal.Decimal("0.1000000000000000000000000000000000001"),
    decimal.Decimal("0.1000000000000000000000000000000000002"),
    decimal.Decimal("Infinity"),
    decimal.Decimal("NaN"),
    fractions.Fraction(1),
    fractions.Fraction(1, 3),
    uuid.UUID(int=1),
    uuid.UUID(int=2),
    pathlib.PurePosixPath("a/b"),
    pathlib.PurePosixPath("/a/b"),
    Colour.RED,
    Colour.BLUE,
    Shade.RED,
    Level.ONE,
    Word.ONE,
    Rights.READ,
    Rights.READ | Rights.WRITE,
    Point(1),
    Point(1, 2),
    Point("1"),
    Point(Point(1)),
    Place(1),
    Pair(1, 2),
    Pair((1, 2), 3),
    Twins(1, 2),
]


def test_different_values_give_different_keys() -> None:
    """No two of a list of values that look alike, or are equal but of other types, share a key."""
    keys = {mh.idempotency_key(value) for value in DIFFERENT}
    assert len(keys) == len(DIFFERENT)


@pytest.mark.parametrize("value", DIFFERENT, ids=repr)
def test_every_key_is_short_and_plain(value: Any) -> None:
    """Whatever the value, its key is printable ASCII of at most 200 characters."""
    key = mh.idempotency_key(value)
    assert (key.isascii(), key.isprintable(), 0 < len(key) <= LONGEST) == (True, True, True)


EQUAL: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}),
    ({3, 1, 2}, {2, 3, 1}),
    (frozenset("abc"), frozenset("cba")),
    (0.0, -0.0),
    ([0.0], [-0.0]),
    (decimal.Decimal("1.10"), decimal.Decimal("1.1")),
    (decimal.Decimal(100), decimal.Decimal("1E+2")),
    (decimal.Decimal("0.00"), decimal.Decimal("-0")),
    (fractions.Fraction(2, 4), fractions.Fraction(1, 2)),
    (dt.timedelta(hours=24), dt.timedelta(days=1)),
    (pathlib.PurePosixPath("a//b/./c"), pathlib.PurePosixPath("a/b/c")),
    (Point(1, 2, "one"), Point(1, 2, "other")),
    (Colour(1), Colour.RED),
    (Rights(3), Rights.READ | Rights.WRITE),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_values_of_one_type_give_one_key(one: Any, other: Any) -> None:
    """Order of insertion, a sign of nothing, digits that say nothing and the like do not count."""
    assert mh.idempotency_key(one) == mh.idempotency_key(other)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    pass


class Real(float):
    pass


class Raw(bytes):
    pass


class Basket(list[Any]):
    pass


SUBCLASSES: list[tuple[Any, Any]] = [
    (Text("a"), "a"),
    (Number(5), 5),
    (Real(0.5), 0.5),
    (Raw(b"a"), b"a"),
    (Basket([1, 2]), [1, 2]),
    (collections.OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
    (collections.defaultdict(list, a=1), {"a": 1}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
]


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES, ids=repr)
def test_a_subclass_of_a_plain_type_is_its_plain_value(value: Any, plain: Any) -> None:
    """It is equal to it, and what a text says of itself does not count."""
    assert canonical(value) == canonical(plain)


def test_a_frozen_clock_gives_the_same_key(frozen: Any) -> None:
    """The classes that freezegun puts in the place of the real ones change no key."""
    fake, real = dt.datetime.now(tz=dt.UTC), dt.datetime.__mro__[1](2026, 1, 1, tzinfo=dt.UTC)
    assert type(fake) is not type(real)
    assert mh.idempotency_key(fake, fake.date()) == mh.idempotency_key(real, real.date())


def test_parts_do_not_run_into_one_another() -> None:
    """How a key is cut into parts is part of it."""
    calls: list[tuple[Any, ...]] = [
        ("x:y", "z"),
        ("x", "y:z"),
        ("x:y:z",),
        ("x", "y", "z"),
        (("x", "y"), "z"),
        (("x", "y", "z"),),
        (["x", "y", "z"],),
        ("", "x:y:z"),
        ("x:y:z", ""),
        ("x:y:z", None),
        (None, "x:y:z"),
        ("s1:x", "y:z"),
    ]
    assert len({mh.idempotency_key(*parts) for parts in calls}) == len(calls)


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([0.0, 1.0, -1.5, 10.0]),
    st.text("sn1:;-T", max_size=4),
    st.binary(max_size=2),
)


def _nested(inside: Any) -> Any:
    hashable = st.one_of(ATOMS, st.tuples(ATOMS))
    return st.one_of(
        st.lists(inside, max_size=3),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(hashable, inside, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.builds(Point, inside, inside),
        st.builds(Pair, inside, inside),
    )


PARTS = st.lists(st.recursive(ATOMS, _nested, max_leaves=6), min_size=1, max_size=4)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(
            any(same(each, candidate) for candidate in other) for each in one
        )
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(same(pair, candidate) for candidate in other.items()) for pair in one.items()
        )
    if isinstance(one, Point):
        return same((one.x, one.y), (other.x, other.y))
    return bool(one == other)


@given(PARTS, PARTS)
@example([1], [True])
@example(["s1:1"], ["s1:", "1"])
@example([{1: 2}], [{True: 2}])
@example([{1}], [{1.0}])
@example([{0}, 1], [{False}, 1])
def test_keys_are_equal_exactly_when_their_parts_are(one: list[Any], other: list[Any]) -> None:
    """Whatever the parts: the same key for the same values, and for no others."""
    assert (mh.idempotency_key(*one) == mh.idempotency_key(*other)) == same(one, other)


@given(PARTS)
def test_no_text_is_the_beginning_of_a_longer_one(parts: list[Any]) -> None:
    """Texts may be put after one another, because each tells where it ends."""
    joined = "".join(map(canonical, parts))
    assert all(joined != canonical(each) for each in parts) or len(parts) == 1


def test_a_long_key_is_a_digest() -> None:
    """200 characters are still text; of one more only a digest remains, different for each."""
    framing = len("s199:")
    longest = "x" * (LONGEST - framing)
    keys = [mh.idempotency_key(longest + more) for more in ("", "y", "z", "yz" * 10_000)]
    assert keys[0] == f"s{len(longest)}:{longest}"
    assert [len(key) for key in keys] == [LONGEST, *[SIZE_OF_DIGEST] * 3]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("text", ["\N{SNOWMAN}", "a\nb", "\x00", "\x7f", "\ud800"], ids=ascii)
def test_a_key_that_is_not_plain_is_a_digest(text: str) -> None:
    """Keys travel in headers and logs, so a short one with other characters is a digest as well."""
    key = mh.idempotency_key(text)
    assert (key[0], len(key), key.isascii()) == ("h", SIZE_OF_DIGEST, True)


def test_no_text_is_the_digest_of_another() -> None:
    """Who passes a digest as a part does not get the key that has this digest."""
    long = mh.idempotency_key("x" * 1000)
    assert mh.idempotency_key(long) != long
    assert not any(canonical(value).startswith("h") for value in DIFFERENT)


def test_digests_have_the_size_that_was_asked_for() -> None:
    """In hexadecimal, so twice as many characters."""
    assert [len(digest("text", size=size)) for size in (8, 16, 32)] == [16, 32, 64]
    assert bounded("x" * (LONGEST + 1)) == "h" + digest("x" * (LONGEST + 1), size=32)


STABLE = """
import dataclasses, datetime as dt, decimal, enum, uuid
import meshhook as mh

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    tags: frozenset

words = ["apple", "banana", "cherry", "date", "elder"]
print(mh.idempotency_key(
    set(words), frozenset(words), {word: set(words) for word in words}, Point(1, frozenset(words)),
    Colour.RED, 1.5, b"raw", None, True, decimal.Decimal("9.90"), uuid.UUID(int=7),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
))
print(mh.idempotency_key({"b", "a"}, Colour.RED, {"k": (1, 2.0)}))
"""


@pytest.mark.fault
def test_keys_are_the_same_in_every_process() -> None:
    """Neither the order of sets nor an address gets in, whatever seed a process hashes with."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", STABLE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    long = "h78ff74cf0bd5326a42d5fe8d89eae85cc9d898cd3a50a505cd7a9661db3ea5d1"
    short = "S2:s1:as1:bEs6:Colours3:redM1:s1:kT2:i1;d2.0;"
    assert printed == {f"{long}\n{short}\n"}


def test_keys_do_not_change_from_one_version_to_the_next() -> None:
    """Records that are kept today are found tomorrow: this text is a promise."""
    values = (None, True, -255, 0.5, "a", b"\xff", (1,), [1], {"k": 1}, {1}, Point(1), Pair(1, 2))
    assert "".join(map(canonical, values)) == (
        "n;t;i-ff;d0.5;s1:ab1:ffT1:i1;L1:i1;M1:s1:ki1;S1:i1;"
        "Cs5:Point2:s1:xi1;s1:yi0;Cs4:PairT2:i1;i2;"
    )
    times = (dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), dt.timedelta(1))
    assert "".join(map(canonical, times)) == (
        "date10:2026-01-02datetime25:2026-01-02T03:00:00+00:00"
        "timedelta26:datetime.timedelta(days=1)"
    )


class Plain:
    pass


WITHOUT_VALUE: list[Any] = [
    object(),
    Plain(),
    Plain,
    int,
    len,
    lambda: None,
    Plain().__init__,  # type: ignore[misc]
    types.SimpleNamespace(x=1),
    ValueError("no"),
    threading.Lock(),
    range(3),
    memoryview(b"a"),
    iter([1]),
    (each for each in [1]),
    sys,
    Point,
]


@pytest.mark.parametrize("value", WITHOUT_VALUE, ids=lambda value: type(value).__qualname__)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: value,
        lambda value: [value],
        lambda value: {"key": value},
        lambda value: (1, {"key": [value]}),
        Point,
        lambda value: enum.Enum("Made", {"ONE": [value]})(  # type: ignore[operator]
            [value]
        ),
    ],
    ids=["bare", "list", "dict", "deep", "dataclass", "enum"],
)
def test_what_shows_no_value_is_refused(value: Any, wrap: Any) -> None:
    """Its text would have an address in it, or hide what tells it apart; the error names the type.

    Also inside of other values.
    """
    said = f"value of a {type(value).__qualname__} cannot be seen from outside"
    with pytest.raises(TypeError, match=said):
        mh.idempotency_key("before", wrap(value))


def test_an_unhashable_or_odd_key_of_a_dict_is_refused_too() -> None:
    """A key of a dict is a value like any other."""
    with pytest.raises(TypeError, match="value of a Plain cannot be seen"):
        mh.idempotency_key({Plain(): 1})


def test_a_key_has_parts() -> None:
    """A key of nothing would be the same for every call."""
    with pytest.raises(TypeError, match="needs at least one part"):
        mh.idempotency_key()
