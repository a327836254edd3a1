"""``explain``: the stack of whatever can be called, its worst case, and what defeats itself."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import wrapt

import meshhook as mh


def price(item: str) -> int:
    return len(item)


def kinds(thing: Any) -> list[str]:
    """Return the kinds of what ``explain`` finds, with ``-`` for what is not of meshhook."""
    layers = mh.explain(thing).layers
    return ["-" if layer.policy is None else layer.policy.kind for layer in layers]


@pytest.fixture
def limit(registry: mh.Registry) -> Any:
    return mh.timeout(2, registry=registry)


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    return mh.circuit_breaker("prices", registry=registry)


BOTH = ["circuit_breaker", "timeout"]


async def price_async(item: str) -> int:
    return len(item)


@pytest.mark.parametrize("fn", [price, price_async])
def test_it_prints_the_stack(fn: Any, limit: Any, breaker: Any) -> None:
    """Outermost first, each policy with its settings and the time that a call may take."""
    fn = breaker(limit(fn))
    name = f"{__name__}.{fn.__name__}"
    width = len(f"timeout('{name}', 2 s, auto)")
    assert str(mh.explain(fn)) == (
        f"{name}, from the outside in:\n"
        f"  {breaker.describe():<{width}}  at most 2 s\n"
        f"  timeout('{name}', 2 s, auto)  at most 2 s\n"
        "worst case: at most 2 s"
    )
    assert repr(mh.explain(fn)) == str(mh.explain(fn))


def test_it_can_be_read_by_programs(limit: Any, breaker: Any) -> None:
    """The fields say what the text says."""
    fn = limit(breaker(price))
    told = mh.explain(fn)
    assert told.policies == fn.policies
    assert [layer.longest for layer in told.layers] == [2.0, math.inf]
    assert told.longest == 2.0
    assert told.name == f"{__name__}.price"
    (warning,) = told.warnings
    assert (warning.code, warning.outer, warning.inner) == (
        "timeout-outside-breaker",
        *fn.policies,
    )
    assert str(told).endswith(f"warning: {warning.code}: {warning.happens}\n  fix: {warning.fix}")
    assert str(warning) == f"{warning.code}: {warning.happens}; {warning.fix}"


def test_what_nothing_bounds_is_said_plainly(breaker: Any) -> None:
    """No number stands for the time that a function takes that has no timeout."""
    told = mh.explain(breaker(price))
    assert told.longest == math.inf
    assert str(told).endswith("unbounded\nworst case: unbounded")


def worst(*policies: Any) -> float:
    return mh.explain(mh.Pipeline(*policies)).longest


def test_the_worst_case_is_that_of_all_layers() -> None:
    """From the inside to the outside, each adds to it, multiplies it or bounds it."""
    second = mh.timeout(1)
    assert worst(second) == 1.0
    assert worst(mh.retry(max_attempts=3, backoff="constant", base_delay=0.5), second) == 4.0
    assert worst(mh.hedge(0.25, max_hedges=2), second) == 1.5
    assert worst(mh.rate_limit("1/s", max_wait=3), mh.bulkhead(1, max_wait=2), second) == 6.0
    assert worst(mh.idempotent("{item}", wait_timeout=7), second) == 8.0
    assert worst(mh.idempotent("{item}", on_running="reject"), second) == 1.0
    assert worst(mh.fallback(0), mh.circuit_breaker(), mh.throttle(), mh.chaos(), second) == 1.0
    assert worst(mh.fallback(handler=str), second) == math.inf
    assert worst(mh.timeout(5), mh.fallback(handler=str), second) == 5.0
    assert worst(mh.timeout(5, mode="cooperative")) == math.inf


def test_an_undecorated_function_has_no_layers() -> None:
    """That is no error: it is what one wants to know."""
    told = mh.explain(price)
    assert (told.layers, told.warnings, told.longest) == ((), (), math.inf)
    assert str(told) == f"{__name__}.price: no policy\nworst case: unbounded"
    assert told.check() is told


def test_methods_are_explained(limit: mh.Timeout, breaker: mh.CircuitBreaker) -> None:
    """Through the instance, through the class, and as they stand in the class."""

    class Shop:
        @breaker
        @limit
        def method(self, item: str) -> int:
            return len(item)

        @breaker
        @limit
        @classmethod
        def of_class(cls, item: str) -> int:
            return len(item)

        @breaker
        @limit
        @staticmethod
        def static(item: str) -> int:
            return len(item)

    shop = Shop()
    things: list[Any] = [shop.method, Shop.method, Shop.of_class, shop.of_class, shop.static]
    things += [vars(Shop)["of_class"], vars(Shop)["static"]]
    assert [kinds(thing) for thing in things] == [BOTH] * len(things)
    assert mh.explain(shop.method).name.endswith("Shop.method")


def test_callables_are_explained(limit: mh.Timeout, breaker: mh.CircuitBreaker) -> None:
    """Partial functions of guarded ones, guarded ones of partial ones, objects."""

    class Prices:
        @breaker
        @limit
        def __call__(self, item: str) -> int:
            return len(item)

    class Plain:
        def __call__(self, item: str) -> int:
            return len(item)

    fn = breaker(limit(price))
    guarded_partial = breaker(limit(functools.partial(price, "lamp")))
    things = [functools.partial(fn, "lamp"), guarded_partial, Prices(), breaker(limit(Plain()))]
    assert [kinds(thing) for thing in things] == [BOTH] * len(things)
    assert kinds(Plain()) == kinds(len) == []
    assert mh.explain(guarded_partial).name == f"{__name__}.price"


def logged(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


@wrapt.decorator
def proxied(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


@pytest.mark.parametrize("other", [logged, proxied, lambda fn: functools.lru_cache(fn)])
def test_other_decorators_are_looked_through(limit: Any, breaker: Any, other: Any) -> None:
    """Above, between and below the policies; each is a layer that is not of meshhook."""
    assert kinds(other(breaker(limit(price)))) == ["-", *BOTH]
    assert kinds(breaker(other(limit(price)))) == ["circuit_breaker", "-", "timeout"]
    assert kinds(breaker(limit(other(price)))) == [*BOTH, "-"]
    assert kinds(other(breaker(other(other(limit(price)))))) == [
        "-",
        "circuit_breaker",
        "-",
        "-",
        "timeout",
    ]
    assert mh.explain(breaker(other(limit(price)))).longest == 2.0


def test_other_decorators_are_named(limit: Any, breaker: Any) -> None:
    """By where they are written, not by the function whose name they have taken over."""
    text = str(mh.explain(breaker(logged(limit(price)))))
    assert "  another decorator: logged.<locals>.wrapper  " in text


def test_what_wraps_takes_over_is_counted_once(
    limit: mh.Timeout, breaker: mh.CircuitBreaker
) -> None:
    """A decorator around a bound method copies its attributes, the list of policies included."""

    class Shop:
        @breaker
        @limit
        def method(self, item: str) -> int:
            return len(item)

    around = logged(Shop().method)
    assert around.policies
    assert kinds(around) == ["-", *BOTH]
    assert kinds(logged(around)) == ["-", "-", *BOTH]
    assert kinds(breaker(around)) == ["circuit_breaker", "-", *BOTH]


def test_attributes_of_others_are_no_policies() -> None:
    """An insurance company has policies of its own."""

    def insure(_item: str) -> None: ...

    fn: Any = insure
    fn.policies = ("fire", "theft")
    assert kinds(fn) == []


def test_a_function_that_wraps_itself_is_no_trap() -> None:
    """Whoever goes round in circles is stopped after the first round."""

    def fn(_item: str) -> None: ...

    around = logged(fn)
    fn.__wrapped__ = around  # type: ignore[attr-defined]
    assert kinds(around) == ["-", "-"]
    assert mh.explain(around).name


def test_pipelines_and_policies_are_explained(
    registry: mh.Registry, limit: Any, breaker: Any
) -> None:
    """Nothing gets a name by that."""
    told = mh.explain(mh.Pipeline(breaker, limit))
    assert (told.name, told.policies) == ("a pipeline", (breaker, limit))
    assert "timeout('<name of the function>', 2 s, auto)" in str(told)
    assert mh.explain(limit).name == "a policy"
    assert mh.explain(limit).longest == 2.0
    assert limit._name is None
    assert len(registry) == 1
    limit(price)
    assert "'<name of the function>'" in str(mh.explain(limit))


def test_check_raises_for_warnings(registry: mh.Registry) -> None:
    """For stacked decorators: it is what strict_order is for pipelines."""
    wrong = mh.timeout(1, registry=registry)(mh.timeout(2, registry=registry)(price))
    with pytest.raises(mh.ConfigurationError, match="defeats itself:\n- timeout-shorter") as caught:
        mh.explain(wrong).check()
    assert f"'{__name__}.price#2'" in str(caught.value)
    fn: Any = mh.timeout(2, registry=registry)(mh.timeout(1, registry=registry)(price))
    assert mh.explain(fn).check().policies == fn.policies


@pytest.mark.parametrize("thing", [3, None, "price", [price]])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    """The error says what can be explained."""
    with pytest.raises(TypeError, match="explain takes a decorated function, a Pipeline or a pol"):
        mh.explain(thing)
