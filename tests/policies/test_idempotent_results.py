"""Results: what is kept of them, what the first caller gets, and what those who come later get."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import meshhook as mh
from meshhook.policies.idempotent.results import Outcome, Results
from meshhook.policies.idempotent.settings import idempotent_settings
from meshhook.stores.protocol import Finish
from tests.colours import Colour
from tests.policies.idempotent_calls import (
    Sides,
    hold_elsewhere,
    nothing_left,
    once,
    record_of,
    stats_of,
)


class Currency(enum.Enum):
    EUR = "eur"


class Pair(NamedTuple):
    left: int
    right: Any


@dataclasses.dataclass
class Receipt:
    order: int
    currency: Currency
    lines: list[Any]


FALSY: list[Any] = [None, False, 0, 0.0, -0.0, "", b"", (), [], {}, set(), frozenset()]
TYPED: list[Any] = [
    True,
    1,
    10**40,
    1.5,
    float("inf"),
    "text",
    "\ud800",
    "\N{SNOWMAN}",
    b"\x00\xff",
    (1, (2, [3])),
    [1, None, "x"],
    {"a": {"b": (1,)}},
    {1: "one", (2,): "two"},
    {1, 2},
    frozenset({"a"}),
    decimal.Decimal("1.10"),
    decimal.Decimal(0),
    dt.date(2026, 1, 1),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    dt.time(1, 2),
    dt.timedelta(0),
    uuid.UUID(int=0),
]


@pytest.mark.parametrize("result", FALSY + TYPED, ids=repr)
def test_a_result_is_replayed_as_it_was(result: Any, sides: Sides, colour: Colour) -> None:
    """None, whatever is falsy, and typed values: equal, of the same type, here and elsewhere."""
    runs: list[int] = []
    here, there = (once(each, lambda *_: runs.append(1) or result, colour) for each in sides)
    replayed = [colour.call(fn, 1) for fn in (here, here, there)]
    assert (replayed, len(runs)) == ([result] * 3, 1)
    assert [repr(each) for each in replayed] == [repr(result)] * 3


def painted(colour: Colour, annotation: Any, result: Any) -> Any:
    """Make a function of a colour that is annotated to return something."""

    def charge(order: int) -> Any:
        return result

    async def charge_async(order: int) -> Any:
        return result

    made: Any = charge if colour.name == "sync" else charge_async
    made.__annotations__["return"] = annotation
    return made


ANNOTATED: list[tuple[Any, Any]] = [
    (Receipt, Receipt(1, Currency.EUR, [1, (2,)])),
    (list[Receipt], [Receipt(1, Currency.EUR, [])]),
    (Currency, Currency.EUR),
    (Pair, Pair(1, Pair(2, None))),
    (dict[str, Receipt] | None, {"a": Receipt(1, Currency.EUR, [])}),
]


@pytest.mark.parametrize(("annotation", "result"), ANNOTATED, ids=repr)
def test_classes_in_the_annotation_are_kept(
    annotation: Any, result: Any, sides: Sides, colour: Colour
) -> None:
    """A function that says what it returns may return its own classes."""
    made = [
        mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())(
            painted(colour, annotation, result)
        )
        for store in sides
    ]
    assert [colour.call(fn, 1) for fn in (made[0], *made)] == [result] * 3
    assert stats_of(made[1]).replayed >= 1


class Cashier:
    """A callable object, whose annotations are those of its method."""

    def __call__(self, order: int) -> Receipt:
        return Receipt(order, Currency.EUR, [])


def receipt(order: int, currency: Currency = Currency.EUR) -> Receipt:
    """Return a receipt."""
    return Receipt(order, currency, [])


@pytest.mark.parametrize(
    "fn",
    [functools.partial(receipt, currency=Currency.EUR), Cashier(), Cashier().__call__],
    ids=["partial", "object", "method"],
)
def test_annotations_are_found_behind_wrappers(fn: Any, store: Any) -> None:
    """Those of a partial are its function's, those of an object its method's."""
    guarded = mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())(fn)
    assert [guarded(1), guarded(1)] == [receipt(1)] * 2
    assert stats_of(guarded).executed == 1


def test_an_annotation_that_names_nothing_is_no_annotation(store: Any) -> None:
    """What cannot be resolved says nothing about results: plain ones are kept, others are not."""

    def charge(order: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        return {"plain": order} if order == 1 else receipt(order)

    fn = mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())(charge)
    assert [fn(1), fn(1), fn(2)] == [{"plain": 1}, {"plain": 1}, receipt(2)]
    with pytest.raises(mh.ResultUnavailableError):
        fn(2)


def test_an_annotation_may_name_what_comes_later(registry: mh.Registry) -> None:
    """It is looked up at the first result, not at decoration."""
    space: dict[str, Any] = {"__name__": "late"}
    source = "def charge(order: int) -> 'Later':\n    return Later(order)\n"
    exec(source, space)
    fn = mh.idempotent("{order}", registry=registry)(space["charge"])
    space["Later"] = dataclasses.make_dataclass(
        "Later", ["order"], namespace={"__module__": "late"}
    )
    assert [fn(1), fn(1)] == [space["Later"](1)] * 2


def test_nobody_sees_what_another_does_to_his_result(sides: Sides, colour: Colour) -> None:
    """First caller, replays, and the function itself: each has an object of his own."""
    own = {"items": [1]}
    here, there = (once(each, lambda *_: own, colour) for each in sides)
    first = colour.call(here, 1)
    first["items"].append("first")
    for fn in (here, there, here, there):
        replayed = colour.call(fn, 1)
        assert replayed == {"items": [1]}
        replayed["items"].append("later")
    own["items"].append("the function")
    outcome = colour.call(here.get, 1)
    outcome.result()["items"].append("shown")
    assert [outcome.result(), colour.call(there, 1)] == [{"items": [1]}] * 2


def test_arguments_that_the_body_changes_are_those_of_before(sides: Sides, colour: Colour) -> None:
    """Key and fingerprint are taken once, so the same call again is the same call."""
    runs: list[Any] = []

    def body(order: dict[str, Any], amount: list[int]) -> str:
        runs.append(order.pop("id"))
        amount.append(1)
        return "ok"

    here, there = (once(each, body, colour, key=lambda order: order["id"]) for each in sides)
    for fn in (here, there, here):
        assert colour.call(fn, {"id": 7}, [5]) == "ok"
    assert runs == [7]
    with pytest.raises(mh.KeyReusedError):
        colour.call(there, {"id": 7}, [5, 1])


class Odd:
    """A result without any form that could be kept."""


def endless() -> list[Any]:
    """Return a list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    "make",
    [Odd, lambda: [Odd()], lambda: {"a": lambda: 1}, endless, lambda: ValueError("as a result")],
    ids=["odd", "list", "lambda", "endless", "exception"],
)
def test_what_has_no_form_is_done_all_the_same(
    make: Callable[[], Any], sides: Sides, colour: Colour
) -> None:
    """The first caller has it; to the others it is told, and nothing is executed again."""
    runs: list[int] = []
    result = make()
    here, there = (once(each, lambda *_: runs.append(1) or result, colour) for each in sides)
    assert colour.call(here, 1) is result
    for fn in (here, there):
        with pytest.raises(
            mh.ResultUnavailableError, match="was executed already, but of its result nothing could"
        ) as raised:
            colour.call(fn, 1)
        assert raised.value.key == fn.key_for(1)
        outcome = colour.call(fn.get, 1)
        assert outcome.state == "done"
        with pytest.raises(
            mh.ResultUnavailableError, match="has no form to be kept in; return plain data"
        ):
            outcome.result()
    assert len(runs) == 1
    assert (stats_of(here).executed, stats_of(there).rejected >= 1) == (1, True)
    record = record_of(there, 1)
    assert record is not None
    assert (record.kind, type(result).__qualname__ in record.payload) == ("opaque", True)
    assert nothing_left(here, there)


