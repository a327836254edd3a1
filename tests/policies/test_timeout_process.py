"""mode="process": a call that is really killed, and what can and cannot be sent."""

from __future__ import annotations

import builtins
import functools
import multiprocessing
import os
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
from meshhook import guard
from meshhook.runtime import process_worker, processes
from tests.policies import timeout_targets as targets

ROOT = Path(__file__).parents[2]


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def eventually(holds: Callable[[], Any]) -> bool:
    for _ in range(1_000):
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(autouse=True, scope="module")
def _workers() -> Iterator[None]:
    """Leave no worker behind."""
    yield
    processes.close()
    assert multiprocessing.active_children() == []


def test_the_call_is_made_in_a_process_that_is_used_again() -> None:
    """It is another one than ours, and the same for the next call."""
    value, pid = targets.add(1, second=2)
    assert value == 3
    assert pid != os.getpid()
    assert targets.add(5) == (6, pid)


@pytest.mark.fault
@pytest.mark.parametrize("target", [targets.hang, targets.hang_uninterruptibly])
def test_a_call_that_takes_too_long_is_killed(target: Any, tmp_path: Path) -> None:
    """Its process is gone, no zombie is left, and the next call gets another one."""
    pid_file = tmp_path / "pid"
    with pytest.raises(mh.TimeoutError, match=r"did not end within 0\.05 s"):
        target(str(pid_file))
    assert eventually(pid_file.exists) is True
    pid = int(pid_file.read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert pid not in {child.pid for child in multiprocessing.active_children()}
    _, successor = targets.add(1)
    assert successor != pid


@pytest.mark.fault
def test_killing_leaks_no_descriptor(tmp_path: Path) -> None:
    """After ten kills there are as many open files as before."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    targets.add(1)
    before = count()
    for number in range(10):
        with pytest.raises(mh.TimeoutError):
            targets.hang(str(tmp_path / str(number)))
    targets.add(1)
    assert count() <= before


def test_the_start_of_a_process_is_no_part_of_the_limit(tmp_path: Path) -> None:
    """A limit that is shorter than the start of an interpreter is kept for the call alone."""
    processes.close()
    assert mh.timeout(0.2, mode="process").call(targets.plain, 1)[0] == 1


def test_an_outer_deadline_ends_the_wait_for_a_start() -> None:
    """Nothing waits longer than the deadline, not even for a process."""
    processes.close()
    with pytest.raises(mh.TimeoutError, match="was not started"), mh.deadline(0.02):
        targets.add(1)


def test_a_start_that_takes_forever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where to look."""
    processes.close()
    monkeypatch.setattr(processes, "START_SECONDS", 0.001)
    with pytest.raises(mh.MeshHookError, match=r"no worker process was ready .* within 0\.001 s"):
        targets.add(1)


def test_a_deadline_that_passes_before_the_call_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, frozen: Any
) -> None:
    """The process may be ready by then, but the function is not called."""
    load = processes.Worker.load

    def slow_load(*args: Any) -> bool:
        frozen.tick(2.0)
        return load(*args)

    monkeypatch.setattr(processes.Worker, "load", slow_load)
    with pytest.raises(mh.TimeoutError, match="was not started"), mh.deadline(1.0):
        targets.add(1)


def test_the_deadline_reaches_the_process() -> None:
    """``remaining()`` tells the function what is left there."""
    left = targets.time_left()
    assert left is not None
    assert 10.0 < left <= 20.0
    with mh.deadline(5.0):
        left = targets.time_left()
    assert left is not None
    assert left <= 5.0


def test_an_exception_comes_back_with_its_traceback() -> None:
    """Type and fields are kept; the traceback of the other process is a note."""
    with pytest.raises(targets.Custom, match="code 7") as caught:
        targets.fail(7)
    assert caught.value.code == 7
    (note,) = caught.value.__notes__
    assert note.startswith("in worker process ")
    assert "raise Custom(code)" in note


