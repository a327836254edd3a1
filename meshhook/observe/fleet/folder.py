"""Processes of one host that find each other in a folder: each announces where it serves.

A process holds a lock on the file that announces it for as long as it lives. So whoever lists the
folder can tell the files of the living from those that a killed process has left behind, and takes
the latter away; there is no heartbeat and nothing to run out.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from meshhook import forks
from meshhook.errors import ConfigurationError
from meshhook.settings import printable, wrong

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".url"
_LONGEST = 2_000

_standing: set[Announcement] = set()
"""Those of this process: it is announced also when nobody keeps the announcement."""


class Announcement:
    """A process that is announced until ``close()``, or until it ends in whatever way."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file: IO[bytes] | None = file
        _standing.add(self)
        forks.enrol(self)

    def close(self) -> None:
        """Take the announcement back. Safe to call more than once."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._let_go()

    def renew_locks(self) -> None:
        """Let go of the file in a forked child: it stands for the parent."""
        self._let_go()

    def _let_go(self) -> None:
        _standing.discard(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FleetFolder:
    """The members of a fleet on one host, such as the workers of a server, found in a folder.

    Give it as ``fleet=`` and let each process announce where it serves::

        folder = FleetFolder("/run/shop")
        server = mh.serve(port=0, fleet=folder)
        folder.announce(server.url)

    Args:
        path: the folder, which is made if it is not there, for nobody but this user. Use it for
            this alone: whoever can write to it can name members.

    Raises:
        ConfigurationError: when the path cannot be a folder, when everybody may write to it, or on
            a system without file locks.

    Safe to use from any thread and process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if fcntl is None:  # pragma: no cover - Windows
            raise ConfigurationError(
                "FleetFolder needs the file locks of POSIX; name the members by their URLs instead"
            )
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise wrong("path", path, "the path of a folder")
        self._path = Path(path)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"path must be a folder that can be written to, got {os.fspath(path)!r}: "
                f"{error.strerror}"
            ) from error
        if self._path.stat().st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"path is a folder that everybody may write to, {os.fspath(path)!r}, and so could "
                "name members; choose one of this user's, or take that right away (chmod o-w)"
            )

    def announce(self, url: str) -> Announcement:
        """Tell all who list the folder that this process shows its policies at ``url``."""
        text = printable("url", url)
        if len(text) > _LONGEST:
            raise wrong("url", url, f"text of at most {_LONGEST} characters")
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = self._path / f"{name}.draft"
        # Locked before it gets its name, so nobody takes it for one that was left behind.
        file = draft.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text.encode())
        file.flush()
        path = draft.rename(draft.with_suffix(_SUFFIX))
        return Announcement(path, file)

    def urls(self) -> list[str]:
        """Return the URLs of the processes that live, in the order of their files."""
        return sorted(self._living())

    def _living(self) -> Iterator[str]:
        for path in self._path.glob(f"*{_SUFFIX}"):
            # Whatever goes away while one looks is not there.
            with (
                contextlib.suppress(OSError),
                path.open("rb") as file,
            ):
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield file.read(_LONGEST).decode(errors="replace")
                else:
                    path.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"<FleetFolder {os.fspath(self._path)!r}>"


@atexit.register
def _take_back() -> None:
    for announcement in list(_standing):
        announcement.close()
