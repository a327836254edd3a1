"""The straight path: when a success is only added up, and when it is judged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.windows import Totals
from tests.circuits import (
    admit,
    by_rate,
    circuit,
    closed,
    fail,
    is_open,
    succeed,
    succeed_straight,
)


class TestWatch:
    """A success that nobody watches is only added to ``ok``, and misses nothing by that."""

    def test_a_row_of_failures_is_watched_until_it_ends(self) -> None:
        """While there is one, the next success ends it."""
        asked = circuit(failure_threshold=3)
        phase = closed(asked)
        assert not phase.watch
        fail(asked)
        assert phase.watch
        phase.ok += 1
        assert asked.watched_success(phase, 0.0) is None
        assert (phase.watch, phase.streak) == (False, 0)

    def test_a_window_below_its_minimum_is_watched_while_there_is_something_in_it(self) -> None:
        """And no longer than that: then a success only lowers the rate."""
        asked = by_rate(failure_rate_threshold=0.9, window_calls=4, minimum_calls=3)
        phase = closed(asked)
        seen = [phase.watch]
        fail(asked)
        seen.append(phase.watch)
        for _ in range(2):
            phase.ok += 1
            asked.watched_success(phase, 0.0)
            seen.append(phase.watch)
        fail(asked)
        seen.append(phase.watch)
        assert seen == [False, True, True, False, True]

    @pytest.mark.parametrize(("failed", "slow"), [(True, False), (False, True)])
    def test_one_remarkable_call_is_enough_for_the_next_success_to_matter(
        self, failed: bool, slow: bool
    ) -> None:
        """When the window has moved, nobody knows the rate before it is judged anew."""
        asked = by_rate(window=10.0, slow_call_duration=1.0, minimum_calls=1)
        succeed(asked, 0.0)
        asked.settle(admit(asked, 5.0), 7.0 if slow else 5.0, failed=failed)
        succeed(asked, 7.0)
        phase = closed(asked)
        assert not phase.watch
        asked.roll(phase, 10.5)
        assert phase.watch

    def test_slow_calls_are_watched_as_failures_are(self) -> None:
        """They too may wait for the minimum."""
        asked = by_rate(
            slow_call_rate_threshold=0.9, slow_call_duration=1.0, window_calls=4, minimum_calls=3
        )
        succeed(asked, 10.0)
        assert not asked.phase.watch
        succeed(asked, 10.0, seconds=2.0)
        assert asked.phase.watch

    def test_a_success_beside_a_failure_is_judged_after_it(self) -> None:
        """It came when the failure had summed up the window, and makes the minimum full."""
        asked = by_rate(failure_rate_threshold=0.5, window_calls=4, minimum_calls=2)
        phase = closed(asked)
        window, watched = phase.window, []
        assert window is not None

        class SummedUpSlowly:
            def __getattr__(self, name: str) -> Any:
                return getattr(window, name)

            def totals(self, ok: int) -> Totals:
                before = window.totals(ok)
                phase.window = window
                phase.ok += 1
                watched.append(phase.watch)
                return before

        phase.window = SummedUpSlowly()  # type: ignore[assignment]
        fail(asked)
        assert watched == [True]
        assert asked.watched_success(phase, 0.0) is not None

    @given(
        rules=st.fixed_dictionaries(
            {
                "failure_threshold": st.sampled_from([None, 1, 2, 3]),
                "failure_rate_threshold": st.sampled_from([None, 0.2, 0.5, 2 / 3, 1.0]),
                "minimum_calls": st.integers(1, 6),
            }
        ),
        window=st.sampled_from([{}, {"window_calls": 6}, {"window_calls": 9}, {"window": 10.0}]),
        history=st.lists(
            st.one_of(
                st.sampled_from(["success", "success", "failure"]),
                st.sampled_from([0.5, 1.0, 3.0, 9.0, 10.5, 60.0]),
            ),
            max_size=60,
        ),
    )
    def test_it_opens_exactly_as_if_every_outcome_were_judged(
        self, rules: Any, window: Any, history: list[Any]
    ) -> None:
        """No sequence of outcomes and waits tells the straight path from the long one."""
        straight, judged = circuit(**rules, **window), circuit(**rules, **window)
        now = 0.0
        for step in history:
            if isinstance(step, float):
                now += step
                continue
            failed = step == "failure"
            judged.settle(admit(judged, now), now, failed=failed)
            if failed:
                straight.settle(straight.phase, now, failed=True)
            else:
                succeed_straight(straight, now)
            assert straight.phase.state is judged.phase.state
            if is_open(judged):
                return
            for asked in (straight, judged):
                asked.roll(asked.phase, now)
            assert closed(straight).totals() == closed(judged).totals()
            assert closed(straight).streak == closed(judged).streak
            assert straight.total_successes() == judged.total_successes()
