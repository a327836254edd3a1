"""What a hedge does around a function, in both colours."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import math
import time
import traceback
import weakref
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from tests.colours import Colour
from tests.policies.hedge_service import SOON, Hang, Service, nothing_is_held

FAR = 30.0
"""A delay after which no hedge of a test starts."""


def make(delay: Any = SOON, **settings: Any) -> mh.Hedge:
    return mh.hedge(delay, **{"idempotent": True, "registry": mh.Registry(), **settings})


def guard(hedge: mh.Hedge, service: Service) -> tuple[Any, mh.Hedge]:
    """Decorate the function of the service; return it and its own hedge."""
    fn = hedge(service.function())
    return fn, fn.policies[0]


def counts(hedge: mh.Hedge) -> dict[str, int]:
    """Return the counters that are not 0."""
    told = hedge.stats().to_dict()
    return {name: value for name, value in told.items() if type(value) is int and value}


def test_a_call_that_is_quick_is_made_once(colour: Colour) -> None:
    """What the function returns is returned, and no hedge starts."""
    service = Service(colour, 1)
    fn, hedge = guard(make(FAR), service)
    assert colour.call(fn, "a", key="b") == 1
    assert service.calls == [(("a",), {"key": "b"})]
    assert counts(hedge) == {"calls": 1, "successes": 1}


@pytest.mark.parametrize("value", [None, False, "", [], {}, ValueError])
def test_any_result_is_an_answer(colour: Colour, value: Any) -> None:
    """Also one that is false."""
    fn, _ = guard(make(FAR), Service(colour, value))
    assert colour.call(fn) == value


def test_a_slow_call_is_made_again_and_the_first_answer_wins(colour: Colour) -> None:
    """With the same arguments; the slow one is not waited for."""
    service = Service(colour, Hang(), "quick")
    fn, hedge = guard(make(), service)
    assert colour.call(fn, 1, flag=True) == "quick"
    assert service.calls == [((1,), {"flag": True})] * 2
    assert service.ended == 1
    assert hedge.stats().running_on == 1
    service.settle(hedge)
    won = {"calls": 1, "successes": 1, "hedges": 1, "wins": 1}
    assert counts(hedge) == (won | {"discarded": 1} if colour.name == "sync" else won)


def test_the_first_attempt_may_still_win(colour: Colour) -> None:
    """A hedge that was started in vain is no win."""
    service = Service(colour, Hang("first"), Hang("second"))
    fn, hedge = guard(make(), service)
    with service.released(lambda: len(service.calls) == 2):
        assert colour.call(fn) in {"first", "second"}
    service.settle(hedge)
    assert hedge.stats().hedges == 1


def test_a_delay_of_zero_starts_all_attempts_together(colour: Colour) -> None:
    """They race from the beginning."""
    service = Service(colour, Hang(), Hang(), "third")
    fn, hedge = guard(make(0, max_hedges=2), service)
    assert colour.call(fn) == "third"
    assert len(service.calls) == 3
    assert hedge.stats().hedges == 2
    service.settle(hedge)


def test_no_more_hedges_than_allowed(colour: Colour) -> None:
    """Each starts one delay after the one before."""
    service = Service(colour, Hang(), Hang(), Hang(), "fourth")
    fn, hedge = guard(make(max_hedges=3), service)
    began = time.monotonic()
    assert colour.call(fn) == "fourth"
    assert time.monotonic() - began >= 3 * SOON * 0.9
    assert hedge.stats().hedges == 3
    service.settle(hedge)


def test_a_failure_starts_a_hedge_at_once(colour: Colour) -> None:
    """Nobody waits for the delay when there is nothing to wait for."""
    service = Service(colour, ConnectionError("down"), "up")
    fn, hedge = guard(make(FAR), service)
    assert colour.call(fn) == "up"
    assert counts(hedge) == {"calls": 1, "successes": 1, "hedges": 1, "wins": 1}
    assert nothing_is_held(hedge)


def test_a_failure_needs_no_place(colour: Colour) -> None:
    """Nothing runs beside the hedge then, so the limit on that does not count."""
    service = Service(colour, ConnectionError("down"), "up")
    fn, hedge = guard(make(FAR, max_extra=1), service)
    held: list[Any] = []
    assert hedge.extras.take(held)
    assert colour.call(fn) == "up"
    held.clear()
    assert nothing_is_held(hedge)


def test_a_hedge_that_fails_loses_nothing(colour: Colour) -> None:
    """The first attempt goes on and its result is the answer."""
    service = Service(colour, Hang("first"), ConnectionError("down"))
    fn, hedge = guard(make(), service)
    with service.released(lambda: service.ended == 1 and not hedge.extras.taken):
        assert colour.call(fn) == "first"
    assert counts(hedge) == {"calls": 1, "successes": 1, "hedges": 1}
    assert nothing_is_held(hedge)


def test_if_all_attempts_fail_the_error_of_the_first_is_raised(colour: Colour) -> None:
    """The very object, with a note; the others can be reached through its context."""
    errors = [ConnectionError("first"), OSError("second"), ValueError("third")]
    service = Service(colour, *errors)
    fn, hedge = guard(make(FAR, max_hedges=2, name="search"), service)
    with pytest.raises(ConnectionError) as caught:
        colour.call(fn)
    assert caught.value is errors[0]
    assert caught.value.__notes__ == [
        "hedge 'search': 3 attempts failed; others: OSError, ValueError"
    ]
    assert caught.value.__context__ is errors[1]
    assert errors[1].__context__ is errors[2]
    assert counts(hedge) == {"calls": 1, "failures": 1, "hedges": 2}
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "_end"
    assert frames.count("guarded") == 1


def test_the_same_error_raised_again_and_again_does_not_grow(colour: Colour) -> None:
    """It gets one note, and never becomes its own context."""
    error = ConnectionError("shared")
    fn, _ = guard(make(FAR), Service(colour, error))
    for _ in range(3):
        with pytest.raises(ConnectionError):
            colour.call(fn)
    assert len(error.__notes__) == 1
    assert error.__context__ is None


def test_a_context_of_the_users_own_is_kept(colour: Colour) -> None:
    """What an error says about where it comes from is left alone, and no circle is made."""
    first, second, own = ConnectionError("first"), OSError("second"), KeyError("own")
    first.__context__ = own
    fn, _ = guard(make(FAR), Service(colour, first, second))
    with pytest.raises(ConnectionError):
        colour.call(fn)
    assert first.__context__ is own

    first, second = ConnectionError("first"), OSError("second")
    second.__context__ = first
    fn, _ = guard(make(FAR), Service(colour, first, second))
    with pytest.raises(ConnectionError):
        colour.call(fn)
    assert first.__context__ is None


@pytest.mark.parametrize("on", [ConnectionError, lambda error: isinstance(error, OSError)])
def test_an_error_that_is_not_named_is_an_answer(colour: Colour, on: Any) -> None:
    """It is raised at once, and no other attempt is made."""
    service = Service(colour, ValueError("wrong"))
    fn, hedge = guard(make(FAR, on=on), service)
    with pytest.raises(ValueError, match="wrong"):
        colour.call(fn)
    assert len(service.calls) == 1
    assert counts(hedge) == {"calls": 1, "failures": 1}


def test_an_answer_that_is_an_error_ends_the_race(colour: Colour) -> None:
    """The other attempts are not waited for."""
    service = Service(colour, Hang(), ValueError("wrong"))
    fn, hedge = guard(make(on=ConnectionError), service)
    with pytest.raises(ValueError, match="wrong"):
        colour.call(fn)
    assert counts(hedge) == {"calls": 1, "failures": 1, "hedges": 1, "running_on": 1}
    service.settle(hedge)


def test_a_predicate_that_raises_is_logged_and_changes_nothing(
    colour: Colour, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets what the call raised."""
    fn, _ = guard(make(FAR, on=lambda error: 1 / 0, name="p"), Service(colour, OSError("down")))
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="down"):
        colour.call(fn)
    assert "on of hedge 'p' failed" in caplog.text


