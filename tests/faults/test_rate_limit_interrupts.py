"""A signal handler that changes the rates of a limit, in the middle of anything that it does."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies.rate_limit.limiter import SECOND, Limiter
from meshhook.testing import FakeClock
from tests.faults.test_idempotent_interrupts import OURS

pytestmark = pytest.mark.fault

RATES = "3/h", "2/h"
LIMITS: dict[str, dict[str, Any]] = {
    "straight": {},
    "keyed": {"key": lambda: 1},
    "sliding_log": {"algorithm": "sliding_log"},
    "fixed_window": {"algorithm": "fixed_window"},
}
each_kind = pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)


def used_up(settings: dict[str, Any], **more: Any) -> tuple[mh.RateLimit, Callable[[], None]]:
    """Make a limit that lets nothing start for an hour, and a function that it guards."""
    limit = mh.rate_limit(RATES[0], name="api", registry=mh.Registry(), **settings, **more)
    fn = limit(lambda: None)
    for _ in range(3):
        fn()
    return limit, fn


def only(limit: mh.RateLimit) -> Limiter:
    """Return the limit of the only key, or of all calls."""
    (limiter,) = limit._limiters()
    return limiter


def goes_on(limiter: Limiter) -> bool:
    """Tell whether the rules are those of the rates, and know what has started."""
    standing = limiter.peek()
    return (
        tuple(rule.rate for rule in limiter._rules) == limiter.rates
        and standing.remaining == 0
        and 0 < standing.reset_after <= 3 * 3600 * SECOND
    )


@contextlib.contextmanager
def handled_at(moment: int, handle: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Have a handler run as the so manieth function of ours begins, or calls one that ends."""
    passed = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal passed
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(OURS):
            passed += 1
            if passed == moment:
                handle()

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield lambda: passed >= moment
    finally:
        sys.setprofile(before)


def at_any_moment(attempt: Callable[[int], bool]) -> None:
    """Attempt it with the handler at one moment after the other, until there is none left."""
    moments = next(moment for moment in itertools.count(1) if not attempt(moment))
    assert moments > 5


@each_kind
def test_a_call_is_refused_while_the_rates_change(settings: dict[str, Any]) -> None:
    """It is told when to come again, by the one rate or by the other."""

    def attempt(moment: int) -> bool:
        limit, fn = used_up(settings)
        with (
            pytest.raises(mh.RateLimitedError) as caught,
            handled_at(moment, lambda: limit.change(RATES[1])) as was_handled,
        ):
            fn()
        assert 0 < (caught.value.retry_after or 0) <= 3600, moment
        assert goes_on(only(limit)), moment
        return was_handled()

    at_any_moment(attempt)


@each_kind
def test_statistics_are_read_while_the_rates_change(settings: dict[str, Any]) -> None:
    """And those of a key."""
    key = {"key": 1} if "key" in settings else {}

    def attempt(moment: int) -> bool:
        limit, _ = used_up(settings)
        with handled_at(moment, lambda: limit.change(RATES[1])) as was_handled:
            assert limit.stats().rejected == 0
            assert 0 < limit.retry_after(**key) <= 3600, moment
        assert goes_on(only(limit)), moment
        return was_handled()

    at_any_moment(attempt)


@each_kind
def test_a_call_waits_for_its_turn_while_the_rates_change(settings: dict[str, Any]) -> None:
    """Its turn comes, by the one rate or by the other."""

    def attempt(moment: int) -> bool:
        with FakeClock() as clock:
            limit, fn = used_up(settings, max_wait=None)
            with handled_at(moment, lambda: limit.change(RATES[1])) as was_handled:
                fn()
            assert limit.stats().waiting == 0
            assert 0 < clock.elapsed <= 3600.01, moment
        return was_handled()

    at_any_moment(attempt)


@each_kind
def test_a_change_in_the_middle_of_a_pause(settings: dict[str, Any]) -> None:
    """The pause counts by the other rate as well."""

    def attempt(moment: int) -> bool:
        limiter = only(used_up(settings)[0])
        other = mh.rate_limit(RATES[1], registry=mh.Registry())._rates
        with handled_at(moment, lambda: limiter.change(limiter.algorithm, other)) as was_handled:
            limiter.pause(7200 * SECOND)
        assert 7199 * SECOND < limiter.peek().wait <= 7200 * SECOND, moment
        return was_handled()

    at_any_moment(attempt)


@each_kind
def test_a_change_or_a_look_in_the_middle_of_a_change(settings: dict[str, Any]) -> None:
    """All that has started counts on, by the rate that was asked for last."""

    def attempt(moment: int) -> bool:
        limiter = only(used_up(settings)[0])
        one, other = (
            mh.rate_limit(rate, registry=mh.Registry())._rates for rate in ("3/2h", "3/3h")
        )
        begun: list[bool] = []

        def handle() -> None:
            begun.append(bool(limiter._changes or limiter._is_changing or limiter.rates is one))
            limiter.peek()
            assert limiter.ask(1) is not None
            limiter.change(limiter.algorithm, other)

        with handled_at(moment, handle) as was_handled:
            limiter.change(limiter.algorithm, one)
        assert goes_on(limiter), moment
        assert limiter.rates is (other if begun == [True] else one), moment
        return was_handled()

    at_any_moment(attempt)


@each_kind
def test_a_change_in_the_middle_of_a_reset(settings: dict[str, Any]) -> None:
    """All is forgotten, and the rules are those of the rates."""

    def attempt(moment: int) -> bool:
        limiter = only(used_up(settings)[0])
        other = mh.rate_limit(RATES[1], registry=mh.Registry())._rates
        with handled_at(moment, lambda: limiter.change(limiter.algorithm, other)) as was_handled:
            limiter.reset()
        assert tuple(rule.rate for rule in limiter._rules) == limiter.rates
        assert limiter.peek().remaining >= 2, moment
        assert limiter.ask(1) is None
        return was_handled()

    at_any_moment(attempt)


@contextlib.contextmanager
def alarms(handle: Callable[[], object]) -> Iterator[None]:
    """Have a handler run some thousand times a second, wherever one of our functions is then."""

    def strike(_: int, frame: FrameType | None) -> None:
        # Not while coverage is at work, which would lose a lock of its own.
        if frame is not None and frame.f_code.co_filename.startswith(OURS):
            handle()

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@each_kind
def test_signals_between_any_two_bytecodes(settings: dict[str, Any]) -> None:
    """A handler that changes the rates, as one that reloads the configuration does."""
    limit, fn = used_up(settings)
    rates = itertools.cycle(["3/2h", "3/h"])
    changes = itertools.count()

    def handle() -> None:
        next(changes)
        limit.change(next(rates))

    with alarms(handle):
        for _ in range(15_000):
            with contextlib.suppress(mh.RateLimitedError):
                fn()
            limit.stats()
    assert next(changes) > 20
    assert goes_on(only(limit))
    assert limit.stats().admitted == 3
