"""The files of worker processes that prometheus_client adds up, and which of them are still alive.

A file is written beside and renamed, so nobody reads half of one. Those of counters stay when their
process ends; those of gauges are removed, by itself or by whoever finds that it has died.
"""

from __future__ import annotations

import os
import secrets
import struct
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

GAUGES = ("gauge_livesum", "gauge_livemax")
"""What files of gauges begin with, by what becomes of them when they are added up."""

LENGTH = struct.Struct("i")
"""How prometheus_client writes a length."""


def directory_from_environment() -> str | None:
    """Return the directory that prometheus_client was told to use, if it was."""
    return os.environ.get(VARIABLE) or None


def files_in(directory: Path) -> list[str]:
    """Return the files that the processes of this directory have written."""
    return sorted(str(path) for path in directory.glob("*_meshhook-*.db"))


_own: set[str] = set()
"""Names of those of this process, whose locks must not be tried: that would give them up."""


class ProcessFiles:
    """The files of this process in one directory, by a name of its own.

    One of them shows that it lives, for it holds the lock of that. The system lets go of the lock
    when the process ends, in whatever way, and a forked child does not inherit it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"meshhook-{os.getpid()}-{secrets.token_hex(4)}"
        self._file: int | None = None
        _own.add(self._name)

    def hold(self) -> None:
        """See that the file is there, and its lock held; somebody may have emptied the directory.

        What fails leaves nothing behind, for it is tried again and again.
        """
        lock = self._directory / f"{self._name}.lock"
        if self._file is not None and lock.exists():
            return
        self._let_go()
        made = self._directory / f"{self._name}.made"
        file = os.open(made, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _try_lock(file)
            # Locked before it has its name, so that nobody takes it for that of a dead process.
            made.rename(lock)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def replace(self, group: str, entries: bytes) -> None:
        """Put a file whole in the place of the last one."""
        made = self._directory / f"{self._name}.made"
        made.write_bytes(LENGTH.pack(len(entries) + 8) + bytes(4) + entries)
        made.rename(self._directory / f"{group}_{self._name}.db")

    def leave(self) -> None:
        """Take the gauges of this process back: it ends, or comes back under the same name."""
        _remove_gauges(self._directory, self._name)
        self._let_go()

    def forget(self) -> None:
        """Let go of the file in a forked child, which never had the lock."""
        _own.discard(self._name)
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def sweep(directory: Path) -> None:
    """Remove the gauges of processes that have died."""
    for path in directory.glob("meshhook-*.lock"):
        if path.stem not in _own and is_dead(path):
            _remove_gauges(directory, path.stem)


def _try_lock(file: int) -> bool:
    """Take the lock of an open file, if nobody has it."""
    try:
        import fcntl
    except ImportError:  # a system without such locks has no workers that fork either
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_dead(path: Path) -> bool:
    """Tell whether nobody holds the lock of a file any more."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False  # another has removed it
    try:
        # One that has no name any more is that of a process that left, and may have come back.
        return _try_lock(file) and os.fstat(file).st_nlink > 0
    finally:
        os.close(file)


def _remove_gauges(directory: Path, name: str) -> None:
    gone: list[Path] = [directory / f"{mode}_{name}.db" for mode in GAUGES]
    for path in (*gone, directory / f"{name}.made", directory / f"{name}.lock"):
        path.unlink(missing_ok=True)
