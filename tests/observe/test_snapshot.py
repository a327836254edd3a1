"""Snapshots: one reading for all who look, and of a stream only what has changed."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any

import pytest

import meshhook as mh
from meshhook.errors import ConfigurationError
from meshhook.health import Status
from meshhook.observe import snapshot
from meshhook.observe.control import Control
from meshhook.observe.instance import instance, version
from meshhook.observe.snapshot import Changes, Snapshots
from meshhook.stats import Stats
from tests.forking import in_a_fork
from tests.observe.everything import SECRET, everything
from tests.waiting import GIVE_UP

READINGS = 100
"""Of each who looks while calls are made: enough to meet them, however slow the machine is."""


def fail(*_: Any) -> None:
    raise ConnectionError


def attempt(call: Callable[..., Any], *args: Any) -> None:
    """Call what may fail."""
    try:
        call(*args)
    except (mh.MeshHookError, ConnectionError):
        pass


class Looks:
    """Looks at a registry again and again, with a clock that is moved on in between."""

    def __init__(self, registry: mh.Registry, clock: Any) -> None:
        self.snapshots = Snapshots(registry)
        self.clock = clock
        self.token: int | None = None

    def look(self, seconds: float = 0.5) -> Changes:
        self.clock.tick(seconds)
        changes = self.snapshots.changes_since(self.token)
        self.token = changes.token
        return changes

    def names(self, seconds: float = 0.5) -> list[str]:
        """Return which policies are told, of those that are not all."""
        changes = self.look(seconds)
        assert not changes.full
        return [each["name"] for each in changes.policies]


@pytest.fixture
def looks(registry: mh.Registry, frozen: Any) -> Looks:
    return Looks(registry, frozen)


def test_what_is_told_of_a_policy(registry: mh.Registry) -> None:
    """All that a page shows, and what may be done."""
    breaker = mh.circuit_breaker("db", critical=True, registry=registry)
    breaker.call(int)
    (told,) = Snapshots(registry).policies()
    stats = told.pop("stats")
    assert told == {
        "policy": "circuit_breaker",
        "name": "db",
        "status": "ok",
        "condition": "closed",
        "critical": True,
        "actions": ("force_open", "disable", "metrics_only", "reset", "isolate"),
        "until": None,
    }
    assert type(told["status"]) is str
    assert stats == {**breaker.stats().to_dict(), "seconds_in_state": stats["seconds_in_state"]}


def test_what_an_operator_has_set_for_a_time(registry: mh.Registry) -> None:
    """How long it lasts is told, and its condition."""
    mh.circuit_breaker("db", registry=registry)
    control = Control(registry)
    control.act("circuit_breaker", "db", "isolate", seconds=60, author="ada")
    (told,) = Snapshots(registry, control).policies()
    assert 55 < told["until"] <= 60
    assert (told["status"], told["condition"]) == ("failing", "forced_open")
    control.act("circuit_breaker", "db", "reset", author="ada")
    (told,) = Snapshots(registry, control).policies()
    assert (told["until"], told["condition"]) == (None, "closed")


def test_every_kind_of_policy_is_fit_for_json() -> None:
    """Also with everything counted that can be; no secret is in it."""
    told = Snapshots(everything()).policies()
    text = json.dumps(told, allow_nan=False)
    assert {each["policy"] for each in told} > {"circuit_breaker", "retry_budget", "chaos"}
    assert SECRET not in text
    assert all("error" not in each["stats"] for each in told)


def test_one_policy_is_read_as_it_is_now(registry: mh.Registry, frozen: Any) -> None:
    """Whoever has just acted on it wants to see that; None if there is none."""
    breaker = mh.circuit_breaker("db", registry=registry)
    snapshots = Snapshots(registry)
    assert snapshots.policies()[0]["condition"] == "closed"
    breaker.force_open()
    assert snapshots.policies()[0]["condition"] == "closed"
    told = snapshots.policy("circuit_breaker", "db")
    assert told is not None
    assert told["condition"] == "forced_open"
    assert snapshots.policy("circuit_breaker", "none") is None
    assert snapshots.policy("timeout", "db") is None
    frozen.tick(0.5)
    assert snapshots.policies()[0]["condition"] == "forced_open"


def test_a_reading_is_for_all_who_look(registry: mh.Registry, frozen: Any) -> None:
    """Within the interval; then it is made anew."""
    mh.timeout(name="db", registry=registry)
    snapshots = Snapshots(registry, interval="2s")
    first = snapshots.changes_since(None)
    frozen.tick(1.9)
    assert snapshots.changes_since(None) is first
    frozen.tick(0.1)
    assert snapshots.changes_since(None) is not first


def test_the_default_registry() -> None:
    """As everywhere."""
    assert Snapshots()._registry is mh.Registry.default
    with pytest.raises(ConfigurationError, match="interval must be"):
        Snapshots(interval=-1)


def test_first_all_then_what_has_changed(registry: mh.Registry, looks: Looks) -> None:
    """Who has seen all is told of those alone where something has happened."""
    breakers = [mh.circuit_breaker(name, registry=registry) for name in "abc"]
    first = looks.look()
    assert first.full
    assert first.to_dict() == {
        "time": first.time,
        "full": True,
        "policies": first.policies,
        "gone": [],
        "total": 3,
    }
    assert looks.names() == []
    breakers[1].call(int)
    assert looks.names() == ["b"]
    assert looks.names() == []
    breakers[0].force_open()
    breakers[2].call(int)
    assert looks.names() == ["a", "c"]


def test_who_was_away_misses_nothing(registry: mh.Registry, frozen: Any) -> None:
    """A token of any reading will do; others get everything."""
    breakers = [mh.circuit_breaker(name, registry=registry) for name in "abc"]
    looks = Looks(registry, frozen)
    token = looks.look().token
    for breaker in breakers[:2]:
        breaker.call(int)
        looks.look()
    away = looks.snapshots.changes_since(token)
    assert (away.full, [each["name"] for each in away.policies]) == (False, ["a", "b"])
    assert looks.snapshots.changes_since(away.token + 1).full
    assert looks.snapshots.changes_since(-1).full


def test_a_policy_that_comes_or_goes(registry: mh.Registry, looks: Looks) -> None:
    """Both are told once, and how many there are."""
    mh.timeout(name="stays", registry=registry)
    looks.look()
    guarded = mh.timeout(1, registry=registry)(fail)
    name = guarded.policies[0].name
    assert looks.names() == [name]
    del guarded
    gc.collect()
    changes = looks.look()
    assert (changes.gone, changes.policies, changes.total) == ([f"timeout/{name}"], [], 1)
    assert looks.look().gone == []


def test_a_policy_that_went_and_came_back_has_not_gone(registry: mh.Registry, frozen: Any) -> None:
    """For one who was away in between."""
    looks = Looks(registry, frozen)
    kept = [mh.timeout(1, registry=registry)(fail)]
    token = looks.look().token
    kept.clear()
    gc.collect()
    looks.look()
    kept.append(mh.timeout(2, registry=registry)(fail))
    looks.look()
    away = looks.snapshots.changes_since(token)
    assert (away.gone, len(away.policies), away.full) == ([], 1, False)


def test_what_is_known_of_those_that_went_is_bounded(
    registry: mh.Registry, frozen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was away for too long gets everything."""
    monkeypatch.setattr(snapshot, "_MOST_GONE", 5)
    looks = Looks(registry, frozen)
    tokens = []
    for _ in range(8):
        kept = [mh.timeout(1, registry=registry)(fail) for _ in range(2)]
        tokens.append(looks.look().token)
        kept.clear()
        gc.collect()
        tokens.append(looks.look().token)
    assert looks.snapshots._reading is not None
    assert len(looks.snapshots._reading.gone) == 5
    assert [looks.snapshots.changes_since(token).full for token in tokens[-8:]] == [
        True,  # two pairs and one of the pair before are known
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]


