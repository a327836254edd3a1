"""What a codec writes comes back with value and type, or is refused; nothing else is made."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import pathlib
import pickle
import typing
import uuid
import zoneinfo
from typing import Any, NamedTuple

import pytest
from freezegun import freeze_time
from hypothesis import example, given
from hypothesis import strategies as st

from meshhook.stores.codecs import (
    MAX_DEPTH,
    Codec,
    NotRepresentableError,
    UndecodableError,
    _write,
    _writer,
)

CODEC = Codec()


class Colour(enum.Enum):
    RED = "r"
    ALIAS = "r"  # noqa: PIE796 - an alias is what is tested
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any = None


@dataclasses.dataclass
class Line:
    item: str
    price: decimal.Decimal
    colour: Colour = Colour.RED


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    number: int
    lines: list[Line]
    where: Point | None = None
    made: list[int] = dataclasses.field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.made.append(1)


@dataclasses.dataclass
class Bag(dict):  # type: ignore[type-arg]
    size: int = 0


class Unresolvable(NamedTuple):
    value: "Nowhere"  # type: ignore[name-defined]  # noqa: F821, UP037


class Text(str):
    __slots__ = ()


class Moon(dt.tzinfo):
    def utcoffset(self, _: Any) -> dt.timedelta:
        return dt.timedelta(hours=3)


def same(first: Any, second: Any) -> bool:
    """Compare value and type, all the way down; NaN is itself."""
    if type(first) is not type(second):
        return False
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return same(list(first), list(second)) and all(map(same, first.values(), second.values()))
    if isinstance(first, (set, frozenset)):
        return len(first) == len(second) and all(
            any(same(each, other) for other in second) for each in first
        )
    return bool(first == second) or (repr(first) == repr(second) and "nan" in repr(first).lower())


PLAIN = [
    None,
    True,
    False,
    0,
    -1,
    10**300,
    0.0,
    1.5,
    -1e-300,
    "",
    'text \N{SNOWMAN} \x00 " \\ \u2028',
    "~",
    '~{"~":"tuple"}',
    "\ud800",
    [],
    {},
    [[], {}],
    {"a": 1, "b": [True, None, {"c": 1.5}]},
    {"": "empty key", "of": 1},
]

TAGGED = [
    math.inf,
    -math.inf,
    math.nan,
    (),
    (1, "a", (2,)),
    [(1,), [1]],
    set(),
    {1, "a", (2, 3)},
    frozenset({1.5}),
    b"",
    b"\x00\xff",
    {1: "number", "1": "text", None: 0, (1, 2): "tuple", b"k": 1.5},
    {"~": "tuple", "of": [1]},
    {"a": {"~": 1}},
    decimal.Decimal("1.10"),
    decimal.Decimal("-0E+5"),
    decimal.Decimal("NaN"),
    uuid.UUID(int=7),
    dt.date(2024, 2, 29),
    dt.time(1, 2, 3, 4),
    dt.time(1, 2, tzinfo=dt.UTC, fold=1),
    dt.timedelta(days=-1, seconds=3, microseconds=5),
    dt.datetime(2024, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a naive one must stay naive
    dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    {"deep": [({"er": {frozenset({uuid.UUID(int=1)})}},)]},
]

REFUSED = [
    object(),
    Colour.RED,
    Level.LOW,
    Text("text"),
    Point(1),
    Line("a", decimal.Decimal(1)),
    collections.OrderedDict(a=1),
    collections.Counter("a"),
    fractions.Fraction(1, 3),
    1j,
    bytearray(b"a"),
    pathlib.PurePosixPath("a"),
    range(3),
    iter([]),
    lambda: None,
    ValueError("a"),
    10**5_000,
    dt.datetime(2024, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1), "named")),
    dt.datetime(2024, 1, 2, tzinfo=Moon()),
    {Text("key"): 1},
    [1, {"a": (object(),)}],
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_plain_json(value: Any) -> None:
    """What JSON keeps is JSON that any other reader understands."""
    text = CODEC.encode(value)
    assert same(value, CODEC.decode(text))
    assert same(value, json.loads(text))


@pytest.mark.parametrize("value", TAGGED, ids=repr)
def test_other_values_come_back_with_their_type(value: Any) -> None:
    """Tuples, sets, bytes, times, numbers that JSON lacks, and odd keys are kept."""
    text = CODEC.encode(value)
    assert text.startswith("~")
    assert same(value, CODEC.decode(text))


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__qualname__)
def test_what_would_come_back_changed_is_refused(value: Any) -> None:
    """Subclasses, user types and unknown things raise, alone and inside of others."""
    for nested in (value, [value], {"a": value}, (value,)):
        with pytest.raises(NotRepresentableError):
            CODEC.encode(nested)


def test_time_zones_keep_what_cannot_be_seen() -> None:
    """Zone and fold of a time come back, not only the moment."""
    value = dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1)
    back = CODEC.decode(CODEC.encode(value))
    assert (value.tzinfo, value.fold, value.utcoffset()) == (
        back.tzinfo,
        back.fold,
        back.utcoffset(),
    )


def test_frozen_time_is_kept() -> None:
    """Under freezegun ``datetime.now()`` is of another class, and is kept all the same."""
    with freeze_time("2024-02-29 12:00:00"):
        values = [dt.datetime.now(tz=dt.UTC), dt.date.today(), dt.datetime.now()]  # noqa: DTZ005, DTZ011
        assert values == CODEC.decode(CODEC.encode(values))
        before = CODEC.encode(values)
    assert values == CODEC.decode(before)


def nested(depth: int, *, wrap: Any) -> Any:
    """Nest a value."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: (v,), lambda v: {1: v}]
)
def test_nesting_is_bounded_when_encoding(wrap: Any) -> None:
    """Deep and circular values are refused; what is accepted can be read again."""
    accepted = 0
    for depth in range(1, MAX_DEPTH + 20):
        try:
            text = CODEC.encode(nested(depth, wrap=wrap))
        except NotRepresentableError:
            continue
        accepted = depth
        assert same(nested(depth, wrap=wrap), CODEC.decode(text))
    assert MAX_DEPTH // 2 - 1 <= accepted <= MAX_DEPTH
    circular: list[Any] = []
    circular.append(wrap(circular))
    with pytest.raises(NotRepresentableError):
        CODEC.encode(circular)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 101 + "]" * 101,
        "[" * 100_000 + "]" * 100_000,
        "~" + "[" * 102 + "]" * 102,
        "~" + "[" * 100_000,
        '{"a":' * 101 + "1" + "}" * 101,
    ],
    ids=len,
)
def test_nesting_is_bounded_when_decoding(text: str) -> None:
    """A text that is nested deeper than any that was written is refused, not a crash."""
    with pytest.raises(UndecodableError):
        CODEC.decode(text)


