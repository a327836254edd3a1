"""Several processes that share a directory, and what they show together."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_om
from prometheus_client.parser import text_string_to_metric_families as parse_text

import meshhook as mh
from meshhook.observe import multiprocess, process_files
from meshhook.observe.metrics import collect
from meshhook.observe.multiprocess import Writer, start_multiprocess
from meshhook.observe.prometheus import PrometheusCollector, exposition
from tests.forking import in_a_fork
from tests.observe.everything import ODD, attempt, everything, fail
from tests.servers import free_port
from tests.waiting import GIVE_UP, Called, Held, eventually

ROOT = Path(__file__).parents[2]
LONG = 3600


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Name a directory as prometheus_client wants it; end what was started for it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(multiprocess, "_has_ended", False)
    yield tmp_path
    multiprocess._close_all()
    multiprocess._writers.clear()


def start(registry: mh.Registry, interval: Any = LONG) -> Writer:
    """Start a writer that writes when it is asked to."""
    writer = start_multiprocess(registry, interval=interval)
    writer.write()
    return writer


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def merged(directory: Path) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what the collector of prometheus_client makes of the directory."""
    together = CollectorRegistry()
    MultiProcessCollector(together, str(directory))
    return samples(generate_latest(together).decode())


def value(found: dict[Any, float], metric: str, /, **labels: str) -> float | None:
    """Return the one value that has these labels, if there is one."""
    values = [
        number
        for (each, own), number in found.items()
        if each == metric and labels.items() <= dict(own).items()
    ]
    assert len(values) < 2
    return values[0] if values else None


def calls(found: dict[Any, float], name: str = "upstream", outcome: str = "success") -> Any:
    return value(found, "meshhook_calls_total", name=name, outcome=outcome)


def writers() -> int:
    """Return how many threads of writers there are."""
    return sum(each.name == "meshhook metrics" for each in threading.enumerate())


def files(directory: Path) -> list[str]:
    """Return the files, without what differs from process to process."""
    return sorted(
        path.name.partition("meshhook")[0] + path.suffix for path in directory.glob("*meshhook*")
    )


ALL_FILES = [".lock", "counter_.db", "gauge_livemax_.db", "gauge_livesum_.db", "histogram_.db"]


def test_one_process_shows_what_it_would_show_alone(directory: Path) -> None:
    """Every series of every metric, by the collector of prometheus_client and by exposition."""
    registry = everything()
    start(registry)
    body, _ = exposition(registry)
    for found in (merged(directory), samples(body.decode())):
        for metric in collect(registry):
            name = metric.prometheus_name + ("_total" if metric.kind == "counter" else "")
            for sample in metric.samples:
                labels = dict(sample.labels)
                if metric.kind != "histogram":
                    shown = value(found, name, **labels)
                    if not name.endswith("_seconds"):
                        assert shown == sample.value, name
                    continue
                assert value(found, f"{name}_count", **labels) == sample.count
                assert value(found, f"{name}_sum", **labels) == sample.sum
                for end, number in sample.buckets:
                    le = "+Inf" if end == float("inf") else str(end)
                    assert value(found, f"{name}_bucket", **labels, le=le) == number
    assert calls(found, ODD) == 1
    assert files(directory) == ALL_FILES


def test_openmetrics_of_all_processes(directory: Path) -> None:
    """It is negotiated as ever."""
    registry = everything()
    body, media_type = exposition(registry, "application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert {"meshhook_calls", "meshhook_call_duration_seconds"} <= {
        family.name for family in parse_om(body.decode())
    }


def test_being_made_is_enough(directory: Path, registry: mh.Registry) -> None:
    """A collector starts it, and gives no metrics itself: they would be there twice."""
    theirs = CollectorRegistry(auto_describe=True)
    MultiProcessCollector(theirs)
    theirs.register(PrometheusCollector(registry))
    mh.circuit_breaker("upstream", registry=registry).call(int)
    start_multiprocess(registry).write()
    assert generate_latest(theirs).decode().count('meshhook_calls_total{name="upstream",') == 4


def test_the_endpoints_start_it(directory: Path, registry: mh.Registry) -> None:
    """Each worker that has made the application writes, also before it is scraped."""
    mh.circuit_breaker("upstream", registry=registry).call(int)
    app = mh.wsgi_app(registry)
    (writer,) = multiprocess._writers
    writer.write()
    assert calls(merged(directory)) == 1
    app.close()


