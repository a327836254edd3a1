"""Every ordered pair of policies, in both colours: calls made, rejections, further attempts.

What is expected comes from models: each kind of policy is put down once more below, in the few
lines that say what it does to the outcome of what is inside of it. Around a function whose outcomes
are known, two of them nested tell what the two real policies around the real function have to do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour

Inner = Callable[[], str]

REFUSALS = {
    "open": mh.CircuitOpenError,
    "full": mh.BulkheadFullError,
    "limited": mh.RateLimitedError,
    "throttled": mh.ThrottledError,
}
GOOD = {"ok", "fell"}
"""Results: that of the function, and what a fallback gives."""
BAD = {"error", "late"}
"""Errors that are about what was called: its own, and a TimeoutError. A refusal is not."""


class Model:
    """What a policy does to the outcome of what is inside of it, and what it counts."""

    def __init__(self) -> None:
        self.rejected = 0
        self.further = 0

    def refuse(self, outcome: str) -> str:
        self.rejected += 1
        return outcome

    def call(self, inner: Inner) -> str:
        raise NotImplementedError


class FallbackModel(Model):
    """Something else in place of any error, refusals included; a cancelled call is none."""

    def call(self, inner: Inner) -> str:
        outcome = inner()
        return outcome if outcome in GOOD or outcome == "hang" else "fell"


class IdempotentModel(Model):
    """The first result is that of all later calls, which have the same key; errors are not kept."""

    kept = ""

    def call(self, inner: Inner) -> str:
        if self.kept:
            return self.kept
        outcome = inner()
        if outcome in GOOD:
            self.kept = outcome
        return outcome


class TimeoutModel(Model):
    """What hangs is late."""

    def call(self, inner: Inner) -> str:
        outcome = inner()
        return "late" if outcome == "hang" else outcome


class RetryModel(Model):
    """Three attempts; results end them, and so do refusals and cancellation."""

    def call(self, inner: Inner) -> str:
        outcome = inner()
        for _ in range(2):
            if outcome not in BAD:
                break
            self.further += 1
            outcome = inner()
        return outcome


class HedgeModel(Model):
    """A second attempt when the first fails; if both do, the error of the first one counts."""

    def call(self, inner: Inner) -> str:
        first = inner()
        if first not in BAD:
            return first
        self.further += 1
        second = inner()
        return second if second in GOOD or second == "hang" else first


class BreakerModel(Model):
    """Open after two failures in a row; refusals and cancelled calls say nothing about it."""

    failures = 0

    def call(self, inner: Inner) -> str:
        if self.failures == 2:
            return self.refuse("open")
        outcome = inner()
        if outcome in GOOD:
            self.failures = 0
        elif outcome in BAD:
            self.failures += 1
        return outcome


class ThrottleModel(Model):
    """With k = 1 and the worst of luck: after one failure all calls are dropped."""

    is_troubled = False

    def call(self, inner: Inner) -> str:
        if self.is_troubled:
            return self.refuse("throttled")
        outcome = inner()
        self.is_troubled = outcome in BAD
        return outcome


class LimitModel(Model):
    """Two calls, whatever becomes of them, and then none."""

    left = 2

    def call(self, inner: Inner) -> str:
        if not self.left:
            return self.refuse("limited")
        self.left -= 1
        return inner()


class BulkheadModel(Model):
    """Refused while somebody else has the only slot, which is so during the first call."""

    busy = True

    def call(self, inner: Inner) -> str:
        return self.refuse("full") if self.busy else inner()


class ChaosModel(Model):
    """The first call is struck and does not get to the function."""

    struck = False

    def call(self, inner: Inner) -> str:
        if self.struck:
            return inner()
        self.struck = True
        return "error"


class FaultError(Exception):
    """What the function raises, and chaos."""


def first_only() -> Callable[[], float]:
    """Return a rate that strikes the first call and no other."""
    rates = iter([1.0])
    return lambda: next(rates, 0.0)


LIMIT = 0.1
"""How long a call that hangs may take. It is waited for, in real time."""

MODELS: dict[str, type[Model]] = {
    "fallback": FallbackModel,
    "idempotent": IdempotentModel,
    "timeout": TimeoutModel,
    "retry": RetryModel,
    "hedge": HedgeModel,
    "circuit_breaker": BreakerModel,
    "throttle": ThrottleModel,
    "rate_limit": LimitModel,
    "bulkhead": BulkheadModel,
    "chaos": ChaosModel,
}
MAKES: dict[str, Callable[[mh.Registry], Any]] = {
    "fallback": lambda r: mh.fallback("fell", registry=r),
    "idempotent": lambda r: mh.idempotent(lambda: "key", registry=r),
    "timeout": lambda r: mh.timeout(LIMIT, registry=r),
    "retry": lambda r: mh.retry(base_delay=0, registry=r),
    "hedge": lambda r: mh.hedge(60, idempotent=True, registry=r),
    "circuit_breaker": lambda r: mh.circuit_breaker(failure_threshold=2, registry=r),
    "throttle": lambda r: mh.throttle(1, minimum_calls=1, registry=r),
    "rate_limit": lambda r: mh.rate_limit("2/h", registry=r),
    "bulkhead": lambda r: mh.bulkhead(1, registry=r),
    "chaos": lambda r: mh.chaos(rate=first_only(), fault=FaultError, registry=r),
}
CALLS = 5


class Service:
    """A function that fails twice and then goes well; with a timeout around, it hangs first."""

    def __init__(self, *, hangs: bool) -> None:
        self.outcomes = iter((["hang"] if hangs else []) + ["error", "error"])
        self.calls = 0
        self.released = threading.Event()

    def outcome(self) -> str:
        self.calls += 1
        return next(self.outcomes, "ok")

    def answer(self) -> str:
        outcome = self.outcome()
        if outcome == "hang":
            self.released.wait(10)
        return self._end(outcome)

    async def answer_async(self) -> str:
        outcome = self.outcome()
        if outcome == "hang":
            await asyncio.sleep(10)
        return self._end(outcome)

    def _end(self, outcome: str) -> str:
        if outcome != "ok":
            raise FaultError
        return outcome


@pytest.fixture(autouse=True)
def worst_of_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is decided by chance be decided against the caller."""
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.fixture
def services() -> Iterator[list[Service]]:
    """Let go of what hangs at the end of a test."""
    made: list[Service] = []
    yield made
    for service in made:
        service.released.set()


