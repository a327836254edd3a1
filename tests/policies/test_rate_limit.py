"""rate_limit: the decorator and the object, what they are told, count and say."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from meshhook.policies.rate_limit.settings import as_text, parse_rates
from tests.colours import Colour
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP

ALGORITHMS = ("gcra", "sliding_log", "fixed_window")
pytestmark = pytest.mark.usefixtures("frozen")


@pytest.fixture(params=[*ALGORITHMS, "gcra without a GIL"])
def algorithm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each way of counting, and each way to it."""
    if request.param == "gcra without a GIL":
        monkeypatch.setattr(guard, "GIL_ENABLED", False)
        return "gcra"
    return request.param


def answer(value: int = 1) -> int:
    """Return what it is given."""
    return value


def test_calls_within_the_rate_pass_and_one_more_is_refused(
    colour: Colour, algorithm: Any, registry: mh.Registry
) -> None:
    """Until time has passed; arguments and results go through."""
    fn = mh.rate_limit("3/s", algorithm=algorithm, name="api", registry=registry)(
        colour.paint(answer)
    )
    assert [colour.call(fn, 5), colour.call(fn, value=6), colour.call(fn)] == [5, 6, 1]
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(fn)
    error = caught.value
    assert (error.name, error.policy, error.limit, error.remaining) == (
        "api",
        "rate_limit",
        "3/s",
        0,
    )
    gcra = algorithm == "gcra"
    assert error.retry_after == pytest.approx(1 / 3 if gcra else 1.0, abs=1e-6)
    assert error.reset_after == pytest.approx(1.0)