def refusal() -> mh.RejectedError:
    return mh.RejectedError("full", name="x", policy="bulkhead")


def test_a_refusal_inside_starts_no_hedge(colour: Colour) -> None:
    """A policy that has just refused would refuse again."""
    service = Service(colour, refusal(), "never")
    fn, hedge = guard(make(FAR), service)
    with pytest.raises(mh.RejectedError):
        colour.call(fn)
    assert counts(hedge) == {"calls": 1, "failures": 1}


def test_a_refusal_that_is_named_starts_one(colour: Colour) -> None:
    """An alternative may be free."""
    fn, hedge = guard(make(FAR, on=mh.RejectedError), Service(colour, refusal(), "other"))
    assert colour.call(fn) == "other"
    assert hedge.stats().wins == 1


def test_a_hedge_that_is_refused_does_not_end_the_call(colour: Colour) -> None:
    """The first attempt may still succeed."""
    service = Service(colour, Hang("first"), refusal())
    fn, hedge = guard(make(on=ConnectionError), service)
    with service.released(lambda: service.ended == 1):
        assert colour.call(fn) == "first"
    assert nothing_is_held(hedge)


def test_alternatives_are_called_in_their_order_and_then_the_function(colour: Colour) -> None:
    """With the arguments of the call; the first attempt is the function itself."""
    called: list[Any] = []

    def named(name: str, *, fails: bool = True) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append((name, args, kwargs))
            if fails:
                raise ConnectionError(name)
            return name

        return colour.paint(call)

    outcomes = iter((True, False))

    def itself(*args: Any, **kwargs: Any) -> Any:
        called.append(("itself", args, kwargs))
        if next(outcomes):
            raise ConnectionError
        return "itself"

    fn = make(FAR, max_hedges=3, alternatives=[named("a"), named("b")])(colour.paint(itself))
    assert colour.call(fn, 1, x=2) == "itself"
    assert called == [(name, (1,), {"x": 2}) for name in ("itself", "a", "b", "itself")]