def test_time_alone_changes_nothing(registry: mh.Registry, looks: Looks) -> None:
    """An open circuit and a limit count down on the page; they are told when their time is over."""
    breaker = mh.circuit_breaker("open", failure_threshold=1, reset_timeout=30, registry=registry)
    limit = mh.rate_limit("1/20s", name="limit", registry=registry)
    attempt(breaker.call, fail)
    limit.call(int)
    told = {each["name"]: each["stats"]["retry_after"] for each in looks.look(0).policies}
    assert told == {"open": 30, "limit": 20}
    for _ in range(19):
        assert looks.names(1) == []
    assert looks.names(1) == ["limit"]
    for _ in range(9):
        assert looks.names(1) == []
    assert looks.names(1) == ["open"]
    for _ in range(20):
        assert looks.names(1) == []
    (told_of,) = (each for each in looks.snapshots.policies() if each["name"] == "open")
    assert told_of["condition"] == "trial_due"


def test_the_reading_has_the_time_of_now_all_the_same(registry: mh.Registry, looks: Looks) -> None:
    """Who asks for all gets it."""
    mh.circuit_breaker("db", registry=registry)
    looks.look(0)
    for seconds in (10, 20):
        assert looks.names(10) == []
        assert looks.snapshots.policies()[0]["stats"]["seconds_in_state"] == seconds