def test_it_admits_again_when_the_time_has_come(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """At the moment that ``retry_after`` tells, and not before."""
    fn = mh.rate_limit("2/s", algorithm=algorithm, registry=registry)(colour.paint(answer))
    for _ in range(2):
        colour.call(fn)
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(fn)
    assert caught.value.retry_after is not None
    frozen.tick(caught.value.retry_after - 0.01)
    with pytest.raises(mh.RateLimitedError):
        colour.call(fn)
    frozen.tick(0.01)
    assert colour.call(fn) == 1


def test_several_rates_are_counted_together_or_not_at_all(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """What one of them refuses costs nothing in the others."""
    limit = mh.rate_limit("2/s; 5/h", algorithm=algorithm, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    started = 0
    for _ in range(10):
        for _ in range(4):
            try:
                started += colour.call(fn)
            except mh.RateLimitedError:
                continue
        frozen.tick(1)
    assert started == 5
    assert limit.stats().rejected == 35


def test_an_error_of_the_function_goes_through_and_counts(
    colour: Colour, algorithm: Any, registry: mh.Registry
) -> None:
    """The call has started; what came of it is nothing to a limit."""
    limit = mh.rate_limit("2/s", algorithm=algorithm, name="api", registry=registry)

    def fail() -> None:
        raise OSError

    fn = limit(colour.paint(fail))
    for _ in range(2):
        with pytest.raises(OSError):
            colour.call(fn)
    assert limit.remaining() == 0


def test_a_sync_function_that_returns_an_awaitable_is_refused(
    algorithm: Any, registry: mh.Registry
) -> None:
    """Nothing of what it does would be limited."""

    async def later() -> None: ...

    fn = mh.rate_limit("2/s", algorithm=algorithm, registry=registry)(lambda: later())
    with pytest.raises(TypeError, match="returned an awaitable"):
        fn()


def test_it_is_an_object_as_well(algorithm: Any, registry: mh.Registry) -> None:
    """call, acall, blocks of both kinds and try_acquire count together."""
    limit = mh.rate_limit(5, "1s", algorithm=algorithm, name="api", registry=registry)

    async def later(value: int) -> int:
        return value

    async def main() -> None:
        assert await limit.acall(later, 2) == 2
        async with limit as same:
            assert same is limit

    assert limit.call(answer, 1) == 1
    with limit as same:
        assert same is limit
    asyncio.run(main())
    assert [limit.try_acquire(), limit.try_acquire()] == [True, False]
    for refused in (lambda: limit.call(answer), lambda: limit.__enter__()):
        with pytest.raises(mh.RateLimitedError):
            refused()
    stats = limit.stats()
    assert (stats.admitted, stats.rejected, stats.calls) == (5, 3, 8)


def test_a_name_is_shared_and_no_name_is_not(registry: mh.Registry) -> None:
    """Two functions share one limit, two others have their own."""
    shared = [mh.rate_limit("1/s", name="api", registry=registry)(answer) for _ in range(2)]
    own = [mh.rate_limit("1/s", registry=registry)(answer) for _ in range(2)]
    shared[0]()
    with pytest.raises(mh.RateLimitedError):
        shared[1]()
    assert [fn() for fn in own] == [1, 1]
    assert set(registry.rate_limits) == {"api", f"{__name__}.answer", f"{__name__}.answer#2"}
    with pytest.raises(mh.ConfigurationError, match=r"rate_limit 'api' exists with other settings"):
        mh.rate_limit("2/s", name="api", registry=registry)


@pytest.mark.parametrize(
    ("given", "limit", "period", "burst"),
    [
        (("100/s",), 100, 1, 100),
        ((" 5 / 10 s ",), 5, 10, 5),
        (("5/250ms",), 5, 0.25, 5),
        (("7/1.5s burst 2",), 7, 1.5, 2),
        (("100/m  burst 200",), 100, 60, 200),
        (("100/minute",), 100, 60, 100),
        (("100/2minutes",), 100, 120, 100),
        (("3/us",), 3, 1e-6, 3),
        (("1/h",), 1, 3600, 1),
        (("1/d",), 1, 86400, 1),
        (("1/days",), 1, 86400, 1),
        (("9/min",), 9, 60, 9),
        (("9/secs",), 9, 1, 9),
        ((4,), 4, 1, 4),
        ((4, 10), 4, 10, 4),
        ((4, timedelta(minutes=1)), 4, 60, 4),
        ((4, "2m", 9), 4, 120, 9),
        (("4/s", None, 9), 4, 1, 9),
    ],
)
def test_a_rate_may_be_written_in_several_ways(
    given: tuple[Any, ...], limit: int, period: float, burst: int
) -> None:
    """What it means can be read from its text, which is a rate again."""
    rate, length, own = (*given, None, None)[:3]
    rates = parse_rates(rate, length, own, "gcra")
    assert rates == ((limit, round(period * 1e6), burst),)
    assert parse_rates(as_text(rates), None, None, "gcra") == rates


WRONG_RATES: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("",), {}, r"rate must be calls in a time, such as '100/s'"),
    (("100",), {}, r"rate must be .*or a whole number with period, got '100'"),
    (("100/",), {}, "rate must be"),
    (("100/x",), {}, "rate must be"),
    (("100/ss",), {}, "rate must be"),
    (("1.5/s",), {}, "rate must be"),
    (("-1/s",), {}, "rate must be"),
    (("10/s;",), {}, "rate must be .*got '10/s;'"),
    (("10 per s",), {}, "rate must be"),
    (("10/s burst",), {}, "rate must be"),
    (("0/s",), {}, "none of its numbers is 0"),
    (("1/0s",), {}, "none of its numbers is 0"),
    (("1/s burst 0",), {}, "none of its numbers is 0"),
    ((f"{10**400}/s",), {}, "rate must be"),
    ((f"{'9' * 5000}/s",), {}, "rate must be"),
    ((f"1/{10**400}s",), {}, "rate must be"),
    ((f"1/s burst {10**400}",), {}, "rate must be"),
    ((10**400,), {}, "rate must be"),
    ((5, 1e308), {}, "period must be from 1 microsecond to"),
    ((0,), {}, "rate must be"),
    ((True,), {}, "rate must be"),
    ((2.5,), {}, "rate must be"),
    ((None,), {}, "rate must be"),
    ((answer,), {}, "rate must be"),
    ((5, 0), {}, "period must be a duration of more than 0 seconds"),
    ((5, "5"), {}, "for seconds write '5s'"),
    ((5, 1e-9), {}, "period must be from 1 microsecond to .*, got 1e-09"),
    (("5/s", 2), {}, "has its own period, so period=2 has no meaning"),
    (("5/s",), {"burst": 0}, "burst must be a whole number of 1 or more"),
    (("5/s",), {"burst": 2.5}, "burst must be"),
    (("5/s",), {"burst": 10**400}, "burst must be"),
    (("5/s; 9/m",), {"burst": 2}, "burst=2 does not tell which rate"),
    (("5/s burst 3",), {"burst": 2}, "burst=2 does not tell which rate"),
    (("5/s",), {"burst": 5, "algorithm": "sliding_log"}, "burst is for algorithm='gcra'"),
    (("5/s burst 2",), {"algorithm": "fixed_window"}, "burst is for algorithm='gcra'"),
]
WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    *WRONG_RATES,
    (("5/s",), {"algorithm": "leaky"}, "algorithm must be one of 'gcra', 'sliding_log'"),
    (("5/s",), {"cost": 0}, "cost must be a whole number of 1 or more"),
    (("5/s",), {"cost": "2"}, "cost must be"),
    (("5/s",), {"cost": 6}, r"cost=6 is more than may ever start at once \(5, by the rate '5/s'\)"),
    (("9/s burst 2",), {"cost": 3}, "cost=3 is more than"),
    (("9/s; 2/h",), {"cost": 3}, "cost=3 is more than"),
    (("5/s",), {"max_wait": -1}, "max_wait must be a duration of 0 or more"),
    (("5/s",), {"max_wait": "soon"}, "max_wait must be"),
    (("5/s",), {"key": 5}, "key must be a template"),
    (("5/s",), {"max_keys": 5}, "max_keys=5 is about keys, and there is no key"),
    (("5/s",), {"key": "{value}", "max_keys": 0}, "max_keys must be"),
    (("5/s",), {"pause_on": 5}, "pause_on must be"),
    (("5/s",), {"pause_on": ()}, "pause_on must be"),
    (("5/s",), {"pause_on": KeyboardInterrupt}, "pause_on must be types of errors"),
    (("5/s",), {"pause_on": lambda: 5}, "pause_on must be a function of error"),
    (("5/s",), {"name": ""}, "name must be"),
    (("5/s",), {"registry": {}}, "registry must be"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), WRONG)
