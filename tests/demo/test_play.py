"""The demo as people run it: real processes, real faults, and nothing left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook.demo import workload
from meshhook.demo.plain import PlainView
from meshhook.demo.policies import Policies, demo_policies
from meshhook.demo.report import Report
from meshhook.demo.script import Plan, play
from meshhook.demo.workload import Workload
from meshhook.stores.protocol import Store
from tests.demo.scenes import bypass
from tests.servers import running

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]


class Demo:
    """``python -m meshhook demo`` in a process group and with a temporary folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshhook", "demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def wait_for(self, text: str) -> str:
        """Read lines until one has ``text`` in it, and return that one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"the demo ended without {text!r}")

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return code, output and errors."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def leftovers(self) -> list[str]:
        """Return what is in the temporary folder."""
        return [path.name for path in self._folder.iterdir()]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start(*arguments: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments))
        return demos[-1]

    yield start
    for each in demos:
        each.process.kill()
        each.process.communicate()


def is_gone(pid: int, within: float = 5.0) -> bool:
    """Tell whether a process ends; a zombie that nobody waits for has ended."""
    give_up = time.monotonic() + within
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def service_pid(line: str) -> int:
    found = re.search(r"process (\d+)", line)
    assert found is not None
    return int(found[1])


def test_every_promise_is_kept_with_records_in_memory(demo: Callable[..., Demo]) -> None:
    """Slow, failing, killed, restarted: callers are freed, the circuit opens, nobody pays twice."""
    played = demo("--seconds", "6", "--json")
    code, out, err = played.end()
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert [verdict["kept"] for verdict in report["invariants"]] == [True] * 6
    assert report["charges"]["executed"] == report["charges"]["orders"] > 10
    assert report["charges"]["replayed"] > 0
    assert report["circuit"]["opened"] >= 2
    assert report["timeouts"]["timed_out"] > 0
    assert report["calls"]["failed"] > 0
    assert report["failures_shielded"] > 0
    assert report["time_saved"] > 0
    first, second = report["service_processes"]
    assert first != second
    assert is_gone(first)
    assert is_gone(second)
    assert played.leftovers() == []


def test_every_promise_is_kept_on_a_redis_of_its_own(demo: Callable[..., Demo]) -> None:
    """``--store redis`` runs a server, and takes it away with all its files."""
    played = demo("--seconds", "2", "--plain", "--store", "redis")
    code, out, err = played.end()
    assert (code, err) == (0, "")
    assert "records in redis" in out
    assert out.count("  kept  ") == 6
    assert "SIGKILL" in out
    assert "\x1b" not in out
    assert played.leftovers() == []


def test_a_redis_that_runs_already_is_used(demo: Callable[..., Demo]) -> None:
    """``--store redis://...`` keeps records there, with a lifetime on each."""
    with running("valkey") as server:
        code, out, _ = demo("--seconds", "2", "--json", "--store", server.url).end()
        import redis

        with contextlib.closing(redis.Redis.from_url(server.url)) as client:
            lifetimes = [client.ttl(key) for key in client.scan_iter()]
    report = json.loads(out)
    assert code == 0
    assert all(0 < lifetime <= 600 for lifetime in lifetimes)
    # What was given back after a failure is remembered for a minute, a receipt for ten.
    kept = [lifetime for lifetime in lifetimes if lifetime > 60]
    assert len(kept) == report["charges"]["confirmed"] > 0


@pytest.mark.parametrize(
    ("number", "everybody"),
    [(signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["ctrl-c", "term"],
)
def test_an_interrupted_demo_reports_what_there_was(
    demo: Callable[..., Demo], number: signal.Signals, everybody: bool
) -> None:
    """Ctrl-C reaches the whole group, as from a terminal; the code is 130 and nothing stays."""
    played = demo("--seconds", "20", "--plain")
    pid = service_pid(played.wait_for("A flaky service"))
    played.wait_for("answered")
    (os.killpg if everybody else os.kill)(played.process.pid, number)
    code, out, err = played.end()
    assert (code, err) == (130, "")
    assert ", interrupted" in out
    assert out.count("  kept  ") == 6
    assert is_gone(pid)
    assert played.leftovers() == []


def test_a_killed_demo_leaves_nothing_behind(demo: Callable[..., Demo]) -> None:
    """With SIGKILL there is no time to clean up: the processes notice and see to it themselves."""
    played = demo("--seconds", "20", "--plain", "--store", "redis")
    pid = service_pid(played.wait_for("A flaky service"))
    played.wait_for("answered")
    played.process.kill()
    played.end()
    assert is_gone(pid)
    give_up = time.monotonic() + 10
    while played.leftovers() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert played.leftovers() == []


def sabotaged(**decorators: Any) -> Report:
    """Play with some of the policies replaced."""

    def make(store: Store, limit: float, reset_timeout: float) -> Policies:
        return dataclasses.replace(demo_policies(store, limit, reset_timeout), **decorators)

    return play(Plan.lasting(2.0), "memory", PlainView(None), make)


def broken(report: Report) -> list[str]:
    return [verdict.promise for verdict in report.invariants if not verdict.kept]


def test_without_idempotency_orders_are_charged_twice() -> None:
    """The first promise rests on the policy, not on the kindness of the service."""
    assert "no order was charged twice" in broken(sabotaged(once=bypass))


def test_without_a_timeout_calls_take_too_long() -> None:
    """The second promise rests on the timeout."""
    assert "no call outlived its timeout by over 0.25 s" in broken(sabotaged(timeout=bypass))


def test_a_breaker_that_leaks_is_found_out() -> None:
    """The third promise is judged from outside: saying open and letting pass breaks it."""

    def make(store: Store, limit: float, reset_timeout: float) -> Policies:
        policies = demo_policies(store, limit, reset_timeout)

        def leak(fn: Any) -> Any:
            guarded = policies.breaker(fn)
            if inspect.iscoroutinefunction(fn):
                return guarded

            def call(*args: Any) -> Any:
                try:
                    return guarded(*args)
                except mh.CircuitOpenError:
                    return fn(*args)

            return call

        return dataclasses.replace(policies, breaker=leak)

    report = play(Plan.lasting(2.0), "memory", PlainView(None), make)
    assert "no call passed an open circuit" in broken(report)


def test_a_caller_that_crashes_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the demo is told, not swallowed, and every thread still ends."""

    def crash(self: Workload) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Workload, "_ask_for_quotes", crash)
    with pytest.raises(ZeroDivisionError):
        sabotaged()
    assert [each.name for each in threading.enumerate() if each.name.startswith("demo-")] == []


def test_without_limits_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth promise rests on the rate limit, the fifth on the bulkhead."""
    monkeypatch.setattr(workload, "_QUOTE_PAUSE", 0.001)
    promises = broken(sabotaged(limits=bypass, breaker=bypass))
    assert "no more than 80 prices a second" in promises
    assert "no more than 6 prices at once" in promises


def test_without_a_budget_there_are_too_many_attempts() -> None:
    """The sixth promise rests on the budget."""

    def make(store: Store, limit: float, reset_timeout: float) -> Policies:
        made = demo_policies(store, limit, reset_timeout)
        eager = mh.retry(max_attempts=100, backoff="constant", base_delay=0.001, jitter=None)
        return dataclasses.replace(made, again=eager, limits=bypass, breaker=bypass)

    report = play(Plan.lasting(2.0), "memory", PlainView(None), make)
    assert "extra attempts within 20% of the calls" in broken(report)