def test_an_exception_that_does_not_pickle_is_told_in_words() -> None:
    """Its type and text are in the message."""
    with pytest.raises(mh.MeshHookError, match="Stubborn: 1 and 2") as caught:
        targets.fail_stubbornly()
    assert "raise Stubborn(1, 2)" in caught.value.__notes__[0]


def test_a_timeout_error_from_inside_is_left_alone() -> None:
    """It is not taken for our limit."""
    with pytest.raises(builtins.TimeoutError, match="theirs") as caught:
        targets.raise_timeout()
    assert not isinstance(caught.value, mh.TimeoutError)


def test_leaving_reaches_the_caller() -> None:
    """SystemExit in the process is one here, and the process is used again."""
    _, pid = targets.add(1)
    with pytest.raises(SystemExit) as caught:
        targets.leave(3)
    assert caught.value.code == 3
    assert targets.add(1)[1] == pid


def test_a_process_that_ends_during_the_call_is_told() -> None:
    """With the exit code, or the signal that killed it; the next call gets another process."""
    with pytest.raises(mh.MeshHookError, match=r"ended \(exit code 3\) during the call"):
        targets.die(3)
    with pytest.raises(mh.MeshHookError, match=r"ended \(killed by SIGKILL\) during the call"):
        targets.be_killed()
    assert targets.add(1)[0] == 2


def test_an_idle_process_that_was_killed_is_replaced() -> None:
    """The next call does not notice."""
    _, pid = targets.add(1)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert targets.add(1)[0] == 2


def test_methods_of_every_kind() -> None:
    """The object is an argument like any other."""
    service = targets.Service("db")
    assert service.method(1) == ("db", 1)
    assert targets.Service.of_class(2) == ("Service", 2)
    assert service.of_nobody(3) == 3
    assert service(4) == ("db", 4)


def test_functions_that_nobody_decorated() -> None:
    """Plain ones, partials, bound methods and guarded ones, by ``call``."""
    policy = mh.timeout(20.0, mode="process")
    assert policy.call(targets.plain, 1)[0] == 1
    assert policy.call(functools.partial(targets.plain, 2))[0] == 2
    assert policy.call(targets.Service("db").method, 3) == ("db", 3)
    assert policy.call(targets.add, 4)[0] == 5
    assert policy.call(max, 1, 2) == 2


def test_decorators_of_others_stay_where_they_are() -> None:
    """One below runs in the other process, one above here; ours does not run twice."""
    assert targets.between(1) == ["foreign", ["foreign", 1]]


def test_policies_above_work_as_ever() -> None:
    """A breaker around it counts what comes back."""
    with pytest.raises(ValueError, match="x"):
        targets.guarded_by_a_breaker("x")
    with pytest.raises(mh.CircuitOpenError):
        targets.guarded_by_a_breaker("x")


def test_policies_below_are_refused() -> None:
    """They would have to live in the other process."""
    with pytest.raises(mh.ConfigurationError, match="put the timeout right above a plain function"):
        targets.limited(mh.circuit_breaker(failure_threshold=1)(targets.plain))


def test_functions_that_cannot_be_imported_are_refused() -> None:
    """A local one when it is decorated, one that is hidden when it is called."""

    def local() -> None: ...

    with pytest.raises(mh.ConfigurationError, match=r"another process can import, got .*<locals>"):
        targets.limited(local)
    with pytest.raises(mh.ConfigurationError, match=r"got .*<lambda>"):
        targets.limited(lambda: None)

    hidden = type(local)(targets.plain.__code__, {}, "plain")
    hidden.__qualname__ = "hidden"
    hidden.__module__ = targets.__name__
    with pytest.raises(mh.ConfigurationError, match=r"there is no .*\.hidden that leads to"):
        targets.limited(hidden)()
    hidden.__module__ = "no_such_module"
    with pytest.raises(mh.ConfigurationError, match=r"there is no no_such_module\.hidden"):
        targets.limited(hidden)()
    lock = threading.Lock()
    with pytest.raises(mh.ConfigurationError, match="cannot send functools.partial"):
        targets.limited(functools.partial(targets.plain, lock))()


