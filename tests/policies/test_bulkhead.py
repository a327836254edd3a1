"""bulkhead: the decorator and the object, what they are told, count and say."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from tests.colours import Colour
from tests.waiting import Called, Held, eventually


def answer(value: int = 1) -> int:
    """Return what it is given."""
    return value


class Full:
    """A bulkhead whose slots are taken by blocks, until it is let go."""

    def __init__(self, bulkhead: mh.Bulkhead) -> None:
        self.bulkhead = bulkhead

    def __enter__(self) -> mh.Bulkhead:
        self._taken = self.bulkhead.stats().max_concurrent - self.bulkhead.stats().in_use
        for _ in range(self._taken):
            self.bulkhead.__enter__()
        return self.bulkhead

    def __exit__(self, *_: object) -> None:
        for _ in range(self._taken):
            self.bulkhead.__exit__(None, None, None)


def test_calls_within_the_limit_pass(colour: Colour, registry: mh.Registry) -> None:
    """Positional and keyword arguments, results and errors go through."""
    fn = mh.bulkhead(1, registry=registry)(colour.paint(answer))
    assert colour.call(fn, 5) == 5
    assert colour.call(fn, value=6) == 6
    with pytest.raises(TypeError):
        colour.call(fn, 1, 2)
    assert fn.policies[0].stats().in_use == 0  # type: ignore[attr-defined]


def test_one_call_too_many_is_refused(colour: Colour, registry: mh.Registry) -> None:
    """At once, and it has not been started."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)
    ran: list[int] = []
    fn = bulkhead(colour.paint(ran.append))
    with Full(bulkhead), pytest.raises(mh.BulkheadFullError) as caught:
        colour.call(fn, 1)
    error = caught.value
    assert (error.name, error.policy, error.reason) == ("db", "bulkhead", "full")
    assert (error.max_concurrent, error.waiting, error.retry_after) == (2, 0, None)
    assert isinstance(error, mh.RejectedError)
    assert error.__context__ is None
    assert ran == []
    colour.call(fn, 2)
    assert ran == [2]


def test_every_way_out_gives_the_slot_back(colour: Colour, registry: mh.Registry) -> None:
    """Results, errors and interrupts."""
    bulkhead = mh.bulkhead(1, name="db", registry=registry)

    def fail(error: BaseException) -> None:
        raise error

    fn = bulkhead(colour.paint(fail))
    for error in (ValueError(), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit()):
        with pytest.raises(type(error)):
            colour.call(fn, error)
        assert bulkhead.stats().in_use == 0
    assert bulkhead.stats().admitted == 4


def test_an_awaitable_from_a_sync_function_gives_the_slot_back(registry: mh.Registry) -> None:
    """It is an error of the caller, on every path."""

    async def late() -> None: ...

    for settings in ({}, {"limit": mh.AIMD()}, {"key": lambda: 1}):
        bulkhead = mh.bulkhead(name=repr(settings), registry=registry, **settings)
        fn = bulkhead(lambda: late())
        with pytest.raises(TypeError, match="awaitable"):
            fn()
        assert bulkhead.stats().in_use == 0


def test_used_bare(colour: Colour) -> None:
    """It lets ten calls run; each function has slots of its own."""
    one, two = mh.bulkhead(colour.paint(answer)), mh.bulkhead(colour.paint(answer))
    assert colour.call(one) == 1
    first, second = one.policies[0], two.policies[0]  # type: ignore[attr-defined]
    assert first is not second
    assert first.stats().max_concurrent == 10


def test_a_name_is_shared(registry: mh.Registry) -> None:
    """The slots are those of the name."""
    one = mh.bulkhead(1, name="db", registry=registry)
    assert mh.bulkhead(1, name="db", registry=registry) is one
    assert registry.bulkheads == {"db": one}
    with pytest.raises(mh.ConfigurationError, match="max_concurrent=1, and here it gets"):
        mh.bulkhead(2, name="db", registry=registry)


