"""What a fallback gives for a call that fails, in both colours."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import pickle
import threading
import weakref
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.observe.logging import log_events
from meshhook.testing.cancelling import MOMENTS, Stepped
from tests.colours import Colour
from tests.forking import in_a_fork


def failing(colour: Colour, policy: mh.Fallback, error: BaseException | None = None) -> Any:
    """Decorate a function of one argument that always raises."""

    def call(item: Any = None) -> Any:
        raise error or ConnectionError("down")

    return policy(colour.paint(call))


def only(fn: Any) -> Any:
    """Return the statistics of the only policy of ``fn``."""
    (policy,) = fn.policies
    return policy.stats()


def test_passes_results_through(colour: Colour, registry: mh.Registry) -> None:
    """What works gets no fallback, whatever it returns."""
    fn = mh.fallback("other", registry=registry)(colour.paint(lambda result, **_: result))
    assert [colour.call(fn, value, more=1) for value in (1, None, "", [])] == [1, None, "", []]
    assert (only(fn).successes, only(fn).used) == (4, 0)


def test_gives_the_value(colour: Colour, registry: mh.Registry) -> None:
    """The same object each time."""
    value: list[int] = []
    fn = failing(colour, mh.fallback(value, registry=registry))
    assert colour.call(fn) is value
    assert colour.call(fn, 1) is value
    assert only(fn).from_value == 2


@pytest.mark.parametrize("value", [None, 0, "", False])
def test_a_value_may_be_empty(colour: Colour, registry: mh.Registry, value: Any) -> None:
    """None is a value as good as any."""
    assert colour.call(failing(colour, mh.fallback(value=value, registry=registry))) is value


def test_a_handler_of_the_error(colour: Colour, registry: mh.Registry) -> None:
    """It gets the error alone, if it needs nothing else."""
    error = ConnectionError("down")
    fn = failing(colour, mh.fallback(handler=lambda exc: ["got", exc], registry=registry), error)
    assert colour.call(fn, "lamp") == ["got", error]
    assert only(fn).from_handler == 1


@pytest.mark.parametrize(
    "handler",
    [
        lambda exc, item, *, size: (type(exc), item, size),
        lambda exc, *args, **kwargs: (type(exc), args[0], kwargs["size"]),
        lambda *args, **kwargs: (type(args[0]), args[1], kwargs["size"]),
    ],
)
def test_a_handler_of_the_call(colour: Colour, registry: mh.Registry, handler: Any) -> None:
    """It gets the arguments after the error, as they were given."""

    def call(item: str, *, size: int) -> Any:
        raise ConnectionError(item, size)

    fn = mh.fallback(handler=handler, registry=registry)(colour.paint(call))
    assert colour.call(fn, "lamp", size=2) == (ConnectionError, "lamp", 2)


def test_defaults_need_no_arguments(colour: Colour, registry: mh.Registry) -> None:
    """A handler with defaults is one of the error: they may be what it brings along."""
    fn = failing(colour, mh.fallback(handler=lambda exc, mine="mine": mine, registry=registry))
    assert colour.call(fn, "lamp") == "mine"


def test_a_default_of_the_same_name_is_an_argument(colour: Colour, registry: mh.Registry) -> None:
    """A handler that looks like the function gets what the function gets."""
    fn = failing(colour, mh.fallback(handler=lambda exc, item=None: item, registry=registry))
    assert [colour.call(fn), colour.call(fn, "lamp")] == [None, "lamp"]


def test_a_handler_without_a_signature(colour: Colour, registry: mh.Registry) -> None:
    """It is called with the error."""
    fn = failing(colour, mh.fallback(handler=type, registry=registry))
    assert colour.call(fn) is ConnectionError


def test_a_function_without_a_signature(colour: Colour, registry: mh.Registry) -> None:
    """Nobody can tell whether a handler fits, so it is called."""
    policy = mh.fallback(handler=lambda exc, *args: args, registry=registry)
    assert policy.call(max, 1) == (1,)  # type: ignore[call-overload]


def test_methods_hand_their_object_on(colour: Colour, registry: mh.Registry) -> None:
    """A handler of the call gets what the method gets."""

    class Shop:
        name = "shop"

        @mh.fallback(handler=lambda exc, self, item: (self.name, item), registry=registry)
        def ask(self, item: str) -> Any:
            raise ConnectionError

        @mh.fallback(handler=lambda exc, self, item: (self.name, item), registry=registry)
        async def ask_async(self, item: str) -> Any:
            raise ConnectionError

    fn = Shop().ask if repr(colour) == "sync" else Shop().ask_async
    assert colour.call(fn, "lamp") == ("shop", "lamp")


async def late(exc: Exception | None, *args: Any) -> Any:
    """Handle an error after a turn of the event loop."""
    await asyncio.sleep(0)
    return "late", args


@pytest.mark.parametrize("handler", [late, lambda exc, *args: late(exc, *args)])
def test_async_handlers(registry: mh.Registry, handler: Any) -> None:
    """An async function may have them, or plain ones that return awaitables."""
    colour = Colour("async")
    fn = failing(colour, mh.fallback(handler=handler, registry=registry))
    assert colour.call(fn, "lamp") == ("late", ("lamp",))
    colour.close()


def test_an_async_handler_needs_an_async_function(registry: mh.Registry) -> None:
    """On a sync one it is refused when the function is decorated."""
    with pytest.raises(mh.ConfigurationError, match=r"handler late is async and .*call is not"):
        failing(Colour("sync"), mh.fallback(handler=late, registry=registry))


def test_a_sync_handler_that_returns_an_awaitable_has_failed(registry: mh.Registry) -> None:
    """Nobody would await what it returned."""
    fn = failing(Colour("sync"), mh.fallback(handler=lambda exc: late(exc), registry=registry))
    with pytest.raises(TypeError, match="returned an awaitable"):
        fn()


def test_a_sync_function_that_returns_an_awaitable_is_a_mistake(registry: mh.Registry) -> None:
    """It gets no fallback, or nobody would ever see it."""
    for policy in (mh.fallback(0, registry=registry), mh.fallback(last_good=1, registry=registry)):
        with pytest.raises(TypeError, match="returned an awaitable"):
            policy(lambda: late(None))()


def test_a_chain(colour: Colour, registry: mh.Registry) -> None:
    """The next is asked when one raises; the value comes last."""
    asked = []

    def first(exc: Any) -> Any:
        asked.append(("first", type(exc)))
        raise LookupError

    def second(exc: Any, item: Any = None) -> Any:
        asked.append(("second", type(exc)))
        return item or 1 / 0

    fn = failing(colour, mh.fallback("value", [first, second], registry=registry))
    assert colour.call(fn, "lamp") == "lamp"
    assert colour.call(fn, 0) == "value"
    assert asked == [("first", ConnectionError), ("second", ConnectionError)] * 2
    numbers = only(fn)
    assert (numbers.from_handler, numbers.from_value, numbers.handler_failures) == (1, 1, 3)
    assert (numbers.used, numbers.failures, numbers.calls) == (2, 0, 2)


def test_the_error_of_the_last_handler_is_chained(colour: Colour, registry: mh.Registry) -> None:
    """To those of the handlers before it, and to the original one."""

    def raising(error: Exception) -> Any:
        def handler(_: Any) -> Any:
            raise error

        return handler

    original = ConnectionError("down")
    chain = [raising(LookupError(1)), raising(KeyError(2))]
    fn = failing(colour, mh.fallback(handler=chain, registry=registry), original)
    with pytest.raises(KeyError) as failed:
        colour.call(fn)
    context = failed.value.__context__
    assert isinstance(context, LookupError)
    assert context.__context__ is original
    assert (only(fn).handler_failures, only(fn).failures, only(fn).calls) == (2, 1, 1)


def test_a_handler_may_raise_the_error_again(colour: Colour, registry: mh.Registry) -> None:
    """Which is how it says that it has no answer."""

    def handler(exc: Exception) -> Any:
        raise exc

    original = ConnectionError("down")
    fn = failing(colour, mh.fallback(handler=handler, registry=registry), original)
    with pytest.raises(ConnectionError) as failed:
        colour.call(fn)
    assert failed.value is original
    assert failed.value.__context__ is None


def test_a_cause_of_its_own_stays(colour: Colour, registry: mh.Registry) -> None:
    """``raise ... from`` in a handler means what it says."""

    def handler(exc: Exception) -> Any:
        raise LookupError from exc

    original = ConnectionError("down")
    fn = failing(colour, mh.fallback(handler=handler, registry=registry), original)
    with pytest.raises(LookupError) as failed:
        colour.call(fn)
    assert failed.value.__cause__ is original


@pytest.mark.parametrize(
    ("on", "error", "handled"),
    [
        (ConnectionError, ConnectionResetError(), True),
        (ConnectionError, ValueError(), False),
        ((KeyError, ValueError), ValueError(), True),
        (BaseException, ValueError(), True),
        (lambda error: "down" in str(error), OSError("down"), True),
        (lambda error: "down" in str(error), OSError("up"), False),
        (ConnectionError, ExceptionGroup("two", [ConnectionError(), ConnectionError()]), True),
        (ConnectionError, ExceptionGroup("two", [ConnectionError(), ValueError()]), False),
    ],
)
def test_on(colour: Colour, registry: mh.Registry, on: Any, error: Any, handled: bool) -> None:
    """What is not named goes through as it is: of a group, if anything in it is not."""
    fn = failing(colour, mh.fallback("value", on=on, registry=registry), error)
    if handled:
        assert colour.call(fn) == "value"
    else:
        with pytest.raises(type(error)) as failed:
            colour.call(fn)
        assert failed.value is error
    assert (only(fn).used, only(fn).failures) == (handled, not handled)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("settings", [{}, {"on_result": lambda _: False}])
def test_never_on_interrupts(
    colour: Colour, registry: mh.Registry, stop: Any, settings: Any
) -> None:
    """Whatever is not an error goes through, and is neither success nor failure."""
    fn = mh.fallback("value", on=BaseException, registry=registry, **settings)(
        colour.paint(lambda error: (_ for _ in ()).throw(error))
    )
    call = fn if repr(colour) == "sync" else lambda error: fn(error).send(None)
    with pytest.raises(stop):
        call(stop())
    assert (only(fn).calls, only(fn).ignored) == (1, 1)


@pytest.mark.parametrize("settings", [{}, {"on_result": lambda _: False}])
def test_never_on_cancellation(registry: mh.Registry, settings: Any) -> None:
    """A task that is cancelled has been cancelled."""

    @mh.fallback("value", on=BaseException, registry=registry, **settings)
    async def fn() -> Any:
        await asyncio.sleep(60)

    async def main() -> bool:
        task = asyncio.create_task(fn())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())
    assert (only(fn).calls, only(fn).ignored) == (1, 1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_cancelled_at_every_await(registry: mh.Registry, moment: str) -> None:
    """In the call and in the handler: each counts once, and none gets an answer."""

    @mh.fallback("value", handler=late, last_good=1, key=lambda: None, registry=registry)
    async def fn() -> Any:
        await asyncio.sleep(0)
        raise ConnectionError

    async def main() -> int:
        for point in range(1, 10):
            stepped = Stepped(fn(), [point], moment)
            try:
                await stepped.run()
            except asyncio.CancelledError:
                continue
            return point
        raise AssertionError

    points = asyncio.run(main()) - 1
    assert points == 2
    numbers = only(fn)
    assert (numbers.ignored, numbers.from_handler, numbers.calls) == (2, 1, 3)


def test_refusals_get_a_fallback(colour: Colour, registry: mh.Registry) -> None:
    """A circuit that is open is what a fallback is for."""
    breaker = mh.circuit_breaker("db", initial_state="forced_open", registry=registry)
    fn = mh.fallback("value", registry=registry)(breaker(colour.paint(lambda: "ok")))
    assert colour.call(fn) == "value"


def test_on_result(colour: Colour, registry: mh.Registry) -> None:
    """A bad result gets the fallback; there is no error, so the handler gets None."""
    policy = mh.fallback(
        handler=lambda exc, result: ("instead", exc, result),
        on_result=lambda result: result == "bad",
        registry=registry,
    )
    fn = policy(colour.paint(lambda result: result))
    assert colour.call(fn, "good") == "good"
    assert colour.call(fn, "bad") == ("instead", None, "bad")
    assert (only(fn).successes, only(fn).from_handler) == (1, 1)


def test_a_bad_result_is_better_than_nothing(colour: Colour, registry: mh.Registry) -> None:
    """The caller gets it where no source has an answer."""
    policy = mh.fallback(last_good=1, key="{result}", on_result=bool, registry=registry)
    fn = policy(colour.paint(lambda result: result))
    assert colour.call(fn, 7) == 7
    assert (only(fn).failures, only(fn).calls) == (1, 1)


@pytest.mark.parametrize("setting", ["on", "on_result"])
def test_a_predicate_that_fails(
    colour: Colour, registry: mh.Registry, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the caller gets what the call gave."""
    policy = mh.fallback("value", registry=registry, **{setting: lambda _: 1 / 0})

    def call(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "ok"

    fn = policy(colour.paint(call))
    assert colour.call(fn, None) == "ok"
    if setting == "on":
        with pytest.raises(ValueError, match="mine"):
            colour.call(fn, ValueError("mine"))
    assert [record.message for record in caplog.records] == [
        f"{setting} of fallback {fn.policies[0].name!r} failed"
    ]


class Prices:
    """A source of prices that can be down."""

    def __init__(self) -> None:
        self.down = False

    def __call__(self, item: str) -> tuple[str, object]:
        if self.down:
            raise ConnectionError
        return item, object()


@pytest.fixture
def prices() -> Prices:
    """Make a source that works."""
    return Prices()


def priced(colour: Colour, policy: mh.Fallback, prices: Prices) -> Any:
    """Decorate a function of ``colour`` that asks for the price of an item."""
    return policy(colour.paint(lambda item: prices(item)))


def test_last_good(colour: Colour, registry: mh.Registry, prices: Prices, frozen: Any) -> None:
    """The last good result of the key is given while it is young enough; then the next source."""
    policy = mh.fallback("none", last_good="5m", key="{item}", registry=registry)
    fn = priced(colour, policy, prices)
    colour.call(fn, "lamp")
    lamp, _ = colour.call(fn, "lamp"), colour.call(fn, "desk")
    prices.down = True
    frozen.tick(299)
    assert colour.call(fn, "lamp") is lamp
    assert colour.call(fn, "desk")[0] == "desk"
    assert colour.call(fn, "chair") == "none"
    frozen.tick(1)
    assert colour.call(fn, "lamp") == "none"
    numbers = only(fn)
    assert (numbers.from_last_good, numbers.from_value, numbers.successes) == (2, 2, 3)


def test_last_good_comes_before_handlers(
    colour: Colour, registry: mh.Registry, prices: Prices
) -> None:
    """What the call itself has given is the best guess."""
    policy = mh.fallback(
        handler=lambda exc: "handled", last_good=60, key="{item}", registry=registry
    )
    fn = priced(colour, policy, prices)
    lamp = colour.call(fn, "lamp")
    prices.down = True
    assert colour.call(fn, "lamp") is lamp
    assert colour.call(fn, "desk") == "handled"


def test_nothing_good_yet(colour: Colour, registry: mh.Registry, prices: Prices) -> None:
    """With no other source the error goes through."""
    fn = priced(colour, mh.fallback(last_good=60, key="{item}", registry=registry), prices)
    prices.down = True
    with pytest.raises(ConnectionError):
        colour.call(fn, "lamp")


def test_bad_results_are_not_kept(colour: Colour, registry: mh.Registry) -> None:
    """Nor is what a fallback has given."""
    policy = mh.fallback(
        "value", last_good=60, key="{item}", on_result=lambda r: r == "bad", registry=registry
    )
    results = iter(["bad", "good", "bad"])
    fn = policy(colour.paint(lambda item: next(results)))
    assert [colour.call(fn, 1) for _ in range(3)] == ["value", "good", "good"]


def test_only_so_many_are_kept(
    colour: Colour, registry: mh.Registry, prices: Prices, frozen: Any
) -> None:
    """What was kept first goes first, and a result that is renewed is young again."""
    policy = mh.fallback("none", last_good=60, key="{item}", max_keys=2, registry=registry)
    fn = priced(colour, policy, prices)
    for item in ("a", "b", "a", "c"):
        colour.call(fn, item)
    assert only(fn).kept == 2
    prices.down = True
    assert [colour.call(fn, item)[0] for item in "abc"] == ["a", "n", "c"]


def test_memory_is_released(
    colour: Colour, registry: mh.Registry, prices: Prices, frozen: Any
) -> None:
    """What is too old is let go of, whatever key is used next."""

    class Result:
        pass

    policy = mh.fallback(last_good=60, key="{item}", registry=registry)
    fn = policy(colour.paint(lambda item: Result()))
    gone = weakref.ref(colour.call(fn, "a"))
    gc.collect()
    assert gone() is not None
    frozen.tick(30)
    colour.call(fn, "b")
    frozen.tick(31)
    colour.call(fn, "c")
    gc.collect()
    assert gone() is None
    assert only(fn).kept == 2
    frozen.tick(60)
    assert only(fn).kept == 0


def test_a_clock_that_goes_back_makes_nothing_younger_than_now(
    registry: mh.Registry, prices: Prices, frozen: Any
) -> None:
    """The age is never negative."""
    heard: list[Any] = []
    fn = mh.fallback(last_good=60, key="{item}", registry=registry)(lambda item: prices(item))
    fn("a")
    prices.down = True
    frozen.move_to("2025-12-31")
    with mh.subscribe(heard.append, events.FallbackUsed):
        fn("a")
    assert heard[0].age == 0.0


def test_reset_forgets(colour: Colour, registry: mh.Registry, prices: Prices) -> None:
    """Last good results are state; counters stay."""
    fn = priced(colour, mh.fallback("x", last_good=60, key="{item}", registry=registry), prices)
    plain = failing(colour, mh.fallback("x", registry=registry))
    colour.call(fn, "lamp")
    registry.reset()
    prices.down = True
    assert colour.call(fn, "lamp") == "x"
    assert (only(fn).successes, colour.call(plain)) == (1, "x")


def test_functions_that_share_a_policy_share_no_result(
    colour: Colour, registry: mh.Registry
) -> None:
    """The last good stock is no price."""
    policy = mh.fallback("none", last_good=60, key="{item}", name="shop", registry=registry)
    fn, other = policy(colour.paint(lambda item: "price")), failing(colour, policy)
    colour.call(fn, "lamp")
    assert colour.call(other, "lamp") == "none"


def test_last_good_needs_a_key(colour: Colour, registry: mh.Registry) -> None:
    """A function with arguments has to say which of them matter; one without has one result."""
    policy = mh.fallback(last_good=60, registry=registry)
    with pytest.raises(mh.ConfigurationError, match=r"last_good needs to know .*give key"):
        policy(colour.paint(lambda item: item))
    results = iter([1])
    fn = policy(colour.paint(lambda: next(results, None) or 1 / 0))
    assert [colour.call(fn) for _ in range(3)] == [1, 1, 1]


def test_a_function_without_a_signature_needs_a_key(registry: mh.Registry) -> None:
    """Nobody can tell what it takes."""
    with pytest.raises(mh.ConfigurationError, match="last_good needs to know"):
        mh.fallback(last_good=60, registry=registry).call(int, "1")


def test_callables_that_have_no_hash(registry: mh.Registry) -> None:
    """Their decorated form has results of its own."""

    class Ask:
        __hash__ = None  # type: ignore[assignment]
        down = False

        def __call__(self) -> str:
            if self.down:
                raise ConnectionError
            return "asked"

    ask = Ask()
    fn = mh.fallback(last_good=60, registry=registry)(ask)
    fn()
    ask.down = True
    assert fn() == "asked"


def test_keys_must_be_hashable(colour: Colour, registry: mh.Registry) -> None:
    """The error says so before the function is called."""
    ran: list[int] = []
    policy = mh.fallback(0, last_good=60, key="{item}", registry=registry)
    fn = policy(colour.paint(lambda item: ran.append(1)))
    with pytest.raises(TypeError, match="key must be hashable"):
        colour.call(fn, [])
    assert ran == []


def test_call_and_acall(registry: mh.Registry, prices: Prices) -> None:
    """Without a decorator; the last good result goes by the function that is called."""
    policy = mh.fallback("none", last_good=60, key="{item}", name="shop", registry=registry)
    policy.call(prices.__call__, "lamp")
    prices.down = True
    assert policy.call(prices.__call__, "lamp")[0] == "lamp"

    async def fail(item: str) -> str:
        raise ConnectionError

    assert asyncio.run(policy.acall(fail, "lamp")) == "none"


def test_events(colour: Colour, registry: mh.Registry, prices: Prices, frozen: Any) -> None:
    """They name the source, the error by its type, and the age of a last good result."""
    heard: list[Any] = []
    policy = mh.fallback(
        "none", handler=lambda exc, item: {"desk": 1}[item], last_good=60, key="{item}",
        on_result=lambda result: result is None, name="shop", registry=registry,
    )  # fmt: skip
    fn = priced(colour, policy, prices)
    colour.call(fn, "lamp")
    prices.down = True
    frozen.tick(5)
    with mh.subscribe(heard.append):
        for item in ("lamp", "desk", "chair"):
            colour.call(fn, item)
        prices.down = False
        colour.call(policy(colour.paint(lambda item: None)), "chair")
    assert [(each.source, each.error, each.age) for each in heard] == [
        ("last_good", "ConnectionError", 5.0),
        ("handler", "ConnectionError", None),
        ("value", "ConnectionError", None),
        ("value", "result", None),
    ]
    assert {(each.policy, each.name) for each in heard} == {("fallback", "shop")}


def test_log_records(caplog: pytest.LogCaptureFixture, registry: mh.Registry) -> None:
    """One at DEBUG for each use."""
    caplog.set_level("DEBUG", "meshhook")
    fn = failing(Colour("sync"), mh.fallback(0, name="shop", registry=registry))
    with log_events():
        fn()
    (record,) = caplog.records
    assert record.getMessage() == (
        "fallback 'shop': a call that failed with ConnectionError got its value"
    )
    assert record.event == "fallback_used"  # type: ignore[attr-defined]


def test_statistics(registry: mh.Registry) -> None:
    """Frozen, and fit for JSON."""
    fn = failing(Colour("sync"), mh.fallback(0, name="shop", registry=registry))
    fn()
    assert json.loads(json.dumps(registry.stats()["shop"].to_dict())) == {
        "policy": "fallback", "name": "shop", "calls": 1, "successes": 0, "used": 1,
        "from_value": 1, "from_handler": 0, "from_last_good": 0, "failures": 0, "ignored": 0,
        "handler_failures": 0, "kept": 0,
    }  # fmt: skip
    assert registry.fallbacks == {"shop": fn.policies[0]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"value": 0}, "a value"),
        ({"handler": str}, "a handler"),
        (
            {"value": 0, "handler": [str, repr], "last_good": "5m"},
            "last good of 300 s, then 2 handlers, then a value",
        ),
    ],
)
def test_describe(registry: mh.Registry, settings: Any, said: str) -> None:
    """Its sources, in the order in which they are asked."""
    policy = mh.fallback(name="shop", registry=registry, **settings)
    assert policy.describe() == f"fallback('shop', {said})"
    assert policy.longest(3.0) == (math.inf if "handler" in said else 3.0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "has nothing to give"),
    ({"value": len}, "is a callable"),
    ({"value": staticmethod(len)}, "is a callable"),
    ({"handler": 5}, "handler must be a function of the error, or a list"),
    ({"handler": []}, "handler must be a function"),
    ({"handler": [str, 5]}, "handler must be a function"),
    ({"last_good": 0}, "last_good must be a duration"),
    ({"last_good": "soon"}, "last_good must be a duration"),
    ({"value": 0, "key": "{item}"}, "are about last_good"),
    ({"value": 0, "max_keys": 5}, "are about last_good"),
    ({"last_good": 1, "key": 5}, "key must be a template"),
    ({"last_good": 1, "key": "{x}", "max_keys": 0}, "max_keys must be"),
    ({"value": 0, "on": asyncio.CancelledError}, "on must be types of errors"),
    ({"value": 0, "on": ()}, "on must be types of errors"),
    ({"value": 0, "on": "x"}, "on must be"),
    ({"value": 0, "on_result": 5}, "on_result must be a function of result"),
    ({"value": 0, "name": ""}, "name must be"),
    ({"value": 0, "registry": 5}, "registry must be"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.fallback(**settings)


def test_bare_use_says_what_to_give() -> None:
    """It cannot know what to give."""
    with pytest.raises(mh.ConfigurationError, match=r"write @fallback\(\[\]\) for a value, or"):

        @mh.fallback
        def fn() -> None: ...


@pytest.mark.parametrize(
    "handler",
    [
        lambda: None,
        lambda *, error: None,
        lambda exc, item: None,
        lambda exc, item, size, more: None,
        lambda exc, item, *, size: None,
        lambda exc, size, item=1, *, needed: None,
        lambda exc, **kwargs: None,
    ],
)
def test_handlers_that_do_not_fit(colour: Colour, registry: mh.Registry, handler: Any) -> None:
    """They fail when the function is decorated, not when it is down."""

    def call(item: str, size: int = 1) -> None: ...

    with pytest.raises(mh.ConfigurationError, match="handler .* takes"):
        mh.fallback(handler=handler, registry=registry)(colour.paint(call))


def test_a_handler_of_a_function_that_takes_anything(colour: Colour, registry: mh.Registry) -> None:
    """What it takes beside may come with the call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError

    fn = mh.fallback(handler=lambda exc, item: item, registry=registry)(colour.paint(call))
    assert colour.call(fn, "lamp") == "lamp"


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), ([], ()), (1, 2)])
def test_values_that_are_not_the_same(registry: mh.Registry, first: Any, second: Any) -> None:
    """One name has one value."""
    mh.fallback(first, name="shop", registry=registry)
    mh.fallback(first, name="shop", registry=registry)
    with pytest.raises(mh.ConfigurationError, match=f"it has value={first!r}".replace("[", "\\[")):
        mh.fallback(second, name="shop", registry=registry)


def test_values_that_do_not_compare(registry: mh.Registry) -> None:
    """Two arrays are not the same."""

    class Array:
        def __eq__(self, other: object) -> Any:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    mh.fallback(array := Array(), name="shop", registry=registry)
    mh.fallback(array, name="shop", registry=registry)
    with pytest.raises(mh.ConfigurationError, match="exists with other settings"):
        mh.fallback(Array(), name="shop", registry=registry)
    with pytest.raises(mh.ConfigurationError, match="exists with other settings"):
        mh.fallback(handler=str, name="shop", registry=registry)


def test_events_pickle() -> None:
    """As all events do."""
    event = events.FallbackUsed(policy="fallback", name="shop", source="value", error="OSError")
    assert pickle.loads(pickle.dumps(event)) == event


def test_threads_and_tasks_together(registry: mh.Registry) -> None:
    """8 threads and 100 tasks: every call is counted once, and the kept stay bounded."""
    policy = mh.fallback(
        "none", last_good=60, key="{item}", max_keys=10, name="shop", registry=registry
    )

    @policy
    def fn(item: int) -> int:
        if item % 3 == 0:
            raise ConnectionError
        return item

    @policy
    async def fn_async(item: int) -> int:
        await asyncio.sleep(0)
        return 1 // (item % 3) * item

    def in_thread() -> None:
        for item in range(1_000):
            assert fn(item) in (item, "none")

    async def in_tasks() -> None:
        async def work() -> None:
            for item in range(30):
                assert await fn_async(item) in (item, "none", 0)

        await asyncio.gather(*(work() for _ in range(100)))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(in_tasks())
    for thread in threads:
        thread.join()
    numbers = policy.stats()
    assert numbers.calls == 8 * 1_000 + 100 * 30
    assert numbers.successes == 8 * 666 + 100 * 20
    assert (numbers.used, numbers.failures, numbers.kept) == (8 * 334 + 100 * 10, 0, 10)


def test_a_forked_child_has_its_own_lock(registry: mh.Registry, prices: Prices) -> None:
    """A thread of the parent that was keeping a result does not block it."""
    policy = mh.fallback("none", last_good=60, key="{item}", name="shop", registry=registry)
    plain = mh.fallback("none", name="plain", registry=registry)
    fn = policy(plain(lambda item: prices(item)))
    fn("lamp")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        assert policy.last_good is not None
        with policy.last_good._lock:
            held.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        assert in_a_fork(lambda: fn("lamp")[0] == "lamp") == 0
    finally:
        go.set()
        thread.join()