LIMIT = 20
SIZES: list[tuple[Any, bool]] = [
    ("x" * LIMIT, True),
    ("x" * (LIMIT + 1), False),
    ("\N{SNOWMAN}" * 6, True),  # three bytes each
    ("\N{SNOWMAN}" * 7, False),
    ("\ud800" * 6, True),  # a lone surrogate takes three as well
    ("\ud800" * 7, False),
    (b"x" * LIMIT, True),
    (b"x" * (LIMIT + 1), False),
    (10**100, True),  # no container, and bounded by what Python can compute with
]


@pytest.mark.parametrize(("result", "fits"), SIZES, ids=ascii)
def test_a_text_in_memory_may_have_so_many_bytes(result: Any, fits: bool, colour: Colour) -> None:
    """Of what is kept as it is, bytes count as a server would have them."""
    fn = once(mh.MemoryStore(), lambda *_: result, colour, max_result_bytes=LIMIT)
    assert colour.call(fn, 1) == result
    if fits:
        assert colour.call(fn, 1) == result
    else:
        with pytest.raises(mh.ResultUnavailableError, match="larger than max_result_bytes=20"):
            colour.call(fn, 1)


ENCODED_SIZES: list[tuple[Any, bool]] = [
    (["x" * 16], True),  # with brackets and quotation marks 20
    (["x" * 17], False),
    (["\N{SNOWMAN}" * 5], True),
    (["\N{SNOWMAN}" * 6], False),
    ({"k": "x" * 12}, True),
    ({"k": "x" * 13}, False),
]


