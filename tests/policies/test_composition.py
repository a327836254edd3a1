"""Eight policies around one function: the same however they were put there; and what is raised."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

import meshhook as mh
from meshhook.tracebacks import hide_this_frame
from tests.colours import Colour

EIGHT = [
    "fallback",
    "idempotent",
    "timeout",
    "retry",
    "circuit_breaker",
    "rate_limit",
    "bulkhead",
    "timeout",
]


class QuoteError(Exception):
    """What the function raises on its own account."""


class Desk:
    """Gives quotes, or what the script says instead; ``script`` is a list of outcomes."""

    def __init__(self, script: list[Any]) -> None:
        self.script = iter(script)
        self.calls = 0

    def quote(self, item: str) -> str:
        self.calls += 1
        outcome = next(self.script, item)
        if isinstance(outcome, BaseException):
            raise outcome
        return str(outcome)


def policies(registry: mh.Registry) -> dict[str, Any]:
    """Return eight policies by the keywords of ``resilient``."""
    return {
        "fallback": mh.fallback("none", on=(KeyError, mh.RateLimitedError), registry=registry),
        "idempotent": mh.idempotent("{item}", name="quote", registry=registry),
        "timeout": mh.timeout(30, registry=registry),
        "retry": mh.retry(base_delay=0, abort_on=LookupError, registry=registry),
        "circuit_breaker": mh.circuit_breaker(failure_threshold=5, registry=registry),
        "rate_limit": mh.rate_limit("14/h", registry=registry),
        "bulkhead": mh.bulkhead(1, registry=registry),
        "attempt_timeout": mh.timeout(20, registry=registry),
    }


def stacked(registry: mh.Registry, fn: Any) -> Any:
    """Put one decorator on the other, from the inside."""
    for policy in reversed(policies(registry).values()):
        fn = policy(fn)
    return fn


def from_keywords(registry: mh.Registry, fn: Any) -> Any:
    """Write the keywords in any order."""
    given = policies(registry)
    return mh.resilient(**{keyword: given[keyword] for keyword in sorted(given)})(fn)


def from_settings(registry: mh.Registry, fn: Any) -> Any:
    """Have ``resilient`` make the policies."""
    return mh.resilient(
        fallback=mh.fallback("none", on=(KeyError, mh.RateLimitedError), registry=registry),
        idempotent={"key": "{item}", "name": "quote"},
        timeout=30,
        retry={"base_delay": 0, "abort_on": LookupError},
        circuit_breaker={"failure_threshold": 5},
        rate_limit="14/h",
        bulkhead=1,
        attempt_timeout=20,
        registry=registry,
    )(fn)


def from_pipeline(registry: mh.Registry, fn: Any) -> Any:
    """Use a pipeline made of two."""
    eight = list(policies(registry).values())
    return mh.Pipeline(mh.Pipeline(*eight[:3]), *eight[3:])(fn)


BUILDS = [stacked, from_keywords, from_settings, from_pipeline]
Build = Callable[[mh.Registry, Any], Any]

STORY: list[Any] = [
    "first",  # one attempt
    QuoteError(),
    "second",  # two attempts
    KeyError("none"),  # not retried; answered by the fallback
    QuoteError(),
    QuoteError(),
    QuoteError(),  # all attempts fail, and the circuit is one failure from open
    "third",
]


def play(colour: Colour, build: Build, registry: mh.Registry) -> Iterator[Any]:
    """Give all that can be counted of a story in which everything happens once."""
    desk = Desk(STORY)
    fn = build(registry, colour.paint(lambda item: desk.quote(item)))
    found = {policy.kind: policy for policy in fn.policies}
    yield [policy.kind for policy in fn.policies]

    def call(item: str) -> Any:
        try:
            return colour.call(fn, item)
        except Exception as error:
            return type(error).__name__, str(error), getattr(error, "name", None)

    for item in "abbcde":  # the second b is a replay
        yield call(item)
    with found["bulkhead"]:
        yield call("f")  # full
    yield call("g")
    with found["circuit_breaker"].isolated():
        yield call("h")  # open
    for item in "ijklmnopq":
        yield call(item)  # at last the rate is used up, and the fallback answers
    yield desk.calls
    for policy in fn.policies:
        counts = policy.stats().to_dict()
        yield {name: value for name, value in counts.items() if isinstance(value, (int, str))}


def test_eight_policies_are_the_same_however_they_are_put(colour: Colour) -> None:
    """Stacked by hand, from keywords, from a pipeline: the same results, errors and counts."""
    stories = [list(play(colour, build, mh.Registry())) for build in BUILDS]
    assert stories[0][0] == EIGHT
    assert stories[1:] == [stories[0]] * 3


def test_the_story_has_everything(colour: Colour, registry: mh.Registry) -> None:
    """What happens in it is what its policies are for, so nothing is compared that is not there."""
    kinds, a, b, again, c, d, e, full, g, opened, *rest = play(colour, stacked, registry)
    assert kinds == EIGHT
    assert [a, b, again, c] == ["first", "second", "second", "none"]
    assert d[0] == "QuoteError"
    assert (e, g) == ("third", "g")
    assert (full[0], opened[0]) == ("BulkheadFullError", "CircuitOpenError")
    calls, fallback, idempotent, total, retry, breaker, limit, bulkhead, attempt = rest[-9:]
    # Ten of the fourteen calls of the limit are 1 for a, 2 for b, 1 for c, 3 for d, and 1 for each
    # of e, f, which then found no slot, and g; h was refused before. So four more are made.
    assert rest[:9] == ["i", "j", "k", "l", *["none"] * 5]
    assert calls == 13
    assert (fallback["used"], fallback["failures"]) == (6, 3)
    assert idempotent["replayed"] == 1
    assert total["calls"] == 17
    assert (retry["retries"], retry["recovered"], retry["failures"]) == (3, 1, 9)
    assert (breaker["rejected"], breaker["failures"]) == (1, 5)
    assert limit["rejected"] == 5
    assert bulkhead["rejected"] == 1
    assert attempt["calls"] == 13


def named_policies(error: BaseException) -> Counter[str]:
    """Count the frames of each kind of policy in a traceback, as it is printed."""
    text = "".join(traceback.format_exception(error))
    return Counter(re.findall(r"policies/(\w+)/\w+\.py", text))


def raised(colour: Colour, guarded: Any) -> BaseException:
    with pytest.raises(QuoteError) as caught:
        colour.call(guarded, "lamp")
    return caught.value


def shows_only(error: BaseException, mine: BaseException) -> bool:
    """Tell whether ``error`` is that of the function, and a traceback of it shows no other."""
    text = "".join(traceback.format_exception(error))
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return (
        error is mine
        and error.__cause__ is error.__context__ is None
        and text.count("Traceback (most recent call last)") == 1
        and (innermost.name, innermost.line) == ("quote", "raise outcome")
    )


@pytest.mark.parametrize("build", BUILDS)
def test_a_traceback_shows_the_error_and_each_policy_once(
    colour: Colour, registry: mh.Registry, build: Build
) -> None:
    """That of the last attempt, with nothing before it, and with one frame for each policy."""
    mine = QuoteError("no quote")
    desk = Desk([QuoteError(1), QuoteError(2), mine])
    error = raised(colour, build(registry, colour.paint(desk.quote)))
    assert desk.calls == 3
    assert shows_only(error, mine)
    assert named_policies(error) == Counter(EIGHT)


@pytest.mark.parametrize("after", [0, 2])
def test_a_traceback_of_every_policy(colour: Colour, registry: mh.Registry, after: int) -> None:
    """All of them, keyed and judging where they can be; with the first attempt and with the last.

    A hedge in threads hands the error over from another one, whose frames are shown as well.
    """
    kept: dict[str, Any] = {"key": "{item}", "registry": registry}
    pipeline = mh.resilient(
        fallback=mh.fallback(last_good=60, **kept),
        idempotent={"key": "{item}", "name": "quote"},
        timeout=30,
        retry={"base_delay": 0, "max_attempts": after + 1, "max_elapsed": 60},
        hedge={"delay": 30, "on": KeyError},
        circuit_breaker=kept,
        throttle=True,
        rate_limit={"rate": "9/s", **kept},
        bulkhead=kept,
        attempt_timeout=20,
        chaos=True,
        registry=registry,
    )
    mine = QuoteError("no quote")
    desk = Desk([*map(QuoteError, range(after)), mine])
    error = raised(colour, pipeline(colour.paint(desk.quote)))
    assert desk.calls == after + 1
    assert shows_only(error, mine)
    assert named_policies(error) == Counter(policy.kind for policy in pipeline)


@dataclass(frozen=True)
class FrozenError(Exception):
    """An exception that lets nobody set anything."""

    number: int


def trial(registry: mh.Registry) -> mh.CircuitBreaker:
    """Make a circuit that is half-open."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=1e-6, registry=registry)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    return breaker


