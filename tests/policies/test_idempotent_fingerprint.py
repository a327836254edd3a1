"""Fingerprints: what must be the same about a call when its key comes again."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

import meshhook as mh
from meshhook.keys import Callee
from meshhook.policies.idempotent.fingerprint import LONGEST, compile_fingerprint
from meshhook.stores.protocol import Get
from tests.colours import Colour
from tests.policies.idempotent_calls import Sides, nothing_left, record_of, stats_of
from tests.waiting import Held

REMOTE = 0


def fingerprint(
    fn: Any, key: Any, *args: Any, setting: Any = "auto", longest: int = LONGEST, **kwargs: Any
) -> Any:
    """Return the fingerprint of one call."""
    read = compile_fingerprint(setting, Callee(fn), key, longest=longest)
    return None if read is None else read(args, kwargs)


def charge(order: Any, amount: Any = 5, *, currency: Any = "eur") -> None: ...


def test_what_the_key_covers_is_not_in_it() -> None:
    """All other arguments are, whichever way they are passed."""
    assert fingerprint(charge, "{order}", 1, 7) == "i7;s3:eur"
    assert fingerprint(charge, "{order}{currency}", 1, 7) == "i7;"
    assert fingerprint(charge, ("order", "amount"), 1, 7, currency="usd") == "s3:usd"


def test_a_key_that_covers_everything_needs_none() -> None:
    """There is nothing left that could differ."""
    assert (
        compile_fingerprint("auto", Callee(charge), "{order}{amount}{currency}", longest=LONGEST)
        is None
    )
    assert compile_fingerprint("auto", Callee(lambda: None), lambda: 1, longest=LONGEST) is None


def test_a_field_of_an_argument_does_not_cover_the_argument() -> None:
    """The rest of the order may differ: it counts, as everything about it does."""
    order = {"id": 1, "sum": 5}
    assert fingerprint(charge, "{order.id}", order, 7) != fingerprint(
        charge, "{order.id}", {**order, "sum": 6}, 7
    )


def test_a_callable_key_covers_nothing() -> None:
    """Nobody knows what it reads, so all arguments count."""
    assert fingerprint(charge, lambda order: order, 1, 7) == "i1;i7;s3:eur"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {}),
        ((1, 5), {}),
        ((1,), {"amount": 5}),
        ((), {"order": 1, "currency": "eur", "amount": 5}),
    ],
)
@pytest.mark.parametrize("setting", ["auto", ("amount", "currency"), lambda amount: amount])
def test_spellings_of_one_call_have_one_fingerprint(setting: Any, args: Any, kwargs: Any) -> None:
    """By position, by name or by default."""
    read = compile_fingerprint(setting, Callee(charge), "{order}", longest=LONGEST)
    assert read is not None
    assert read(args, kwargs) == read((1, 5), {"currency": "eur"})


def test_arguments_of_any_number_count() -> None:
    """What is left over by position and by name is part of the call."""

    def fn(order: int, *rest: int, express: bool = False, **more: int) -> None: ...

    seen = {
        fingerprint(fn, "{order}", *args, **kwargs)
        for args, kwargs in [
            ((1,), {}),
            ((1, 2), {}),
            ((1, 2, 3), {}),
            ((1,), {"express": True}),
            ((1,), {"x": 1}),
            ((1,), {"x": 2}),
            ((1,), {"y": 1}),
        ]
    }
    assert len(seen) == 7
    assert fingerprint(fn, "{order}", 1, x=1, y=2) == fingerprint(fn, "{order}", 1, y=2, x=1)
    assert fingerprint(fn, "{order}", 1) == fingerprint(fn, "{order}", order=1)


def test_the_object_of_a_method_does_not_count() -> None:
    """It has no value that could be compared, and tells nothing about the call."""

    class Shop:
        def charge(self, order: int, amount: int) -> None: ...

        def only(self, order: int) -> None: ...

        def of_class(cls, order: int) -> None: ...  # noqa: N805

    assert fingerprint(Shop.charge, "{order}", Shop(), 1, 7) == "i7;"
    assert compile_fingerprint("auto", Callee(Shop.only), "{order}", longest=LONGEST) is None
    assert compile_fingerprint("auto", Callee(Shop.of_class), "{order}", longest=LONGEST) is None


def test_names_say_what_counts() -> None:
    """One name or several, also of what is inside an argument; nothing else counts."""
    order = SimpleNamespace(id=1, sum=5)
    for setting, wanted in [
        ("amount", "i7;"),
        (("amount",), "i7;"),
        ("order.sum", "i5;"),
        (("order.sum", "amount"), "T2:i5;i7;"),
        (lambda order: [order.sum], "L1:i5;"),
    ]:
        assert fingerprint(charge, "{order.id}", order, 7, setting=setting) == wanted


def test_false_means_none() -> None:
    """Then the key alone decides."""
    assert compile_fingerprint(False, Callee(charge), "{order}", longest=LONGEST) is None


@pytest.mark.parametrize("key", ["{order}", "{order}{currency}"], ids=["several", "one"])
def test_a_long_one_is_a_digest(key: str) -> None:
    """It is kept for as long as its result, so it must not be larger than that."""
    longest = fingerprint(charge, key, 1, "x" * 200)
    texts = [fingerprint(charge, key, 1, "x" * 300 + more) for more in ("", "y")]
    assert [len(longest) > 200, *map(len, texts)] == [True, 32, 32]
    assert len({longest, *texts}) == 3


@pytest.mark.parametrize("key", ["{order}", "{order}{currency}"], ids=["several", "one"])
def test_elsewhere_it_is_always_a_digest(key: str) -> None:
    """Arguments are nobody's business outside of this process."""
    texts = {fingerprint(charge, key, 1, each, longest=REMOTE) for each in ("secret", 7, None)}
    assert (len(texts), {len(each) for each in texts}) == (3, {32})