def test_a_moment_that_has_moved_is_a_change(registry: mh.Registry, looks: Looks) -> None:
    """A pause that is prolonged, though nothing was counted; a bit of drift is none."""
    limit = mh.rate_limit("1/20s", name="limit", registry=registry)
    limit.call(int)
    looks.look(0)
    for _ in range(4):
        assert looks.names(1) == []
    limit.reset()
    limit.call(int)
    assert looks.names(1) == ["limit"]


def test_an_act_for_a_time_is_told_once(registry: mh.Registry, frozen: Any) -> None:
    """At its beginning, where it is prolonged, and at its end."""
    mh.circuit_breaker("db", registry=registry)
    looks = Looks(registry, frozen)
    control = Control(registry)
    looks.look()
    control.act("circuit_breaker", "db", "isolate", seconds=60, author="ada")
    assert looks.names() == ["db"]
    assert looks.names() == []
    control.act("circuit_breaker", "db", "isolate", seconds=90, author="ada")
    assert looks.names() == ["db"]
    control.act("circuit_breaker", "db", "reset", author="ada")
    assert looks.names() == ["db"]


def test_a_store_that_has_failed(registry: mh.Registry, looks: Looks) -> None:
    """Told when it does, and when that is long enough ago."""
    policy = mh.idempotent(key="{x}", name="db", registry=registry)
    looks.look()
    policy.store_failed("begin", mh.StoreUnavailableError("no"))
    assert looks.names() == ["db"]
    assert looks.names(20) == []
    assert looks.names(20) == ["db"]
    policy.store_failed("begin", mh.StoreUnavailableError("no"))
    assert looks.names() == ["db"]


@pytest.mark.parametrize("jump", [-3_600, 3_600])
def test_a_clock_that_jumps(jump: int, registry: mh.Registry, looks: Looks) -> None:
    """It keeps nobody from seeing what is new, neither way."""
    breaker = mh.circuit_breaker("db", registry=registry)
    looks.look()
    looks.clock.tick(jump)
    looks.look(0)
    breaker.call(int)
    assert looks.names() == ["db"]
    assert looks.names() == []


class Word(StrEnum):
    ODD = "odd"


class Number(IntEnum):
    ONE = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OddStats(Stats):
    """Statistics of somebody else's policy."""

    what: Any
    retry_after: Any = None

    def health(self) -> Any:
        return "failing", "odd"


class Odd(mh.Timeout):
    kind = "odd"
    told: Any = None

    def stats(self) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return OddStats(policy="odd", name="odd", what=self.told, retry_after=self.told)


@pytest.fixture
def odd(registry: mh.Registry) -> Odd:
    made = Odd(mh.timeout(1).settings, registry)
    registry.adopt(made, "odd")
    return made


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
        ([1.5, math.inf, {"a": math.nan}], [1.5, None, {"a": None}]),
        ((1, 2), [1, 2]),
        ({1: "x"}, {"1": "x"}),
        (Word.ODD, "odd"),
        (Number.ONE, 1),
        (True, True),
        (b"secret", "<bytes>"),
        ({"a": {b"secret"}}, {"a": "<set>"}),
        ("text", "text"),
    ],
)
def test_whatever_is_told_can_be_written_as_json(
    value: Any, shown: Any, odd: Odd, registry: mh.Registry
) -> None:
    """What JSON does not know is None, or the name of its type."""
    odd.told = value
    told = Snapshots(registry).policies()[0]
    assert (told["status"], told["condition"], told["stats"]["what"]) == ("failing", "odd", shown)
    json.dumps(told, allow_nan=False)


