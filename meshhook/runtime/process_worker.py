"""What runs in a worker process, and the messages between it and its parent.

Imported by both sides. The worker reads beside the call that it makes, so that it sees the end of
its parent, however that came about, at any time, and ends too.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from meshhook.deadline import deadline
from meshhook.errors import MeshHookError


class Address(NamedTuple):
    """Where another process finds a function: by name, then so many ``__wrapped__`` further in."""

    module: str
    qualname: str
    depth: int


class Request(NamedTuple):
    """What a worker is asked: to load a target, or, with arguments, to call it."""

    target: bytes
    arguments: bytes | None
    seconds: float


class Answer(NamedTuple):
    """What a worker says: ``kind`` is one of ready, result, error, refused."""

    kind: str
    payload: bytes = b""
    text: str = ""


def look_up(module: str, qualname: str) -> Any:
    """Find a function by name, importing its module if need be."""
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def serve(pipe: Connection) -> None:
    """Be a worker: answer requests until the parent is gone. Runs in the child."""
    # Ctrl-C reaches the whole group; the parent decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, requests), daemon=True).start()
    targets: dict[bytes, Callable[..., Any]] = {}
    pipe.send_bytes(pickle.dumps(Answer("ready")))
    while True:
        pipe.send_bytes(pickle.dumps(_answer(requests.get(), targets)))


def _read(pipe: Connection, requests: queue.SimpleQueue[Request]) -> None:
    """Read requests beside the call, so that the end of the parent ends the call too."""
    try:
        while True:
            requests.put(pickle.loads(pipe.recv_bytes()))  # noqa: S301 - it is our parent's
    except (EOFError, OSError):
        os._exit(1)


def _answer(request: Request, targets: dict[bytes, Callable[..., Any]]) -> Answer:
    if request.arguments is None:
        return _load(request.target, targets)
    try:
        args, kwargs = pickle.loads(request.arguments)  # noqa: S301 - it is our parent's
    except Exception as error:
        return Answer(
            "refused",
            text=f"the arguments cannot be unpickled in the worker process ({error}); "
            "pass something that another process can import, or use mode='thread'",
        )
    try:
        with deadline(request.seconds):
            result = targets[request.target](*args, **kwargs)
    except BaseException as error:
        return _error_answer(error)
    try:
        return Answer("result", pickle.dumps(result))
    except Exception as error:
        return Answer(
            "refused",
            text=f"the result, a {type(result).__qualname__}, cannot be sent back from the worker "
            f"process ({error}); return something that pickles, or use mode='thread'",
        )


def _load(target: bytes, targets: dict[bytes, Callable[..., Any]]) -> Answer:
    name = "the function"
    try:
        found = pickle.loads(target)  # noqa: S301 - it is our parent's
        if isinstance(found, Address):
            name, depth = f"{found.module}.{found.qualname}", found.depth
            found = look_up(found.module, found.qualname)
            for _ in range(depth):
                found = found.__wrapped__
    except Exception as error:
        return Answer(
            "refused",
            text=f"{name} cannot be loaded in a worker process ({type(error).__name__}: {error}); "
            "define it in a module that can be imported, or use mode='thread'",
        )
    targets[target] = found
    return Answer("ready")


def _error_answer(error: BaseException) -> Answer:
    text = "".join(traceback.format_exception(error)).rstrip()
    try:
        payload = pickle.dumps(error)
        pickle.loads(payload)  # noqa: S301 - some exceptions pickle, but not back
    except Exception:
        payload = pickle.dumps(
            MeshHookError(f"{type(error).__qualname__}: {error} (which cannot be pickled itself)")
        )
    return Answer("error", payload, text)
