"""What operators do by hand: for good, for a time, one after the other, and who did it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.errors import ConfigurationError
from meshhook.events import CircuitChanged, Event, OperatorActed
from meshhook.observe import control
from meshhook.observe.control import LONGEST, Control
from meshhook.policies.circuit_breaker import for_a_time
from meshhook.rules.phases import State
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, eventually

PASSING = ("disable", "metrics_only")
REFUSING = ("force_open", "isolate")
FOR_A_TIME = (*REFUSING, *PASSING)
STATES = {
    "force_open": "forced_open",
    "isolate": "forced_open",
    "disable": "disabled",
    "metrics_only": "metrics_only",
}


class Clock:
    """The clock of the acts and, if it is frozen, that of the policies; both go together."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.frozen: Any = None

    def tick(self, seconds: float) -> None:
        self.now += seconds
        if self.frozen is not None:
            self.frozen.tick(seconds)
        control._bell.ring()


@pytest.fixture
def clock(frozen: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Freeze time; ``clock.tick(seconds)`` moves it."""
    made = Clock()
    made.frozen = frozen
    monkeypatch.setattr(control, "_now", lambda: made.now)
    return made


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Nothing is in force after a test, and no thread is there."""
    yield
    gc.collect()
    with control._lock:
        control._acts.clear()
    control._bell.ring()
    assert eventually(lambda: control._thread is None)
    assert not control._under_way


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """Collect what operators did."""
    heard: list[Event] = []
    with events.subscribe(heard.append, OperatorActed):
        yield heard


@pytest.fixture
def breaker(registry: mh.Registry) -> mh.CircuitBreaker:
    return mh.circuit_breaker("db", failure_threshold=1, reset_timeout=100, registry=registry)


def fail(*_: Any) -> None:
    raise ConnectionError


def act(registry: mh.Registry, action: str, seconds: Any = None, *, author: str = "ada") -> None:
    """Do something to the circuit."""
    Control(registry).act("circuit_breaker", "db", action, seconds=seconds, author=author)


def settles(breaker: mh.CircuitBreaker, state: str) -> bool:
    """Wait until the circuit is in that state, and nothing is in force any more."""
    return eventually(lambda: breaker.state == state and breaker not in control._acts)


def acted(action: str, seconds: float | None = None, author: str = "ada") -> OperatorActed:
    """Return what is told of an act."""
    return OperatorActed(
        policy="circuit_breaker", name="db", action=action, author=author, seconds=seconds
    )


def test_what_may_be_done(registry: mh.Registry, breaker: mh.CircuitBreaker) -> None:
    """Circuits can be set; everything can be reset."""
    asked = Control(registry)
    assert asked.actions(breaker) == (
        "force_open",
        "disable",
        "metrics_only",
        "reset",
        "isolate",
    )
    others = [mh.timeout(name="t", registry=registry), mh.RetryBudget(name="b", registry=registry)]
    assert all(asked.actions(each) == ("reset",) for each in others)
    assert Control().registry is mh.Registry.default


@pytest.mark.parametrize("action", ["force_open", *PASSING])
def test_for_good(
    action: str, registry: mh.Registry, breaker: mh.CircuitBreaker, told: list[Event]
) -> None:
    """It stays until somebody changes it; no thread is needed for that."""
    act(registry, action)
    assert breaker.state == STATES[action]
    assert Control(registry).remaining(breaker) is None
    assert control._thread is None
    act(registry, "reset", author="bob")
    assert breaker.state == "closed"
    assert told == [acted(action), acted("reset", author="bob")]


@pytest.mark.parametrize(
    "make",
    [
        lambda registry: mh.timeout(name="db", registry=registry),
        lambda registry: mh.bulkhead(name="db", registry=registry),
        lambda registry: mh.rate_limit("1/h", name="db", registry=registry),
        lambda registry: mh.throttle(name="db", registry=registry),
        lambda registry: mh.retry(name="db", registry=registry),
        lambda registry: mh.hedge(delay=1, idempotent=True, name="db", registry=registry),
        lambda registry: mh.fallback(value=1, name="db", registry=registry),
        lambda registry: mh.chaos("db", registry=registry),
        lambda registry: mh.idempotent(key="{x}", name="db", registry=registry),
        lambda registry: mh.RetryBudget(name="db", registry=registry),
    ],
)
def test_every_kind_can_be_reset(
    make: Callable[[mh.Registry], Any], registry: mh.Registry, told: list[Any]
) -> None:
    """And is told of."""
    policy = make(registry)
    Control(registry).act(policy.kind, "db", "reset", author="ada")
    assert [(each.policy, each.action) for each in told] == [(policy.kind, "reset")]


def test_a_reset_does_what_reset_does(frozen: Any, registry: mh.Registry) -> None:
    """A limit that was used up is whole."""
    limit = mh.rate_limit("1/h", name="db", registry=registry)
    limit.call(int)
    Control(registry).act("rate_limit", "db", "reset", author="ada")
    limit.call(int)


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_for_a_time(
    action: str,
    clock: Clock,
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    told: list[Event],
) -> None:
    """Then it is closed as before, and that is told with the author of the act."""
    act(registry, action, 60)
    asked = Control(registry)
    assert (breaker.state, asked.remaining(breaker)) == (STATES[action], 60)
    clock.tick(59)
    assert (breaker.state, asked.remaining(breaker)) == (STATES[action], 1)
    clock.tick(1)
    assert settles(breaker, "closed")
    assert asked.remaining(breaker) is None
    assert eventually(lambda: told == [acted(action, 60), acted("expired", 60)])
    breaker.call(int)


@pytest.mark.parametrize("seconds", ["250ms", 0.25])
def test_durations_are_written_as_everywhere(
    seconds: Any, registry: mh.Registry, breaker: mh.CircuitBreaker, told: list[Event]
) -> None:
    """With real time."""
    act(registry, "isolate", seconds)
    assert breaker.state == "forced_open"
    assert settles(breaker, "closed")
    assert told[0] == acted("isolate", 0.25)


def test_what_is_refused_for_a_time_goes_on_as_it_was(
    clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """An open circuit is open again, and its own time has run on."""
    with contextlib.suppress(ConnectionError):
        breaker.call(fail)
    act(registry, "force_open", 60)
    clock.tick(60)
    assert settles(breaker, "open")
    assert breaker.stats().retry_after == 40


@pytest.mark.parametrize("action", PASSING)
def test_what_passes_for_a_time_is_closed_after_it(
    action: str, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """What made it open is long ago: it judges anew."""
    with contextlib.suppress(ConnectionError):
        breaker.call(fail)
    act(registry, action, 60)
    clock.tick(60)
    assert settles(breaker, "closed")


@pytest.mark.parametrize("standing", ["force_open", *PASSING])
@pytest.mark.parametrize("action", FOR_A_TIME)
def test_what_was_set_for_good_comes_back(
    action: str, standing: str, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """Whoever set it before is told nothing else than that it stays."""
    act(registry, standing)
    act(registry, action, 60)
    assert breaker.state == STATES[action]
    clock.tick(60)
    assert settles(breaker, STATES[standing])


def test_the_state_that_it_was_made_with_comes_back(clock: Clock, registry: mh.Registry) -> None:
    """As one that somebody has set."""
    breaker = mh.circuit_breaker("db", initial_state="metrics_only", registry=registry)
    act(registry, "disable", 60)
    clock.tick(60)
    assert settles(breaker, "metrics_only")
    begins_open = mh.circuit_breaker("other", initial_state="open", registry=registry)
    Control(registry).act("circuit_breaker", "other", "disable", seconds=60, author="ada")
    clock.tick(60)
    assert settles(begins_open, "closed")


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FOR_A_TIME, repeat=2)))
def test_the_next_act_takes_the_place_of_the_last(
    first: str,
    second: str,
    clock: Clock,
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    told: list[Event],
) -> None:
    """When its time is over the circuit is what it was before both, whichever is longer."""
    act(registry, first, 60)
    act(registry, second, 30, author="bob")
    assert (breaker.state, Control(registry).remaining(breaker)) == (STATES[second], 30)
    clock.tick(30)
    assert settles(breaker, "closed")
    clock.tick(100)
    assert eventually(lambda: control._thread is None)
    assert breaker.state == "closed"
    assert told == [
        acted(first, 60),
        acted(second, 30, author="bob"),
        acted("expired", 30, author="bob"),
    ]
    assert not breaker._isolations


@pytest.mark.parametrize("action", FOR_A_TIME)
@pytest.mark.parametrize("later", ["force_open", *PASSING, "reset"])
def test_an_act_for_good_ends_one_for_a_time(
    action: str,
    later: str,
    clock: Clock,
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    told: list[Event],
) -> None:
    """The time that was set means nothing any more."""
    act(registry, action, 60)
    act(registry, later)
    expected = STATES.get(later, "closed")
    assert (breaker.state, Control(registry).remaining(breaker)) == (expected, None)
    clock.tick(100)
    assert eventually(lambda: control._thread is None)
    assert (breaker.state, told) == (expected, [acted(action, 60), acted(later)])


@pytest.mark.parametrize("action", FOR_A_TIME)
@pytest.mark.parametrize("method", ["force_open", *PASSING, "reset"])
def test_what_the_program_has_set_meanwhile_stays(
    action: str,
    method: str,
    clock: Clock,
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    told: list[Event],
) -> None:
    """The time is over then and there, and nothing is told when it would have been."""
    act(registry, action, 60)
    getattr(breaker, method)()
    assert Control(registry).remaining(breaker) is None
    clock.tick(100)
    assert eventually(lambda: control._thread is None)
    assert breaker.state == STATES.get(method, "closed")
    assert told == [acted(action, 60)]


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_the_program_may_isolate_meanwhile(
    action: str, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """Its block holds for as long as it lasts; then the circuit is what it was before both."""
    act(registry, action, 60)
    with breaker.isolated():
        clock.tick(60)
        assert eventually(lambda: control._thread is None)
        assert breaker.state == "forced_open"
    assert breaker.state == "closed"


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_the_time_may_outlast_a_block(
    action: str, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """And the other way round."""
    with breaker.isolated():
        act(registry, action, 60)
    assert breaker.state == STATES[action]
    clock.tick(60)
    assert settles(breaker, "closed")


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_families(action: str, clock: Clock, registry: mh.Registry) -> None:
    """All keys are set, new ones as well, and all come back."""
    breaker = mh.circuit_breaker("db", key="{key}", failure_threshold=1, registry=registry)

    @breaker
    def call(key: str) -> str:
        return key

    call("a")
    act(registry, action, 60)
    for key in ("a", "new"):
        if action in REFUSING:
            with pytest.raises(mh.CircuitOpenError):
                call(key)
        else:
            assert call(key) == key
    assert breaker.stats().states == {STATES[action]: 2}
    clock.tick(60)
    assert settles(breaker, "closed")
    assert [call(key) for key in ("a", "new", "newer")] == ["a", "new", "newer"]
    assert breaker.stats().states == {"closed": 3}


def test_reset_of_the_registry_ends_what_was_set(
    clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker, told: list[Event]
) -> None:
    """It is a change like others."""
    act(registry, "disable", 60)
    registry.reset()
    assert (breaker.state, Control(registry).remaining(breaker)) == ("closed", None)
    clock.tick(60)
    assert eventually(lambda: control._thread is None)
    assert told == [acted("disable", 60)]


def test_a_policy_that_is_gone_is_forgotten(registry: mh.Registry, told: list[Event]) -> None:
    """It is not kept alive by what was done to it, and no end is told."""
    guarded = mh.circuit_breaker(registry=registry)(fail)
    (policy,) = guarded.policies
    Control(registry).act("circuit_breaker", policy.name, "force_open", seconds=60, author="ada")
    gone = weakref.ref(policy)
    del guarded, policy
    gc.collect()
    assert gone() is None
    control._bell.ring()  # as when the thread looks next: it may have looked before
    assert eventually(lambda: control._thread is None)
    assert [each.action for each in told] == ["force_open"]  # type: ignore[attr-defined]


def test_an_end_without_the_policy_is_none(registry: mh.Registry) -> None:
    """Also where it goes in the very moment in which its time is over."""
    policy = mh.circuit_breaker("db", registry=mh.Registry())
    ended = control._Act(policy, "db", State.FORCED_OPEN, "ada", 60)
    ended.begin()
    del policy
    gc.collect()
    assert not ended.is_in_force()
    ended.expire()
    ended.begin()


def test_all_controls_see_the_same(clock: Clock, breaker: mh.CircuitBreaker) -> None:
    """One of a web application, another of a console."""
    act(breaker.registry, "isolate", 60)
    others = [Control(breaker.registry), Control(mh.Registry())]
    assert [each.remaining(breaker) for each in others] == [60, 60]


def test_one_thread_for_all(clock: Clock, registry: mh.Registry) -> None:
    """Whatever is set, each for its own time; it goes when nothing is left to end."""
    breakers = [mh.circuit_breaker(f"db{number}", registry=registry) for number in range(20)]
    for number, breaker in enumerate(breakers, start=1):
        Control(registry).act(
            "circuit_breaker", breaker.name, "isolate", seconds=number, author="ada"
        )
    ours = [each for each in threading.enumerate() if each.name == "meshhook-control"]
    assert len(ours) == 1
    assert ours[0].daemon
    for number in range(1, 21):
        clock.tick(1)
        assert settles(breakers[number - 1], "closed")
        assert all(each.state == "forced_open" for each in breakers[number:])
    ours[0].join(GIVE_UP)
    assert not ours[0].is_alive()
    assert control._thread is None


def test_a_clock_that_a_test_has_frozen_changes_nothing(
    frozen: Any, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """However far it is moved: acts are kept in real time."""
    act(registry, "isolate", 60)
    for jump in (3_600, -7_200):
        frozen.tick(jump)
        remaining = Control(registry).remaining(breaker)
        assert remaining is not None
        assert 30 < remaining <= 60
    act(registry, "isolate", 0.001)
    assert settles(breaker, "closed")


def test_a_change_of_the_date_changes_nothing(
    registry: mh.Registry, breaker: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is measured, not read from a calendar."""
    act(registry, "isolate", 60)
    monkeypatch.setattr("time.time", lambda: 4e9)
    remaining = Control(registry).remaining(breaker)
    assert remaining is not None
    assert 59 < remaining <= 60


@pytest.mark.parametrize("policy", ["circuit_breaker", "timeout", "no_kind"])
def test_a_policy_that_there_is_not(policy: str, registry: mh.Registry) -> None:
    """It is looked up by kind and name."""
    with pytest.raises(LookupError, match=f"^no {policy} is named 'none'$"):
        Control(registry).act(policy, "none", "reset", author="ada")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"action": "explode"}, "action must be one of force_open, disable, .* got 'explode'"),
    ({"action": "_set"}, "action must be one of"),
    ({"action": "__class__"}, "action must be one of"),
    ({"action": "stats"}, "action must be one of"),
    ({"action": 5}, "action must be one of"),
    ({"action": "reset", "seconds": 60}, "reset is done at once"),
    ({"action": "isolate"}, "isolate needs seconds"),
    ({"seconds": 0}, "seconds must be a duration of more than 0"),
    ({"seconds": -1}, "seconds must be"),
    ({"seconds": float("nan")}, "seconds must be"),
    ({"seconds": float("inf")}, "seconds must be"),
    ({"seconds": True}, "seconds must be"),
    ({"seconds": "soon"}, "seconds must be"),
    ({"seconds": [1]}, "seconds must be"),
    ({"seconds": LONGEST + 1}, "seconds must be at most 604800"),
    ({"author": ""}, "author must be printable text"),
    ({"author": " "}, "author must be printable text"),
    ({"author": "a\nb"}, "author must be printable text"),
    ({"author": None}, "author must be printable text"),
    ({"author": "a" * 101}, "author must be at most 100 characters"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_wrong_acts_change_nothing(
    wrong: dict[str, Any],
    said: str,
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    told: list[Event],
) -> None:
    """They say what is wrong, and are not told as done."""
    given = {"action": "force_open", "seconds": None, "author": "ada", **wrong}
    with pytest.raises(ConfigurationError, match=said):
        Control(registry).act("circuit_breaker", "db", **given)
    assert (breaker.state, told, control._thread) == ("closed", [], None)


def test_only_circuits_are_set_for_a_time(registry: mh.Registry) -> None:
    """Others say what may be done to them."""
    mh.timeout(name="db", registry=registry)
    with pytest.raises(ConfigurationError, match="one of reset for a timeout, got 'force_open'"):
        Control(registry).act("timeout", "db", "force_open", author="ada")


def test_nobody_has_to_listen(registry: mh.Registry, breaker: mh.CircuitBreaker) -> None:
    """Then no event is built."""
    act(registry, "isolate", 0.001)
    assert settles(breaker, "closed")


def test_the_change_comes_before_its_author(
    registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """At the beginning as at the end: what is told has been done."""
    heard: list[Event] = []
    with events.subscribe(heard.append, CircuitChanged, OperatorActed):
        act(registry, "isolate", 0.01)
        assert settles(breaker, "closed")
        assert eventually(lambda: len(heard) == 4)
    assert [type(each).__name__ for each in heard] == ["CircuitChanged", "OperatorActed"] * 2


def test_a_listener_may_act_itself(registry: mh.Registry, breaker: mh.CircuitBreaker) -> None:
    """No lock is held while an act is told, at its end neither."""
    other = mh.circuit_breaker("other", registry=registry)

    def mirror(event: OperatorActed) -> None:
        if event.name == "db":
            action = "reset" if event.action == "expired" else "force_open"
            worker = threading.Thread(
                target=lambda: Control(registry).act(
                    "circuit_breaker", "other", action, author="mirror"
                )
            )
            worker.start()
            worker.join(GIVE_UP)
            assert not worker.is_alive()

    with events.subscribe(mirror, OperatorActed):
        act(registry, "isolate", 0.05)
        assert other.state == "forced_open"
        assert settles(breaker, "closed")
        assert eventually(lambda: other.state == "closed")


def test_what_fails_at_the_end_is_logged_and_stops_nothing_else(
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other acts end, also where a log handler fails."""
    other = mh.circuit_breaker("other", registry=registry)
    real_end = for_a_time.end
    log = logging.getLogger("meshhook.control")

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    broken = Broken()
    log.addHandler(broken)

    def end(policy: mh.CircuitBreaker, what: for_a_time.ForATime) -> None:
        if policy is breaker:
            raise RuntimeError("broken")
        real_end(policy, what)

    monkeypatch.setattr(for_a_time, "end", end)
    act(registry, "isolate", 0.001)
    Control(registry).act("circuit_breaker", "other", "isolate", seconds=0.01, author="ada")
    try:
        assert settles(other, "closed")
    finally:
        log.removeHandler(broken)
    Control(registry).act("circuit_breaker", "db", "isolate", seconds=0.001, author="ada")
    assert eventually(lambda: "the time of circuit_breaker 'db' could not be ended" in caplog.text)


def test_without_a_thread_there_is_no_act_for_a_time(
    registry: mh.Registry,
    breaker: mh.CircuitBreaker,
    monkeypatch: pytest.MonkeyPatch,
    told: list[Event],
) -> None:
    """Nothing would ever end it, so it is taken back."""

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            act(registry, "disable", 60)
    assert (breaker.state, told, breaker in control._acts) == ("closed", [], False)
    act(registry, "isolate", 0.001)
    assert settles(breaker, "closed")


@pytest.mark.parametrize("overtaken", [0, 1])
def test_of_two_at_the_same_moment_the_later_state_lasts(
    overtaken: int, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """Whichever of them is entered first."""
    acts = [
        control._Act(breaker, "db", state, "ada", 60)
        for state in (State.DISABLED, State.METRICS_ONLY)
    ]
    for each in acts:
        each.begin()
    for each in (acts[1 - overtaken], acts[overtaken]):
        control._end(control._put(breaker, each))
    assert (breaker.state, Control(registry).remaining(breaker)) == ("metrics_only", 60)
    clock.tick(60)
    assert settles(breaker, "closed")


def test_many_operators_at_once(registry: mh.Registry, breaker: mh.CircuitBreaker) -> None:
    """8 threads that do all there is, and nothing is left behind: no isolation, no thread."""
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait(GIVE_UP)
        for action in itertools.islice(itertools.cycle(FOR_A_TIME), number, number + 50):
            act(registry, action, 0.005 if number % 2 else 30)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GIVE_UP)
    act(registry, "isolate", 0.005)
    assert settles(breaker, "closed")
    assert not breaker._isolations
    breaker.call(int)


@pytest.mark.parametrize("action", FOR_A_TIME)
def test_a_forked_child_ends_what_it_inherits(
    action: str, clock: Clock, registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """On its own, and its parent knows nothing of it."""
    act(registry, action, 60)

    def in_the_child() -> bool:
        inherited = breaker.state == STATES[action]
        clock.tick(60)
        return inherited and settles(breaker, "closed")

    assert in_a_fork(in_the_child) == 0
    assert breaker.state == STATES[action]
    clock.tick(60)
    assert settles(breaker, "closed")


def test_a_child_that_inherits_nothing_has_no_thread(registry: mh.Registry) -> None:
    """And one of its own when it acts."""

    def in_the_child() -> bool:
        breaker = mh.circuit_breaker("db", registry=registry)
        before = control._thread
        act(registry, "isolate", 0.01)
        return before is None and settles(breaker, "closed")

    assert in_a_fork(in_the_child) == 0


def test_a_fork_while_another_thread_holds_the_lock(
    registry: mh.Registry, breaker: mh.CircuitBreaker
) -> None:
    """The child gets a lock of its own."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with control._lock:
            held.set()
            free.wait(GIVE_UP)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(GIVE_UP)

    def in_the_child() -> bool:
        act(registry, "isolate", 0.01)
        return settles(breaker, "closed")

    try:
        assert in_a_fork(in_the_child) == 0
    finally:
        free.set()
        holder.join(GIVE_UP)