def observed(colour: Colour, fn: Any) -> str:
    """Call ``fn`` and return what came of it in a word."""
    try:
        return str(colour.call(fn))
    except FaultError:
        return "error"
    except mh.RejectedError as error:
        return next(word for word, kind in REFUSALS.items() if type(error) is kind)
    except mh.TimeoutError:
        return "late"


def counted(policy: Any) -> tuple[int, int]:
    """Return how many calls a policy has refused, and how many further attempts it has made."""
    stats = policy.stats()
    further = {"retry": "retries", "hedge": "hedges"}.get(policy.kind)
    return getattr(stats, "rejected", 0), 0 if further is None else getattr(stats, further)


def with_slots_taken(colour: Colour, policies: Any, call: Callable[[], str]) -> str:
    """Make a call while somebody else has the slots of all bulkheads."""
    taken = [policy for policy in policies if policy.kind == "bulkhead"]
    for policy in taken:
        policy.__enter__()
    try:
        return call()
    finally:
        for policy in reversed(taken):
            policy.__exit__(None, None, None)


@pytest.mark.parametrize("inner", MODELS)
@pytest.mark.parametrize("outer", MODELS)
def test_a_pair_does_what_its_parts_do(
    colour: Colour, registry: mh.Registry, services: list[Service], outer: str, inner: str
) -> None:
    """Outcomes of all calls, calls of the function, rejections and further attempts."""
    hangs = "timeout" in (outer, inner)
    service = Service(hangs=hangs)
    services.append(service)
    policies = MAKES[outer](registry), MAKES[inner](registry)
    if outer == inner == "timeout":
        policies = mh.timeout(60, registry=registry), policies[1]
    fn = service.answer if colour.name == "sync" else service.answer_async
    guarded: Any = mh.Pipeline(*policies)(fn)
    policies = guarded.policies

    models, imagined = (MODELS[outer](), MODELS[inner]()), Service(hangs=hangs)
    expected, seen = [], []
    for number in range(CALLS):
        for model in models:
            if isinstance(model, BulkheadModel):
                model.busy = number == 0
        expected.append(models[0].call(lambda: models[1].call(imagined.outcome)))
        if number == 0:
            seen.append(with_slots_taken(colour, policies, lambda: observed(colour, guarded)))
        else:
            seen.append(observed(colour, guarded))

    assert seen == expected
    assert service.calls == imagined.calls
    assert [counted(each) for each in policies] == [(m.rejected, m.further) for m in models]