@pytest.mark.parametrize(("result", "fits"), ENCODED_SIZES, ids=ascii)
def test_an_encoded_result_may_have_so_many_bytes(
    result: Any, fits: bool, sides: Sides, colour: Colour
) -> None:
    """The text that is kept is what counts, at the limit exactly."""
    here, there = (
        once(store, lambda *_: result, colour, max_result_bytes=LIMIT) for store in sides
    )
    assert colour.call(here, 1) == result
    if fits:
        assert colour.call(there, 1) == result
    else:
        with pytest.raises(mh.ResultUnavailableError, match="larger than max_result_bytes=20"):
            colour.call(there, 1)


def test_nothing_at_all_may_be_kept(sides: Sides, colour: Colour) -> None:
    """With a limit of 0 every key is remembered as done, and no text of any result."""
    here, there = (once(store, lambda *_: ["x"], colour, max_result_bytes=0) for store in sides)
    assert colour.call(here, 1) == ["x"]
    with pytest.raises(mh.ResultUnavailableError):
        colour.call(there, 1)


class Backwards:
    """A codec of one's own: JSON, written backwards. As bytes or as text."""

    def __init__(self, kind: type = str) -> None:
        self.kind = kind
        self.seen: list[Any] = []

    def encode(self, value: Any) -> Any:
        self.seen.append(value)
        text = json.dumps(value)[::-1]
        return text if self.kind is str else text.encode()

    def decode(self, kept: Any) -> Any:
        assert type(kept) is self.kind
        return json.loads((kept if self.kind is str else kept.decode())[::-1])


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("result", [{"a": [1]}, "text", None, 0], ids=repr)
def test_a_codec_of_one_s_own_keeps_every_result(
    result: Any, kind: type, sides: Sides, colour: Colour
) -> None:
    """Plain values too, in memory as elsewhere; each caller has a new object."""
    codec = Backwards(kind)
    here, there = (once(store, lambda *_: result, colour, codec=codec) for store in sides)
    replayed = [colour.call(fn, 1) for fn in (here, here, there)]
    assert (replayed, codec.seen) == ([result] * 3, [result])
    payload: Any = record_of(there, 1).payload  # type: ignore[union-attr]
    assert (payload[0] if type(payload) is tuple else payload) == Backwards(kind).encode(result)


class Broken:
    """A codec that fails, or gives back what cannot be kept."""

    def __init__(self, encode: Any = None, decode: Any = None) -> None:
        self._encode = encode
        self._decode = decode

    def encode(self, value: Any) -> Any:
        return "kept" if self._encode is None else self._encode(value)

    def decode(self, kept: Any) -> Any:
        return self._decode(kept)


def fail(error: type[BaseException]) -> Any:
    """Return a function that raises."""

    def raises(_: Any) -> Any:
        raise error("no")

    return raises


@pytest.mark.parametrize(
    "encode",
    [fail(ValueError), fail(RecursionError), lambda _: None, lambda _: 5, lambda _: bytearray(2)],
    ids=["error", "depth", "nothing", "number", "bytearray"],
)
def test_a_codec_that_cannot_encode_loses_no_completion(
    encode: Any, sides: Sides, colour: Colour
) -> None:
    """The call has been executed: its caller gets the result, and nobody executes it again."""
    runs: list[int] = []
    here, there = (
        once(store, lambda *_: runs.append(1) or [1], colour, codec=Broken(encode))
        for store in sides
    )
    assert colour.call(here, 1) == [1]
    with pytest.raises(mh.ResultUnavailableError):
        colour.call(there, 1)
    assert runs == [1]


@pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError])
def test_a_result_that_cannot_be_read_back_is_told(
    error: type[Exception], sides: Sides, colour: Colour
) -> None:
    """The error says why; nothing is executed again."""
    runs: list[int] = []
    here, there = (
        once(store, lambda *_: runs.append(1) or [1], colour, codec=Broken(decode=fail(error)))
        for store in sides
    )
    assert colour.call(here, 1) == [1]
    for fn in (here, there):
        with pytest.raises(mh.ResultUnavailableError, match="it cannot be read back: .*no"):
            colour.call(fn, 1)
    with pytest.raises(mh.ResultUnavailableError, match="no result of .*: it cannot be read back"):
        colour.call(there.get, 1).result()
    assert runs == [1]