@pytest.mark.parametrize(
    "make",
    [
        trial,
        lambda registry: mh.bulkhead(key=lambda _: 1, registry=registry),
        lambda registry: mh.hedge(0, idempotent=True, registry=registry),
        lambda registry: mh.idempotent(key="{item}", registry=registry),
        lambda registry: mh.timeout(20, registry=registry),
    ],
    ids=["circuit_breaker", "bulkhead", "hedge", "idempotent", "timeout"],
)
def test_an_exception_that_refuses_attributes_is_raised_as_it_is(
    colour: Colour, registry: mh.Registry, make: Callable[[mh.Registry], Any]
) -> None:
    """Where a frame is taken out of its traceback, and where it gets a note."""

    def fail(item: str) -> None:
        raise FrozenError(5)

    guarded = make(registry)(colour.paint(fail))
    with ThreadPoolExecutor(1) as pool, pytest.raises(FrozenError) as caught:
        pool.submit(colour.call, guarded, "lamp").result()  # off the main thread, without signals
    kind = guarded.policies[0].kind
    assert named_policies(caught.value)[kind] == 1
    assert hasattr(caught.value, "__notes__") == (kind == "hedge")


def test_what_is_hidden_is_a_frame_and_no_error() -> None:
    """An error that is raised by the frame itself keeps it, or nothing would tell where it was."""

    def outer(inner: Callable[[], None]) -> None:
        try:
            inner()
        except QuoteError as exc:
            hide_this_frame(exc)
            raise

    def failing() -> None:
        raise QuoteError

    def frames(call: Callable[[], None]) -> list[str]:
        with pytest.raises(QuoteError) as caught:
            call()
        return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][1:]

    def itself() -> None:
        try:
            raise QuoteError
        except QuoteError as exc:
            hide_this_frame(exc)
            raise

    assert frames(lambda: outer(failing)) == ["<lambda>", "failing"]
    assert frames(itself) == ["itself"]
    hide_this_frame(QuoteError())