def test_a_policy_that_cannot_be_read_hides_no_other(odd: Odd, registry: mh.Registry) -> None:
    """It is told that it cannot, by the name of the type alone."""
    odd.told = RuntimeError("secret")
    mh.timeout(name="other", registry=registry)
    told = {each["name"]: each for each in Snapshots(registry).policies()}
    assert told["odd"]["stats"] == {"error": "RuntimeError"}
    assert (told["odd"]["status"], told["odd"]["condition"]) == ("degraded", "unreadable")
    assert told["other"]["status"] == "ok"
    assert "secret" not in json.dumps(list(told.values()))


def test_a_status_that_there_is_not(odd: Odd, registry: mh.Registry) -> None:
    """Such a policy cannot be read either."""
    odd.told = 1

    def health(_: Any) -> tuple[str, str]:
        return "splendid", "odd"

    original = OddStats.health
    OddStats.health = health  # type: ignore[method-assign]
    try:
        assert Snapshots(registry).policies()[0]["condition"] == "unreadable"
        assert registry.health().policies["odd/odd"].condition == "unreadable"
    finally:
        OddStats.health = original  # type: ignore[method-assign]
    assert registry.health().policies["odd/odd"].status is Status.FAILING


class Slow(mh.Timeout):
    """A policy that is read for as long as a test says."""

    kind = "slow"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.readings = 0
        self.inside = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def stats(self) -> Any:
        self.readings += 1
        self.inside.set()
        assert self.go.wait(GIVE_UP)
        return Stats(policy="slow", name="slow")


@pytest.fixture
def slow(registry: mh.Registry) -> Slow:
    made = Slow(mh.timeout(1).settings, registry)
    registry.adopt(made, "slow")
    return made


def test_who_looks_while_another_reads_gets_the_reading_before(
    slow: Slow, registry: mh.Registry
) -> None:
    """Nobody waits, but for the first reading of all."""
    snapshots = Snapshots(registry, interval=0)
    before = snapshots.changes_since(None)
    slow.go.clear()
    slow.inside.clear()
    snapshots._good_until = -math.inf
    reader = threading.Thread(target=snapshots.policies)
    reader.start()
    assert slow.inside.wait(GIVE_UP)
    assert snapshots.changes_since(None) is before
    slow.go.set()
    reader.join(GIVE_UP)
    assert slow.readings == 2
    assert snapshots.changes_since(None).token > before.token