def test_an_alternative_of_the_other_colour_is_refused(colour: Colour) -> None:
    """When the function is decorated, and when it is called directly."""
    other = Colour("async" if colour.name == "sync" else "sync")
    hedge = make(alternatives=[other.paint(len)])
    pattern = rf"alternatives\[0\] is {other.name} and .* is {colour.name}; give one that is"
    with pytest.raises(mh.ConfigurationError, match=pattern):
        hedge(colour.paint(lambda: None))
    other.close()


def test_methods_get_their_object(colour: Colour) -> None:
    """Also in hedges and alternatives."""

    def other(self: Any, number: int) -> Any:
        return self, number

    class Client:
        @make(FAR, alternatives=[colour.paint(other)])
        @colour.paint
        def ask(self, number: int) -> Any:
            raise ConnectionError

    client = Client()
    assert colour.call(client.ask, 7) == (client, 7)


def test_attempts_run_in_copies_of_the_context(colour: Colour) -> None:
    """They see what the caller has set, and what they set is theirs alone."""
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def call() -> str:
        seen.append(variable.get())
        variable.set("inside")
        if len(seen) == 1:
            raise ConnectionError
        return "done"

    fn = make(FAR)(colour.paint(call))
    variable.set("outside")

    def caller() -> Any:
        return fn()

    assert colour.call(caller if colour.name == "sync" else fn) == "done"
    assert seen == ["outside", "outside"]
    assert variable.get() == "outside"


def test_direct_calls(colour: Colour) -> None:
    """A hedge runs calls without a decorator, under the name of its kind."""
    service = Service(colour, ConnectionError(), "up")
    hedge = make(FAR)
    run = hedge.call if colour.name == "sync" else hedge.acall
    assert colour.call(run, service.function(), 1) == "up"
    assert (hedge.name, hedge.stats().wins) == ("hedge", 1)