def test_equal_adaptive_limits_are_equal(registry: mh.Registry) -> None:
    """However their durations are written."""
    one = mh.bulkhead(limit=mh.AIMD(latency_threshold="250ms"), name="db", registry=registry)
    other = mh.AIMD(latency_threshold=timedelta(milliseconds=250))
    assert mh.bulkhead(limit=other, name="db", registry=registry) is one


def test_as_an_object(colour: Colour, registry: mh.Registry) -> None:
    """It runs calls directly, under the name of its kind."""
    bulkhead = mh.bulkhead(1, registry=registry)
    if repr(colour) == "sync":
        assert bulkhead.call(answer, 3) == 3
    else:
        assert colour.call(bulkhead.acall, colour.paint(answer), 3) == 3
    assert registry.bulkheads["bulkhead"].stats().admitted == 1


def test_blocks_hold_a_slot(registry: mh.Registry) -> None:
    """Of both colours, and they may be nested."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)

    async def main() -> None:
        async with bulkhead as entered:
            assert entered is bulkhead
            with bulkhead:
                assert bulkhead.stats().in_use == 2
                with pytest.raises(mh.BulkheadFullError):
                    await bulkhead.__aenter__()

    asyncio.run(main())
    with pytest.raises(KeyError), bulkhead:
        raise KeyError
    stats = bulkhead.stats()
    assert (stats.in_use, stats.admitted, stats.rejected) == (0, 3, 1)


def test_a_pattern_that_has_decorated_has_no_slots_of_its_own(registry: mh.Registry) -> None:
    """Its functions have."""
    bulkhead = mh.bulkhead(1, registry=registry)
    bulkhead(answer)
    for use in (bulkhead.reset, lambda: bulkhead.resize(2), bulkhead.stats):
        with pytest.raises(mh.ConfigurationError, match="has no name"):
            use()


def test_keys_have_slots_of_their_own(colour: Colour, registry: mh.Registry) -> None:
    """One key that is full leaves the others alone."""
    bulkhead = mh.bulkhead(1, key="{host}", name="db", registry=registry)
    inner: list[Any] = []

    def call(host: str, then: str | None = None) -> str:
        if then is not None:
            inner.append(bulkhead.stats("a"))
            other = bulkhead(colour.paint(call) if repr(colour) == "sync" else call)
            return str(other(then))
        return host

    fn = bulkhead(colour.paint(call))
    assert colour.call(fn, "a", "b") == "b"
    assert inner[0].in_use == 1
    with pytest.raises(mh.BulkheadFullError):
        colour.call(fn, "a", "a")
    stats = bulkhead.stats()
    assert (stats.keys, stats.admitted, stats.rejected, stats.peak) == (2, 3, 1, 1)
    assert bulkhead.stats("a").rejected == 1
    with pytest.raises(KeyError, match="no call with key"):
        bulkhead.stats("nobody")
    with pytest.raises(TypeError, match="slots per key"), bulkhead:
        pass


def test_no_key_no_statistics_of_keys(registry: mh.Registry) -> None:
    """To ask for some is an error."""
    with pytest.raises(TypeError, match="has no key="):
        mh.bulkhead(name="db", registry=registry).stats("a")


def test_keys_are_bounded_and_what_they_counted_is_kept(registry: mh.Registry) -> None:
    """Keys without a call make room; one with a call stays."""
    bulkhead = mh.bulkhead(1, key="{host}", max_keys=2, name="db", registry=registry)
    fn = bulkhead(lambda host: host() if callable(host) else host)

    def inside() -> Any:
        for number in range(9):
            fn(number)
        return bulkhead.stats()

    stats = fn(inside)
    assert stats.in_use == 1
    stats = bulkhead.stats()
    assert stats.keys is not None
    assert stats.keys <= 3
    assert stats.admitted == 10
    assert stats.evicted > 0
    assert stats.peak == 1
    assert stats.max_concurrent == 1


def test_resizing_up_lets_more_calls_run(registry: mh.Registry) -> None:
    """At once."""
    bulkhead = mh.bulkhead(1, name="db", registry=registry)
    fn = bulkhead(answer)
    with Full(bulkhead):
        with pytest.raises(mh.BulkheadFullError):
            fn()
        bulkhead.resize(2)
        fn()
    assert bulkhead.stats().max_concurrent == 2


def test_resizing_down_lets_running_calls_end(registry: mh.Registry) -> None:
    """And none begins until there are fewer than the new limit."""
    bulkhead = mh.bulkhead(3, name="db", registry=registry)
    fn = bulkhead(answer)
    for _ in range(3):
        bulkhead.__enter__()
    bulkhead.resize(1)
    for in_use in (3, 2, 1):
        assert bulkhead.stats().in_use == in_use
        with pytest.raises(mh.BulkheadFullError) as caught:
            fn()
        assert caught.value.max_concurrent == 1
        bulkhead.__exit__(None, None, None)
    fn()
    with bulkhead, pytest.raises(mh.BulkheadFullError):
        fn()
    stats = bulkhead.stats()
    assert (stats.in_use, stats.peak, stats.max_concurrent) == (0, 3, 1)


def test_resizing_down_and_up_again_while_calls_run(registry: mh.Registry) -> None:
    """What was too much is so no more."""
    bulkhead = mh.bulkhead(4, name="db", registry=registry)
    with Full(bulkhead):
        bulkhead.resize(1)
        bulkhead.resize(3)
        bulkhead.resize(6)
        stats = bulkhead.stats()
        assert (stats.in_use, stats.max_concurrent) == (4, 6)
        with bulkhead, bulkhead, pytest.raises(mh.BulkheadFullError):
            bulkhead.__enter__()
    assert bulkhead.stats().peak == 6


def test_resizing_a_family_is_about_all_keys(registry: mh.Registry) -> None:
    """Those to come as well; a reset goes back to what was set."""
    bulkhead = mh.bulkhead(1, key="{host}", name="db", registry=registry)
    fn = bulkhead(lambda host: host)
    fn("a")
    bulkhead.resize(3)
    fn("b")
    assert [bulkhead.stats(host).max_concurrent for host in "ab"] == [3, 3]
    bulkhead.reset()
    assert [bulkhead.stats(host).max_concurrent for host in "ab"] == [1, 1]


def test_wrong_sizes(registry: mh.Registry) -> None:
    """They change nothing."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)
    for size in (0, -1, True, 1.5, None, 10**7):
        with pytest.raises(mh.ConfigurationError, match="max_concurrent must be"):
            bulkhead.resize(size)  # type: ignore[arg-type]
    assert bulkhead.stats().max_concurrent == 2


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"critical": 1}, "critical must be True or False, got 1"),
    ({"max_concurrent": 0}, "max_concurrent must be a whole number of 1 or more, got 0"),
    ({"max_concurrent": 2.0}, "max_concurrent must be a whole number"),
    ({"max_concurrent": 10**9}, "max_concurrent must be at most 1,000,000"),
    ({"max_queue": -1, "max_wait": 1}, "max_queue must be a whole number of 0 or more"),
    ({"max_queue": 5}, "a queue in which nobody may wait"),
    ({"max_queue": 0, "max_wait": 1}, "max_queue=0 leaves no place to wait in"),
    ({"max_wait": -1}, "max_wait must be a duration"),
    ({"max_wait": "soon"}, "max_wait must be a duration"),
    ({"order": "random", "max_wait": 1}, "order must be one of 'fifo', 'lifo'"),
    ({"order": "lifo"}, "order='lifo' is about calls that wait"),
    ({"limit": 5}, "limit must be an adaptive limit such as mh.Gradient"),
    ({"limit": mh.AIMD}, "limit must be an adaptive limit"),
    ({"limit": mh.AIMD(), "max_concurrent": 5}, "exclude each other"),
    ({"key": 5}, "key must be a template"),
    ({"max_keys": 5}, "max_keys=5 is about keys"),
    ({"key": "{a}", "max_keys": 0}, "max_keys must be a whole number"),
    ({"name": ""}, "name must be printable text"),
    ({"registry": {}}, "registry must be a meshhook.Registry"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_wrong_settings(settings: dict[str, Any], said: str) -> None:
    """They name the argument, the value and the fix."""
    with pytest.raises(mh.ConfigurationError, match=said):
        mh.bulkhead(**settings)


WRONG_LIMITS: list[tuple[Any, dict[str, Any], str]] = [
    (mh.AIMD, {"initial": 0}, "initial must be a whole number"),
    (mh.AIMD, {"min": 30}, "initial must be from min to max"),
    (mh.AIMD, {"max": 10}, "initial must be from min to max"),
    (mh.AIMD, {"max": 10**7}, "max must be at most"),
    (mh.AIMD, {"backoff": 1}, "backoff must be below 1"),
    (mh.AIMD, {"backoff": 0}, "backoff must be a share"),
    (mh.AIMD, {"latency_threshold": 0}, "latency_threshold must be a duration"),
    (mh.Gradient, {"min": 0}, "min must be a whole number"),
    (mh.Gradient, {"initial": 201}, "initial must be from min to max"),
    (mh.Gradient, {"tolerance": 0.9}, "tolerance must be a factor of 1 or more"),
    (mh.Gradient, {"tolerance": math.inf}, "tolerance must be"),
    (mh.Gradient, {"tolerance": 10**400}, "tolerance must be"),
    (mh.Gradient, {"tolerance": True}, "tolerance must be"),
    (mh.Gradient, {"tolerance": "2"}, "tolerance must be"),
]


@pytest.mark.parametrize(("kind", "settings", "said"), WRONG_LIMITS)
def test_wrong_adaptive_limits(kind: Any, settings: dict[str, Any], said: str) -> None:
    """They say so where they are made."""
    with pytest.raises(mh.ConfigurationError, match=said):
        kind(**settings)


def test_no_classes() -> None:
    """As every policy."""
    with pytest.raises(TypeError, match="cannot decorate the class"):
        mh.bulkhead(2)(Full)


def test_statistics_are_fit_for_json(registry: mh.Registry) -> None:
    """In the registry as well."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)
    bulkhead.call(answer)
    assert json.loads(json.dumps(registry.stats().to_dict())) == {
        "bulkhead/db": {
            "policy": "bulkhead",
            "name": "db",
            "max_concurrent": 2,
            "in_use": 0,
            "waiting": 0,
            "peak": 1,
            "admitted": 1,
            "waited": 0,
            "rejected": 0,
            "abandoned": 0,
            "keys": None,
            "evicted": 0,
            "max_queue": 0,
            "full": 0,
        }
    }


def test_a_reset_keeps_the_counters(registry: mh.Registry) -> None:
    """It goes back to the limit that was set; who runs keeps its slot."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)
    bulkhead.resize(5)
    with bulkhead:
        registry.reset()
        stats = bulkhead.stats()
    assert (stats.max_concurrent, stats.in_use, stats.admitted) == (2, 1, 1)


def test_what_it_says_of_itself(registry: mh.Registry) -> None:
    """Kind, name, limit and wait."""

    def said(*given: Any, **settings: Any) -> str:
        name = f"b{len(registry)}"
        return mh.bulkhead(*given, name=name, registry=registry, **settings).describe()

    assert said(3) == "bulkhead('b0', 3 at a time)"
    assert said(3, max_wait="250ms") == "bulkhead('b1', 3 at a time, waits up to 0.25 s)"
    assert said(3, max_wait=None) == "bulkhead('b2', 3 at a time, waits without limit)"
    assert said(limit=mh.AIMD(max=50)) == "bulkhead('b3', AIMD from 1 to 50)"


def test_the_longest_time_of_a_call() -> None:
    """What is inside, and the wait."""
    assert mh.bulkhead(2).longest(3.0) == 3.0
    assert mh.bulkhead(2, max_wait=2).longest(3.0) == 5.0
    assert mh.bulkhead(2, max_wait=None).longest(3.0) == math.inf


def test_refusals_are_told(colour: Colour, registry: mh.Registry) -> None:
    """With the reason, and nothing of the call."""
    bulkhead = mh.bulkhead(1, name="db", registry=registry)
    seen: list[Any] = []
    with events.subscribe(seen.append), Full(bulkhead), pytest.raises(mh.BulkheadFullError):
        colour.call(bulkhead(colour.paint(answer)))
    assert seen == [
        events.CallRejected(policy="bulkhead", name="db", reason="full", retry_after=None)
    ]


def test_another_limit_is_told(registry: mh.Registry) -> None:
    """If it is another."""
    bulkhead = mh.bulkhead(2, name="db", registry=registry)
    seen: list[Any] = []
    with events.subscribe(seen.append):
        bulkhead.resize(5)
        bulkhead.resize(5)
        bulkhead.reset()
    assert [(each.old, each.new, each.reason) for each in seen] == [
        (2, 5, "resized"),
        (5, 2, "reset"),
    ]


TEXTS = [
    ({}, "bulkhead 'db' is full: 4 calls are running; call again later, or let calls wait"),
    ({"max_concurrent": 1}, "1 call is running;"),
    ({"reason": "queue_full", "waiting": 3}, "running and 3 waiting; .* raise max_queue"),
    ({"reason": "max_wait"}, "no slot came free within max_wait"),
    ({"reason": "deadline"}, "the deadline left no time to wait"),
    ({"reason": "shutdown"}, "the process is shutting down"),
    ({"reason": "of another version"}, "call again later"),
]


@pytest.mark.parametrize(("fields", "said"), TEXTS)
def test_what_a_refusal_says(fields: dict[str, Any], said: str) -> None:
    """Name, limit and next step."""
    error = mh.BulkheadFullError(**{"name": "db", "max_concurrent": 4, **fields})
    with pytest.raises(mh.BulkheadFullError, match=said):
        raise error
    assert repr(error) == f"BulkheadFullError({str(error)!r})"
    assert str(mh.BulkheadFullError("of my own")) == "of my own"


def test_without_a_gil_every_step_takes_the_lock(
    colour: Colour, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is the same to whoever calls."""
    monkeypatch.setattr(guard, "GIL_ENABLED", False)
    bulkhead = mh.bulkhead(1, name="db", registry=registry)
    fn = bulkhead(colour.paint(answer))
    assert colour.call(fn, 5) == 5
    with Full(bulkhead), pytest.raises(mh.BulkheadFullError):
        colour.call(fn)
    stats = bulkhead.stats()
    assert (stats.admitted, stats.rejected, stats.in_use, stats.peak) == (2, 1, 0, 1)


@pytest.mark.parametrize("settings", [{}, {"limit": mh.AIMD()}, {"key": "{value}"}], ids=repr)
def test_coroutines_that_are_thrown_away_give_their_slots_back(
    registry: mh.Registry, settings: Any
) -> None:
    """Whether they were started or not."""
    bulkhead = mh.bulkhead(name="db", registry=registry, **settings)

    @bulkhead
    async def hang(value: int) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        started, fresh = hang(1), hang(1)
        started.send(None)
        assert bulkhead.stats().in_use == 1
        fresh.close()
        del started, fresh
        gc.collect()

    asyncio.run(main())
    assert bulkhead.stats().in_use == 0


def test_a_call_that_was_given_up_keeps_its_slot_until_it_ends(registry: mh.Registry) -> None:
    """A timeout frees the caller, not the slot."""
    held = Held()
    bulkhead = mh.bulkhead(1, name="db", registry=registry)
    fn = mh.timeout("10ms", mode="thread", registry=registry)(bulkhead(held))
    with pytest.raises(mh.TimeoutError):
        fn()
    assert bulkhead.stats().in_use == 1
    with pytest.raises(mh.BulkheadFullError):
        fn()
    held.go.set()
    assert eventually(lambda: bulkhead.stats().in_use == 0)
    assert bulkhead(held)() == "done"


def test_threads_and_tasks_share_one_limit(registry: mh.Registry) -> None:
    """A named bulkhead around a sync and an async function."""
    held = Held()
    bulkhead = mh.bulkhead(1, name="db", registry=registry)
    inside = Called("sync", bulkhead(held))
    assert held.inside.wait(5)

    @bulkhead
    async def other() -> None: ...

    with pytest.raises(mh.BulkheadFullError):
        asyncio.run(other())
    held.go.set()
    inside.result()
    asyncio.run(other())