def test_a_second_start_returns_the_first(directory: Path, registry: mh.Registry) -> None:
    """For the same registry and directory; whatever else it asks for."""
    writer = start_multiprocess(registry)
    assert start_multiprocess(registry, directory, interval=9, buckets=(1,)) is writer
    assert start_multiprocess(mh.Registry()) is not writer
    writer.close()
    assert start_multiprocess(registry, buckets=(1,)) is writer


def test_it_is_written_again_and_again(directory: Path, registry: mh.Registry) -> None:
    """By a daemon thread, after each interval."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    start_multiprocess(registry, interval="5ms")
    for number in range(1, 4):
        breaker.call(int)
        assert eventually(lambda wanted=number: calls(merged(directory)) == wanted)
    threads = [each for each in threading.enumerate() if each.name == "meshhook metrics"]
    assert [each.daemon for each in threads] == [True]


def test_closed_it_leaves_its_counters(directory: Path, registry: mh.Registry) -> None:
    """With the last calls; gauges and lock go, and so does the thread."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    breaker.call(int)
    writer = start(registry, "1ms")
    breaker.call(int)
    writer.close()
    writer.close()
    writer.write()
    assert calls(merged(directory)) == 2
    assert value(merged(directory), "meshhook_circuit_state", state="closed") is None
    assert files(directory) == ["counter_.db", "histogram_.db"]
    assert writers() == 0


def test_closed_it_goes_on_when_it_is_asked(directory: Path, registry: mh.Registry) -> None:
    """A scrape opens it again: what it has told is told once, in the file where it is."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    writer = start(registry)
    for number in range(1, 4):
        breaker.call(int)
        writer.close()
        assert files(directory) == ["counter_.db", "histogram_.db"]
        for _ in range(2):
            body, _ = exposition(registry)
            assert calls(samples(body.decode())) == number
            assert calls(merged(directory)) == number
        assert files(directory) == ALL_FILES
        assert writers() == 1


def test_what_the_parent_of_a_fork_has_counted_stays_its_own(
    directory: Path, registry: mh.Registry
) -> None:
    """Also if its writer was closed, and the child opens its own."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    breaker.call(int)
    start(registry).close()

    def child() -> bool:
        breaker.call(int)
        return calls(samples(exposition(registry)[0].decode())) == 2

    assert in_a_fork(child) == 0
    breaker.call(int)
    assert calls(samples(exposition(registry)[0].decode())) == 3


def test_a_process_that_ends_opens_nothing_again(directory: Path, registry: mh.Registry) -> None:
    """A thread that still answers a scrape tells what was written last."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    breaker.call(int)
    start(registry)
    multiprocess._end()
    other = mh.Registry()
    mh.circuit_breaker("other", registry=other).call(int)
    for each in (registry, other):
        body, _ = exposition(each)
        assert calls(samples(body.decode())) == 1
        assert calls(samples(body.decode()), "other") is None
    assert files(directory) == ["counter_.db", "histogram_.db"]
    assert writers() == 0


def test_a_scrape_after_the_last_write_of_a_process(directory: Path) -> None:
    """Sums stay as they are, for others too."""
    program = (
        "import atexit, sys; atexit.register(lambda: sys.stdout.buffer.write(exposition()[0])); "
        "import meshhook as mh; from meshhook.observe.prometheus import exposition; "
        "breaker = mh.circuit_breaker('upstream'); breaker.call(int); exposition()"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, cwd=ROOT
    )
    assert calls(samples(ended.stdout.decode())) == 1
    assert calls(merged(directory)) == 1
    assert files(directory) == ["counter_.db", "histogram_.db"]


def test_who_has_counted_nothing_writes_nothing(directory: Path, registry: mh.Registry) -> None:
    """A process that only forks others would be in every sum of gauges."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    writer = start(registry)
    assert files(directory) == []
    breaker.call(int)
    writer.write()
    assert files(directory) == ALL_FILES


def test_series_of_removed_policies_vanish(directory: Path, registry: mh.Registry) -> None:
    """With the next write."""

    def make() -> Any:
        @mh.timeout(1, registry=registry)
        def fn() -> None: ...

        return fn

    mh.circuit_breaker("upstream", registry=registry).call(int)
    fn = make()
    fn()
    writer = start(registry)
    name = fn.policies[0].name
    assert calls(merged(directory), name) == 1
    del fn
    gc.collect()
    writer.write()
    assert calls(merged(directory), name) is None
    assert value(merged(directory), "meshhook_timeout_limit_seconds") is None