def test_a_function_that_is_not_there_in_the_other_process_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names it and says why."""
    late = type(targets.plain)(targets.plain.__code__, {}, "late")
    late.__module__, late.__qualname__ = targets.__name__, "late"
    monkeypatch.setattr(targets, "late", late, raising=False)
    with pytest.raises(mh.ConfigurationError, match=r"timeout_targets\.late cannot be loaded"):
        targets.limited(late)()
    with pytest.raises(mh.ConfigurationError, match="the function cannot be loaded"):
        mh.timeout(20.0, mode="process").call(functools.partial(targets.plain, targets.Trap()))


def test_arguments_that_do_not_pickle_are_named() -> None:
    """By number or by name."""
    with pytest.raises(TypeError, match="argument 2 cannot be sent to another process"):
        targets.give_back(1, threading.Lock())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="argument value cannot be sent .* use mode='thread'"):
        targets.give_back(value=lambda: None)
    with pytest.raises(TypeError, match="the arguments cannot be unpickled .*sprung"):
        targets.give_back(targets.Trap())


def test_arguments_that_pickle_one_by_one_only_are_told() -> None:
    """Where no single one is to blame, none is named."""

    class Once:
        pickled = False

        def __reduce__(self) -> Any:
            if not Once.pickled:
                Once.pickled = True
                raise ValueError("not yet")
            return int, (3,)

    with pytest.raises(TypeError, match=r"argument \? cannot be sent .*not yet"):
        targets.give_back(Once())


def test_results_that_do_not_pickle_are_told() -> None:
    """The type of the result and the fix are in the message."""
    with pytest.raises(TypeError, match="the result, a function, cannot be sent back"):
        targets.give("lambda")
    with pytest.raises(TypeError, match="cannot be unpickled here .*not for this process"):
        targets.give("parcel")
    assert targets.give("none") is None


def test_a_result_of_a_type_never_seen_before_passes() -> None:
    """It comes out of the other process as it went in."""
    kind = type(targets.Service("db"))
    guard.PLAIN.discard(kind)
    result: Any = targets.give_back(targets.Service("db"))
    assert (type(result), result.name) == (kind, "db")


def test_large_arguments_and_results_pass() -> None:
    """More than a pipe holds at once."""
    large = bytes(1_000_000)
    assert targets.give_back(large) == large


def test_concurrent_calls_have_a_process_each() -> None:
    """They do not wait for each other; what is too much is not kept for later."""
    policy = mh.timeout(20.0, mode="process")
    pids: list[int] = []
    threads = [
        threading.Thread(target=lambda: pids.append(policy.call(targets.add, 1)[1]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(processes._idle) <= processes.MAX_IDLE
    assert eventually(lambda: len(multiprocessing.active_children()) <= processes.MAX_IDLE)


def test_ctrl_c_while_waiting_kills_the_call(tmp_path: Path) -> None:
    """The interrupt reaches the caller, and nothing goes on."""
    pid_file = tmp_path / "pid"
    policy = mh.timeout(20.0, mode="process")
    before = policy.stats().ignored

    def interrupt() -> None:
        eventually(lambda: pid_file.exists() and pid_file.read_text())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        policy.call(targets.hang.__wrapped__, str(pid_file))
    thread.join()
    assert not is_running(int(pid_file.read_text()))
    assert policy.stats().ignored == before + 1


def test_a_start_that_fails_leaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no process left, its error passes, and the pipe is closed."""
    processes.close()

    def fail(_self: object) -> None:
        raise BlockingIOError("no processes left")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", fail)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(BlockingIOError):
        targets.add(1)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_pipe_that_broke_is_told_as_the_end_of_the_process() -> None:
    """Writing to a process that has just ended is no error of the pipe."""
    worker = processes.Worker()
    target = processes.target_of(targets.plain)
    assert worker.load(target, 20.0)
    os.kill(worker.process.pid or 0, signal.SIGKILL)
    worker.process.join(5.0)
    with pytest.raises(mh.MeshHookError, match="killed by SIGKILL"):
        for _ in range(10):
            worker.call(target, processes.pack((1,), {}), 1.0)
    worker.kill()


