"""Timeouts, retries, budgets, hedges, throttles, fallbacks, chaos and idempotent functions.

They get other settings, and keep what they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshhook as mh
from meshhook import changes
from meshhook.budgets import BudgetSettings
from meshhook.rules.budget import Budget
from meshhook.rules.pace import Pace
from meshhook.rules.throttling import Throttling
from meshhook.testing import no_wait
from tests.changes.changing import settings
from tests.colours import Colour
from tests.waiting import GIVE_UP


class TestTimeout:
    def test_the_next_call_has_the_new_limit(
        self, colour: Colour, registry: Any, frozen: Any
    ) -> None:
        """One that runs ends by the limit that it began with, and says so."""
        limit = mh.timeout(10, mode="cooperative", name="slow")

        @limit
        @colour.paint
        def fn(seconds: float, change_to: float | None = None) -> float:
            left = mh.remaining()
            if change_to is not None:
                limit.apply(settings(mh.timeout, change_to, mode="cooperative"))
            frozen.tick(seconds)
            mh.check_deadline()
            return left

        assert colour.call(fn, 0) == 10
        with pytest.raises(mh.TimeoutError):
            colour.call(fn, 10, 30)
        assert colour.call(fn, 10) == 30
        assert limit.stats().timed_out == 1
        assert "30 s, cooperative" in repr(limit)

    def test_a_call_that_runs_out_of_time_tells_of_its_own_limit(self, registry: Any) -> None:
        """And not of one that an outer deadline had left of another."""
        limit = mh.timeout(0.02, mode="thread", name="slow")
        changed, over = threading.Event(), threading.Event()

        @limit
        def fn() -> None:
            limit.apply(settings(mh.timeout, 60, mode="thread"))
            changed.set()
            over.wait(GIVE_UP)

        try:
            with pytest.raises(mh.TimeoutError, match=r"did not end within 0.02 s; it") as caught:
                fn()
        finally:
            over.set()
        assert changed.is_set()
        assert caught.value.timeout == 0.02

    def test_blocks(self, registry: Any, frozen: Any) -> None:
        """One that is open keeps its limit."""
        limit = mh.timeout(10, mode="cooperative", name="slow")
        with pytest.raises(mh.TimeoutError), limit:
            limit.apply(settings(mh.timeout, 60, mode="cooperative"))
            frozen.tick(10)
            mh.check_deadline()
        assert limit.stats().timed_out == 1
        with limit:
            assert mh.remaining() == 60

    def test_streams(self, registry: Any, frozen: Any) -> None:
        """One that runs keeps its limits."""
        limit = mh.timeout(10, per_item=5, mode="cooperative", name="slow")

        @limit
        def items() -> Iterator[float]:
            for _ in range(3):
                yield mh.remaining()  # type: ignore[misc]
                frozen.tick(4)
                mh.check_deadline()

        stream = items()
        assert next(stream) == 5
        limit.apply(settings(mh.timeout, 60, per_item=2, mode="cooperative"))
        assert next(stream) == 1
        for each in (stream, items()):
            with pytest.raises(mh.TimeoutError, match="the deadline passed 2 s ago"):
                list(each)
        assert limit.stats().timed_out == 2

    def test_a_mode_has_to_fit_all_functions(self, registry: Any) -> None:
        """They are asked before anything changes."""
        limit = mh.timeout(10, name="slow")

        @limit
        async def fn() -> float | None:
            return mh.remaining()

        with pytest.raises(mh.ConfigurationError, match="cannot stop the async function"):
            limit.check_settings(settings(mh.timeout, 5, mode="thread"))
        with pytest.raises(mh.ConfigurationError, match="per_item is for generator functions"):
            limit.apply(settings(mh.timeout, 5, per_item=1))
        assert limit.settings.seconds == 10
        limit.apply(settings(mh.timeout, 5, mode="cooperative"))
        assert 4 < (asyncio.run(fn()) or 0) <= 5


class TestRetry:
    def test_attempts(self, colour: Colour, registry: Any) -> None:
        """A call that is being retried goes by the new settings from the next decision on."""
        retry = mh.retry(max_attempts=3, name="db")
        calls: list[int] = []

        @retry
        @colour.paint
        def fn() -> None:
            calls.append(1)
            if len(calls) == 2:
                retry.apply(settings(mh.retry, max_attempts=6))
            raise OSError

        with no_wait():
            with pytest.raises(OSError):
                colour.call(fn)
            assert len(calls) == 6
            with pytest.raises(OSError):
                colour.call(fn)
        assert len(calls) == 12
        assert retry.stats().retries == 10
        assert "6 attempts" in repr(retry)

    def test_other_drivers(self, colour: Colour, registry: Any, frozen: Any) -> None:
        """A budget counts calls, max_elapsed needs the time, and on_result looks at results."""
        retry = mh.retry(max_attempts=3, name="db")
        budget = mh.RetryBudget(name="db")
        results = iter([None, 1, None, 2, 3])
        fn = retry(colour.paint(lambda: next(results)))
        assert colour.call(fn) is None
        retry.apply(
            settings(
                mh.retry, max_attempts=3, on_result=lambda result: result is None, budget=budget
            )
        )
        with no_wait():
            assert colour.call(fn) == 1
            assert colour.call(fn) == 2
        assert budget.stats().calls == 2
        assert budget.stats().taken == 1
        retry.apply(settings(mh.retry, max_attempts=None, max_elapsed=10))
        assert colour.call(fn) == 3
        assert budget.stats().calls == 2

    def test_hooks_that_go_while_they_are_asked_for(self, registry: Any) -> None:
        """Each decision goes by one set of settings."""
        retry = mh.retry(
            max_attempts=4,
            name="db",
            before_sleep=lambda _pause: None,
            retry_after=lambda _error: retry.apply(settings(mh.retry, max_attempts=4)),
            backoff=lambda _retry: 0.0,
        )

        @retry
        def fn() -> None:
            raise OSError

        with no_wait(), pytest.raises(OSError):
            fn()
        assert retry.stats().retries == 3

    def test_blocks_and_streams(self, registry: Any) -> None:
        """They ask for the settings as calls do."""
        retry = mh.retry(max_attempts=2, name="db")
        numbers = []
        began = []

        @retry
        def items() -> Iterator[int]:
            began.append(1)
            if len(began) < 4:
                raise OSError
            yield 1

        with no_wait():
            with contextlib.suppress(OSError):
                for attempt in retry:
                    with attempt:
                        numbers.append(attempt.number)
                        retry.apply(settings(mh.retry, max_attempts=4))
                        raise OSError
            assert list(items()) == [1]
        assert numbers == [1, 2, 3, 4]


class TestBudget:
    def test_calls_and_attempts_are_kept(self, registry: Any, frozen: Any) -> None:
        """For as long as is looked back now; counters stay."""
        budget = mh.RetryBudget(0.5, 0, 10, name="db")
        for _ in range(8):
            budget.count_call()
        taken = [budget.take() for _ in range(4)]
        assert taken.count(None) == budget.left() == 0
        budget.apply(BudgetSettings(ratio=1.0, min_per_second=0.0, ttl=10.0))
        assert budget.left() == 4
        budget.give_back(taken[0])  # type: ignore[arg-type]
        assert budget.left() == 5
        frozen.tick(6)
        for _ in range(2):
            budget.count_call()
        budget.apply(BudgetSettings(ratio=1.0, min_per_second=0.0, ttl=3.0))
        assert budget.left() == 2
        budget.apply(BudgetSettings(ratio=1.0, min_per_second=1.0, ttl=30.0))
        assert budget.left() == 32
        stats = budget.stats()
        assert (stats.calls, stats.taken, stats.given_back, stats.ttl) == (10, 4, 1, 30)
        assert "1 of calls, 1/s free, 30 s" in repr(budget)

    def test_it_is_changed_with_those_that_use_it(self, registry: Any) -> None:
        """In one go."""
        budget = mh.RetryBudget(name="db")
        retry = mh.retry(max_attempts=3, budget=budget, name="db")
        changes.apply(
            [
                (budget, BudgetSettings(ratio=1.0, min_per_second=5.0, ttl=1.0)),
                (retry, settings(mh.retry, max_attempts=7, budget=budget)),
            ]
        )
        assert (budget.left(), retry.settings.max_attempts) == (5, 7)

    @given(
        steps=st.lists(
            st.tuples(
                st.floats(0, 3),
                st.sampled_from(["call", "take", "give_back"])
                | st.tuples(st.floats(0.1, 1), st.floats(0.1, 2), st.floats(0.5, 20)),
            ),
            max_size=60,
        )
    )
    def test_it_never_owes_more_than_was_taken(self, steps: list[Any]) -> None:
        """Nor less than nothing, whatever changes in between."""
        budget, now, taken = Budget(0.5, 1.0, 5.0, 0.0), 0.0, []
        for pause, step in steps:
            now += pause
            if isinstance(step, tuple):
                budget.change(*step, now)
            elif step == "call":
                budget.advance(now)
                budget.calls += 1
            elif step == "take":
                taken.append(budget.take(now))
            elif taken and (back := taken.pop()) is not None:
                budget.give_back(now, back)
            totals = budget.window.totals(budget.calls)
            assert 0 <= totals.failures <= totals.calls


class TestHedge:
    def test_a_call_makes_as_many_attempts_as_it_began_with(
        self, colour: Colour, registry: Any
    ) -> None:
        """The next one as many as it may now."""
        hedge = mh.hedge(0, max_hedges=1, idempotent=True, name="read", budget=None)
        calls: list[int] = []

        @hedge
        @colour.paint
        def fn() -> None:
            calls.append(1)
            hedge.apply(settings(mh.hedge, 0, max_hedges=3, idempotent=True, budget=None))
            raise OSError

        for expected in (2, 6):
            with pytest.raises(OSError):
                colour.call(fn)
            assert len(calls) == expected

    def test_a_method_that_was_looked_up_before(self, colour: Colour, registry: Any) -> None:
        """It makes as many attempts as it could then."""
        hedge = mh.hedge(0, max_hedges=1, idempotent=True, name="read", budget=None)
        calls: list[int] = []

        def fail() -> None:
            calls.append(1)
            raise OSError

        before: Any = type(hedge(colour.paint(fail))).__call__
        hedge.apply(settings(mh.hedge, 0, max_hedges=3, idempotent=True, budget=None))
        with pytest.raises(OSError):
            colour.call(before)
        assert (len(calls), hedge.stats().suppressed_by_limit) == (2, 0)

    def test_durations_are_remembered(self, registry: Any, frozen: Any) -> None:
        """A learned delay is worked out anew; with a fixed one there is none to learn."""
        learned = {"minimum_samples": 3, "idempotent": True}
        hedge = mh.hedge(**learned, window=60, name="read")
        for _ in range(4):
            hedge.remember(time.monotonic() - 1)
        assert hedge.delay(time.monotonic()) == pytest.approx(1, rel=0.2)
        hedge.apply(settings(mh.hedge, **learned, window=30, minimum_delay=2))
        assert hedge.delay(time.monotonic()) == 2
        hedge.apply(settings(mh.hedge, **{**learned, "minimum_samples": 5}, max_extra=3))
        assert hedge.delay(time.monotonic()) is None
        assert hedge.extras.most == 3
        hedge.apply(settings(mh.hedge, 0.5, idempotent=True))
        assert (hedge.delay(0), hedge.stats().latency) == (0.5, None)
        hedge.apply(settings(mh.hedge, **learned))
        assert hedge.delay(time.monotonic()) is None

    def test_it_cannot_be_told_that_it_may_not_repeat(self, registry: Any) -> None:
        """Its functions would refuse all calls."""
        hedge = mh.hedge(0.1, idempotent=True, name="read")
        with pytest.raises(mh.ConfigurationError, match="idempotent of hedge 'read'"):
            hedge.apply(settings(mh.hedge, 0.1))

    def test_discarding(self, registry: Any) -> None:
        """By who is there now."""
        hedge = mh.hedge(0.1, idempotent=True, name="read")
        hedge.discard(1)
        got: list[int] = []
        hedge.apply(settings(mh.hedge, 0.1, idempotent=True, on_discard=got.append))
        hedge.discard(2)
        assert (got, hedge.stats().discarded) == ([2], 2)


def test_the_pace_with_another_window() -> None:
    """What is older than the shorter one is forgotten when it would be."""
    pace = Pace(0.5, 1, 0.0, 100.0, 0.0)
    pace.add(0.0, 1.0)
    pace.change(0.5, 1, 0.0, 10.0, 4.0)
    assert pace.delay(4.0) is not None
    assert pace.delay(9.0) is not None
    assert pace.delay(14.0) is None


class TestThrottle:
    def test_the_window_is_kept(self, colour: Colour, registry: Any, frozen: Any) -> None:
        """And judged by the new numbers."""
        throttle = mh.throttle(2, window=60, minimum_calls=5, seed=1, name="api")

        @throttle
        @colour.paint
        def fn(*, fails: bool = True) -> None:
            if fails:
                raise OSError

        for fails in [True] * 6 + [False] * 6:
            with contextlib.suppress(OSError, mh.ThrottledError):
                colour.call(fn, fails=fails)
        seen = throttle.stats()
        assert seen.window_requests == 12
        throttle.apply(
            settings(mh.throttle, 1, window=30, minimum_calls=5, max_rejection=1, seed=1)
        )
        now = throttle.stats()
        assert (now.window_requests, now.window_accepted) == (12, seen.window_accepted)
        assert now.chance == pytest.approx((12 - seen.window_accepted) / 13)
        throttle.apply(settings(mh.throttle, 1, window=30, minimum_calls=50, seed=2))
        assert throttle.stats().chance == 0
        frozen.tick(30)
        assert throttle.stats().window_requests == 0
        assert throttle.stats().calls == seen.calls

    def test_families(self, registry: Any, frozen: Any) -> None:
        """Every key, and those to come."""
        throttle = mh.throttle(2, minimum_calls=1, max_rejection=0.01, key="{host}", name="api")

        @throttle
        def fn(host: int) -> None:
            if host == 0:
                raise OSError

        for host in [0] * 9 + [*range(1, 20)]:
            with contextlib.suppress(OSError, mh.ThrottledError):
                fn(host)
        changed = {"minimum_calls": 1, "max_rejection": 0.5, "key": "{host}", "max_keys": 4}
        throttle.apply(settings(mh.throttle, 2, **changed))
        assert throttle.stats(0).chance == 0.5
        assert throttle.stats().evicted == 16
        made = throttle._make()
        throttle.settings = settings(mh.throttle, 3, **changed)
        throttle._bring_up_to_date(made)
        assert made._k == 3
        with pytest.raises(mh.ConfigurationError, match="key of throttle 'api'"):
            throttle.apply(settings(mh.throttle, 3))

    def test_a_channel_that_is_made_meanwhile(self, registry: Any) -> None:
        """Whoever made it with the old settings brings it up to date."""
        throttle = mh.throttle(2, name="api")
        made = throttle._make

        def make() -> Any:
            early = made()
            throttle.apply(settings(mh.throttle, 5))
            return early

        throttle._make = make  # type: ignore[method-assign]
        assert throttle._channel._k == 5

    @given(
        steps=st.lists(
            st.tuples(
                st.floats(0, 3),
                st.sampled_from(["begin", "accept", "refuse"])
                | st.tuples(
                    st.floats(1, 3), st.floats(0.5, 20), st.integers(1, 5), st.floats(0.1, 1)
                ),
            ),
            max_size=60,
        )
    )
    def test_what_is_in_the_window_adds_up(self, steps: list[Any]) -> None:
        """Whatever changes in between."""
        rule, now, running = Throttling(2.0, 5.0, 1, 1.0, now=0.0), 0.0, 0
        for pause, step in steps:
            now += pause
            if isinstance(step, tuple):
                rule.change(*step, now=now)
                assert rule.since <= now < rule.until + 1e-9
            else:
                rule.advance(now)
            if step == "begin":
                rule.requests += 1
                running += 1
            elif running and step == "accept":
                rule.accepted += 1
                running -= 1
            elif running and step == "refuse":
                rule.refuse()
                running -= 1
            requests, accepted, refused = rule.totals()
            assert 0 <= accepted + refused <= requests
            assert min(accepted, refused) >= 0
            assert 0 <= rule.chance(now) <= 1


class TestFallback:
    def test_last_good_results_are_kept(self, colour: Colour, registry: Any, frozen: Any) -> None:
        """If they may be that old, and for as long as they may be."""
        fallback = mh.fallback(last_good=60, key="{item}", name="page")
        down: list[int] = []

        @fallback
        @colour.paint
        def fn(item: str) -> str:
            if down:
                raise OSError
            return item

        colour.call(fn, "a")
        frozen.tick(30)
        colour.call(fn, "b")
        down.append(1)
        fallback.apply(settings(mh.fallback, "value", last_good=20, key="{item}"))
        assert [colour.call(fn, item) for item in "ab"] == ["value", "b"]
        assert fallback.stats().kept == 1
        fallback.apply(settings(mh.fallback, "value", last_good=20, key="{item}", max_keys=1))
        fallback.apply(settings(mh.fallback, "value"))
        assert (colour.call(fn, "b"), fallback.stats().kept) == ("value", 0)
        down.clear()
        fallback.apply(settings(mh.fallback, last_good=20, key="{item}"))
        colour.call(fn, "c")
        down.append(1)
        assert colour.call(fn, "c") == "c"
        with pytest.raises(OSError):
            colour.call(fn, "b")

    def test_the_key_of_kept_results_stays(self, registry: Any) -> None:
        """They are found by it."""
        fallback = mh.fallback(last_good=60, key="{item}", name="page")
        with pytest.raises(mh.ConfigurationError, match="key of fallback 'page'"):
            fallback.apply(settings(mh.fallback, last_good=60, key="{other}"))

    def test_a_call_that_runs_does_not_find_what_others_keep(self, registry: Any) -> None:
        """Where results are kept under another key now."""
        fallback = mh.fallback(last_good=60, key="{a}", name="page")

        @fallback
        def fn(a: int, b: int, then: Any = None) -> int:
            if then is not None:
                then()
                raise OSError
            return b

        def change() -> None:
            fallback.apply(settings(mh.fallback, 0))
            fallback.apply(settings(mh.fallback, 0, last_good=60, key="{b}"))
            fn(2, 1)

        fn(1, 5)
        assert fn(1, 5, change) == 5
        assert fallback.stats().from_last_good == 1

    def test_other_sources(self, colour: Colour, registry: Any) -> None:
        """A handler has to fit the functions."""
        fallback = mh.fallback("value", name="page")

        @fallback
        @colour.paint
        def fn() -> str:
            raise OSError

        fallback.apply(settings(mh.fallback, handler=lambda error: type(error).__name__))
        assert colour.call(fn) == "OSError"
        with pytest.raises(mh.ConfigurationError):
            fallback.apply(settings(mh.fallback, last_good=1, key="{nothing}"))
        assert colour.call(fn) == "OSError"


class TestChaos:
    def test_another_plan(self, colour: Colour, registry: Any) -> None:
        """It strikes the next call; what was injected goes on to the end of its block."""
        chaos = mh.chaos("api", rate=0.0)
        fn = chaos(colour.paint(lambda: "row"))
        assert colour.call(fn) == "row"
        chaos.apply(settings(mh.chaos, "api", rate=1.0, result="odd"))
        assert colour.call(fn) == "odd"
        with chaos.inject(result="injected"):
            chaos.apply(settings(mh.chaos, "api", rate=0.0))
            assert colour.call(fn) == "injected"
        assert colour.call(fn) == "row"
        assert chaos.stats().active is False

    def test_a_plan_goes_with_what_enables_it(self, registry: Any) -> None:
        """No call takes one from the old settings and one from the new."""
        chaos = mh.chaos("api", rate=1.0, enabled=lambda: False)
        before = chaos.active
        chaos.apply(settings(mh.chaos, "api", rate=1.0, enabled=True))
        chaos.active = before
        assert chaos.draw() is None

    def test_the_numbers_go_on(self, registry: Any) -> None:
        """With the same seed from where they are, with another from its beginning."""
        chaos = mh.chaos("api", rate=0.5, seed=1)
        drawn = chaos._draw
        chaos.apply(settings(mh.chaos, "api", rate=0.6, seed=1))
        assert chaos._draw is drawn
        chaos.apply(settings(mh.chaos, "api", rate=0.6, seed=2))
        assert chaos._draw is not drawn


class TestIdempotent:
    def test_new_records_have_the_new_times(
        self, colour: Colour, registry: Any, frozen: Any
    ) -> None:
        """Those that are there stay, and are found."""
        store = mh.MemoryStore()
        guard = mh.idempotent("{order}", store=store, ttl=60, name="pay")
        calls: list[int] = []

        @guard
        @colour.paint
        def fn(order: int) -> int:
            calls.append(order)
            return order

        colour.call(fn, 1)
        reading: Any = fn
        guard.apply(settings(mh.idempotent, "{order}", store=store, ttl=600))
        colour.call(fn, 1)
        colour.call(fn, 2)
        frozen.tick(100)
        for order in (1, 2):
            colour.call(fn, order)
        assert calls == [1, 2, 1]
        assert reading.key_for(2) == guard.key_text(("pay@1", 2))
        assert colour.call(lambda *args: reading.get(*args), 2).remaining == 500

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("key", "{other}"),
            ("version", 7),
            ("fingerprint", False),
            ("store", mh.MemoryStore()),
            ("codec", type("Codec", (), {"encode": None, "decode": None})()),
        ],
    )
    def test_what_records_are_found_by_stays(
        self, argument: str, value: Any, registry: Any
    ) -> None:
        """Key, store, version, fingerprint and codec."""
        given: dict[str, Any] = {"key": "{order}", "store": mh.MemoryStore()}
        guard = mh.idempotent(**given, name="pay")
        if argument == "codec":
            value.encode = value.decode = str
        with pytest.raises(mh.ConfigurationError, match=f"{argument} of idempotent 'pay'"):
            guard.apply(settings(mh.idempotent, **{**given, argument: value}))

    def test_a_lease_is_kept_for_as_long_as_it_was_granted(self, registry: Any) -> None:
        """A renewal for less than that would let it run out between two beats."""
        store = mh.MemoryStore()
        given: dict[str, Any] = {"key": "{order}", "store": store}
        guard = mh.idempotent(**given, lease=30, max_run=60, name="pay")
        seen: list[float] = []

        @guard
        def fn(order: int) -> None:
            claim = mh.current()
            seen.append(claim._renewal().lease)
            if order == 1:
                guard.apply(settings(mh.idempotent, **given, lease=3))
            seen.append(claim._renewal().lease)

        fn(1)
        assert guard.keeps_leases is False
        fn(2)
        assert seen == [30, 30, 3, 3]

    def test_waiting(self, registry: Any) -> None:
        """By the settings that there are when somebody begins to wait."""
        store = mh.MemoryStore()
        guard = mh.idempotent("{order}", store=store, name="pay")
        guard.apply(settings(mh.idempotent, "{order}", store=store, on_running="reject"))

        @guard
        def fn(order: int) -> None:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

        def other() -> None:
            with contextlib.suppress(mh.InProgressError):
                fn(1)

        fn(1)
        assert guard.stats().rejected == 1
        assert guard.longest(1.0) == 1.0


async def _all(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


def test_async_streams(registry: Any) -> None:
    """Of every kind that guards them, with settings that need other drivers."""
    policies: list[tuple[Any, Any]] = [
        (mh.timeout(60, name="x"), settings(mh.timeout, 50, per_item=1)),
        (mh.retry(max_attempts=2, name="x"), settings(mh.retry, max_attempts=3, max_elapsed=9)),
        (mh.circuit_breaker("x"), settings(mh.circuit_breaker, "x", slow_call_duration=1)),
        (mh.rate_limit("9/s", name="x"), settings(mh.rate_limit, "9/s; 99/m")),
        (mh.bulkhead(3, name="x"), settings(mh.bulkhead, limit=mh.Gradient())),
        (mh.throttle(2, name="x"), settings(mh.throttle, 3)),
        (mh.chaos("x", rate=0.0), settings(mh.chaos, "x", rate=0.0, latency=1)),
    ]

    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    fn = mh.Pipeline(*[policy for policy, _ in policies])(items)

    async def main() -> None:
        running = fn()
        assert await anext(running) == 1
        changes.apply(policies)
        assert await _all(running) == [2]
        assert await _all(fn()) == [1, 2]

    asyncio.run(main())