def test_an_awaitable_from_a_sync_function_is_refused() -> None:
    """Nothing of what it does would be hedged."""

    async def inner() -> None:
        raise AssertionError

    fn = make(FAR)(lambda: inner())
    with pytest.raises(TypeError, match="returned an awaitable"):
        fn()
    assert counts(fn.policies[0]) == {"calls": 1, "failures": 1}  # type: ignore[attr-defined]


def test_stop_iteration_of_a_sync_function_passes() -> None:
    """The path of the call is no generator to its caller."""

    def call() -> None:
        raise StopIteration(3)

    with pytest.raises(StopIteration):
        make(FAR)(call)()


# Who may be hedged.


def test_what_nothing_declares_safe_to_repeat_is_refused(colour: Colour) -> None:
    """Before anything has been run, at each call, and it says what to do."""
    service = Service(colour, "never")
    fn = mh.hedge(FAR, registry=mh.Registry())(service.function())
    for _ in range(2):
        with pytest.raises(mh.ConfigurationError, match="give idempotent=True .* or put @idempot"):
            colour.call(fn)
    assert service.calls == []
    assert counts(fn.policies[0]) == {}


def test_direct_calls_are_refused_likewise(colour: Colour) -> None:
    """Nothing is around them."""
    service = Service(colour, "never")
    hedge = mh.hedge(FAR, registry=mh.Registry())
    run = hedge.call if colour.name == "sync" else hedge.acall
    with pytest.raises(mh.ConfigurationError, match="idempotent=True"):
        colour.call(run, service.function())
    assert service.calls == []


def test_bare_use_needs_idempotent_outside(colour: Colour, registry: mh.Registry) -> None:
    """`@hedge` alone says nothing about repeating."""
    keys = []

    @mh.idempotent("{order}", registry=registry, name="pay")
    @mh.timeout(5, registry=registry)
    @mh.hedge
    @colour.paint
    def pay(order: str) -> str:
        claim = mh.current()
        assert claim is not None
        keys.append(claim.key)
        if len(keys) == 1:
            raise ConnectionError
        return order

    assert colour.call(pay, "o-1") == "o-1"
    assert colour.call(pay, "o-1") == "o-1"
    assert len(keys) == 2
    assert len(set(keys)) == 1, "the attempts of one call share its key"


def test_idempotent_inside_does_not_declare_it(colour: Colour, registry: mh.Registry) -> None:
    """There a hedge would only wait for the first attempt."""

    @mh.hedge(registry=registry)
    @mh.idempotent("{order}", registry=registry, name="pay")
    @colour.paint
    def pay(order: str) -> str:
        raise AssertionError

    with pytest.raises(mh.ConfigurationError, match="put @idempotent above"):
        colour.call(pay, "o-1")


def test_a_stack_is_judged_as_a_whole(colour: Colour, registry: mh.Registry) -> None:
    """A hedge that two functions share is refused around one and not around the other."""
    shared = mh.hedge(FAR, name="shared", registry=registry)
    bare = shared(colour.paint(lambda order: order))
    safe = mh.idempotent("{order}", registry=registry, name="o")(bare)
    assert colour.call(safe, 1) == 1
    with pytest.raises(mh.ConfigurationError):
        colour.call(bare, 1)


def test_streams_are_refused() -> None:
    """Items that were given cannot be taken back for those of another attempt."""

    def items() -> Any:
        yield 1

    async def items_async() -> Any:
        yield 1

    for stream in (items, items_async):
        with pytest.raises(TypeError, match="@hedge cannot decorate the generator function"):
            make()(stream)


# The learned delay.


def test_without_a_delay_it_is_learned(colour: Colour, frozen: Any) -> None:
    """From the calls of late: the quantile, once enough are known."""

    def call(seconds: float) -> None:
        frozen.tick(seconds)

    fn = make(None, minimum_samples=20)(colour.paint(call))
    hedge = fn.policies[0]
    for number in range(20):
        assert hedge.stats().delay is None
        colour.call(fn, 1.0 if number else 5.0)
    assert hedge.stats().delay == pytest.approx(1.1, rel=0.1)
    assert hedge.stats().delay >= 1.0
    latency = hedge.stats().latency
    assert latency is not None
    assert latency.p50 == pytest.approx(1.0, rel=0.1)
    frozen.tick(61)
    assert hedge.stats().delay is None, "what is older than the window is forgotten"