def test_a_wrong_setting_is_an_error_that_says_what_to_write(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str, registry: mh.Registry
) -> None:
    """Where it is written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.rate_limit(*args, **{"registry": registry, **kwargs})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "{nobody}"}, r"key '\{nobody\}' names 'nobody', which is no argument"),
        ({"cost": Colour.paint(Colour("async"), answer)}, "cost must be a plain function"),
    ],
)
def test_what_does_not_fit_the_function_is_an_error_when_decorating(
    settings: dict[str, Any], message: str, registry: mh.Registry
) -> None:
    """And says what it does not fit."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.rate_limit("5/s", registry=registry, **settings)(answer)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_call_may_count_for_several(
    colour: Colour, algorithm: Any, registry: mh.Registry
) -> None:
    """A number, or what a callable makes of the arguments, however they are spelled."""
    fixed = mh.rate_limit("5/s", cost=2, algorithm=algorithm, name="fixed", registry=registry)
    by_size = mh.rate_limit(
        "5/s", cost=lambda value: value, algorithm=algorithm, name="by size", registry=registry
    )
    two, many = fixed(colour.paint(answer)), by_size(colour.paint(answer))
    assert [colour.call(two), colour.call(two)] == [1, 1]
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(two)
    assert caught.value.remaining == 1
    assert [colour.call(many, 3), colour.call(many), by_size.remaining()] == [3, 1, 1]
    with pytest.raises(mh.RateLimitedError):
        colour.call(many, value=2)
    assert colour.call(many, value=1) == 1


