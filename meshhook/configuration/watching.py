"""Watching: a thread that looks whether files have changed, and has them read anew.

It compares what is in the files, so it does not matter how they are written: in place, by a
rename, or by a link that points elsewhere. What is in them has to be the same twice in a row, for a
file may be half written. What is wrong is told once, and the settings stay until it is put right.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, TypeAlias

from meshhook import forks
from meshhook.configuration.sources import File
from meshhook.errors import ConfigurationError
from meshhook.reporting import Reporter

if TYPE_CHECKING:
    from meshhook.configuration.configuring import Configuration

logger = Reporter(logging.getLogger("meshhook.configuration"))  # the thread has to go on

Contents: TypeAlias = tuple[bytes | str, ...]
"""What is in each file, or why that cannot be told."""

_SETTLED_AFTER = 0.1


class Watch:
    """Looks at the files of a configuration every so often, until it is closed or forgotten."""

    def __init__(self, configuration: Configuration, interval: float) -> None:
        self._of = weakref.ref(configuration)
        self._files = [each for each in configuration._sources if isinstance(each, File)]
        self._interval = interval
        self._seen = self._contents()
        self._start()
        forks.enrol(self)

    def _start(self) -> None:
        self._closed = threading.Event()
        threading.Thread(
            target=self._run, args=(self._closed,), name="meshhook-configuration", daemon=True
        ).start()

    def renew_locks(self) -> None:
        """Go on in a forked child, which has no such thread."""
        if not self._closed.is_set():
            self._start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _run(self, closed: threading.Event) -> None:
        while not closed.wait(self._interval):
            if self._of() is None:
                return
            try:
                self._look(closed)
            except Exception:
                logger.exception("watching the configuration failed")

    def _look(self, closed: threading.Event) -> None:
        contents = self._contents()
        if contents == self._seen:
            return
        while not closed.wait(_SETTLED_AFTER):
            before, contents = contents, self._contents()
            if before == contents:
                break
        else:
            return
        configuration = self._of()
        if configuration is None or configuration._watch is not self:
            return  # it is not in force yet, or not any more
        try:
            _reload(configuration)
        finally:
            # Not before: a child that is forked in between has to read it itself.
            self._seen = contents

    def _contents(self) -> Contents:
        return tuple(map(_content, self._files))


def _content(file: File) -> bytes | str:
    try:
        return file.content()
    except (OSError, ConfigurationError) as error:
        return type(error).__name__


def _reload(configuration: Configuration) -> None:
    try:
        changed = configuration.reload()
    except ConfigurationError as error:
        logger.error(  # noqa: TRY400 - where it was raised is nothing to the reader
            "%s has changed and is wrong, so the settings stay as they are: %s",
            configuration.name,
            error,
        )
    else:
        logger.info("%s has changed; policies with other settings: %d", configuration.name, changed)