def test_while_too_few_calls_are_known_only_failures_are_hedged(colour: Colour) -> None:
    """There is nothing to tell slow from."""
    service = Service(colour, "a", ConnectionError(), "b")
    fn, hedge = guard(make(None), service)
    assert [colour.call(fn), colour.call(fn)] == ["a", "b"]
    assert counts(hedge) == {"calls": 2, "successes": 2, "hedges": 1, "wins": 1}


def test_the_learned_delay_hedges_slow_calls(colour: Colour) -> None:
    """Those that are slower than all before."""
    service = Service(colour, *["quick"] * 20, Hang(), "hedge")
    fn, hedge = guard(make(None, minimum_delay="2ms"), service)
    for _ in range(20):
        colour.call(fn)
    assert hedge.stats().delay is not None
    assert hedge.stats().delay >= 0.002
    hedges = hedge.stats().hedges  # on a busy machine one of those may have been slow
    assert colour.call(fn) == "hedge" or hedges
    service.settle(hedge)


def test_a_first_attempt_that_lost_counts_as_slow(colour: Colour) -> None:
    """Otherwise the delay would forget the slow ones, and shrink until every call is hedged."""
    service = Service(colour, Hang(), "quick", ConnectionError(), "again")
    fn, hedge = guard(make(None, minimum_samples=1), service)
    hedge.remember(time.monotonic() - SOON)
    assert colour.call(fn) == "quick"
    slowest = hedge.stats().latency
    assert slowest is not None
    assert slowest.p99 > SOON
    known = hedge.pace.sketch(time.monotonic()).count
    assert known == 2
    assert colour.call(fn) == "again"
    assert hedge.pace.sketch(time.monotonic()).count == known, "one that failed tells nothing"
    service.settle(hedge)


def test_reset_forgets_the_calls_of_late(colour: Colour) -> None:
    """Counters since the start are kept."""
    fn, hedge = guard(make(None, minimum_samples=1), Service(colour, 1))
    colour.call(fn)
    assert hedge.stats().delay is not None
    hedge.reset()
    assert (hedge.stats().delay, hedge.stats().calls) == (None, 1)
    make().reset()


# Limits.


def test_without_budget_left_the_call_goes_on_alone(colour: Colour) -> None:
    """The first attempt is never refused, and its result is the answer."""
    budget = mh.RetryBudget(0.5, 0, registry=mh.Registry())
    service = Service(colour, Hang("first"))
    fn, hedge = guard(make(budget=budget), service)
    with service.released(lambda: hedge.stats().suppressed_by_budget):
        assert colour.call(fn) == "first"
    assert counts(hedge) == {"calls": 1, "successes": 1, "suppressed_by_budget": 1}
    assert (budget.stats().calls, budget.stats().taken, budget.stats().refused) == (1, 0, 1)
    assert nothing_is_held(hedge)


def test_a_budget_bounds_hedges_of_failures(colour: Colour) -> None:
    """When everything fails, one call in five has a second attempt; errors are the call's own."""
    budget = mh.RetryBudget(0.2, 0, registry=mh.Registry())
    service = Service(colour, ConnectionError("down"))
    fn, hedge = guard(make(FAR, budget=budget), service)
    for _ in range(50):
        with pytest.raises(ConnectionError, match="down"):
            colour.call(fn)
    assert (hedge.stats().hedges, hedge.stats().suppressed_by_budget) == (10, 40)


def test_a_call_is_counted_once_by_a_budget_that_a_stack_shares(colour: Colour) -> None:
    """By the outermost of the policies that have it."""
    budget = mh.RetryBudget(registry=mh.Registry())
    fn = make(FAR, budget=budget)(make(FAR, budget=budget)(colour.paint(lambda: 1)))
    colour.call(fn)
    assert budget.stats().calls == 1