@pytest.mark.parametrize("cost", [0, -1, 6, 2.0, "1", None, True])
def test_a_cost_that_cannot_be_is_an_error_of_the_call(
    colour: Colour, cost: Any, registry: mh.Registry
) -> None:
    """Not a refusal that would go on for ever; nothing is counted."""
    limit = mh.rate_limit("5/s", cost=lambda value: value, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    with pytest.raises(mh.ConfigurationError, match=r"cost( must be|=6 is more than may ever)"):
        colour.call(fn, cost)
    assert (limit.stats().calls, limit.remaining()) == (0, 5)
    with pytest.raises(mh.ConfigurationError):
        limit.try_acquire(cost)


def test_blocks_know_no_arguments(registry: mh.Registry) -> None:
    """So a limit that looks at them cannot be one; a fixed cost counts."""
    keyed = mh.rate_limit("5/s", key="{value}", registry=registry)
    costly = mh.rate_limit("5/s", cost=lambda value: value, registry=registry)
    for limit, looks_at in ((keyed, "key"), (costly, "cost")):
        with pytest.raises(TypeError, match=f"looks at arguments for its {looks_at}"), limit:
            pass
        with pytest.raises(TypeError, match="`async with` has none"):
            asyncio.run(limit.__aenter__())
    fixed = mh.rate_limit("5/s", cost=4, name="fixed", registry=registry)
    with fixed:
        assert fixed.remaining() == 1


def test_what_is_left_can_be_looked_at(algorithm: Any, registry: mh.Registry, frozen: Any) -> None:
    """Which changes nothing."""
    limit = mh.rate_limit("4/s", algorithm=algorithm, name="api", registry=registry)
    assert [(limit.remaining(), limit.retry_after(4), limit.reset_after()) for _ in range(2)] == [
        (4, 0.0, 0.0)
    ] * 2
    limit.try_acquire(3)
    frozen.tick(0.25)
    if algorithm == "gcra":
        assert (limit.remaining(), limit.retry_after(), limit.reset_after()) == (2, 0.0, 0.5)
        assert limit.retry_after(4) == 0.5
    else:
        assert (limit.remaining(), limit.retry_after(), limit.reset_after()) == (1, 0.0, 0.75)
        assert limit.retry_after(2) == limit.retry_after(4) == 0.75
    with pytest.raises(mh.ConfigurationError):
        limit.retry_after(5)
    for ask in (limit.remaining, limit.retry_after, limit.reset_after, limit.try_acquire):
        with pytest.raises(TypeError, match="has no key=, so there is none for 'a'"):
            ask(key="a")


def test_the_statistics_turn_into_json(algorithm: Any, registry: mh.Registry) -> None:
    """They tell how the limit stands, and what it has counted."""
    limit = mh.rate_limit("4/s", algorithm=algorithm, name="api", registry=registry)
    for _ in range(5):
        limit.try_acquire()
    wait = 0.25 if algorithm == "gcra" else 1.0
    stats = registry.stats()["api"].to_dict()
    assert json.loads(json.dumps(stats)) == {
        "policy": "rate_limit",
        "name": "api",
        "limit": "4/s",
        "algorithm": algorithm,
        "calls": 5,
        "admitted": 4,
        "rejected": 1,
        "waited": 0,
        "cancelled": 0,
        "waiting": 0,
        "remaining": 0,
        "retry_after": wait,
        "reset_after": 1.0,
        "keys": None,
        "evicted": 0,
    }


def test_reset_forgets_what_has_started(
    colour: Colour, algorithm: Any, registry: mh.Registry
) -> None:
    """And pauses; the counters stay."""
    limit = mh.rate_limit("2/s", algorithm=algorithm, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    for _ in range(2):
        colour.call(fn)
    limit.pause_for(100)
    registry.reset()
    assert [colour.call(fn), colour.call(fn)] == [1, 1]
    assert limit.stats().admitted == 4


def test_reset_goes_back_to_the_rate_that_was_set(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """As a bulkhead does; keys that come later have it too, and it is told once."""
    limit = mh.rate_limit("2/s", algorithm=algorithm, name="api", registry=registry)
    keyed = mh.rate_limit("2/s", algorithm=algorithm, key="{key}", name="keyed", registry=registry)
    fn = limit(colour.paint(answer))
    colour.call(fn)
    assert keyed.try_acquire(key="a")
    for each in (limit, keyed):
        each.change("1/h")
    told: list[Any] = []
    with mh.subscribe(told.append, mh.events.RateChanged):
        for _ in range(2):
            registry.reset()
    assert [(each.name, each.old, each.new) for each in told] == [
        ("api", "1/h", "2/s"),
        ("keyed", "1/h", "2/s"),
    ]
    assert [colour.call(fn), colour.call(fn)] == [1, 1]
    assert [keyed.remaining(key=key) for key in ("a", "new")] == [2, 2]
    assert [each.stats().limit for each in (limit, keyed)] == ["2/s", "2/s"]


def test_a_change_of_the_rate_keeps_what_has_started(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """It begins with no allowance of its own, and holds for functions that are decorated."""
    limit = mh.rate_limit("4/s", algorithm=algorithm, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    for _ in range(4):
        colour.call(fn)
    limit.change("10/s")
    assert (limit.stats().limit, limit.remaining()) == ("10/s", 6)
    limit.change(2, "10s")
    assert limit.remaining() == 0
    with pytest.raises(mh.RateLimitedError, match=r"of 2/10s is used up"):
        colour.call(fn)
    frozen.tick(20)
    assert [colour.call(fn), colour.call(fn)] == [1, 1]
    with pytest.raises(mh.RateLimitedError):
        colour.call(fn)
    limit.change("5000/s")
    frozen.tick(20)
    assert sum(colour.call(fn) for _ in range(100)) == 100
    # Whoever asks for the limit by its name still writes what it was made with.
    assert mh.rate_limit("4/s", algorithm=algorithm, name="api", registry=registry) is limit


def test_a_change_that_cannot_be_changes_nothing(registry: mh.Registry) -> None:
    """It is checked first."""
    limit = mh.rate_limit("4/s", cost=3, name="api", registry=registry)
    for args, kwargs, message in (
        *WRONG_RATES[:-2],
        (("2/s",), {}, "cost=3 is more than"),
        (("5/s; 9/m",), {}, "not as many rates as '4/s', so what has started cannot count on"),
    ):
        with pytest.raises(mh.ConfigurationError, match=message):
            limit.change(*args, **kwargs)
    assert (limit.stats().limit, limit.remaining()) == ("4/s", 4)
    limit.change("4/s", burst=9)
    assert (limit.stats().limit, limit.remaining()) == ("4/s burst 9", 9)
    computed = mh.rate_limit("4/s", cost=lambda value: value, name="computed", registry=registry)
    computed.change("2/s")
    with pytest.raises(mh.ConfigurationError, match="cost=3 is more than"):
        computed.call(answer, 3)


def test_a_pause_lets_nothing_start(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """After it gcra admits one call, and then others at its pace; a shorter pause ends none."""
    limit = mh.rate_limit("5/s", algorithm=algorithm, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    limit.pause_for("30s")
    limit.pause_for(10)
    limit.pause_until(time.monotonic() + 20)
    limit.pause_until(time.monotonic() - 20)
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(fn)
    assert caught.value.retry_after == pytest.approx(30, abs=1e-5)
    assert limit.remaining() == 0
    frozen.tick(30)
    assert limit.remaining() == (1 if algorithm == "gcra" else 5)
    assert colour.call(fn) == 1


@pytest.mark.parametrize("moment", ["30s", None, True, timedelta(1)])
def test_a_pause_until_is_no_date(moment: Any, registry: mh.Registry) -> None:
    """A duration belongs to ``pause_for``."""
    limit = mh.rate_limit("5/s", name="api", registry=registry)
    with pytest.raises(mh.ConfigurationError, match=r"moment must be a reading of time.monotonic"):
        limit.pause_until(moment)
    with pytest.raises(mh.ConfigurationError, match="seconds must be a duration of 0 or more"):
        limit.pause_for(-1)


class TooManyError(Exception):
    """What a client raises for a 429."""

    def __init__(self, retry_after: Any = None) -> None:
        super().__init__("429")
        self.headers = {"retry-after": retry_after}


def failing(error: BaseException) -> None:
    raise error


def test_an_error_that_says_when_to_come_again_pauses_the_limit(
    colour: Colour, algorithm: Any, registry: mh.Registry
) -> None:
    """If its type is one of ``pause_on``; for an hour at most."""
    limit = mh.rate_limit(
        "9/s", algorithm=algorithm, pause_on=TooManyError, name="api", registry=registry
    )
    fn = limit(colour.paint(failing))
    for error, pause in (
        (TooManyError(), 0.0),
        (OSError(), 0.0),
        (TooManyError("20"), 20.0),
        (TooManyError("999999"), 3600.0),
    ):
        limit.reset()
        with pytest.raises(type(error)):
            colour.call(fn, error)
        assert limit.retry_after() == pytest.approx(pause, abs=1e-5)
    limit.reset()
    with pytest.raises(TooManyError), limit:
        raise TooManyError("20")
    assert limit.retry_after() == 20.0
    limit.reset()
    with pytest.raises(KeyboardInterrupt), limit:
        raise KeyboardInterrupt
    assert limit.retry_after() == 0.0


def test_refusals_of_other_policies_pause_nothing_unless_they_are_named(
    colour: Colour, registry: mh.Registry
) -> None:
    """They say nothing about what was called."""
    error = mh.CircuitOpenError(name="db", retry_after=20.0)
    for pause_on, pause in ((Exception, 0.0), (mh.CircuitOpenError, 20.0)):
        limit = mh.rate_limit("9/s", pause_on=pause_on, name=str(pause_on), registry=registry)
        with pytest.raises(mh.CircuitOpenError):
            colour.call(limit(colour.paint(failing)), error)
        assert limit.retry_after() == pause


def test_a_function_may_tell_for_how_long_to_pause(
    colour: Colour, registry: mh.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """One that fails is logged, without the arguments of the call, and changes nothing."""
    answers: list[Any] = []
    limit = mh.rate_limit(
        "9/s", pause_on=lambda _error: answers.pop(), name="api", registry=registry
    )
    fn = limit(colour.paint(failing))
    for says, pause in ((None, 0.0), (0, 0.0), ("2s", 2.0), (-1, 0.0), ("soon", 0.0)):
        limit.reset()
        answers.append(says)
        with pytest.raises(OSError):
            colour.call(fn, OSError("secret"))
        assert limit.retry_after() == pause
    with pytest.raises(OSError):
        colour.call(fn, OSError("secret"))  # there is no answer any more: IndexError
    assert [record.message for record in caplog.records] == [
        "pause_on of rate limit 'api' failed"
    ] * 3


@pytest.fixture
def seen() -> Iterator[list[Any]]:
    """Collect what happens to limits."""
    told: list[Any] = []
    kinds = (events.CallRejected, events.CallDelayed, events.RateChanged)
    with mh.subscribe(told.append, *kinds):
        yield told


def test_events_tell_of_refusals_and_changes(
    colour: Colour, registry: mh.Registry, seen: list[Any]
) -> None:
    """A change to what there is already is none."""
    limit = mh.rate_limit("1/s", name="api", registry=registry)
    fn = limit(colour.paint(answer))
    colour.call(fn)
    with pytest.raises(mh.RateLimitedError):
        colour.call(fn)
    limit.try_acquire()
    limit.change("1/s")
    limit.change("1/2s")
    whose = {"policy": "rate_limit", "name": "api"}
    refused = events.CallRejected(**whose, reason="rate", retry_after=1.0)
    assert seen == [refused, refused, events.RateChanged(**whose, old="1/s", new="1/2s")]


def test_the_error_pickles_copies_and_says_what_to_do() -> None:
    """With all of its fields; a message of one's own is shown as it is."""
    error = mh.RateLimitedError(
        name="api", retry_after=1.25, limit="5/s", remaining=2, reset_after=3.0
    )
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert vars(same) == vars(error)
        assert str(same) == "rate limit 'api' of 5/s is used up; retry in 1.25 s"
        assert repr(same) == f"RateLimitedError({str(error)!r})"
    assert isinstance(error, mh.RejectedError)
    assert str(mh.RateLimitedError("wait")) == "wait"
    assert mh.RateLimitedError().retry_after is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": "5/s"}, "rate_limit('api', 5/s)"),
        ({"rate": "5/s; 9/m burst 20"}, "rate_limit('api', 5/s; 9/m burst 20)"),
        (
            {"rate": 3, "period": 10, "algorithm": "sliding_log", "max_wait": 1.5},
            "rate_limit('api', 3/10s, sliding_log, waits up to 1.5 s)",
        ),
        ({"rate": "5/s", "max_wait": None}, "rate_limit('api', 5/s, waits)"),
    ],
)
def test_a_limit_says_what_it_is(settings: Any, said: str, registry: mh.Registry) -> None:
    """In a few words."""
    limit = mh.rate_limit(name="api", registry=registry, **settings)
    assert limit.describe() == said
    assert repr(limit) == f"<{said}>"


def test_a_wait_is_part_of_the_longest_time(registry: mh.Registry) -> None:
    """For the sum of a whole stack."""
    assert mh.rate_limit("5/s", registry=registry).longest(2.0) == 2.0
    assert mh.rate_limit("5/s", max_wait="3s", registry=registry).longest(2.0) == 5.0


def test_a_clock_that_goes_back_does_not_stop_calls_for_years(
    colour: Colour, algorithm: Any, registry: mh.Registry, frozen: Any
) -> None:
    """As when a test has frozen the clock, and thaws it."""
    limit = mh.rate_limit("2/s", algorithm=algorithm, max_wait=1, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    for _ in range(2):
        colour.call(fn)
    frozen.tick(-1e9)
    assert [colour.call(fn), colour.call(fn)] == [1, 1]
    assert limit.remaining() == 0


def test_rates_that_a_float_cannot_hold_exactly_take_the_long_way(
    colour: Colour, registry: mh.Registry
) -> None:
    """And are as exact there."""
    limit = mh.rate_limit(4_999_999, 1, burst=3, name="api", registry=registry)
    fn = limit(colour.paint(answer))
    assert not limit._limiter.gate.start(10**18)
    assert [colour.call(fn) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(mh.RateLimitedError):
        colour.call(fn)


def test_streams_count_before_their_first_item(algorithm: Any, registry: mh.Registry) -> None:
    """Once for each, and not before they are begun."""
    limit = mh.rate_limit("2/s", algorithm=algorithm, name="api", registry=registry)

    @limit
    def items() -> Iterator[int]:
        yield from range(3)

    unused = items()
    assert [list(items()), list(items())] == [[0, 1, 2]] * 2
    with pytest.raises(mh.RateLimitedError):
        next(unused)
    assert limit.stats().admitted == 2


def test_async_streams_likewise(algorithm: Any, registry: mh.Registry) -> None:
    """An error in one may pause the limit."""
    limit = mh.rate_limit(
        "2/s", algorithm=algorithm, pause_on=TooManyError, name="api", registry=registry
    )

    @limit
    async def items(error: Exception | None = None) -> Any:
        yield 1
        if error is not None:
            raise error

    async def main() -> None:
        assert [each async for each in items()] == [1]
        with pytest.raises(TooManyError):
            _ = [each async for each in items(TooManyError("20"))]

    asyncio.run(main())
    assert limit.retry_after() == 20.0


def test_a_forked_child_has_free_locks(registry: mh.Registry) -> None:
    """Also if another thread held them while the parent forked."""
    limit = mh.rate_limit("3/s", name="api", registry=registry)
    keyed = mh.rate_limit("3/s", key="{value}", name="keyed", registry=registry)
    fn = keyed(answer)
    fn(1)
    limit.try_acquire()
    assert keyed._family is not None
    family, one = keyed._family, keyed._family.get(1)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with limit._limiter.lock, family._lock, one.lock:
            held.set()
            free.wait(GIVE_UP)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(GIVE_UP)
    try:
        code = in_a_fork(
            lambda: limit.remaining() == 2 and limit.try_acquire() and keyed.remaining(key=1) == 2
        )
    finally:
        free.set()
        holder.join()
    assert code == 0


def test_a_conflict_shows_rates_as_they_are_written(registry: mh.Registry) -> None:
    """Not as the numbers that they are kept in."""
    mh.rate_limit("5/s", name="api", registry=registry)
    with pytest.raises(mh.ConfigurationError, match="rates='5/s', and here it gets rates='6/s'"):
        mh.rate_limit("6/s", name="api", registry=registry)
