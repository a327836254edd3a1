"""Keys: which arguments tell calls apart, however the call is spelled."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

import meshhook as mh
from meshhook.keys import compile_key


def order(tenant: str, number: int = 7, *rest: int, express: bool = False, **more: Any) -> None: ...


def positional(host: str = "default", /, **more: Any) -> None: ...


SPELLINGS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a", 7), {}),
    (("a",), {}),
    (("a",), {"number": 7}),
    ((), {"tenant": "a"}),
    ((), {"number": 7, "tenant": "a"}),
    (("a", 7), {"express": False}),
    (("a", 7, 8, 9), {}),
    (("a",), {"extra": 1}),
]


@pytest.mark.parametrize(("args", "kwargs"), SPELLINGS)
@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("{tenant}", "a"),
        ("{number}", 7),
        ("{express}", False),
        ("order:{tenant}:{number}", ("a", 7)),
        (("tenant", "number"), ("a", 7)),
        (("tenant",), "a"),
        (lambda tenant, number: f"{tenant}-{number}", "a-7"),
        (lambda number: number, 7),
        (lambda: "all", "all"),
    ],
    ids=str,
)
def test_every_spelling_of_a_call_gives_one_key(
    key: Any, wanted: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """By position, by name or by default: it is the same call."""
    assert wanted == compile_key(key, order)(args, kwargs)


def test_fields_are_looked_up_in_their_argument() -> None:
    """A dotted name goes into the argument."""
    bill = SimpleNamespace(id=5, user=SimpleNamespace(name="ann"))

    def charge(bill: Any) -> None: ...

    assert compile_key("{bill.id}", charge)((bill,), {}) == 5
    assert compile_key("{bill.user.name}/{bill.id}", charge)((), {"bill": bill}) == ("ann", 5)
    assert compile_key(("bill.id", "bill.user.name"), charge)((bill,), {}) == (5, "ann")


def test_several_fields_do_not_run_into_one_another() -> None:
    """Two fields are two values, so that 'a' + 'bc' is not 'ab' + 'c'."""

    def fn(left: str, right: str) -> None: ...

    key = compile_key("{left}{right}", fn)
    assert key(("a", "bc"), {}) != key(("ab", "c"), {})


@pytest.mark.parametrize("value", [None, 0, "", False, ()])
def test_falsy_values_are_keys(value: Any) -> None:
    """None and its like are values as any others, also as defaults."""

    def fn(first: Any, second: Any = value) -> None: ...

    assert compile_key("{first}", fn)((value,), {}) == value
    assert compile_key("{second}", fn)((1,), {}) == value
    assert compile_key("{second}", fn)((1,), {"second": value}) == value


def test_a_keyword_is_not_a_positional_only_argument_of_that_name() -> None:
    """It belongs to the function's ``**more``, so the key is the default."""
    assert compile_key("{host}", positional)((), {"host": "other"}) == "default"
    assert compile_key("{host}", positional)(("given",), {"host": "other"}) == "given"


@pytest.mark.parametrize("key", ["{tenant}", lambda tenant: tenant], ids=["template", "callable"])
def test_a_missing_argument_is_a_type_error(key: Any) -> None:
    """As the call itself would raise it."""
    with pytest.raises(TypeError, match=r"missing a required.* argument: 'tenant'"):
        compile_key(key, order)((), {"number": 5})


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("{", "is not a template"),
        ("}", "is not a template"),
        ("{tenant", "is not a template"),
        ("{}", "names '', which is no argument of order; it has tenant, number, express"),
        ("{0}", "names '0', which is no argument"),
        ("{customer}", "names 'customer', which is no argument of order"),
        ("{customer.id}", "names 'customer.id', which is no argument of order"),
        ("{tenant.}", "names 'tenant.', which"),
        ("{tenant..id}", "names 'tenant..id', which"),
        ("{.tenant}", "names '.tenant', which"),
        ("{tenant[0]}", r"names 'tenant\[0\]', which"),
        ("{ tenant }", "names ' tenant ', which"),
        ("{tenant.two words}", "names 'tenant.two words', which"),
        ("{rest}", "names 'rest', which"),
        ("{more}", "names 'more', which"),
        ("{tenant!r}", "formats its fields; write the bare names"),
        ("{number:03}", "formats its fields; write the bare names"),
        ("", "names no argument, so that all calls would share it"),
        ("all", "names no argument, so that all calls would share it"),
        ("{{tenant}}", "names no argument, so that all calls would share it"),
        ((), "names no argument, so that all calls would share it"),
        (("tenant", 5), r"must hold names of arguments, got \('tenant', 5\)"),
        (("tenant", "customer"), "names 'customer', which"),
        (5, r"must be a template such as '\{order.id\}', a tuple .*, got 5"),
        (["tenant"], r"must be a template .* got \['tenant'\]"),
        (b"{tenant}", "must be a template"),
    ],
    ids=str,
)
def test_a_key_that_fits_no_call_is_refused(key: Any, words: str) -> None:
    """The error comes when the key is compiled, and shows the key, what is wrong and a way out."""
    with pytest.raises(mh.ConfigurationError, match=words):
        compile_key(key, order)


