"""Sliding windows against lists of all outcomes, which are gone through anew each time."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshhook.rules.windows import BUCKETS, CountWindow, TimeWindow, Totals, refit

DECADES = 30 * 365 * 86_400.0
"""How far freezegun may move a clock, in seconds."""


def size_of(thing: Any) -> int:
    """Return the bytes of ``thing`` and of all that only it refers to."""
    seen: dict[int, Any] = {}
    left = [thing]
    while left:
        each = left.pop()
        if id(each) not in seen and not isinstance(each, (type, Callable)):  # type: ignore[arg-type]
            seen[id(each)] = each
            left.extend(gc.get_referents(each))
    return sum(map(sys.getsizeof, seen.values()))


class Counted:
    """A window with its owner's count of successes, and every outcome beside it in a list."""

    def __init__(self, window: CountWindow) -> None:
        self.window = window
        self.ok = 0
        self.outcomes: list[tuple[bool, bool]] = []

    def add(self, *, failed: bool, slow: bool) -> None:
        self.outcomes.append((failed, slow))
        if failed or slow:
            self.window.record(self.ok, failed=failed, slow=slow)
        else:
            self.ok += 1

    def totals(self) -> Totals:
        return self.window.totals(self.ok)


outcomes = st.tuples(st.booleans(), st.booleans())


class TestCountWindow:
    @given(size=st.integers(1, 12), history=st.lists(outcomes | st.none(), max_size=60))
    def test_it_holds_the_last_outcomes(
        self, size: int, history: list[tuple[bool, bool] | None]
    ) -> None:
        """Whenever anybody looks, and however seldom (None is a look)."""
        counted = Counted(CountWindow(size))
        for each in [*history, None]:
            if each is not None:
                counted.add(failed=each[0], slow=each[1])
                continue
            last = counted.outcomes[-size:]
            assert counted.totals() == Totals(
                len(last), sum(failed for failed, _ in last), sum(slow for _, slow in last)
            )

    def test_looking_changes_nothing(self) -> None:
        """The same question has the same answer."""
        counted = Counted(CountWindow(3))
        counted.add(failed=True, slow=True)
        assert counted.totals() == counted.totals() == Totals(1, 1, 1)

    def test_time_does_not_pass_in_it(self) -> None:
        """It need never be brought up to date."""
        counted = Counted(CountWindow(3))
        counted.add(failed=True, slow=False)
        assert (counted.window.since, counted.window.until) == (-math.inf, math.inf)
        counted.window.advance(1e12, counted.ok)
        assert counted.totals() == Totals(1, 1, 0)

    def test_successes_cost_no_memory(self) -> None:
        """A million of them are one number, which the owner has."""
        counted = Counted(CountWindow(1_000_000))
        before = size_of(counted.window)
        counted.ok += 1_000_000
        assert counted.totals() == Totals(1_000_000, 0, 0)
        assert size_of(counted.window) <= before

    def test_failures_that_are_forgotten_cost_no_memory(self) -> None:
        """No more of them are kept than the window is long."""
        window = CountWindow(50)
        for _ in range(100_000):
            window.record(0, failed=True, slow=True)
        assert size_of(window) < 10_000
        assert window.totals(0) == Totals(50, 50, 50)


class Timed:
    """A time window used as its owner does, and every outcome with its slice in a list."""

    def __init__(self, seconds: float, now: float) -> None:
        self.window = TimeWindow(seconds, now)
        self.width = seconds / BUCKETS
        self.ok = 0
        self.now = self.began = now
        self.slice = 0
        self.outcomes: list[tuple[int, bool, bool]] = []

    def go_to(self, now: float) -> None:
        self.began = min(self.began, now)
        passed = math.floor((now - self.began) / self.width)
        self.slice += passed
        self.began += passed * self.width
        self.now = now
        if not self.window.since <= now < self.window.until:
            self.window.advance(now, self.ok)

    def add(self, *, failed: bool, slow: bool) -> None:
        self.outcomes.append((self.slice, failed, slow))
        if failed or slow:
            self.window.record(self.ok, failed=failed, slow=slow)
        else:
            self.ok += 1

    def expected(self) -> Totals:
        held = [each for each in self.outcomes if each[0] > self.slice - BUCKETS]
        return Totals(
            len(held), sum(failed for _, failed, _ in held), sum(slow for _, _, slow in held)
        )