@pytest.mark.parametrize("budget", [mh.RetryBudget(registry=mh.Registry()), None])
def test_a_hedge_that_cannot_be_started_gives_its_budget_back(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, budget: mh.RetryBudget | None
) -> None:
    """There may be no thread for it; the call goes on."""
    service = Service(colour, Hang("first"))
    fn, hedge = guard(make(budget=budget), service)
    crew = "threads.Threads" if colour.name == "sync" else "tasks.Tasks"
    module, _, name = crew.partition(".")
    kind = getattr(__import__(f"meshhook.policies.hedge.{module}", fromlist=[name]), name)
    start = kind.start

    def start_first_only(self: Any, number: int) -> None:
        if number:
            raise RuntimeError("can't start new thread")
        start(self, number)

    monkeypatch.setattr(kind, "start", start_first_only)
    with service.released(lambda: hedge.stats().suppressed_by_limit):
        assert colour.call(fn) == "first"
    assert counts(hedge) == {"calls": 1, "successes": 1, "suppressed_by_limit": 1}
    if budget is not None:
        assert budget.stats().taken == budget.stats().given_back > 0
    assert nothing_is_held(hedge)


def test_at_the_limit_no_hedge_starts(colour: Colour) -> None:
    """Attempts that run on keep their places until they end; calls go on alone."""
    stuck = Service(colour, Hang(), "quick")
    fn, hedge = guard(make(max_extra=1), stuck)
    assert colour.call(fn) == "quick"
    held: list[Any] = []
    if colour.name == "async":
        # Its own loser is gone as soon as its loop runs: hold the place by hand.
        stuck.settle(hedge)
        assert hedge.extras.take(held)
    alone = Service(colour, Hang("alone"))
    other = hedge.bind if colour.name == "sync" else hedge.bind_async
    with alone.released(lambda: hedge.stats().suppressed_by_limit):
        assert colour.call(other(alone.function(), alone.function())) == "alone"
    assert hedge.stats().suppressed_by_limit == 1
    held.clear()
    stuck.settle(hedge)


def test_no_hedge_starts_past_the_deadline(colour: Colour) -> None:
    """It would have no time left."""
    service = Service(colour, Hang("first"))
    fn, hedge = guard(make(max_hedges=3), service)
    begun = time.monotonic()
    with (
        service.released(lambda: time.monotonic() > begun + 2 * SOON),
        mh.deadline(0.001),
    ):
        assert colour.call(fn) == "first"
    assert counts(hedge) == {"calls": 1, "successes": 1}


def test_a_deadline_reaches_the_attempts(colour: Colour) -> None:
    """As it would reach the function."""
    fn = make(FAR)(colour.paint(mh.remaining))
    with mh.deadline(60):
        assert 50 < colour.call(fn) <= 60


# What is not needed.


def test_results_that_nobody_got_are_handed_over(colour: Colour) -> None:
    """Each once, so that they can be closed; errors are dropped."""
    discarded: list[Any] = []
    service = Service(colour, Hang(), Hang(), "third")
    fn, hedge = guard(make(0, max_hedges=2, on_discard=discarded.append), service)
    if colour.name == "sync":
        service.script = (Hang("a"), Hang(ConnectionError()), "third")
        assert colour.call(fn) == "third"
        service.settle(hedge)
        assert discarded == ["a"]
    else:
        # All of them have ended by the time that the first is looked at.
        service.script = ("a", "b", "c")
        assert colour.call(fn) == "a"
        service.settle(hedge)
        assert discarded == ["b", "c"]
    assert hedge.stats().discarded == len(discarded)


def test_on_discard_that_raises_is_logged(colour: Colour, caplog: pytest.LogCaptureFixture) -> None:
    """It changes nothing for anybody."""
    service = Service(colour, "a", "b")
    if colour.name == "sync":
        service.script = (Hang(), "b")
    fn, hedge = guard(make(0, on_discard=lambda _: 1 / 0, name="d"), service)
    with caplog.at_level(logging.ERROR):
        colour.call(fn)
        service.settle(hedge)
    assert "on_discard of hedge 'd' failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