def test_a_bad_key_fails_at_decoration() -> None:
    """Not at the first call, in either colour."""

    async def fn(host: str) -> None: ...

    def fn_sync(host: str) -> None: ...

    for each in (fn, fn_sync):
        with pytest.raises(mh.ConfigurationError, match="names 'hots', which is no argument"):
            mh.circuit_breaker(key="{hots}", registry=mh.Registry())(each)


def test_a_function_without_arguments_has_no_keys() -> None:
    """The error says that there is none to name."""
    with pytest.raises(mh.ConfigurationError, match="it has none"):
        compile_key("{any}", lambda: None)


def test_an_async_key_is_refused() -> None:
    """Nobody would await it, and every call would have a key of its own."""

    async def key(tenant: str) -> str:
        return tenant

    with pytest.raises(mh.ConfigurationError, match="plain function, not an async one"):
        compile_key(key, order)


@pytest.mark.parametrize("key", ["{x}", lambda anything: anything])
def test_a_function_without_signature_is_named(key: Any) -> None:
    """Some builtins have no signature to compile a key against."""
    with pytest.raises(mh.ConfigurationError, match=r"signature of <class 'dict'>, which has none"):
        compile_key(key, dict)


def test_a_callable_that_names_other_things_gets_them_by_position() -> None:
    """Names that the function does not have, ``*args`` and positional-only: for any spelling."""

    def only(first: Any, /) -> Any:
        return first

    for key, wanted in (
        (lambda *args: args, ("a", 5)),
        (lambda a, b: (b, a), (5, "a")),
        (lambda *args, **kwargs: (args, kwargs), (("a", 5), {"express": False})),
        (only, "a"),
    ):
        for args, kwargs in (
            (("a", 5), {}),
            (("a",), {"number": 5}),
            ((), {"number": 5, "tenant": "a"}),
        ):
            assert wanted == compile_key(key, order)(args, kwargs)
    assert compile_key(lambda t, n: n, order)(("a",), {}) == 7


def test_a_callable_may_take_everything_by_name() -> None:
    """``**rest`` gets all arguments, defaults included."""
    seen = compile_key(lambda **given: tuple(sorted(given)), order)(("a",), {})
    assert seen == ("express", "more", "number", "rest", "tenant")
    assert compile_key(lambda tenant, **_: tenant, order)((), {"tenant": "a"}) == "a"


def test_a_callable_may_ask_for_all_positional_arguments() -> None:
    """The name of ``*rest`` is a name like any other to a callable."""
    assert compile_key(lambda rest: f"{len(rest)} more", order)(("a", 7, 8, 9), {}) == "2 more"


def test_a_builtin_may_be_the_key() -> None:
    """A callable without a signature gets the call as it comes."""
    assert compile_key(max, order)((3, 5), {}) == 5
    assert compile_key(str, order)((3,), {}) == "3"


@pytest.mark.parametrize(
    "make",
    [
        lambda fn: fn,
        lambda fn: functools.partial(fn, more=1),
        lambda fn: SimpleNamespace(method=fn).method,
    ],
    ids=["function", "partial", "attribute"],
)
def test_keys_of_partials(make: Any) -> None:
    """A partial has the arguments that are left."""

    def fn(host: str, more: int = 0) -> None: ...

    assert compile_key("{host}", make(fn))(("h",), {}) == "h"


def test_keys_of_methods_and_class_methods() -> None:
    """``self`` and ``cls`` are arguments of the function, and do not shift the others."""
    registry = mh.Registry()
    by_host = mh.circuit_breaker(key="{host}", registry=registry)

    class Client:
        @by_host
        def method(self, host: str) -> None: ...

        @by_host
        @classmethod
        def of_class(cls, host: str) -> None: ...

        @by_host
        @staticmethod
        def static(host: str) -> None: ...

    client = Client()
    for name in ("method", "of_class", "static"):
        function: Any = getattr(client, name)
        function("a")
        function(host="a")
        assert function.policies[0].stats("a").successes == 2


def test_an_unhashable_key_says_what_to_name() -> None:
    """The error tells the type that cannot be hashed, not the value."""
    guard: Any = mh.circuit_breaker(key="{basket}", registry=mh.Registry())(lambda basket: basket)
    with pytest.raises(TypeError, match=r"key must be hashable: unhashable type: 'list'; name a f"):
        guard(["secret"])


def test_two_calls_of_one_key_share_a_circuit(colour: Any) -> None:
    """A failing key opens its own circuit and no other."""
    registry = mh.Registry()
    breaker = mh.circuit_breaker("b", key="{host}", failure_threshold=1, registry=registry)

    def ask(host: str) -> str:
        if host == "bad":
            raise ConnectionError
        return host

    guard = breaker(colour.paint(ask))
    with pytest.raises(ConnectionError):
        colour.call(guard, "bad")
    with pytest.raises(mh.CircuitOpenError):
        colour.call(guard, host="bad")
    assert colour.call(guard, "good") == "good"
