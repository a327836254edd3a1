"""Several processes that answer a scrape as one: workers of gunicorn, uvicorn and the like.

prometheus_client lets each worker keep its values in files of one directory, named by
``PROMETHEUS_MULTIPROC_DIR``, and whoever is scraped adds them up. Here a thread writes what the
policies of this process have counted to such files, once a second and when the process ends, each
file whole: written beside and renamed. Their names are our own, and so prometheus_client adds them
up but never touches them.

Counters of a worker stay when it ends. Its gauges are of the moment and go with it: at once if it
ends by itself, and else when another worker notices that nobody holds its lock any more.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import math
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from meshhook import forks
from meshhook.errors import ConfigurationError
from meshhook.observe.catalogue import CATALOGUE
from meshhook.observe.metrics import MAX_SERIES, Metric, check_buckets, collect
from meshhook.observe.process_files import (
    GAUGES,
    LENGTH,
    VARIABLE,
    ProcessFiles,
    directory_from_environment,
    sweep,
)
from meshhook.registry import Registry
from meshhook.settings import Duration, count, duration

_log = logging.getLogger("meshhook")
_COUNTING = ("counter", "histogram")
_PATIENCE = 1.0
"""For how many seconds a fork waits for a write to end."""
_LAST = -1_000
"""Where our part stands among what multiprocessing does at the end of a child."""
_VALUE = struct.Struct("dd")

_lock = threading.RLock()
_writers: list[Writer] = []  # guarded by _lock
_has_ended = False  # guarded by _lock
_forking: set[int] = set()
"""The threads that are forking the process at this moment."""


def start_multiprocess(
    registry: Registry | None = None,
    directory: str | os.PathLike[str] | None = None,
    *,
    interval: Duration = 1.0,
    buckets: Sequence[float] | None = None,
    max_series: int = MAX_SERIES,
) -> Writer:
    """Have a thread write the metrics of this process to where those of all workers are added up.

    Once is enough, also where the process forks its workers: they go on from nothing, in files of
    their own. A second call for the same registry and directory returns what is there; if that was
    closed, it goes on as it was. A process whose policies have counted nothing yet writes nothing,
    and nor does one that ends.

    Args:
        registry: whose policies are read. Default ``meshhook.registry``.
        directory: where to. Default: the one that ``PROMETHEUS_MULTIPROC_DIR`` names.
        interval: how many seconds pass between two writes.
        buckets: where the buckets of histograms end, in seconds; the same in all processes.
        max_series: the most series that one process writes.

    Raises:
        ConfigurationError: when a setting is wrong or there is no such directory.
    """
    registry = Registry.given(registry)
    where = _existing(directory)
    seconds = duration("interval", interval)
    ends, most = check_buckets(buckets), count("max_series", max_series)
    with _lock:
        writer = _known(registry, where)
        if writer is None:
            writer = Writer(registry, where, seconds, ends, most)
            _writers.append(writer)
    writer.open()
    return writer


def _known(registry: Registry, where: Path) -> Writer | None:
    """Return the writer that there is, open or closed: what it has told must not be told twice."""
    for writer in _writers:
        if writer.registry is registry and writer.directory == where:
            return writer
    return None


def _existing(directory: str | os.PathLike[str] | None) -> Path:
    given = directory or directory_from_environment()
    if given is None:
        raise ConfigurationError(
            f"directory must be given, or {VARIABLE} set, before workers can share their metrics"
        )
    where = Path(given).resolve()
    if not where.is_dir():
        raise ConfigurationError(
            f"the directory {os.fspath(given)!r} for the metrics of several processes does not "
            "exist; make it, and empty it, before the workers start"
        )
    return where


class _Value(NamedTuple):
    """One number of one series, as it goes into a file."""

    group: str
    metric: str
    name: str
    labels: dict[str, str]
    help: str
    value: float


class Writer:
    """Writes the metrics of one registry in this process. Safe to use from any thread."""

    def __init__(
        self,
        registry: Registry,
        directory: Path,
        interval: float,
        buckets: tuple[float, ...],
        max_series: int,
    ) -> None:
        self.registry = registry
        self.directory = directory
        self._interval = interval
        self._buckets = buckets
        self._max_series = max_series
        self._base: dict[tuple[str, ...], float] = {}
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        # Reentrant: a signal handler that ends the process may interrupt a write.
        self._lock = threading.RLock()
        self._pausing = threading.Event()
        self._pausing.set()
        self._thread: threading.Thread | None = None
        self._files: ProcessFiles | None = None
        self._headers: dict[tuple[str, ...], bytes] = {}
        self._complained = False

    def open(self) -> None:
        """Write from now on, after ``close()`` too, unless the process ends."""
        with _lock:
            self._closed = _has_ended
        self.settle()

    def settle(self) -> None:
        """Have a thread while this is open, and else wait for it to end.

        None either while the process forks: it should have no other threads then.
        """
        with _lock:
            if not self._closed and not _forking:
                self._start()
                return
            self._pausing.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)

    def _start(self) -> None:
        """Start a thread, unless there is one that was not told to end."""
        if not self._pausing.is_set():
            return
        self._pausing = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(self._pausing,), name="meshhook metrics", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._pausing.set()
            _log.warning("metrics of this process are not written: %s", error)
            return
        self._thread = thread

    def begin_anew(self) -> None:
        """Go on from nothing in a forked child: what its parent has counted, its parent tells."""
        if self._files is not None:
            self._files.forget()
        self._begin()
        self._base = {
            _series(each): each.value for each in self._values() if each.group in _COUNTING
        }
        self.settle()

    def _run(self, pausing: threading.Event) -> None:
        while not pausing.wait(self._interval):
            self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self.write()
        except Exception as error:
            if not self._complained:
                self._complained = True
                name = type(error).__name__
                _log.warning("metrics of this process are not written: %s", name)

    def write(self) -> None:
        """Write what was counted until now."""
        with self._lock:
            if self._closed:
                return
            entries: dict[str, list[bytes]] = {group: [] for group in (*_COUNTING, *GAUGES)}
            headers: dict[tuple[str, ...], bytes] = {}
            has_counted = False
            for each in self._values():
                series, value = _series(each), each.value
                if each.group in _COUNTING:
                    value = max(0.0, value - self._base.get(series, 0.0))
                    has_counted = has_counted or value > 0
                header = headers[series] = self._headers.get(series) or _header(each)
                entries[each.group] += (header, _VALUE.pack(value, 0.0))
            self._headers = headers
            if self._files is None and has_counted:
                self._files = ProcessFiles(self.directory)
            if self._files is not None:
                self._files.hold()
                for group, parts in entries.items():
                    self._files.replace(group, b"".join(parts))
            sweep(self.directory)

    def close(self) -> None:
        """Write for the last time, take the gauges back, and end."""
        with self._lock:
            if not self._closed:
                self._try_to_write()
                self._closed = True
                if self._files is not None:
                    self._files.leave()
        self.settle()

    def _values(self) -> Iterator[_Value]:
        found = collect(self.registry, buckets=self._buckets, max_series=self._max_series)
        for metric in found:
            if metric.kind == "histogram":
                yield from _histogram(metric)
                continue
            name = metric.prometheus_name
            group, suffix = "counter", "_total"
            if metric.kind == "gauge":
                group, suffix = f"gauge_live{CATALOGUE[metric.name].across}", ""
            for labels, value in metric.samples:
                yield _Value(group, name, f"{name}{suffix}", labels, metric.help, value)


def _histogram(metric: Metric) -> Iterator[_Value]:
    """Yield what each bucket alone has: they are made cumulative when they are added up."""
    name = metric.prometheus_name
    for each in metric.samples:
        below = 0
        for end, number in each.buckets:
            labels = {**each.labels, "le": "+Inf" if end == math.inf else repr(end)}
            alone, below = number - below, number
            yield _Value("histogram", name, f"{name}_bucket", labels, metric.help, alone)
        yield _Value("histogram", name, f"{name}_sum", each.labels, metric.help, each.sum)


def _series(each: _Value) -> tuple[str, ...]:
    return each.name, *each.labels.values()


def _header(each: _Value) -> bytes:
    """Return what stands before a value: the length of its key, and the key, padded."""
    key = json.dumps([each.metric, each.name, each.labels, each.help], sort_keys=True).encode()
    return LENGTH.pack(len(key)) + key + b" " * (8 - (len(key) + 4) % 8)


def _end() -> None:
    """Write for the last time; a thread that still answers a scrape opens nothing again."""
    global _has_ended  # noqa: PLW0603 - there is one end of a process
    with _lock:
        _has_ended = True
    _close_all()


def _close_all() -> None:
    for writer in _writers.copy():
        writer.close()


def _write_all() -> None:
    for writer in _writers.copy():
        writer._try_to_write()


def _heed_multiprocessing() -> None:
    """Have its children write when their work is done: they leave without ``atexit``."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        _enlist(util)


@functools.cache  # once: forked children inherit it
def _enlist(util: Any) -> None:
    def have_done(work: Callable[[], None]) -> None:
        # Nothing is closed: threads that are not daemons may still go on for long.
        util.Finalize(None, work, exitpriority=_LAST)

    have_done(_write_all)
    # Children forget it when they begin.
    util.register_after_fork(_write_all, have_done)


def _pause() -> None:
    _forking.add(threading.get_ident())
    for writer in _writers:
        writer.settle()


def _go_on() -> None:
    _forking.discard(threading.get_ident())
    for writer in _writers:
        writer.settle()


def _begin_anew() -> None:
    """Let every writer begin anew in a forked child."""
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()
    _forking.clear()
    for writer in _writers:
        try:
            writer.begin_anew()
        except Exception:
            _log.exception("metrics of this process are not written")
    _heed_multiprocessing()


_heed_multiprocessing()
atexit.register(_end)
forks.around(before=_pause, after_in_parent=_go_on)
forks.after_in_child(_begin_anew)