def test_many_values_side_by_side_are_not_deep() -> None:
    """A long list of objects is fine, both ways."""
    value = [{"a": [number]} for number in range(1_000)]
    assert value == CODEC.decode(CODEC.encode(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~",
        "nope",
        "1 2",
        "[1]]",
        " 1",
        "~1 ",
        '~{"~":"unknown","of":[]}',
        '~{"~":"os.system","of":["true"]}',
        '~{"~":"tuple"}',
        '~{"~":["tuple"],"of":[]}',
        '~{"~":"set","of":[[1]]}',
        '~{"~":"bytes","of":["*"]}',
        '~{"~":"decimal","of":["x"]}',
        '~{"~":"uuid","of":["x"]}',
        '~{"~":"datetime","of":["2024-01-01",["../../etc/passwd"],0]}',
        '~{"~":"datetime","of":[]}',
        '~{"~":"timedelta","of":[1e400,0,0]}',
        '~{"~":"dict","of":[[[],1]]}',
        "9" * 10_000,
    ],
)
def test_what_was_not_written_here_is_undecodable(text: str) -> None:
    """Damaged, foreign and hostile texts all raise the one error."""
    with pytest.raises(UndecodableError):
        CODEC.decode(text)


@pytest.mark.parametrize("text", [b"{}", None, 7, pickle.dumps([1])])
def test_what_is_no_text_is_undecodable(text: Any) -> None:
    """Bytes, and a pickle above all, are not read."""
    with pytest.raises(UndecodableError):
        CODEC.decode(text)


RECEIPT = Receipt(7, [Line("a", decimal.Decimal("1.5"), Colour.BLUE)], Point(1, (2,)))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Receipt, RECEIPT),
        (Receipt | None, None),
        (list[Receipt], [RECEIPT]),
        (dict[str, tuple[Line, ...]], {"a": (Line("a", decimal.Decimal(1)),)}),
        (typing.Annotated[Receipt, "note"], RECEIPT),
        (Colour, Colour.ALIAS),
        (Level, Level.LOW),
        (Right, Right.READ | Right.WRITE),
        (Right, Right(0)),
        (set[Colour], {Colour.RED, Colour.BLUE}),
        (Point, Point(1, [2])),
        (typing.Any, {"a": (1,)}),
        (None, None),
        ("text", (1,)),
    ],
)
def test_classes_of_the_annotation_are_known(annotation: Any, value: Any) -> None:
    """Dataclasses, enums and named tuples named by a return type come back as they were."""
    codec = Codec.for_type(annotation)
    back = codec.decode(codec.encode(value))
    assert value == back
    assert type(value) is type(back)