def test_a_reader_never_sees_half_a_file(directory: Path) -> None:
    """While one process writes as fast as it can."""
    registry = everything()
    writer = start(registry)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            writer.write()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        first = merged(directory).keys()
        for _ in range(20):
            assert merged(directory).keys() >= {
                key for key in first if not key[0].endswith("_rate")
            }
    finally:
        ended.set()
        thread.join()


def test_a_forked_process_begins_at_nothing(directory: Path, registry: mh.Registry) -> None:
    """What was counted before the fork is told once, by who has counted it."""
    breaker = mh.circuit_breaker(
        "upstream", slow_call_duration=1, slow_call_rate_threshold=1, registry=registry
    )
    for _ in range(5):
        breaker.call(int)
    attempt(breaker.call, fail)
    start(registry)

    def child() -> bool:
        (writer,) = multiprocess._writers
        before = calls(merged(directory)) == 5
        breaker.call(int)
        writer.write()
        own = calls(merged(directory)) == 6
        alive = value(merged(directory), "meshhook_circuit_state", state="closed") == 2
        multiprocess._close_all()
        return before and own and alive

    assert in_a_fork(child) == 0
    found = merged(directory)
    assert calls(found) == 6
    assert calls(found, outcome="failure") == 1
    count = value(found, "meshhook_call_duration_seconds_count")
    assert count == 7
    assert value(found, "meshhook_circuit_state", state="closed") == 1


def test_a_forked_process_writes_without_being_asked(
    directory: Path, registry: mh.Registry
) -> None:
    """Its thread is started anew."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    start_multiprocess(registry, interval="5ms")

    def child() -> bool:
        breaker.call(int)
        return eventually(lambda: calls(merged(directory)) == 1)

    assert in_a_fork(child) == 0


def test_no_thread_of_ours_runs_while_a_process_forks(
    directory: Path, registry: mh.Registry
) -> None:
    """Newer Pythons warn of forks with threads; the writer goes on afterwards, in both."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    start_multiprocess(registry, interval="5ms")
    before = threading.active_count()
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert threading.active_count() == before
    breaker.call(int)
    assert eventually(lambda: calls(merged(directory)) == 1)


def test_it_goes_on_when_the_last_fork_is_done(directory: Path, registry: mh.Registry) -> None:
    """Two threads that fork at once leave one thread, and no more after the end."""
    writer = start_multiprocess(registry)
    first, second = Held(), Held()

    def fork(held: Held) -> None:
        multiprocess._pause()
        held()
        multiprocess._go_on()

    forks = [Called("sync", fork, held) for held in (first, second)]
    assert first.inside.wait(GIVE_UP)
    assert second.inside.wait(GIVE_UP)
    assert writers() == 0
    first.go.set()
    forks[0].result()
    start_multiprocess(registry)
    assert writers() == 0
    second.go.set()
    forks[1].result()
    assert writers() == 1
    multiprocess._go_on()
    assert writers() == 1
    writer.close()
    assert writers() == 0


def test_a_write_that_outlasts_a_fork_is_the_last_of_its_thread(
    directory: Path, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another goes on; the fork has not waited for long."""
    monkeypatch.setattr(multiprocess, "_PATIENCE", 0.001)
    held = Held()
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", held)
        start_multiprocess(registry, interval="1ms")
        assert held.inside.wait(GIVE_UP)
        patch.setattr(Writer, "write", bool)
        assert in_a_fork(lambda: writers() == 1) == 0
        assert writers() == 2
        held.go.set()
        assert eventually(lambda: writers() == 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of such forks
def test_sums_are_exact_after_forks_from_several_threads(
    directory: Path, registry: mh.Registry
) -> None:
    """Each process tells its own calls, and one thread is left."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    writer = start_multiprocess(registry, interval="1ms")

    def child() -> bool:
        breaker.call(int)
        multiprocess._close_all()
        return True

    def fork() -> bool:
        for _ in range(5):
            breaker.call(int)
            assert in_a_fork(child) == 0
        return True

    forks = [Called("sync", fork) for _ in range(2)]
    assert all(each.result() for each in forks)
    assert writers() == 1
    writer.close()
    assert writers() == 0
    assert calls(merged(directory)) == 20


CHILDREN = """
import multiprocessing, sys
import meshhook as mh
from meshhook.observe.prometheus import start_multiprocess

breaker = mh.circuit_breaker("upstream")
start_multiprocess(interval=3600)

def work(depth):
    breaker.call(int)
    if depth:
        run(depth - 1)

def run(depth):
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(depth,))
    child.start()
    child.join()

if __name__ == "__main__":
    breaker.call(int)
    run(1)
"""


@pytest.mark.fault
@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_children_of_multiprocessing(directory: Path, tmp_path: Path, how: str) -> None:
    """What they, and their own children, have counted is there when they end."""
    program = tmp_path / "program.py"
    program.write_text(CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(program), how], check=True, env=environment)
    assert calls(merged(directory)) == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # other tests may have left threads
