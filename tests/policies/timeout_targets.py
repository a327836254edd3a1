"""Functions for mode="process": another process imports them by name."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meshhook as mh


class Custom(Exception):  # noqa: N818
    """An exception with a field, and one that does not survive pickling unless it is careful."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return Custom, (self.code,)


class Stubborn(Exception):  # noqa: N818
    """An exception that pickles, but cannot be unpickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class Trap:
    """Pickles, but not back."""

    def __reduce__(self) -> Any:
        return _spring, ()


def _spring() -> None:
    raise RuntimeError("sprung")


class Dragging:
    """Takes for ever to be unpickled."""

    def __reduce__(self) -> Any:
        return time.sleep, (3600.0,)


class Parcel:
    """Can be opened in one process only: the one with the number it was packed with."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> Any:
        return _open_parcel, (self.pid,)


def _open_parcel(pid: int) -> Parcel:
    if os.getpid() != pid:
        raise RuntimeError("not for this process")
    return Parcel(pid)


def foreign(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with somebody else's decorator."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return ["foreign", fn(*args, **kwargs)]

    return wrapper


limited = mh.timeout(20.0, mode="process")


@limited
def add(first: int, second: int = 1) -> tuple[int, int]:
    """Add, and tell in which process."""
    return first + second, os.getpid()


@mh.timeout(0.05, mode="process")
def hang(path: str) -> None:
    """Write down the process, and never end."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1.0)


@mh.timeout(0.05, mode="process")
def hang_uninterruptibly(path: str) -> None:
    """The same, deaf to every signal that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hang.__wrapped__(path)


@limited
def fail(code: int) -> None:
    """Raise a custom exception."""
    raise Custom(code)


@limited
def fail_stubbornly() -> None:
    """Raise what cannot be unpickled."""
    raise Stubborn(1, 2)


@limited
def leave(code: int) -> None:
    """Raise SystemExit."""
    sys.exit(code)


@limited
def die(code: int) -> None:
    """End the process without a word."""
    os._exit(code)


@limited
def be_killed() -> None:
    """Get killed by somebody."""
    os.kill(os.getpid(), signal.SIGKILL)


@limited
def give(what: str) -> Any:
    """Return something."""
    return {
        "lambda": lambda: None,
        "lock": threading.Lock,
        "none": None,
        "parcel": Parcel(os.getpid()),
    }[what]


@limited
def give_back(value: Any) -> Any:
    """Return the argument."""
    return value


@limited
def time_left() -> float | None:
    """Tell what is left of the deadline."""
    return mh.remaining()


@limited
def raise_timeout() -> None:
    """Raise a TimeoutError of the function's own."""
    raise TimeoutError("theirs")


@mh.circuit_breaker("timeout-targets", failure_threshold=1)
@limited
def guarded_by_a_breaker(path: str) -> None:
    """Fail, below a circuit breaker."""
    raise ValueError(path)


@foreign
@limited
@foreign
def between(value: int) -> Any:
    """Stand between the decorators of somebody else."""
    return value


class Service:
    """Methods of every kind."""

    def __init__(self, name: str) -> None:
        self.name = name

    @limited
    def method(self, value: int) -> tuple[str, int]:
        """Tell who was called."""
        return self.name, value

    @classmethod
    @limited
    def of_class(cls, value: int) -> tuple[str, int]:
        """Tell which class was called."""
        return cls.__name__, value

    @staticmethod
    @limited
    def of_nobody(value: int) -> int:
        """Return the argument."""
        return value

    @limited
    def __call__(self, value: int) -> tuple[str, int]:
        """Tell who was called."""
        return self.name, value


def plain(value: int) -> tuple[int, int]:
    """Be a function that nobody decorated."""
    return value, os.getpid()