@pytest.mark.fault
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("how", ["exit", "kill -9"])
def test_processes_end_with_their_parent(busy: bool, how: str, tmp_path: Path) -> None:
    """However the parent ends, its workers are gone soon after."""
    pid_file = tmp_path / "pid"
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, threading, time\n"
        "from tests.policies import timeout_targets as targets\n"
        "import meshhook as mh\n"
        "if __name__ == '__main__':\n"
        f"    path, busy, how = {str(pid_file)!r}, {busy}, {how!r}\n"
        "    policy = mh.timeout(60.0, mode='process')\n"
        "    if busy:\n"
        "        hang = targets.hang.__wrapped__\n"
        "        threading.Thread(target=policy.call, args=(hang, path), daemon=True).start()\n"
        "        while not os.path.exists(path) or not open(path).read(): time.sleep(0.01)\n"
        "    else:\n"
        "        open(path, 'w').write(str(policy.call(targets.plain, 1)[1]))\n"
        "    print('ready', flush=True)\n"
        "    if how != 'exit': time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        pid = int(pid_file.read_text())
        if how == "kill -9":
            assert is_running(pid)
            parent.kill()
        assert parent.wait(20.0) == (0 if how == "exit" else -signal.SIGKILL)
        assert eventually(lambda: not is_running(pid))
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


@pytest.mark.fault
def test_a_main_module_without_a_guard_is_told_what_to_do(tmp_path: Path) -> None:
    """The error of a worker that could not start names the usual cause."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from tests.policies import timeout_targets as targets\n"
        "import meshhook as mh\n"
        "try:\n"
        "    targets.add(1)\n"
        "except mh.MeshHookError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "before it was ready; if the main module starts work" in done.stdout


class TestWorkerSide:
    """The code of the other process, called here."""

    def serve(self) -> tuple[Any, dict[bytes, Any]]:
        return process_worker._answer, {}

    def test_it_loads_and_calls(self) -> None:
        """A target is loaded once, and called by its address."""
        answer, known = self.serve()
        target = processes.target_of(targets.add.__wrapped__)
        assert answer(process_worker.Request(target, None, 0.0), known).kind == "ready"
        packed = processes.pack((1,), {"second": 5})
        given = answer(process_worker.Request(target, packed, 5.0), known)
        assert processes.open_answer(given, None) == (6, os.getpid())

    @pytest.mark.parametrize(
        ("target", "arguments", "kind"),
        [
            (targets.fail.__wrapped__, (3,), "error"),
            (targets.fail_stubbornly.__wrapped__, (), "error"),
            (targets.give.__wrapped__, ("lambda",), "refused"),
            (targets.plain, (targets.Trap(),), "refused"),
        ],
    )
    def test_it_answers_whatever_happens(
        self, target: Any, arguments: tuple[Any, ...], kind: str
    ) -> None:
        """Every outcome is an answer of its kind."""
        answer, known = self.serve()
        packed_target = processes.target_of(target)
        answer(process_worker.Request(packed_target, None, 0.0), known)
        packed = processes.pack(arguments, {})
        assert answer(process_worker.Request(packed_target, packed, 5.0), known).kind == kind

    def test_it_says_what_it_cannot_load(self) -> None:
        """By name, if it got as far as that."""
        import pickle

        answer, known = self.serve()
        for address, text in (
            (process_worker.Address("no_such_module", "fn", 0), "no_such_module.fn cannot be"),
            (process_worker.Address(targets.__name__, "plain", 1), "plain cannot be loaded"),
            (targets.Trap(), "the function cannot be loaded"),
        ):
            given = answer(process_worker.Request(pickle.dumps(address), None, 0.0), known)
            assert given.kind == "refused"
            assert text in given.text