class TestTimeWindow:
    @given(
        seconds=st.sampled_from([5.0, 10.0, 40.0]),
        began=st.sampled_from([0.0, 0.25, 1000.0, 1.75e9]),
        history=st.lists(
            outcomes
            | st.sampled_from([0.0, 0.25, 1.0, 1.25, 5.0, 9.75, 10.0, 10.25, 3600.0])
            | st.sampled_from([-0.25, -1.0, -7.5, DECADES, -DECADES]),
            max_size=60,
        ),
    )
    def test_it_holds_the_outcomes_of_its_slices(
        self, seconds: float, began: float, history: list[tuple[bool, bool] | float]
    ) -> None:
        """Of the current slice and the nine before it, wherever the clock leaps to."""
        timed = Timed(seconds, began)
        for each in history:
            if isinstance(each, tuple):
                timed.add(failed=each[0], slow=each[1])
            else:
                timed.go_to(timed.now + each)
            assert timed.window.since <= timed.now < timed.window.until
            assert timed.window.totals(timed.ok) == timed.expected()

    @given(
        seconds=st.floats(1e-3, 1e6),
        began=st.floats(0, 1e10),
        steps=st.lists(st.tuples(st.floats(0, 2.5), st.booleans()), max_size=40),
    )
    @example(seconds=103.0, began=226.0, steps=[(0.0, False), (0.3, False), (0.75, False)])
    def test_it_forgets_at_its_age(
        self, seconds: float, began: float, steps: list[tuple[float, bool]]
    ) -> None:
        """What is younger than nine tenths of the window is in it, what is older is not."""
        timed = Timed(seconds, began)
        told: list[tuple[float, bool]] = []
        for share, failed in steps:
            timed.go_to(timed.now + share * seconds)
            timed.add(failed=failed, slow=False)
            told.append((timed.now, failed))
            totals = timed.window.totals(timed.ok)
            blur = 1e-6 * seconds + 64 * math.ulp(timed.now)
            young = [bad for at, bad in told if timed.now - at < 0.9 * seconds - blur]
            within = [bad for at, bad in told if timed.now - at <= seconds + blur]
            assert len(young) <= totals.calls <= len(within)
            assert sum(young) <= totals.failures <= sum(within)

    def test_a_tenth_is_forgotten_at_once(self) -> None:
        """The slice that leaves takes with it what it held, and no more."""
        timed = Timed(10.0, 0.0)
        for second in range(10):
            timed.go_to(float(second))
            timed.add(failed=True, slow=second % 2 == 0)
        seen = []
        for now in (9.99, 10.0, 10.99, 11.0, 18.0, 19.0):
            timed.go_to(now)
            seen.append(timed.window.totals(timed.ok))
        assert [each.failures for each in seen] == [10, 9, 9, 8, 1, 0]
        assert [each.slow for each in seen] == [5, 4, 4, 4, 0, 0]

    @pytest.mark.parametrize("idle", [10.0, 10.5, 11.0, 100.0, 3600.0, DECADES, 1e15])
    def test_however_long_it_was_idle_it_is_empty_then(self, idle: float) -> None:
        """A failure of an hour ago is not news because nobody has called since."""
        timed = Timed(10.0, 0.0)
        for _ in range(5):
            timed.add(failed=True, slow=True)
            timed.add(failed=False, slow=False)
        timed.go_to(idle)
        assert timed.window.totals(timed.ok) == Totals(0, 0, 0)
        timed.add(failed=True, slow=False)
        assert timed.window.totals(timed.ok) == Totals(1, 1, 0)

    def test_a_clock_that_goes_back_keeps_what_is_known(self) -> None:
        """For one window from there on, whatever the clock said before."""
        timed = Timed(10.0, DECADES)
        timed.add(failed=True, slow=False)
        timed.go_to(5.0)
        assert timed.window.totals(timed.ok) == Totals(1, 1, 0)
        timed.go_to(14.99)
        assert timed.window.totals(timed.ok) == Totals(1, 1, 0)
        timed.go_to(15.0)
        assert timed.window.totals(timed.ok) == Totals(0, 0, 0)

    def test_a_clock_that_goes_back_and_forth_forgets_in_the_end(self) -> None:
        """As soon as it goes on for the length of a window."""
        timed = Timed(10.0, 1000.0)
        timed.add(failed=True, slow=False)
        for _ in range(50):
            timed.go_to(timed.now + 0.5)
            timed.go_to(timed.now - 0.5)
        timed.go_to(timed.now + 10.0)
        assert timed.window.totals(timed.ok) == Totals(0, 0, 0)

    def test_successes_are_booked_in_the_slice_in_which_they_came(self) -> None:
        """Though nobody has looked meanwhile: the owner tells their number when a slice ends."""
        timed = Timed(10.0, 0.0)
        timed.ok += 3
        timed.go_to(5.0)
        timed.ok += 4
        timed.go_to(10.0)
        assert timed.window.totals(timed.ok) == Totals(4, 0, 0)
        timed.go_to(15.0)
        assert timed.window.totals(timed.ok) == Totals(0, 0, 0)

    @pytest.mark.parametrize("now", [1.75e9, 1e12, 1e15])
    @pytest.mark.parametrize("seconds", [1e-9, 1e-6, 1e-3, 1.0, 30.0])
    def test_large_times_and_small_windows(self, now: float, seconds: float) -> None:
        """Where the clock is coarser than a slice, the window holds what came at one reading."""
        timed = Timed(seconds, now)
        timed.add(failed=True, slow=False)
        for _ in range(2 * BUCKETS):
            timed.window.advance(now, timed.ok)
        assert timed.window.totals(timed.ok) == Totals(1, 1, 0)
        later = now + max(2 * seconds, 2 * math.ulp(now))
        timed.window.advance(later, timed.ok)
        assert timed.window.since <= later
        assert timed.window.totals(timed.ok) == Totals(0, 0, 0)

    @pytest.mark.parametrize(
        ("began", "seconds", "now"),
        [
            (332695185.3601291, 7.0, 332695217.5601291),
            (882732024.0664538, 3.0, 882732038.4664538),
        ],
    )
    def test_a_slice_lasts_beyond_the_moment_at_which_it_begins(
        self, began: float, seconds: float, now: float
    ) -> None:
        """Though adding up slices has been rounded to one that ends at that very moment."""
        window = TimeWindow(seconds, began)
        window.advance(now, 0)
        assert window.since <= now < window.until

    @pytest.mark.parametrize("seconds", [5e-324, 1e-310, 1e-300, 1e-12])
    def test_a_window_that_no_clock_can_tell_from_nothing(self, seconds: float) -> None:
        """It is a window all the same, and forgets at the next reading."""
        window = TimeWindow(seconds, 1000.0)
        window.record(0, failed=True, slow=False)
        assert window.totals(0) == Totals(1, 1, 0)
        window.advance(1001.0, 0)
        assert window.totals(0) == Totals(0, 0, 0)

    @pytest.mark.parametrize("leap", [0.5, 1.0, 2.5, 500.0, -0.5, DECADES, -DECADES])
    def test_memory_does_not_grow(self, leap: float) -> None:
        """Neither with calls, nor with time, nor with leaps."""
        timed = Timed(10.0, DECADES)
        for _ in range(200):
            for failed in (True, False):
                timed.add(failed=failed, slow=failed)
                timed.window.totals(timed.ok)
            timed.go_to(timed.now + leap)
        assert size_of(timed.window) < 4_000