# What is told.


def test_events(colour: Colour) -> None:
    """A hedge that starts and one that wins; nothing of arguments or results."""
    service = Service(colour, ConnectionError("secret"), ConnectionError("secret"), "secret")
    fn, _ = guard(make(FAR, max_hedges=2, name="search"), service)
    told: list[Any] = []
    with mh.subscribe(told.append):
        colour.call(fn, "secret")
    assert [(type(each), each.policy, each.name, each.number) for each in told] == [
        (events.HedgeStarted, "hedge", "search", 1),
        (events.HedgeStarted, "hedge", "search", 2),
        (events.HedgeWon, "hedge", "search", 2),
    ]
    assert 0 <= told[0].delay <= told[1].delay
    assert "secret" not in repr(told)


def test_statistics_turn_into_json(colour: Colour) -> None:
    """With every counter in them."""
    fn, hedge = guard(make(None, minimum_samples=1, name="search"), Service(colour, 1))
    colour.call(fn)
    told = json.loads(json.dumps(hedge.stats().to_dict()))
    assert told["latency"].keys() == {"p50", "p95", "p99"}
    assert told.pop("latency")["p50"] == pytest.approx(told.pop("delay"), abs=0.1)
    assert told == {
        "policy": "hedge",
        "name": "search",
        "calls": 1,
        "successes": 1,
        "failures": 0,
        "ignored": 0,
        "hedges": 0,
        "wins": 0,
        "discarded": 0,
        "suppressed_by_budget": 0,
        "suppressed_by_limit": 0,
        "running_on": 0,
    }


def test_errors_are_freed_without_the_collector(colour: Colour) -> None:
    """An error whose caller has seen it is kept by nothing of ours."""

    class MineError(Exception):
        pass

    def call() -> None:
        raise MineError

    fn = make(FAR)(colour.paint(call))

    def caller() -> weakref.ref[Any] | None:
        try:
            fn()
        except MineError as error:
            return weakref.ref(error)
        return None

    async def caller_async() -> weakref.ref[Any] | None:
        try:
            await fn()
        except MineError as error:
            return weakref.ref(error)
        return None

    gc.collect()
    gc.disable()
    try:
        told = colour.call(caller if colour.name == "sync" else caller_async)
        assert told is not None
        assert told() is None
    finally:
        gc.enable()


def test_names_share(registry: mh.Registry) -> None:
    """One name, one hedge; other settings under it are an error."""
    hedge = mh.hedge(1, name="search", registry=registry)
    assert mh.hedge(1.0, name="search", registry=registry) is hedge
    assert registry.hedges == {"search": hedge}
    with pytest.raises(mh.ConfigurationError, match=r"delay=1.0.*delay=2.0"):
        mh.hedge(2, name="search", registry=registry)


def test_describe(registry: mh.Registry) -> None:
    """In a few words."""
    assert mh.hedge("250ms", name="a", registry=registry).describe() == (
        "hedge('a', after 0.25 s, 1 more)"
    )
    assert mh.hedge(name="b", max_hedges=2, registry=registry).describe() == (
        "hedge('b', after the 95 % quantile, 2 more)"
    )


@pytest.mark.parametrize(
    ("delay", "hedges", "inner", "longest"),
    [
        (0.1, 1, 2.0, 2.1),
        (0.1, 3, 2.0, 2.3),
        (5, 2, 2.0, 6.0),
        (None, 1, 2.0, 4.0),
        (0.1, 1, math.inf, math.inf),
    ],
)
def test_longest(delay: Any, hedges: int, inner: float, longest: float) -> None:
    """A hedge starts after the delay, or when the attempt before has failed."""
    assert make(delay, max_hedges=hedges).longest(inner) == pytest.approx(longest)


async def _async_function(_: Any) -> None:
    """Be async."""