def test_no_argument_is_in_a_record_elsewhere(server: Any, connect: Any, colour: Colour) -> None:
    """Neither of a decorated function nor of the direct form."""
    store = connect(server.url, timeout=5.0)

    def pay(order: str, card: str) -> str:
        return "ok"

    policy = mh.idempotent("{order}", store=store, name="pay", registry=mh.Registry())
    fn = policy(colour.paint(pay))
    assert colour.call(fn, "o-1", "4111-1111") == "ok"
    record = record_of(fn, "o-1")
    assert record is not None
    assert ("4111" in repr(record), len(record.fingerprint)) == (False, 32)
    policy.run("o-2", pay, "o-2", "4111-1111")
    direct: Any = record_of(fn, "o-2")
    assert ("4111" in repr(direct), len(direct.fingerprint)) == (False, 32)


def paid(store: Any, colour: Colour, **settings: Any) -> Any:
    """Make a function of three arguments."""

    def pay(order: Any, amount: Any = 5, note: Any = None) -> str:
        return "paid"

    return mh.idempotent("{order}", store=store, name="pay", registry=mh.Registry(), **settings)(
        colour.paint(pay)
    )


@pytest.mark.parametrize(
    ("setting", "same", "other"),
    [
        ("auto", [(1, 5, "n")], [(1, 6, "n"), (1, 5, "m"), (1, 5), (1, "5", "n"), (1, 5.0, "n")]),
        ("amount", [(1, 5, "n"), (1, 5, "m"), (1, 5, object())], [(1, 6, "n")]),
        (("amount", "note"), [(1, 5, "n")], [(1, 5, "m"), (1, 6, "n")]),
        (lambda amount: amount % 2, [(1, 5, "n"), (1, 7, "n")], [(1, 6, "n")]),
        (False, [(1, 5, "n"), (1, 6, "m"), (1, object())], []),
    ],
    ids=["auto", "name", "names", "callable", "none"],
)
def test_the_same_key_with_other_arguments_is_refused(
    setting: Any, same: list[Any], other: list[Any], sides: Sides, colour: Colour
) -> None:
    """What counts must be the same, here and elsewhere; what does not may be anything."""
    here, there = (paid(store, colour, fingerprint=setting) for store in sides)
    assert colour.call(here, *same[0]) == "paid"
    for fn in (here, there):
        for args in same:
            assert colour.call(fn, *args) == "paid"
        for args in other:
            with pytest.raises(mh.KeyReusedError, match="belongs to a call with other arguments"):
                colour.call(fn, *args)
    assert stats_of(here).executed + stats_of(there).executed == 1
    assert stats_of(there).rejected >= len(other)


def test_a_record_without_fingerprint_is_anybody_s(sides: Sides, colour: Colour) -> None:
    """A function that compares nothing yet keeps none, and is not refused when it begins to."""
    before = paid(sides.here, colour, fingerprint=False)
    after = paid(sides.there, colour)
    assert [colour.call(before, 1, 5), colour.call(after, 1, 6)] == ["paid", "paid"]
    assert stats_of(after).executed == 0


class Opaque:
    """An argument whose value cannot be seen."""


@dataclasses.dataclass
class Holder:
    inside: Any