SPELLED_OUT = [
    # Three attempts are one call to the breaker outside, so the second of them opens it never:
    # the first call ends well.
    ("circuit_breaker", "retry", ["ok"] * 5, 7, 0, 2),
    # Inside, the breaker sees both failures and refuses the third attempt; that ends the retry.
    ("retry", "circuit_breaker", ["open"] * 5, 2, 5, 2),
    # A fallback inside answers every error, so that nothing is retried.
    ("retry", "fallback", ["fell", "fell", "ok", "ok", "ok"], 5, 0, 0),
    ("fallback", "retry", ["ok"] * 5, 7, 0, 2),
    # One call is one token outside of the retry, and three inside.
    ("rate_limit", "retry", ["ok", "ok", "limited", "limited", "limited"], 4, 3, 2),
    ("retry", "rate_limit", ["limited"] * 5, 2, 5, 2),
    # The first result, of the third attempt, is that of all calls.
    ("idempotent", "retry", ["ok"] * 5, 3, 0, 2),
    ("retry", "idempotent", ["ok"] * 5, 3, 0, 2),
    # What a fallback gives is kept as if the function had given it.
    ("idempotent", "fallback", ["fell"] * 5, 1, 0, 0),
    ("fallback", "idempotent", ["fell", "fell", "ok", "ok", "ok"], 3, 0, 0),
    # Three attempts of two: it goes well with the third call.
    ("retry", "hedge", ["ok"] * 5, 7, 0, 2),
    # The call that hangs is late; the retry makes the two that fail, and gives up.
    ("retry", "timeout", ["error", "ok", "ok", "ok", "ok"], 7, 0, 2),
    # Outside of the retry there is one limit for all, and the hanging attempt takes it.
    ("timeout", "retry", ["late", "ok", "ok", "ok", "ok"], 7, 0, 2),
    # The breaker does not see the call that hangs, for that is cancelled.
    ("timeout", "circuit_breaker", ["late", "error", "error", "open", "open"], 3, 2, 0),
    ("circuit_breaker", "timeout", ["late", "error", "open", "open", "open"], 2, 3, 0),
    # Two failures open a circuit; one is enough for a throttle with no luck.
    ("circuit_breaker", "throttle", ["error", *["throttled"] * 4], 1, 4, 0),
    ("throttle", "circuit_breaker", ["error", *["throttled"] * 4], 1, 4, 0),
    ("throttle", "retry", ["ok"] * 5, 7, 0, 2),
    # Chaos takes the first attempt, and the function fails in the two that are left.
    ("retry", "chaos", ["error", "ok", "ok", "ok", "ok"], 6, 0, 2),
    # Outside of the retry it takes the first call.
    ("chaos", "retry", ["error", "ok", "ok", "ok", "ok"], 6, 0, 2),
    # A full bulkhead is no failure to a breaker, and none to a retry.
    ("circuit_breaker", "bulkhead", ["full", "error", "error", "open", "open"], 2, 3, 0),
    ("retry", "bulkhead", ["full", "ok", "ok", "ok", "ok"], 6, 1, 2),
]
"""Pairs as the models have them, with the numbers put down by hand: so the models are checked."""


@pytest.mark.parametrize(
    ("outer", "inner", "outcomes", "calls", "rejected", "further"), SPELLED_OUT
)
def test_the_models_are_right(
    outer: str, inner: str, outcomes: list[str], calls: int, rejected: int, further: int
) -> None:
    """A model that is wrong in the way of its policy would show nothing."""
    models, service = (MODELS[outer](), MODELS[inner]()), Service(hangs="timeout" in (outer, inner))
    seen = []
    for number in range(CALLS):
        for model in models:
            if isinstance(model, BulkheadModel):
                model.busy = number == 0
        seen.append(models[0].call(lambda: models[1].call(service.outcome)))
    assert (seen, service.calls) == (outcomes, calls)
    assert sum(model.rejected for model in models) == rejected
    assert sum(model.further for model in models) == further