def _stream() -> Any:
    yield


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"delay": -1}, "delay must be a duration of 0 or more seconds"),
    ({"delay": "fast"}, "delay must be a duration"),
    ({"delay": math.inf}, "delay must be a duration"),
    ({"delay": True}, "delay must be a duration"),
    ({"quantile": 0}, "quantile must be a share"),
    ({"quantile": 95}, r"quantile must be a share .*for 95 % write 0.95"),
    ({"quantile": 1}, "quantile=1 is slower than every call"),
    ({"quantile": 0.9, "delay": 1}, r"quantile=0.9 is about a delay that is learned .*delay=1 "),
    ({"minimum_samples": 0}, "minimum_samples must be a whole number"),
    ({"minimum_samples": 5, "delay": 1}, "minimum_samples=5 is about a delay that is learned"),
    ({"minimum_delay": -1}, "minimum_delay must be a duration"),
    ({"minimum_delay": 1, "delay": 1}, "minimum_delay=1.0 is about"),
    ({"window": 0}, "window must be a duration of more than 0"),
    ({"window": "1m", "delay": 1, "max_hedges": 2, "minimum_delay": 2}, "minimum_delay=2.0 is"),
    ({"window": 10, "delay": 1}, "window=10.0 is about"),
    ({"max_hedges": 0}, "max_hedges must be a whole number of 1 or more"),
    ({"max_hedges": 1.5}, "max_hedges must be a whole number"),
    ({"max_hedges": 1_001}, "max_hedges must be at most 1,000"),
    ({"on": ()}, "on must be types of errors"),
    ({"on": KeyboardInterrupt}, "on must be types of errors"),
    ({"on": "ConnectionError"}, "on must be an exception type"),
    ({"on": lambda: True}, "on must be a function of error"),
    ({"on": _async_function}, "on must be a function of error, and no async one"),
    ({"budget": 0.2}, "budget must be a meshhook.RetryBudget, or None"),
    ({"idempotent": "yes"}, "idempotent must be True if calls may be repeated, or False"),
    ({"alternatives": len}, r"alternatives must be a tuple of functions; write \(function,\)"),
    ({"alternatives": 3}, "alternatives must be a tuple of functions, got 3"),
    ({"alternatives": "abc"}, "alternatives must be a tuple of functions"),
    ({"alternatives": [3]}, r"alternatives\[0\] must be a function"),
    ({"alternatives": [int]}, r"alternatives\[0\] must be a function"),
    ({"alternatives": [_stream]}, r"alternatives\[0\] must be a function"),
    ({"alternatives": [len, len]}, "alternatives has 2 functions, and max_hedges=1 never comes"),
    ({"max_extra": 0}, "max_extra must be a whole number of 1 or more"),
    ({"grace": 0}, "grace must be a duration of more than 0"),
    ({"on_discard": 3}, "on_discard must be a function of result"),
    ({"on_discard": lambda: None}, "on_discard must be a function of result"),
    ({"on_discard": _async_function}, "on_discard must be a function of result, and no async"),
    ({"name": ""}, "name must be printable text"),
    ({"registry": {}}, "registry must be a meshhook.Registry"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=[str(each[0]) for each in WRONG])
def test_wrong_settings_are_refused_where_they_are_written(
    settings: dict[str, Any], message: str
) -> None:
    """The error names the argument, the value and the fix."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.hedge(**settings)


@pytest.mark.parametrize("delay", [1, 1.0, "1s", "1000ms", timedelta(seconds=1)])
def test_delays_may_be_written_in_every_way(delay: Any) -> None:
    """As all durations."""
    assert make(delay).settings.delay == 1.0


def test_a_hedge_that_is_used_wrongly_says_so(colour: Colour) -> None:
    """`call` is for sync functions, `acall` for async ones."""
    fn = colour.paint(lambda: None)
    with pytest.raises(TypeError, match="use `"):
        if colour.name == "sync":
            asyncio.run(make().acall(fn))
        else:
            make().call(fn)