def test_a_child_of_multiprocessing_has_written_when_it_ends(
    directory: Path, registry: mh.Registry
) -> None:
    """By itself, though it leaves by os._exit; its gauges go with the next write of another."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    breaker.call(int)
    writer = start(registry)
    child = multiprocessing.get_context("fork").Process(target=breaker.call, args=(int,))
    child.start()
    child.join(GIVE_UP)
    assert child.exitcode == 0
    writer.write()
    assert calls(merged(directory)) == 2
    assert value(merged(directory), "meshhook_circuit_state", state="closed") == 1


def test_without_multiprocessing_it_is_not_loaded(directory: Path) -> None:
    """A process that has no such children pays nothing for them."""
    program = (
        "import sys; from meshhook.observe.prometheus import start_multiprocess; "
        "start_multiprocess(); assert 'multiprocessing.util' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)


def test_a_closed_writer_stays_closed(directory: Path, registry: mh.Registry) -> None:
    """Also if the process forks just then."""
    writer = start_multiprocess(registry)
    writer.close()
    before = threading.active_count()
    assert in_a_fork(lambda: threading.active_count() == 1) == 0
    assert threading.active_count() == before


def test_a_forked_process_that_cannot_write_goes_on(
    directory: Path, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """What cannot be read there is told in the log."""
    start_multiprocess(registry)
    monkeypatch.setattr(Writer, "_values", fail)

    def child() -> bool:
        return "are not written" in caplog.text

    assert in_a_fork(child) == 0


def test_gauges_of_a_dead_process_vanish(directory: Path, registry: mh.Registry) -> None:
    """With the next write of another; its counters stay."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    writer = start(registry)

    def child() -> bool:
        breaker.call(int)
        multiprocess._writers[0].write()
        return True

    assert in_a_fork(child) == 0
    assert value(merged(directory), "meshhook_circuit_state", state="closed") == 1
    writer.write()
    assert files(directory) == ["counter_.db", "histogram_.db"]
    breaker.call(int)
    writer.write()
    assert calls(merged(directory)) == 2
    assert value(merged(directory), "meshhook_circuit_state", state="closed") == 1


def test_those_of_a_living_process_do_not(directory: Path, registry: mh.Registry) -> None:
    """Whoever looks, and also if somebody says that a process of its number is dead."""
    breaker = mh.circuit_breaker("upstream", registry=registry)
    breaker.call(int)
    start(registry)

    def child() -> bool:
        breaker.call(int)
        multiprocess._writers[0].write()
        process_files.sweep(directory)
        return value(merged(directory), "meshhook_circuit_state", state="closed") == 2

    assert in_a_fork(child) == 0
    process_files.sweep(directory)
    assert value(merged(directory), "meshhook_circuit_state", state="closed") == 1


def test_no_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The errors say what to do."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(mh.ConfigurationError, match="directory must be given, or PROMETHEUS_MULTI"):
        start_multiprocess()
    with pytest.raises(mh.ConfigurationError, match="does not exist; make it, and empty it"):
        start_multiprocess(directory=tmp_path / "none")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    with pytest.raises(mh.ConfigurationError, match="does not exist"):
        PrometheusCollector()


@pytest.mark.parametrize(
    "settings", [{"interval": 0}, {"buckets": ()}, {"max_series": 0}, {"registry": 1}]
)
def test_wrong_settings(directory: Path, settings: Any) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=f"{next(iter(settings))} must be"):
        start_multiprocess(**settings)