def test_a_dataclass_is_restored_without_running_its_code() -> None:
    """``__init__`` and ``__post_init__`` ran for the first caller; a replay only has the fields."""
    codec = Codec.for_type(Receipt)
    back = codec.decode(codec.encode(RECEIPT))
    assert back.made == [1]
    assert type(back.lines[0].price) is decimal.Decimal


def test_only_the_classes_of_the_annotation_are_known() -> None:
    """Another codec refuses to write them, and to read what was written."""
    text = Codec.for_type(Receipt).encode(RECEIPT)
    for codec in (CODEC, Codec.for_type(Line)):
        with pytest.raises(NotRepresentableError):
            codec.encode(RECEIPT)
        with pytest.raises(UndecodableError, match="not expected here"):
            codec.decode(text)


def test_a_class_of_the_same_name_is_another_class() -> None:
    """A local class that shares its name with a known one is refused."""

    def make() -> Any:
        @dataclasses.dataclass
        class Local:
            value: int

        return Local

    one, other = make(), make()
    codec = Codec.for_type(one)
    assert one(1) == codec.decode(codec.encode(one(1)))
    with pytest.raises(NotRepresentableError):
        codec.encode(other(1))


def test_attributes_beside_the_fields_are_refused() -> None:
    """A dataclass or named tuple that carries more than its fields would lose it."""
    codec = Codec.for_type(Line)
    line = Line("a", decimal.Decimal(1))
    line.more = 1  # type: ignore[attr-defined]
    with pytest.raises(NotRepresentableError):
        codec.encode(line)
    del line.more  # type: ignore[attr-defined]
    del line.item
    with pytest.raises(NotRepresentableError):
        codec.encode(line)

    class Sub(Point):
        pass

    codec = Codec([Sub])
    assert Sub(1) == codec.decode(codec.encode(Sub(1)))
    sub = Sub(1)
    sub.more = 1  # type: ignore[attr-defined]
    with pytest.raises(NotRepresentableError):
        codec.encode(sub)


def test_a_dataclass_over_a_builtin_is_refused() -> None:
    """Its own state is not in its fields."""
    with pytest.raises(NotRepresentableError):
        Codec.for_type(Bag).encode(Bag(1))


def test_an_annotation_that_cannot_be_resolved_is_no_error() -> None:
    """Its values are refused where they hold what is unknown, nothing else."""
    codec = Codec.for_type(Unresolvable)
    assert Unresolvable(1) == codec.decode(codec.encode(Unresolvable(1)))


@pytest.mark.parametrize("kind", [Line, Point, Colour])
def test_fields_of_another_version_are_undecodable(kind: Any) -> None:
    """A record written before a class changed is refused, not filled up."""
    codec = Codec.for_type(kind)
    text = codec.encode(
        {Line: Line("a", decimal.Decimal(1)), Point: Point(1), Colour: Colour.BLUE}[kind]
    )
    old = text.replace('"item"', '"name"').replace("[1,null]", "[1]").replace('"BLUE"', '"GREEN"')
    assert old != text
    with pytest.raises(UndecodableError):
        codec.decode(old)


def test_an_odd_value_is_refused_and_not_raised_from() -> None:
    """Whatever a value does while it is looked at, the error is the codec's."""

    class Odd(tuple):  # noqa: SLOT001 - whatever
        @property
        def __class__(self) -> Any:
            raise RuntimeError("looked at")

    with pytest.raises(NotRepresentableError):
        CODEC.encode([Odd()])


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.UTC))
)
HASHABLE = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES)
@example({None, math.nan})
def test_any_value_comes_back(value: Any) -> None:
    """Whatever is made of supported types is the same after a round trip."""
    back = CODEC.decode(CODEC.encode(value))
    assert repr(value) == repr(back) or same(value, back)


@given(st.text() | st.text().map("~".__add__))
def test_any_text_is_decoded_or_undecodable(text: str) -> None:
    """No text makes ``decode`` raise anything else, or make anything but plain values."""
    with contextlib.suppress(UndecodableError):
        CODEC.decode(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_an_interpreter_without_c_writes_the_same(value: Any) -> None:
    """Records are read by others than those who wrote them."""
    text = _write(value)
    assert (_writer(None)(value), json.loads(text)) == (text, value)