def test_a_result_of_another_version_of_the_code_is_not_executed_again(
    server: Any, connect: Any, colour: Colour
) -> None:
    """What this version cannot read was executed all the same."""
    old, new = connect(server.url, timeout=5.0), connect(server.url, timeout=5.0)
    writes = mh.idempotent("{order}", store=old, name="charge", registry=mh.Registry())(
        painted(colour, Receipt, receipt(1))
    )
    reads = mh.idempotent("{order}", store=new, name="charge", registry=mh.Registry())(
        painted(colour, int, 5)
    )
    assert colour.call(writes, 1) == receipt(1)
    with pytest.raises(mh.ResultUnavailableError, match="names a type that is not expected here"):
        colour.call(reads, 1)


@pytest.mark.parametrize("payload", ["{", "~{", "", "[1] and more", '~{"~": "os.system"}', b"\xff"])
def test_garbage_in_the_store_is_no_result(
    payload: Any, server: Any, connect: Any, colour: Colour
) -> None:
    """Whatever was written there makes no more of an error than that it cannot be read."""
    store = connect(server.url, timeout=5.0)
    fn = once(store, lambda *_: "anew", colour)
    hold_elsewhere(fn, 1, lease=30.0)
    policy = fn.policies[0]
    store.perform(Finish(policy.scope.at(1), "another", "value", payload, 60.0))
    with pytest.raises(mh.ResultUnavailableError, match="it cannot be read back"):
        colour.call(fn, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_result_is_encoded_lets_go(
    error: type[BaseException], sides: Sides
) -> None:
    """It is no fault of the result: it passes, and the key is free."""
    here = once(sides.here, lambda *_: [1], "sync", codec=Broken(fail(error)))
    with pytest.raises(error):
        here(1)
    there = once(sides.there, lambda *_: "next", "sync", on_running="reject")
    assert there(1) == "next"


def test_a_sync_function_must_not_return_an_awaitable(store: Any) -> None:
    """Nothing of what it does would be guarded; the key is free again."""

    async def work() -> int:
        return 1

    results: list[Any] = [work(), 5]
    fn = once(store, lambda *_: results.pop(0), "sync")
    with pytest.raises(TypeError, match="returned an awaitable"):
        fn(1)
    assert fn(1) == 5


def test_results_are_kept_at_least_a_moment_for_who_waits(sides: Sides) -> None:
    """With next to no time to live, a result is still there for those who waited for it."""
    fn = once(sides.here, lambda *_: "kept", "sync", ttl=0.001)
    assert fn(1) == "kept"
    assert stats_of(fn).executed == 1

    async def main() -> list[Any]:
        async def slow(order: int, amount: int = 5) -> str:
            await asyncio.sleep(0.02)
            return "kept"

        slowly = mh.idempotent(
            "{order}", store=sides.here, name="slow", ttl=0.001, registry=mh.Registry()
        )(slow)
        return await asyncio.gather(*[slowly(1) for _ in range(5)]), stats_of(slowly).executed

    assert asyncio.run(main()) == (["kept"] * 5, 1)


def test_an_outcome_shows_the_record_and_not_the_result() -> None:
    """A result may be secret or large: it is read when asked for, anew each time."""
    outcome = Outcome(
        key="k", state="done", attempt=1, fence=7, age=0.5, remaining=9.5, _read=lambda: ["secret"]
    )
    same = dataclasses.replace(outcome, _read=lambda: ["other"])
    assert (outcome == same, "secret" in repr(outcome)) == (True, False)
    assert outcome.result() == outcome.result()
    assert outcome.result() is not outcome.result()
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.age = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("result", [None, "text", b"raw", 1, 1.5, 2j, True], ids=repr)
def test_what_never_changes_is_kept_in_memory_as_it_is(result: Any) -> None:
    """It needs no copy, so a replay costs none."""
    settings = idempotent_settings(
        key=None,
        store=mh.MemoryStore(),
        version=1,
        fingerprint="auto",
        ttl=60,
        lease=30,
        max_run=None,
        on_running="wait",
        wait_timeout=10,
        on_store_error="raise",
        codec="auto",
        max_result_bytes=1000,
    )
    assert Results(settings, receipt).pack(result) == ("value", result)
    fn = once(mh.MemoryStore(), lambda *_: result, "sync")
    assert all(fn(1) is result for _ in range(3))