def test_a_directory_that_vanishes_is_told_once(
    tmp_path: Path, registry: mh.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """And calls go on."""
    where = tmp_path / "metrics"
    where.mkdir()
    mh.circuit_breaker("upstream", registry=registry).call(int)
    writer = start_multiprocess(registry, where, interval="1ms")
    assert eventually(lambda: len(files(where)) == 5)
    for _ in range(100):
        with contextlib.suppress(OSError):
            for path in where.iterdir():
                path.unlink(missing_ok=True)
            where.rmdir()
            break
    assert eventually(lambda: "are not written" in caplog.text)
    time.sleep(0.02)
    writer.close()
    assert caplog.text.count("are not written") == 1


def test_without_a_thread_it_is_told(
    directory: Path, registry: mh.Registry, monkeypatch: Any, caplog: Any
) -> None:
    """A system without room for one more."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    mh.circuit_breaker("upstream", registry=registry).call(int)
    writer = start_multiprocess(registry)
    assert "are not written: can't start new thread" in caplog.text
    writer.write()
    assert calls(merged(directory)) == 1


def test_who_has_left_is_not_dead(
    directory: Path, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be back under its name by the time that another looks at the lock of before."""
    mh.circuit_breaker("upstream", registry=registry).call(int)
    writer = start(registry)
    (lock,) = directory.glob("*.lock")
    try_lock = process_files._try_lock

    def late(file: int) -> bool:
        monkeypatch.setattr(process_files, "_try_lock", try_lock)
        writer.close()
        exposition(registry)
        return try_lock(file)

    monkeypatch.setattr(process_files, "_try_lock", late)
    assert not process_files.is_dead(lock)
    assert lock.exists()


def test_without_locks_of_files_nobody_is_dead(
    directory: Path, registry: mh.Registry, monkeypatch: Any
) -> None:
    """On a system that has none, gauges stay until the directory is emptied."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    mh.circuit_breaker("upstream", registry=registry).call(int)
    start(registry)
    (directory / "meshhook-1-abc.lock").touch()
    process_files.sweep(directory)
    assert (directory / "meshhook-1-abc.lock").exists()
    assert calls(merged(directory)) == 1


class Service:
    """A gunicorn with two workers."""

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self.port = free_port()
        self.log = directory.parent / "gunicorn.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", "-m", "gunicorn", "--workers", "2"),
                    *("--bind", f"127.0.0.1:{self.port}", "--no-control-socket", *options),
                    *("--config", "tests/observe/served/gunicorn_conf.py"),
                    "tests.observe.served.app:app",
                ],
                cwd=ROOT,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            return len({self.get("/pid") for _ in range(20)}) == 2
        return False

    def samples(self, path: str = "/metrics") -> dict[Any, float]:
        return samples(self.get(path))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(GIVE_UP)


@contextlib.contextmanager
def serving(directory: Path, *options: str, **environment: str) -> Iterator[Service]:
    service = Service(directory, *options, **environment)
    try:
        assert eventually(service.is_up), service.log.read_text()
        yield service
    finally:
        service.stop()


@pytest.mark.fault
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_two_workers_of_gunicorn(tmp_path: Path, preload: bool) -> None:
    """Sums are exact, a killed worker leaves its counters and no gauges, and so does the end."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    options = ["--preload"] if preload else []
    before = 1 if preload else 2
    with serving(directory, *options, CALL_AT_IMPORT="1") as service:
        pids: set[str] = set()
        asked = 0
        while asked < 30 or (len(pids) < 2 and asked < 2_000):
            pids.add(service.get("/"))
            asked += 1
        for _ in range(3):
            assert service.get("/fail") == "ConnectionError"
        assert len(pids) == 2
        good = asked + before

        def is_exact(path: str, wanted: int = good) -> bool:
            found = service.samples(path)
            return (
                calls(found) == wanted
                and calls(found, outcome="failure") == 3
                and value(found, "meshhook_call_duration_seconds_count") == wanted + 3
            )

        assert eventually(lambda: is_exact("/metrics")), service.get("/metrics")
        assert is_exact("/ours")
        found = service.samples()
        assert value(found, "requests_total") == good + 3
        processes = 3 if preload else 2  # the one that forks has called once, at import
        assert value(found, "meshhook_circuit_state", state="closed") == processes
        assert value(found, "meshhook_bulkhead_limit") == 5 * processes
        assert value(found, "meshhook_bulkhead_in_flight") == 0
        assert "meshhook" not in service.get("/own")

        killed = pids.pop()
        os.kill(int(killed), signal.SIGKILL)
        assert eventually(service.is_up)
        assert eventually(lambda: not list(directory.glob(f"gauge_*_meshhook-{killed}-*")))
        assert list(directory.glob(f"counter_meshhook-{killed}-*"))
        good += 1 if not preload else 0  # the new one has called at its import
        assert eventually(lambda: calls(service.samples()) == good)
        for _ in range(10):
            service.get("/")
        assert eventually(lambda: calls(service.samples()) == good + 10)
    left = merged(directory)
    assert calls(left) == good + 10
    assert value(left, "meshhook_circuit_state", state="closed") is None
    assert {path.suffix for path in directory.glob("*meshhook*")} == {".db"}
    assert not list(directory.glob("gauge_*meshhook*"))