@pytest.mark.parametrize("argument", [Opaque(), [Opaque()], Holder(Opaque())], ids=["", "in", "of"])
@pytest.mark.parametrize("setting", ["auto", "note", lambda note: note], ids=["auto", "name", "fn"])
def test_what_cannot_be_compared_is_refused(
    argument: Any, setting: Any, store: Any, colour: Colour
) -> None:
    """The error names argument and function, and what may be said instead; nothing is executed."""
    fn = paid(store, colour, fingerprint=setting)
    name = "note" if setting == "auto" else "fingerprint"
    with pytest.raises(
        TypeError,
        match=f"'{name}' of .*pay.* cannot be compared with that of another call: the "
        r"value of a Opaque cannot .* such as fingerprint=\('order.id', 'amount'\), or",
    ):
        colour.call(fn, 1, 5, argument)
    assert (stats_of(fn).calls, nothing_left(fn), record_of(fn, 1)) == (0, True, None)
    assert colour.call(fn, 1, 5, "fine") == "paid"


def test_an_argument_that_is_missing_is_an_error_of_the_call(store: Any, colour: Colour) -> None:
    """As Python would raise it, before anything is asked."""
    fn = mh.idempotent("{order}", store=store, name="pay", registry=mh.Registry())(
        colour.paint(lambda order, amount: amount)
    )
    with pytest.raises(TypeError, match="missing a required argument: 'amount'"):
        colour.call(fn, 1)
    assert (stats_of(fn).calls, nothing_left(fn)) == (0, True)


def test_an_async_callable_is_refused() -> None:
    """Nobody would await it; the error names the setting."""

    async def amount_of(amount: int) -> int:
        return amount

    with pytest.raises(mh.ConfigurationError, match="fingerprint must be a plain function, not an"):
        mh.idempotent("{order}", fingerprint=amount_of, registry=mh.Registry())(charge)


def test_a_callable_needs_a_signature_to_read() -> None:
    """The error names the setting that asks for it."""
    with pytest.raises(mh.ConfigurationError, match="fingerprint needs the signature of"):
        compile_fingerprint(lambda anything: anything, Callee(dict), lambda: 1, longest=LONGEST)


DIRECT: list[tuple[Any, list[Any], list[Any]]] = [
    ("auto", [((1, 5), {})], [((1, 6), {}), ((1,), {"amount": 5})]),
    ("amount", [((1, 5), {}), ((2, 5), {}), ((3,), {"amount": 5})], [((1, 6), {})]),
    (False, [((1, 5), {}), ((1, 6), {}), ((1, object()), {})], []),
]


@pytest.mark.parametrize(("setting", "same", "other"), DIRECT, ids=["auto", "name", "none"])
def test_the_direct_form_compares_arguments_as_they_are_spelled(
    setting: Any, same: list[Any], other: list[Any], store: Any, colour: Colour
) -> None:
    """Unless it is told what counts: then spelling does not."""
    policy = mh.idempotent(store=store, name="pay", fingerprint=setting, registry=mh.Registry())
    pay = colour.paint(lambda order=1, amount=5: "paid")
    run = policy.run if colour.name == "sync" else policy.arun
    for args, kwargs in same:
        assert colour.call(run, "key", pay, *args, **kwargs) == "paid"
    for args, kwargs in other:
        with pytest.raises(mh.KeyReusedError):
            colour.call(run, "key", pay, *args, **kwargs)
    assert policy.stats().executed == 1


def test_the_direct_form_without_arguments_compares_nothing(store: Any) -> None:
    """A closure has its arguments inside: only its caller knows them."""
    body = Held()
    body.go.set()
    policy = mh.idempotent(store=store, name="pay", registry=mh.Registry())
    assert [policy.run("key", body), policy.run("key", lambda: 7)] == ["done", "done"]
    assert body.runs == 1


def test_a_long_call_of_the_direct_form_is_a_digest() -> None:
    """As it is for decorated functions."""
    policy = mh.idempotent(store=mh.MemoryStore(), name="pay", registry=mh.Registry())
    policy.run("long", len, "x" * 300)
    policy.run("short", len, "x")
    records: Any = [policy.store.perform(Get(policy.scope.at(key))) for key in ("long", "short")]
    assert [len(each.fingerprint) for each in records] == [32, len("T1:s1:x" + "M0:")]


def test_the_direct_form_names_what_cannot_be_compared(store: Any, colour: Colour) -> None:
    """Arguments have no names there but by position and by keyword."""
    policy = mh.idempotent(store=store, name="pay", registry=mh.Registry())
    pay = colour.paint(lambda *args, **kwargs: "paid")
    run = policy.run if colour.name == "sync" else policy.arun
    for args, kwargs, name in (((Opaque(),), {}, "args"), ((), {"x": Opaque()}, "kwargs")):
        with pytest.raises(TypeError, match=f"'{name}' of .* cannot be compared"):
            colour.call(run, "key", pay, *args, **kwargs)
    assert policy.stats().calls == 0