def test_nobody_gets_what_was_read_long_ago(slow: Slow, registry: mh.Registry) -> None:
    """Where nobody has looked for a while, who comes second waits for the reading of the first."""
    snapshots = Snapshots(registry, interval=0)
    before = snapshots.changes_since(None)
    slow.go.clear()
    slow.inside.clear()
    snapshots._read_at -= 60
    snapshots._good_until = snapshots._read_at
    found: list[int] = []
    readers = [
        threading.Thread(target=lambda: found.append(snapshots.changes_since(None).token))
        for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    assert slow.inside.wait(GIVE_UP)
    readers[1].join(0.05)
    assert not found
    slow.go.set()
    for reader in readers:
        reader.join(GIVE_UP)
    assert min(found) > before.token


def test_the_first_reading_is_made_once(slow: Slow, registry: mh.Registry) -> None:
    """However many ask for it at the same time."""
    snapshots = Snapshots(registry, interval=3600)
    slow.go.clear()
    found: list[int] = []
    readers = [
        threading.Thread(target=lambda: found.append(len(snapshots.policies()))) for _ in range(8)
    ]
    for reader in readers:
        reader.start()
    assert slow.inside.wait(GIVE_UP)
    slow.go.set()
    for reader in readers:
        reader.join(GIVE_UP)
    assert (found, slow.readings) == ([1] * 8, 1)


def test_who_interrupts_a_reading_gets_what_there_is(slow: Slow, registry: mh.Registry) -> None:
    """A signal handler that looks, while its own thread reads for the first time."""
    snapshots = Snapshots(registry)
    found: list[Any] = []

    def strike(*_: Any) -> None:
        found.append(snapshots.changes_since(None))
        slow.go.set()

    before = signal.signal(signal.SIGALRM, strike)
    slow.go.clear()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert len(snapshots.policies()) == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [(each.policies, each.total) for each in found] == [([], 0)]


def test_a_reading_that_takes_long_is_made_less_often(
    registry: mh.Registry, frozen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most a tenth of the time is spent on it."""
    mh.timeout(name="db", registry=registry)
    snapshots = Snapshots(registry)
    real_tell = snapshots._tell

    def tell(*args: Any) -> Any:
        frozen.tick(0.3)
        return real_tell(*args)

    monkeypatch.setattr(snapshots, "_tell", tell)
    first = snapshots.changes_since(None)
    frozen.tick(2.9)
    assert snapshots.changes_since(None) is first
    frozen.tick(0.1)
    assert snapshots.changes_since(None) is not first


def test_10_000_policies(registry: mh.Registry) -> None:
    """Read in bounded time, and of a stream only what has changed."""
    limits = [mh.rate_limit("5/s", name=f"limit{n}", registry=registry) for n in range(10_000)]
    snapshots = Snapshots(registry, interval=0)
    began = time.thread_time()
    first = snapshots.changes_since(None)
    assert time.thread_time() - began < 10
    assert (len(first.policies), first.total) == (10_000, 10_000)
    limits[5].call(int)
    snapshots._good_until = -math.inf
    changes = snapshots.changes_since(first.token)
    assert [each["name"] for each in changes.policies] == ["limit5"]


def test_a_storm_of_calls_while_somebody_reads(registry: mh.Registry) -> None:
    """Calls from 4 threads, and 4 readers: no reading breaks, and the last one has all calls."""
    breaker = mh.circuit_breaker(
        "db", key="{key}", max_keys=50, failure_rate_threshold=0.9, registry=registry
    )
    slots = mh.bulkhead(2, key="{key}", max_keys=5, name="db", registry=registry)

    @breaker
    @slots
    def call(key: int) -> int:
        return key

    snapshots = Snapshots(registry, interval=0)

    def strike(thread: int) -> None:
        for number in range(1_000):
            attempt(call, thread * 1_000 + number % 100)

    def look() -> None:
        token = None
        for _ in range(READINGS):
            changes = snapshots.changes_since(token)
            json.dumps(changes.to_dict(), allow_nan=False)
            assert all("error" not in each["stats"] for each in changes.policies)
            token = changes.token

    failed: list[Any] = []
    previous, threading.excepthook = threading.excepthook, failed.append
    try:
        strikers = [threading.Thread(target=strike, args=(number,)) for number in range(4)]
        readers = [threading.Thread(target=look) for _ in range(4)]
        for thread in (*strikers, *readers):
            thread.start()
        for thread in (*strikers, *readers):
            thread.join(GIVE_UP)
            assert not thread.is_alive()
    finally:
        threading.excepthook = previous
    assert not failed
    snapshots._good_until = -math.inf
    told = {each["policy"]: each["stats"] for each in snapshots.policies()}
    assert told["circuit_breaker"]["calls"] == 4_000


def test_a_forked_child_reads_on_its_own(slow: Slow, registry: mh.Registry) -> None:
    """Also where a thread of its parent was reading."""
    snapshots = Snapshots(registry, interval=0)
    slow.go.clear()
    reader = threading.Thread(target=snapshots.policies)
    reader.start()
    assert slow.inside.wait(GIVE_UP)

    def in_the_child() -> bool:
        slow.go = threading.Event()
        slow.go.set()
        return len(snapshots.policies()) == 1

    try:
        assert in_a_fork(in_the_child) == 0
    finally:
        slow.go.set()
        reader.join(GIVE_UP)


def test_which_process_it_is() -> None:
    """A forked child is another one."""
    here = instance()
    assert here["id"] == f"{here['host']}:{os.getpid()}:{int(here['started'])}"
    assert here["pid"] == os.getpid()
    assert here["started"] <= here["time"] <= time.time()
    assert here["version"].startswith("0.2")
    json.dumps(here)
    assert in_a_fork(lambda: instance()["id"] != here["id"]) == 0


def test_without_its_metadata_the_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as from a source tree that was not installed."""

    def nothing(_: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr("meshhook.observe.instance.version", version.__wrapped__)  # nothing is kept
    monkeypatch.setattr(importlib.metadata, "version", nothing)
    assert instance()["version"] == "unknown"
