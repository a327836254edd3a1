"""Rate limits and bulkheads with other settings: what was used counts on, and slots are kept."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshhook as mh
from meshhook import events
from meshhook.policies.rate_limit.limiter import SECOND, Limiter
from meshhook.rules.adaptive import AdditiveIncrease, Gradient
from meshhook.rules.fixed_window import FixedWindow
from meshhook.rules.gcra import Gcra
from meshhook.rules.rates import Rate, carry_over
from meshhook.rules.sliding_log import SlidingLog
from tests.changes.changing import settings
from tests.colours import Colour
from tests.waiting import eventually

ALGORITHMS = {"gcra": Gcra, "sliding_log": SlidingLog, "fixed_window": FixedWindow}


def change(policy: mh.RateLimit | mh.Bulkhead, *args: Any, **arguments: Any) -> None:
    decorator = mh.rate_limit if isinstance(policy, mh.RateLimit) else mh.bulkhead
    policy.apply(settings(decorator, *args, **arguments))


class TestRateLimit:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_what_was_used_counts_on(self, algorithm: Any, registry: Any, frozen: Any) -> None:
        """By another rate; it is told."""
        limit = mh.rate_limit("10/10s", algorithm=algorithm, name="api")
        for _ in range(8):
            assert limit.try_acquire()
        told: list[Any] = []
        with mh.subscribe(told.append, events.RateChanged):
            change(limit, "12/10s", algorithm=algorithm)
        assert limit.remaining() == 4
        assert [(each.old, each.new) for each in told] == [("10/10s", "12/10s")]
        assert "12/10s" in repr(limit)
        assert limit.stats().limit == "12/10s"

    @pytest.mark.parametrize("old", ALGORITHMS)
    @pytest.mark.parametrize("new", ALGORITHMS)
    def test_from_one_algorithm_to_another(
        self, old: Any, new: Any, colour: Colour, registry: Any, frozen: Any
    ) -> None:
        """What is used up stays so, and comes back within the time it takes by the new one."""
        limit = mh.rate_limit("10/10s", algorithm=old, name="api")
        fn = limit(colour.paint(lambda: "row"))
        for _ in range(10):
            colour.call(fn)
        change(limit, "10/10s", algorithm=new)
        with pytest.raises(mh.RateLimitedError) as caught:
            colour.call(fn)
        assert 0 < (caught.value.retry_after or 0) <= 10
        frozen.tick(10)
        for _ in range(10):
            colour.call(fn)
        assert limit.stats().rejected == 1

    def test_more_and_fewer_rates(self, colour: Colour, registry: Any, frozen: Any) -> None:
        """Each begins with what the nearest old one knows."""
        limit = mh.rate_limit("10/s", name="api")
        fn = limit(colour.paint(lambda: "row"))
        for _ in range(10):
            colour.call(fn)
        change(limit, "10/s; 15/h")
        assert limit.remaining() == 0
        frozen.tick(1)
        assert limit.remaining() == 5
        for _ in range(5):
            colour.call(fn)
        frozen.tick(1)
        with pytest.raises(mh.RateLimitedError):
            colour.call(fn)
        change(limit, "15/h")
        assert limit.remaining() == 0
        change(limit, "10/s")
        frozen.tick(1.5)
        assert limit.remaining() == 10

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_pause_is_no_debt(self, algorithm: Any, registry: Any, frozen: Any) -> None:
        """It ends when it would, whatever the rate."""
        for rate in ("10/h", "1000/s"):
            limit = mh.rate_limit("10/s", algorithm=algorithm, name=rate)
            limit.pause_for(60)
            change(limit, rate, algorithm=algorithm)
            assert limit.retry_after() == 60
            limit.change("10/m")
            assert limit.retry_after() == 60
            frozen.tick(60)
            assert limit.try_acquire()

    def test_a_rate_that_was_changed_by_hand_stays(self, registry: Any) -> None:
        """Unless the settings have another one than before."""
        limit = mh.rate_limit("10/s", name="api")
        limit.change("5/s")
        change(limit, "10/s", max_wait=1)
        assert limit.stats().limit == "5/s"
        change(limit, "20/s", max_wait=1)
        assert limit.stats().limit == "20/s"

    def test_who_waits_is_looked_at_again(self, registry: Any) -> None:
        """A faster rate lets him start at once, and none can wait for what never comes."""
        limit = mh.rate_limit("3/h", cost=lambda cost: cost, max_wait=None, name="api")
        got = []

        @limit
        def fn(cost: int) -> None:
            got.append(cost)

        def call(cost: int) -> None:
            try:
                fn(cost)
            except mh.RateLimitedError:
                got.append(-cost)

        fn(3)
        threads = [threading.Thread(target=call, args=(cost,)) for cost in (1, 3, 2)]
        for number, thread in enumerate(threads):
            thread.start()
            assert eventually(lambda number=number: len(limit._limiter.waiting) == number + 1)
        change(limit, "1000/s burst 2", cost=lambda cost: cost, max_wait=None)
        for thread in threads:
            thread.join(5)
        assert sorted(got) == [-3, 1, 2, 3]
        assert limit.stats().waiting == 0

    def test_who_asks_for_too_much_is_refused_at_once(self, registry: Any) -> None:
        """And not when his turn should have come."""
        limit = mh.rate_limit("3/h", cost=lambda cost: cost, max_wait=None, name="api")
        fn = limit(lambda cost: cost)
        fn(3)
        refused: list[mh.RateLimitedError] = []

        def call() -> None:
            try:
                fn(2)
            except mh.RateLimitedError as error:
                refused.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert eventually(lambda: len(limit._limiter.waiting) == 1)
        change(limit, "3/h burst 1", cost=lambda cost: cost, max_wait=None)
        thread.join(5)
        assert len(refused) == 1
        assert limit.stats().waiting == 0

    def test_how_long_calls_wait(self, colour: Colour, registry: Any) -> None:
        """The next call waits by the new settings."""
        limit = mh.rate_limit("20/s", burst=1, name="api")
        fn = limit(colour.paint(lambda: "row"))
        colour.call(fn)
        with pytest.raises(mh.RateLimitedError):
            colour.call(fn)
        change(limit, "20/s", burst=1, max_wait=5)
        colour.call(fn)
        assert limit.stats().waited == 1

    def test_cost(self, colour: Colour, registry: Any, frozen: Any) -> None:
        """It is counted by the next call, and has to fit the function."""
        limit = mh.rate_limit("10/s", name="api")

        @limit
        @colour.paint
        def fn(size: int) -> None: ...

        colour.call(fn, 3)
        change(limit, "10/s", cost=lambda size: size)
        colour.call(fn, 3)
        assert limit.remaining() == 6

    def test_families(self, registry: Any, frozen: Any) -> None:
        """Every key keeps its debt; whole ones leave where there are too many."""
        limit = mh.rate_limit("2/m", key="{user}", name="api")

        @limit
        def fn(user: int) -> None: ...

        for user in range(50):
            fn(user)
        frozen.tick(30)
        for user in (0, 0, 7):
            fn(user)
        change(limit, "3/m", key="{user}", max_keys=10)
        assert limit.stats().keys == 10
        assert [limit.remaining(key=user) for user in (0, 7, 9)] == [1, 2, 3]
        made = Limiter(Gcra, (Rate(1, SECOND, 1),))
        limit._welcome(made)
        assert made.rates is limit._rates
        with pytest.raises(mh.ConfigurationError, match="key of rate_limit 'api'"):
            change(limit, "3/m")


@given(
    old=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 90)), min_size=1, max_size=3),
    new=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 90)), min_size=1, max_size=3),
    kinds=st.tuples(*2 * [st.sampled_from([*ALGORITHMS.values()])]),
    starts=st.lists(st.integers(0, 50), max_size=30),
)
def test_rules_carry_over_what_has_started(old: Any, new: Any, kinds: Any, starts: Any) -> None:
    """What is left is no more than before, and nothing is owed for longer than it takes."""
    was, becomes = kinds
    rules = [was(Rate(limit, period, limit), 0) for limit, period in old]
    now = 0
    for pause in starts:
        now += pause
        if all(rule.wait(now) == 0 for rule in rules):
            for rule in rules:
                rule.take(now)
    used = {rule.rate.period: rule.rate.limit - rule.remaining(now) for rule in rules}
    made = carry_over(rules, becomes, [Rate(limit, period, limit) for limit, period in new], now)
    for rule, (limit, period) in zip(made, new, strict=True):
        assert rule.rate == Rate(limit, period, limit)
        left = rule.remaining(now)
        assert 0 <= left <= limit
        assert rule.reset_after(now) <= period
        assert rule.remaining(now + period) == limit
        if period in used and list(used).count(period) == len(old) == 1:
            assert left == max(0, limit - used[period])


class TestBulkhead:
    def test_calls_in_flight_keep_their_slots(self, colour: Colour, registry: Any) -> None:
        """More may begin at once; with fewer none begins until they are below."""
        bulkhead = mh.bulkhead(2, name="pool")
        fn = bulkhead(colour.paint(lambda: "row"))
        told: list[Any] = []
        with bulkhead, bulkhead:
            with pytest.raises(mh.BulkheadFullError):
                colour.call(fn)
            with mh.subscribe(told.append, events.LimitChanged):
                change(bulkhead, 3)
            colour.call(fn)
            change(bulkhead, 1)
            assert (bulkhead.stats().in_use, bulkhead.stats().max_concurrent) == (2, 1)
            with pytest.raises(mh.BulkheadFullError):
                colour.call(fn)
        assert bulkhead.stats().in_use == 0
        with bulkhead, pytest.raises(mh.BulkheadFullError):
            colour.call(fn)
        assert [(each.old, each.new, each.reason) for each in told] == [(2, 3, "settings")]

    def test_a_limit_that_was_changed_by_hand_stays(self, registry: Any) -> None:
        """Unless the settings have another one than before."""
        bulkhead = mh.bulkhead(2, name="pool")
        assert bulkhead.stats().max_concurrent == 2
        bulkhead.resize(7)
        change(bulkhead, 2, max_wait=1)
        assert bulkhead.stats().max_concurrent == 7
        change(bulkhead, 3, max_wait=1)
        assert bulkhead.stats().max_concurrent == 3
        bulkhead.reset()
        assert bulkhead.stats().max_concurrent == 3

    def test_the_queue(self, registry: Any) -> None:
        """Who waits goes on to, in the order that is set by now."""
        bulkhead = mh.bulkhead(1, max_wait=None, name="pool")
        got: list[int] = []

        @bulkhead
        async def fn(number: int) -> None:
            got.append(number)

        async def main() -> None:
            async with bulkhead:
                tasks = [asyncio.create_task(fn(0))]
                await asyncio.sleep(0)
                change(bulkhead, 1, max_wait=None, max_queue=3, order="lifo")
                tasks += [asyncio.create_task(fn(number)) for number in (1, 2)]
                await asyncio.sleep(0)
                with pytest.raises(mh.BulkheadFullError) as caught:
                    await fn(9)
                assert caught.value.reason == "queue_full"
                change(bulkhead, 1)
                with pytest.raises(mh.BulkheadFullError) as caught:
                    await fn(9)
                assert caught.value.reason == "full"
                change(bulkhead, 1, max_wait=None, max_queue=3, order="lifo")
            await asyncio.gather(*tasks)

        asyncio.run(main())
        assert got == [2, 1, 0]

    def test_an_adaptive_limit_goes_on_from_where_it_is(self, registry: Any) -> None:
        """Within the new bounds; one of another kind begins there."""
        bulkhead = mh.bulkhead(limit=mh.AIMD(initial=50), name="pool")
        place = bulkhead._place
        assert isinstance(place._rule, AdditiveIncrease)
        place._rule._set(30.5)
        place.slots.set_limit(30)
        rule = place._rule
        change(bulkhead, limit=mh.AIMD(initial=5, max=40, backoff=0.5))
        assert place._rule is rule
        assert (bulkhead.stats().max_concurrent, rule._exact) == (30, 30.5)
        change(bulkhead, limit=mh.AIMD(initial=5, max=20))
        assert bulkhead.stats().max_concurrent == 20
        change(bulkhead, limit=mh.Gradient())
        assert isinstance(place._rule, Gradient)
        assert bulkhead.stats().max_concurrent == 20
        gradient = place._rule
        gradient._probe()
        change(bulkhead, limit=mh.Gradient(tolerance=2))
        assert place._rule is gradient
        change(bulkhead, limit=mh.AIMD())
        assert bulkhead.stats().max_concurrent == 20  # and not the half that it had tried
        change(bulkhead, limit=mh.Gradient(min=30, initial=30))
        assert bulkhead.stats().max_concurrent == 30

    def test_from_fixed_to_adaptive_and_back(self, colour: Colour, registry: Any) -> None:
        """Calls are timed with other drivers."""
        bulkhead = mh.bulkhead(12, name="pool")
        fn = bulkhead(colour.paint(lambda: "row"))
        colour.call(fn)
        change(bulkhead, limit=mh.AIMD(initial=20, latency_threshold=1))
        assert bulkhead.stats().max_concurrent == 12
        rule: Any = bulkhead._place._rule
        colour.call(fn)
        assert rule._seen == 1
        change(bulkhead, 7)
        colour.call(fn)
        assert rule._seen == 1
        assert bulkhead.stats().max_concurrent == 7
        assert "7 at a time" in repr(bulkhead)

    def test_families(self, registry: Any) -> None:
        """All keys get the limit, and those to come; idle ones leave if there are too many."""
        bulkhead = mh.bulkhead(1, key="{user}", name="pool")

        @bulkhead
        def fn(user: int, then: Any = None) -> None:
            if then is not None:
                then()

        def inside() -> None:
            change(bulkhead, 2, key="{user}", max_keys=3)
            fn(0)
            with pytest.raises(mh.BulkheadFullError):
                fn(0, lambda: fn(0))

        for user in range(20):
            fn(user)
        fn(0, inside)
        stats = bulkhead.stats()
        assert (stats.keys, stats.evicted, stats.admitted) == (3, 17, 24 - 1)
        fn(30, lambda: fn(30))
        with pytest.raises(mh.ConfigurationError, match="key of bulkhead 'pool'"):
            change(bulkhead, 2)

    def test_a_place_that_is_made_meanwhile(self, registry: Any) -> None:
        """Whoever made it with the old settings brings it up to date."""
        bulkhead = mh.bulkhead(1, name="pool")
        made = bulkhead._make_place

        def make() -> Any:
            early = made()
            change(bulkhead, 5)
            return early

        bulkhead._make_place = make  # type: ignore[method-assign]
        assert bulkhead._place.slots.limit == 5


def test_streams_keep_their_slots(registry: Any) -> None:
    """Also when calls begin to be timed while they run."""
    bulkhead = mh.bulkhead(1, name="pool")

    @bulkhead
    def items() -> Any:
        yield 1
        yield 2

    stream = items()
    next(stream)
    change(bulkhead, limit=mh.AIMD(initial=1, max=1))
    with pytest.raises(mh.BulkheadFullError):
        next(items())
    assert list(stream) == [2]
    with contextlib.closing(items()) as again:
        assert next(again) == 1
    assert bulkhead.stats().in_use == 0