@pytest.mark.parametrize(
    ("totals", "failure_rate", "slow_rate"),
    [
        (Totals(0, 0, 0), None, None),
        (Totals(4, 1, 2), 0.25, 0.5),
        (Totals(4, 1, 2, overdue=4), 0.25, 0.75),
        (Totals(0, 0, 0, overdue=3), None, 1.0),
    ],
)
def test_rates(totals: Totals, failure_rate: float | None, slow_rate: float | None) -> None:
    """Calls that still run are among the slow ones, and tell nothing about failures."""
    assert (totals.failure_rate, totals.slow_rate) == (failure_rate, slow_rate)


class TestOtherSizes:
    """A window that gets another size knows what both know."""

    @given(
        sizes=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        before=st.lists(outcomes, max_size=40),
        after=st.lists(outcomes, max_size=40),
    )
    def test_the_newest_outcomes_are_kept(
        self,
        sizes: tuple[int, int],
        before: list[tuple[bool, bool]],
        after: list[tuple[bool, bool]],
    ) -> None:
        """What the smaller one has forgotten stays unknown; what comes is counted as ever."""
        old, new = sizes
        counted = Counted(CountWindow(old))
        for failed, slow in before:
            counted.add(failed=failed, slow=slow)
        counted.window = counted.window.resized(new, counted.ok)
        known = before[-old:]
        for now in range(len(after) + 1):
            if now:
                counted.add(failed=after[now - 1][0], slow=after[now - 1][1])
            last = [*known, *after[:now]][-new:]
            assert counted.totals() == Totals(
                len(last), sum(failed for failed, _ in last), sum(slow for _, slow in last)
            )

    @given(
        lengths=st.tuples(st.integers(1, 400), st.integers(1, 400)),
        steps=st.lists(st.tuples(st.integers(0, 90), outcomes), max_size=40),
        wait=st.integers(0, 90),
    )
    @example(lengths=(400, 100), steps=[(39, (True, False))], wait=86)
    def test_the_last_seconds_are_kept(
        self,
        lengths: tuple[int, int],
        steps: list[tuple[int, tuple[bool, bool]]],
        wait: int,
    ) -> None:
        """All of both windows, and nothing older than a slice more; in tenths of a second."""
        old, new = (each / 10 for each in lengths)
        window, ok, now = TimeWindow(old, 0.0), 0, 0.0
        times = []
        for pause, (failed, slow) in steps:
            now += pause / 10
            if not window.since <= now < window.until:
                window.advance(now, ok)
            times.append((now, failed, slow))
            if failed or slow:
                window.record(ok, failed=failed, slow=slow)
            else:
                ok += 1
        now += wait / 10
        before = window.totals(ok) if window.since <= now < window.until else None
        resized = window.resized(new, now, ok)
        assert resized.since <= now < resized.until + 1e-9
        totals = resized.totals(ok)

        def within(seconds: float) -> Totals:
            last = [each for each in times if now - each[0] < seconds]
            return Totals(len(last), sum(each[1] for each in last), sum(each[2] for each in last))

        both = [each * (1 - 1 / BUCKETS) for each in (old, new)]
        whole = min(both[0] + now - window.since, both[1] + now - resized.since)
        for at_least, there, at_most in zip(
            within(whole - 1e-9),
            totals,
            within(min(old, new + old / BUCKETS) + 1e-9),
            strict=True,
        ):
            assert at_least <= there <= at_most
        if before is not None:
            assert all(there <= ever for there, ever in zip(totals, before, strict=True))
        resized.advance(now + new, ok)
        assert resized.totals(ok) == Totals(0, 0, 0)

    @given(
        length=st.integers(1, 400),
        steps=st.lists(st.tuples(st.integers(0, 90), outcomes), max_size=40),
        size=st.integers(1, 30),
        after=st.lists(outcomes, max_size=40),
    )
    def test_a_window_of_seconds_becomes_one_of_calls(
        self,
        length: int,
        steps: list[tuple[int, tuple[bool, bool]]],
        size: int,
        after: list[tuple[bool, bool]],
    ) -> None:
        """It holds no more than it knows, and goes on as any other."""
        window, ok, now = TimeWindow(length / 10, 0.0), 0, 0.0
        for pause, (failed, slow) in steps:
            now += pause / 10
            if not window.since <= now < window.until:
                window.advance(now, ok)
            if failed or slow:
                window.record(ok, failed=failed, slow=slow)
            else:
                ok += 1
        before = window.totals(ok)
        counted = Counted(CountWindow(1))
        made = refit(window, seconds=None, size=size, now=now, ok=ok)
        assert isinstance(made, CountWindow)
        counted.window, counted.ok = made, ok
        there = counted.totals()
        assert there.calls == min(before.calls, size)
        assert there.failures <= min(before.failures, there.calls)
        assert there.slow <= min(before.slow, there.calls)
        if before.calls <= size:
            assert there == before
        for failed, slow in after:
            counted.add(failed=failed, slow=slow)
        if len(after) >= size:
            last = after[-size:]
            assert counted.totals() == Totals(
                size, sum(failed for failed, _ in last), sum(slow for _, slow in last)
            )

    def test_a_window_of_calls_becomes_an_empty_one_of_seconds(self) -> None:
        """When they were nobody knows."""
        counted = Counted(CountWindow(10))
        for _ in range(3):
            counted.add(failed=True, slow=False)
            counted.add(failed=False, slow=False)
        made = refit(counted.window, seconds=10.0, size=None, now=5.0, ok=counted.ok)
        assert isinstance(made, TimeWindow)
        assert made.totals(counted.ok) == Totals(0, 0, 0)
        assert made.totals(counted.ok + 2) == Totals(2, 0, 0)

    def test_none_becomes_an_empty_one_and_goes(self) -> None:
        """What was counted before is not in it."""
        by_calls = refit(None, seconds=None, size=5, now=0.0, ok=100)
        by_time = refit(None, seconds=5.0, size=None, now=0.0, ok=100)
        for made in (by_calls, by_time):
            assert made is not None
            assert made.totals(100) == Totals(0, 0, 0)
            assert made.totals(102) == Totals(2, 0, 0)
        assert refit(by_time, seconds=None, size=None, now=0.0, ok=100) is None

    def test_nothing_is_taken_back_from_slices_that_were_moved(self) -> None:
        """The window that gave a number for it is gone."""
        window = TimeWindow(10.0, 0.0)
        window.record(0, failed=True, slow=False)
        number = window.number
        resized = window.resized(30.0, 0.5, 0)
        resized.take_back(number)
        assert resized.totals(0) == Totals(1, 1, 0)
