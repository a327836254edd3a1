"""Worker processes: run a call where it can really be killed.

Workers are spawned, reused, and sent functions by name (module and qualified name), so a function
must be importable, and its arguments and result must pickle. A worker that is killed is waited for,
and its pipe closed; the next call gets another one. A worker ends when its parent does, in whatever
way: it sees the end of its pipe. Nothing is ever unpickled but what comes from such a pipe.

A worker that has started keeps to one message at a time: a request, then its answer.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import pickle
import signal
import threading
import types
from collections.abc import Callable
from typing import Any

# Imported here because of its own work at exit, which must come after ours.
import multiprocessing.connection  # isort: skip

from meshhook import forks
from meshhook.errors import ConfigurationError, MeshHookError
from meshhook.runtime.process_worker import Address, Answer, Request, look_up, serve

START_SECONDS = 60.0
"""How long a worker may take to start and to import what it shall call."""
REAP_SECONDS = 5.0
MAX_IDLE = os.cpu_count() or 1
"""How many workers are kept for later."""


def target_of(fn: Callable[..., Any]) -> bytes:
    """Return ``fn`` in a form that another process can load."""
    if type(fn) is types.FunctionType:
        return _function_target(fn)
    try:
        return pickle.dumps(fn)
    except Exception as error:
        raise ConfigurationError(
            f"mode='process' cannot send {fn!r} to another process ({error}); "
            "decorate a function at the top of a module, or use mode='thread'"
        ) from error


@functools.lru_cache(maxsize=1024)
def _function_target(fn: types.FunctionType) -> bytes:
    depth = 0
    try:
        found = look_up(fn.__module__, fn.__qualname__)
        while found is not fn:
            found = found.__wrapped__
            depth += 1
    except (AttributeError, ImportError):
        raise ConfigurationError(
            f"mode='process' needs a function that another process can import, and there is no "
            f"{fn.__module__}.{fn.__qualname__} that leads to {fn!r}; define it at the top of a "
            "module, or use mode='thread'"
        ) from None
    return pickle.dumps(Address(fn.__module__, fn.__qualname__, depth))


def pack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Pickle the arguments of a call; the error says which of them cannot be pickled."""
    try:
        return pickle.dumps((args, kwargs))
    except Exception as error:
        named = [*enumerate(args, start=1), *kwargs.items()]
        culprit = next((name for name, value in named if not _pickles(value)), "?")
        raise TypeError(
            f"argument {culprit} cannot be sent to another process ({error}); "
            "pass something that pickles, or use mode='thread'"
        ) from error


def _pickles(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


class Worker:
    """One process and the pipe to it. Used by one thread at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._loaded: set[bytes] = set()
        self.is_ready = False
        self.process = context.Process(target=serve, args=(theirs,), name="meshhook-process")
        try:
            self.process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        _all.add(self)

    def knows(self, target: bytes) -> bool:
        """Tell whether the process can call ``target`` without further ado."""
        return target in self._loaded

    def load(self, target: bytes, seconds: float) -> bool:
        """Wait for the process to start and import ``target``; False if that takes too long."""
        if not self.is_ready:
            if self._receive(seconds) is None:
                return False
            self.is_ready = True
        if target not in self._loaded:
            self._send(Request(target, None, 0.0))
            answer = self._receive(seconds)
            if answer is None:
                return False
            if answer.kind == "refused":
                raise ConfigurationError(answer.text)
            self._loaded.add(target)
        return True

    def call(self, target: bytes, arguments: bytes, seconds: float) -> Answer | None:
        """Call ``target`` in the process; None if the answer takes too long."""
        self._send(Request(target, arguments, seconds))
        return self._receive(seconds)

    def _send(self, request: Request) -> None:
        try:
            self._pipe.send_bytes(pickle.dumps(request))
        except OSError:
            raise self._died() from None

    def _receive(self, seconds: float) -> Answer | None:
        try:
            if not self._pipe.poll(min(seconds, threading.TIMEOUT_MAX)):
                return None
            answer: Answer = pickle.loads(self._pipe.recv_bytes())  # noqa: S301 - our own child
        except (EOFError, OSError):
            raise self._died() from None
        return answer

    def _died(self) -> MeshHookError:
        self.process.join(REAP_SECONDS)
        code = self.process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        when = "during the call"
        if not self.is_ready:
            when = (
                "before it was ready; if the main module starts work when it is imported, guard "
                "that with `if __name__ == '__main__':`"
            )
        return MeshHookError(f"the worker process {self.process.pid} ended ({how}) {when}")

    def kill(self) -> None:
        """End the process at once and leave nothing of it behind."""
        _all.discard(self)
        self._pipe.close()
        self.process.kill()
        self.process.join(REAP_SECONDS)
        with contextlib.suppress(ValueError):
            self.process.close()

    def hang_up(self) -> None:
        """Close the pipe in a forked child, where it would keep the worker from seeing its end."""
        self._pipe.close()


_lock = threading.RLock()
_idle: list[Worker] = []  # guarded by _lock; the last one was busy most recently
_all: set[Worker] = set()


def take(target: bytes) -> Worker:
    """Return an idle worker that is alive, one that knows ``target`` if possible, or a new one."""
    while True:
        with _lock:
            chosen = next((each for each in reversed(_idle) if each.knows(target)), None)
            if chosen is None and _idle:
                chosen = _idle[-1]
            if chosen is None:
                break
            _idle.remove(chosen)
        if chosen.process.is_alive():
            return chosen
        chosen.kill()
    return Worker()


def give_back(worker: Worker) -> None:
    """Keep a worker whose call has ended for the next one."""
    with _lock:
        _idle.append(worker)
        surplus = _idle.pop(0) if len(_idle) > MAX_IDLE else None
    if surplus is not None:
        surplus.kill()


def close() -> None:
    """Kill all workers, busy or not. Called at exit."""
    with _lock:
        _idle.clear()
    for worker in _all.copy():
        worker.kill()


def open_answer(answer: Answer, pid: int | None) -> Any:
    """Return the result in ``answer``, or raise what the call raised."""
    if answer.kind == "refused":
        raise TypeError(answer.text)
    try:
        opened = pickle.loads(answer.payload)  # noqa: S301 - it comes from our own child
    except Exception as error:
        raise TypeError(
            f"what the call in the worker process gave cannot be unpickled here ({error}); "
            "return something that pickles, or use mode='thread'"
        ) from error
    if answer.kind == "result":
        return opened
    opened.add_note(f"in worker process {pid}:\n{answer.text}")
    raise opened


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it at the fork
    _lock = threading.RLock()
    _idle.clear()
    for worker in _all:
        worker.hang_up()
    _all.clear()


atexit.register(close)
forks.after_in_child(_after_fork_in_child)
