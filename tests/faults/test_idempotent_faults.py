"""Idempotent functions on a real Redis, with processes that are killed and servers that stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook.stores.protocol import Get
from tests.waiting import eventually

pytestmark = pytest.mark.fault

WORKER = """
import os, sys, time
import meshhook as mh

url, name, log, keys, lease, hold = sys.argv[1:]
log = os.open(log, os.O_WRONLY | os.O_APPEND)
store = mh.RedisStore(url, timeout=5)

@mh.idempotent("{key}", store=store, name=name, lease=float(lease), wait_timeout=60)
def run(key):
    os.write(log, f"{key} {os.getpid()} {time.monotonic()} {mh.current().attempt}\\n".encode())
    time.sleep(float(hold))
    return key

print("ready", flush=True)
sys.stdin.readline()
for key in range(int(keys)):
    assert run(key) == key
"""


class Worker:
    """A process that runs keys and writes each execution to a log."""

    def __init__(
        self, url: str, name: str, log: Path, *, keys: int, lease: float, hold: float
    ) -> None:
        arguments = [url, name, str(log), str(keys), str(lease), str(hold)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end."""
        code = self.process.wait(timeout=60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return code


def lines(log: Path) -> list[list[str]]:
    """Return the executions in a log: key, pid, time and attempt."""
    return [line.split() for line in log.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Make an empty log."""
    path = tmp_path / "log"
    path.touch()
    return path


def test_eight_processes_race_on_200_keys(servers: Any, log: Path) -> None:
    """Eight processes that call 200 keys through one Redis execute 200 times."""
    url, name = servers("valkey").url, uuid.uuid4().hex
    workers = [Worker(url, name, log, keys=200, lease=30, hold=0) for _ in range(8)]
    for worker in workers:
        worker.go()
    assert [worker.end() for worker in workers] == [0] * 8
    assert sorted(int(key) for key, *_ in lines(log)) == list(range(200))


def test_a_killed_holder_is_followed_after_its_lease(servers: Any, log: Path) -> None:
    """After kill -9 of the holder there is one more execution, and not before the lease is over."""
    url, name, lease = servers("valkey").url, uuid.uuid4().hex, 1.0
    holder = Worker(url, name, log, keys=1, lease=lease, hold=60)
    holder.go()
    while not lines(log):
        time.sleep(0.01)
    followers = [Worker(url, name, log, keys=1, lease=lease, hold=0) for _ in range(3)]
    for follower in followers:
        follower.go()
    time.sleep(2 * lease)
    assert len(lines(log)) == 1, "a live holder's lease is renewed"
    os.kill(holder.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    holder.end()
    assert [follower.end() for follower in followers] == [0] * 3
    executions = lines(log)
    waited = float(executions[1][2]) - killed
    assert (len(executions), executions[1][3]) == (2, "2")
    # The last renewal was at most a third of a lease before the kill.
    assert lease * 0.6 <= waited <= lease + 1.0


@pytest.mark.parametrize("how", ["paused", "gone"])
def test_without_its_store_nothing_runs(how: str, own_server: Any) -> None:
    """Redis stopped or gone: the call fails within half a second, and runs nothing."""
    runs: list[int] = []
    store = mh.RedisStore(own_server.url)

    @mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())
    def charge(order: int) -> None:
        runs.append(order)

    charge(1)
    if how == "paused":
        own_server.pause()
    else:
        own_server.kill()
    try:
        for order in (2, 3):
            began = time.monotonic()
            with pytest.raises(mh.StoreUnavailableError):
                charge(order)
            assert time.monotonic() - began < 0.5
    finally:
        if how == "paused":
            own_server.resume()
        store.close()
    assert runs == [1]


def test_running_without_the_store_is_a_choice(own_server: Any) -> None:
    """With ``on_store_error="run"`` the call is executed unprotected, and counted so."""
    store = mh.RedisStore(own_server.url)
    registry = mh.Registry()
    policy = mh.idempotent(
        "{order}", store=store, name="charge", on_store_error="run", registry=registry
    )
    charge = policy(lambda order: order)
    own_server.kill()
    assert [charge(1), charge(1)] == [1, 1]
    stats = policy.stats()
    assert (stats.executed, stats.unprotected, stats.store_errors) == (2, 2, 2)
    store.close()


def test_breaker_and_timeout_do_not_notice(own_server: Any) -> None:
    """A store that hangs delays no policy that does not use it."""
    store = mh.RedisStore(own_server.url)
    once = mh.idempotent("{x}", store=store, name="once", registry=mh.Registry())(lambda x: x)
    once(1)
    guarded = mh.circuit_breaker("db", registry=mh.Registry())(lambda: "ok")
    own_server.pause()
    try:
        began = time.monotonic()
        assert [guarded() for _ in range(1000)] == ["ok"] * 1000
        assert time.monotonic() - began < 0.5
    finally:
        own_server.resume()
        store.close()


def test_a_stopped_store_is_waited_for_no_longer_than_the_deadline(own_server: Any) -> None:
    """Nothing is executed, neither now nor when the server is back."""
    store = mh.RedisStore(own_server.url, timeout=5.0)
    runs: list[int] = []
    fn = mh.idempotent("{order}", store=store, name="late", registry=mh.Registry())(
        lambda order: runs.append(order)
    )
    fn(0)
    own_server.pause()
    try:
        began = time.monotonic()
        with mh.deadline(0.1), pytest.raises(mh.NoTimeLeftError, match="before the store answered"):
            fn(1)
        assert 0.09 < time.monotonic() - began < 1.0
    finally:
        own_server.resume()
    assert (runs, fn.policies[0].stats().rejected) == ([0], 1)  # type: ignore[attr-defined]
    fn(1)
    assert runs == [0, 1]
    store.close()


def test_who_waits_on_the_thread_of_a_store_is_told_at_once(servers: Any) -> None:
    """Nobody else would be served meanwhile, and the answer could not come."""
    store = mh.RedisStore(servers("valkey").url)
    policy = mh.idempotent(store=store, name="own thread", registry=mh.Registry())
    told: list[BaseException] = []
    ended = threading.Event()

    def use(_: Any) -> None:
        try:
            policy.run("k", int)
        except mh.StoreUnavailableError as error:
            told.append(error)
        ended.set()

    store.submit(Get(policy.scope.at("other"))).add_done_callback(use)
    assert ended.wait(10.0)
    assert "hands on what it wants of that store to another thread" in str(told[0])
    store.close()


def test_a_call_learns_that_its_lease_is_over_though_no_store_says_so(own_server: Any) -> None:
    """It knows when it was renewed at last; a check that reaches the store makes it sure again."""
    store = mh.RedisStore(own_server.url, timeout=2.0)
    seen: list[bool] = []

    def work(order: int) -> None:
        claim = mh.current()
        seen.append(claim.lost)
        own_server.pause()
        try:
            seen.append(eventually(lambda: claim.lost))
        finally:
            own_server.resume()
        claim.check()
        seen.append(claim.lost)

    fn = mh.idempotent("{order}", store=store, name="late", lease=0.3, registry=mh.Registry())(work)
    fn(1)
    assert seen == [False, True, False]
    store.close()
