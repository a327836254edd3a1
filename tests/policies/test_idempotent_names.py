"""Names, keys and settings of idempotent functions: what is kept where, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.policies.idempotent_calls import Sides, hold_elsewhere, once, stats_of
from tests.stores.conftest import PATIENT
from tests.waiting import Held

LEASE = 30.0


def test_functions_on_one_store_are_apart(sides: Sides, colour: Colour) -> None:
    """Each has its own key and time, whichever was decorated first."""
    store, runs = sides.here, []
    short = once(store, lambda *_: runs.append("short"), colour, name="short", ttl=60)
    long = once(store, lambda *_: runs.append("long"), colour, name="long", key="{amount}", ttl=600)
    for fn, args in [(long, (1, 2)), (short, (1, 2)), (short, (1, 2)), (long, (9, 2))]:
        if fn is long and args == (9, 2):
            with pytest.raises(mh.KeyReusedError):
                colour.call(fn, *args)
        else:
            colour.call(fn, *args)
    assert runs == ["long", "short"]
    kept = colour.call(short.get, 1, 2).remaining, colour.call(long.get, 1, 2).remaining
    assert (0 < kept[0] <= 60, 60 < kept[1] <= 600) == (True, True)
    assert short.key_for(1, 2) != long.key_for(1, 2)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("charge:{order}", True),
        ("charge:{amount}", True),
        ("refund:{order}", False),
        ("{order}", False),
        ("{order}charge:", False),
        ("{{}}charge:{order}", False),
    ],
)
def test_the_text_of_a_template_is_part_of_its_keys(
    key: str, same: bool, store: Any, colour: Colour
) -> None:
    """So that templates of one name are apart wherever they read differently."""
    body = Held()
    body.go.set()
    charge = once(store, body, colour, key="charge:{order}", fingerprint=False)
    other = once(store, body, colour, key=key, fingerprint=False)
    colour.call(charge, 7, 7)
    colour.call(other, 7, 7)
    assert (body.runs == 1, charge.key_for(7, 7) == other.key_for(7, 7)) == (same, same)
    colour.call(other.clear, 7, 7)
    assert (colour.call(charge.get, 7, 7) is None) is same


def test_the_default_memory_belongs_to_the_registry(colour: Colour) -> None:
    """A test that has a registry of its own sees nothing of another, under any name."""
    first, second = mh.Registry(), mh.Registry()
    one = once(None, lambda *_: "first", colour, registry=first)
    assert colour.call(one, 1) == "first"
    assert colour.call(once(None, lambda *_: "second", colour, registry=second), 1) == "second"
    assert colour.call(once(None, lambda *_: "again", colour, registry=first), 1) == "first"


def test_keys_of_functions_that_have_one_name_are_apart(registry: mh.Registry) -> None:
    """What is handed on to another service goes by the name in the registry, and is short."""

    def make() -> Any:
        @mh.idempotent("{order}", registry=registry)
        def charge(order: int) -> str:
            return mh.current().key

        return charge

    one, other = make(), make()
    assert (one(1), other(1)) == (one.key_for(1), other.key_for(1))
    assert one.key_for(1) != other.key_for(1)


class Till:
    """Its charges are told apart by order alone."""

    @mh.idempotent("{order}", registry=mh.Registry())
    def charge(self, order: int, amount: int) -> tuple[int, int]:
        return order, amount


@pytest.mark.parametrize("verb", ["key_for", "get", "clear"])
def test_a_method_is_looked_up_on_its_class(verb: str) -> None:
    """On an object it does not know of the object, and would take an argument for it."""
    till: Any = Till()
    said = r"Till\.charge\(\) is a method, .* as in Till\.charge\.key_for\(self, \.\.\.\)"
    for args in ((1, 2), (1,), ()):
        with pytest.raises(TypeError, match=said):
            getattr(till.charge, verb)(*args)
    getattr(Till.charge, verb)(till, 1, 2)


@pytest.mark.parametrize("verb", ["key_for", "get", "clear"])
def test_what_is_no_call_has_no_key(verb: str, store: Any, colour: Colour) -> None:
    """Arguments that the function does not have are an error; the key may be all there is."""
    fn = once(store, lambda *_: None, colour)
    for args, kwargs in (((1, 2, 3), {}), ((1,), {"total": 3}), ((1,), {"order": 2}), ((), {})):
        with pytest.raises(TypeError, match="argument"):
            colour.call(lambda: getattr(fn, verb)(*args, **kwargs))  # noqa: B023 - called at once
    assert fn.key_for(1) == fn.key_for(1, 7)


def test_a_callable_object_has_keys_of_its_calls(registry: mh.Registry) -> None:
    """It is asked as it is called."""

    class Charge:
        def __call__(self, order: int) -> str:
            return "charged"

    charge = mh.idempotent("{order}", registry=registry)(Charge())
    assert (charge(1), charge.key_for(order=1)) == ("charged", charge.key_for(1))


MODULE = """
import meshhook as mh

@mh.idempotent("{{order}}", store=store, registry=mh.Registry())
def charge(order):
    return {result!r}
"""


def load(store: Any, result: str, name: str = "shop") -> Any:
    """Execute the module that has ``charge`` in it, as importing or reloading it would."""
    space: dict[str, Any] = {"__name__": name, "store": store}
    exec(compile(MODULE.format(result=result), f"{name}.py", "exec"), space)
    return space["charge"]


def test_a_module_may_be_reloaded(server: Any, connect: Any) -> None:
    """The same lines again are the same function, and find the records of before."""
    store = connect(server.url, timeout=PATIENT)
    first = load(store, "first")
    assert first(1) == "first"
    again = load(store, "first")
    assert again(1) == "first"
    assert (stats_of(again).replayed, first.key_for(1)) == (1, again.key_for(1))


def test_two_functions_of_one_name_are_refused_on_a_lasting_store(
    server: Any, connect: Any
) -> None:
    """They would share their results; on another store, or under another name, they do not."""
    store = connect(server.url, timeout=PATIENT)
    first = load(store, "first")
    with pytest.raises(
        mh.ConfigurationError, match=r"two functions are called shop\.charge .*name="
    ):
        load(store, "second")
    with pytest.raises(mh.ConfigurationError, match="two functions are called"):
        load(connect(server.url, timeout=PATIENT), "of the same server")
    other = connect(server.url, timeout=PATIENT, namespace="other-" + store.namespace)
    assert load(other, "second")(1) == "second"
    assert load(store, "second", "market")(1) == "second"
    assert first(1) == "first"


def test_a_function_of_a_script_needs_a_name_on_a_lasting_store(server: Any, connect: Any) -> None:
    """Every script has a main module, and they would meet in the store."""
    store = connect(server.url, timeout=PATIENT)
    with pytest.raises(mh.ConfigurationError, match=r"__main__\.charge is the name .* name= that"):
        load(store, "first", "__main__")
    assert load(mh.MemoryStore(), "first", "__main__")(1) == "first"


def test_a_decorator_without_its_key_says_what_to_write() -> None:
    """Bare, it takes the function for a key; the first call tells."""

    @mh.idempotent
    def charge(order: int, amount: int) -> None: ...

    for args, kwargs in (((1, 2), {}), ((1,), {}), ((), {}), ((1,), {"amount": 2})):
        with pytest.raises(TypeError, match=r"write @idempotent\('\{order.id\}'\) above it"):
            charge(*args, **kwargs)  # type: ignore[call-overload]


def test_a_long_key_is_not_shown_whole(store: Any, colour: Colour) -> None:
    """An error can be read."""
    fn = once(store, lambda *_: None, colour)
    colour.call(fn, "x" * 100_000)
    with pytest.raises(mh.KeyReusedError) as caught:
        colour.call(fn, "x" * 100_000, 6)
    assert len(str(caught.value)) < 400


def test_an_argument_that_contains_itself_cannot_be_compared(store: Any, colour: Colour) -> None:
    """The error says what to do about it."""
    fn = once(store, lambda *_: None, colour)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="'amount' of .* contains itself"):
        colour.call(fn, 1, endless)


def test_generators_have_no_direct_form(store: Any) -> None:
    """Their body runs when it is iterated, and would not be what is executed once."""

    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="cannot run the generator function"):
        mh.idempotent(store=store, name="direct", registry=mh.Registry()).run("k", numbers)


def test_one_function_is_not_decorated_twice_for_a_lasting_store(server: Any, connect: Any) -> None:
    """Its two guards would share their results, whatever their settings."""
    store = connect(server.url, timeout=PATIENT)
    guard = load(store, "first")
    with pytest.raises(mh.ConfigurationError, match="two functions are called"):
        mh.idempotent("{order}", store=store, ttl=1)(guard.__wrapped__)


def test_functions_of_one_name_are_apart_in_memory() -> None:
    """There records belong to the very function, so nothing has to be refused."""
    store = mh.MemoryStore()
    assert [load(store, "first")(1), load(store, "second")(1)] == ["first", "second"]


@pytest.mark.parametrize("key", [b"raw", 7, -7, True, 2.5, ("a", 1), ("a", ("b", None))], ids=repr)
def test_keys_of_any_type_are_found_again(key: Any, store: Any, colour: Colour) -> None:
    """Their type is part of them, so none is the text that looks like it."""
    body = Held()
    body.go.set()
    fn = once(store, body, colour)
    for each in (key, key, repr(key), repr(key)):
        colour.call(fn, each)
    assert (body.runs, fn.key_for(key) == fn.key_for(repr(key))) == (2, False)


@pytest.mark.parametrize("key", [None, "", b"", (), ("a", None), ("", 1)], ids=repr)
def test_a_key_without_all_its_parts_is_missing(key: Any, store: Any, colour: Colour) -> None:
    """A key that lacks a part would be shared by calls that have nothing to do with each other."""
    fn = once(store, Held(), colour)
    with pytest.raises(mh.MissingKeyError, match="has no key"):
        colour.call(fn, key)
    with pytest.raises(mh.MissingKeyError):
        fn.key_for(key)
    assert (stats_of(fn).rejected, stats_of(fn).running) == (2, 0)


def test_an_error_in_the_key_function_is_its_own(store: Any, colour: Colour) -> None:
    """It is no missing key: the function that was given has a fault."""
    fn = once(store, Held(), colour, key=lambda order: order.number)
    with pytest.raises(AttributeError, match="number"):
        colour.call(fn, 1)


def test_errors_show_the_key_in_readable_form(store: Any, colour: Colour) -> None:
    """Text as text, everything else in its canonical form."""
    fn = once(store, Held(), colour, on_running="reject")
    for key, shown in (("order-7", "'order-7'"), (("a", 7), "'T2:s1:ai7;'")):
        hold_elsewhere(fn, key, lease=LEASE)
        with pytest.raises(mh.InProgressError, match="idempotent 'charge': key " + shown):
            colour.call(fn, key)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"key": "{ordr}"}, r"key '\{ordr\}' names 'ordr', which is no argument of .*it has order"),
    ({"key": ("order", "tenant")}, r"key \('order', 'tenant'\) names 'tenant', which is no arg"),
    ({"key": "order:{order!s}"}, r"key 'order:\{order!s\}' formats its fields; write the bare"),
    ({"key": "order"}, r"key 'order' names no argument, .* write a name in braces"),
    (
        {"key": 7},
        r"key must be a template such as '\{order.id\}', a tuple of names or a call.*, got 7",
    ),
    ({"key": None}, "key is needed to decorate a function: say which .* such as key="),
    (
        {"fingerprint": "amonut"},
        r"fingerprint .*'amonut'.*, which is no argument of .* it has order, amount",
    ),
    ({"fingerprint": ("order", "x.y")}, r"fingerprint .* names 'x.y', which is no argument"),
    ({"fingerprint": ()}, r"fingerprint must be 'auto', False, .*, got \(\)"),
    ({"fingerprint": ("order", 5)}, r"fingerprint must be .*, got \('order', 5\)"),
    ({"fingerprint": True}, "fingerprint must be .*, got True"),
    (
        {"ttl": "fast"},
        r"ttl must be a duration of more than 0 seconds: .* such as '250ms' \(.*, got 'fast'",
    ),
    ({"ttl": 0}, "ttl must be a duration of more than 0 seconds: .*, got 0"),
    ({"lease": "10/s"}, "lease must be a duration .*, got '10/s'"),
    ({"lease": -1}, "lease must be a duration .*, got -1"),
    ({"lease": float("inf")}, "lease must be a duration .*, got inf"),
    (
        {"max_run": "1s", "lease": "2s"},
        "max_run='1s' is less than lease='2s', .* shorten the lease",
    ),
    (
        {"wait_timeout": "soon"},
        "wait_timeout must be a duration of 0 or more seconds.*, got 'soon'",
    ),
    ({"on_running": "retry"}, "on_running must be one of 'wait', 'reject', got 'retry'"),
    ({"on_store_error": "ignore"}, "on_store_error must be one of 'raise', 'run', got 'ignore'"),
    ({"version": 1.5}, "version must be a whole number of 0 or more, got 1.5"),
    (
        {"max_result_bytes": "1MB"},
        "max_result_bytes must be a whole number of 0 or more, got '1MB'",
    ),
    ({"codec": "json"}, r"codec must be 'auto' or an object with encode\(value\) .*, got 'json'"),
    (
        {"store": "redis://localhost"},
        r"store must be a store, such as RedisStore\(.*, got 'redis://",
    ),
    ({"store": mh.MemoryStore}, "store must be a store, such as RedisStore.*, got <class"),
    ({"name": ""}, "name must be printable text that is not empty, got ''"),
    ({"registry": {}}, r"registry must be a meshhook.Registry, or left out, got \{\}"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_a_mistake_fails_at_decoration(wrong: dict[str, Any], said: str, colour: Colour) -> None:
    """The message names the argument, shows the value, and says what to write instead."""
    settings = {"store": mh.MemoryStore(), **wrong}
    with pytest.raises(mh.ConfigurationError, match=said):
        once(settings.pop("store"), Held(), colour, **settings)


def test_the_direct_form_needs_a_name_and_no_key() -> None:
    """Records are kept under a name, and ``run`` is given the key itself."""
    with pytest.raises(mh.ConfigurationError, match="name is needed to use idempotent"):
        mh.idempotent(registry=mh.Registry()).run("k", int)
    policy = mh.idempotent(name="charge", registry=mh.Registry())
    with pytest.raises(mh.ConfigurationError, match=r"key is needed to call by it; use run\(key"):
        policy.call(int)
    assert (policy.run("k", int), policy.stats().executed) == (0, 1)


def test_the_direct_form_in_either_colour(sides: Sides, colour: Colour) -> None:
    """``run`` and ``arun`` execute once per key, and share with one another."""
    runs: list[int] = []
    policies = [mh.idempotent(name="pay", store=store, registry=mh.Registry()) for store in sides]

    async def pay(amount: int) -> int:
        runs.append(amount)
        return amount

    def pay_sync(amount: int) -> int:
        runs.append(amount)
        return amount

    for policy in policies:
        for key in ("one", ("two", 2)):
            if colour.name == "sync":
                assert policy.run(key, pay_sync, 5) == 5
            else:
                assert colour.call(policy.arun, key, pay, 5) == 5
    assert runs == [5, 5]
