"""What it costs to be watched: eight threads call, while somebody scrapes or has the page open.

Rounds with and without a watcher take turns. Whoever watches is another process, over HTTP. Beside
the calls in a second there are the calls in a second of processor time, which other processes on
the machine disturb less, and the share of the processor time of the process that is left to the
threads that call, which is exact but knows nothing of locks and caches. A goal is missed only if
all three say so.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.harness import Options, reason
from benchmarks.table import Missing, Row, Table

_THREADS = 8
_SECONDS = 1.0
_LEAST = 0.98
"""The share of the throughput that has to be left."""

_SCRAPER = """
import sys, time, urllib.request
for line in sys.stdin:
    begin = time.perf_counter()
    size = len(urllib.request.urlopen(line.strip(), timeout=60).read())
    print(time.perf_counter() - begin, size, flush=True)
"""
_READER = """
import sys, threading, urllib.request
def read(stream):
    try:
        while stream.readline():
            pass
    except Exception:
        pass
for line in sys.stdin:
    stream = urllib.request.urlopen(line.strip(), timeout=60)
    while not stream.readline().startswith(b"event: stats"):
        pass
    threading.Thread(target=read, args=(stream,), daemon=True).start()
    print("reads", flush=True)
"""


def scraped(options: Options) -> Table:
    """Measure what a scrape by Prometheus in each second takes away."""
    table = Table("scraped", "8 threads, with scrapes by Prometheus to without")
    _measure(table, "100 policies, once a second", 100, _scraping(1), options, _LEAST)
    # What one takes away is less than what the machine does besides; of ten it can be seen.
    _measure(table, "100 policies, ten times a second", 100, _scraping(10), options)
    _measure(table, "10,000 policies, once a second", 10_000, _scraping(1), options)
    return table


def watched(options: Options) -> Table:
    """Measure what a dashboard takes away that somebody has open."""
    table = Table("watched", "8 threads, with a stream to the dashboard to without")
    _measure(table, "100 policies", 100, _streaming, options)
    _measure(table, "10,000 policies", 10_000, _streaming, options)
    return table


Watching = Callable[[Any, list[float]], contextlib.AbstractContextManager[Callable[[], Any]]]
"""Serves a registry, and returns what begins one round of watching; notes how long answers take."""


def _measure(
    table: Table,
    name: str,
    policies: int,
    watching: Watching,
    options: Options,
    goal: float | None = None,
) -> None:
    import meshhook as mh

    goal_text = "" if goal is None else f">= {goal:g}"
    registry = mh.Registry()
    answers: list[float] = []
    pairs = []
    try:
        functions = _functions(registry, policies)
        with watching(registry, answers) as watch:
            _round(functions, contextlib.nullcontext())
            for number in range(max(3, options.rounds // 2)):
                both = [contextlib.nullcontext(), watch()]
                order = both if number % 2 else both[::-1]
                found = [_round(functions, each) for each in order]
                pairs.append(found if number % 2 else found[::-1])
    except Exception as error:
        table.missing.append(Missing(name, reason(error), goal_text))
        return
    of_clock, of_processor, shares = (
        [with_it[at] / without[at] for without, with_it in pairs] for at in range(3)
    )
    figures = {"calls/s": max(without.of_clock for without, _ in pairs)}
    figures |= {
        "left": statistics.median(of_clock),
        "by processor": statistics.median(of_processor),
    }
    tenths = statistics.quantiles(of_processor, n=10)
    figures |= {"p10": tenths[0], "p90": tenths[-1], "share": statistics.median(shares)}
    if answers:
        figures["ms an answer"] = statistics.median(answers) * 1e3
    met = None
    if goal is not None:
        met = max(figures["left"], figures["by processor"], figures["share"]) >= goal
    table.rows.append(Row(name, figures, goal_text, met))
    table.note = "what is left: calls by the clock, by processor time, share of processor time"


def _functions(registry: Any, policies: int) -> list[Callable[[int], int]]:
    """Make functions with four policies each, a few of them with durations to tell."""
    import meshhook as mh

    def answer(value: int) -> int:
        return value

    return [
        mh.Pipeline(
            mh.circuit_breaker(
                f"call-{number}",
                failure_rate_threshold=0.5,
                slow_call_duration=1.0 if number % 5 == 0 else None,
                registry=registry,
            ),
            mh.retry(name=f"call-{number}", registry=registry),
            mh.rate_limit(10_000_000, name=f"call-{number}", registry=registry),
            mh.bulkhead(100, name=f"call-{number}", registry=registry),
        )(answer)
        for number in range(policies // 4)
    ]


class _Found(NamedTuple):
    """Calls in a second, calls in one of processor time, and the share of that of who calls."""

    of_clock: float
    of_processor: float
    share: float


def _round(
    functions: list[Callable[[int], int]], watched: contextlib.AbstractContextManager[Any]
) -> _Found:
    """Call for a second."""
    is_over = threading.Event()
    counts = [0] * _THREADS
    own = [0.0] * _THREADS

    def work(at: int) -> None:
        for function in itertools.islice(itertools.cycle(functions), at, None):
            for value in range(100):
                function(value)
            counts[at] += 100
            if is_over.is_set():
                own[at] = time.thread_time()
                return

    workers = [threading.Thread(target=work, args=(at,)) for at in range(_THREADS)]
    with watched:
        clock, processor = time.perf_counter(), time.process_time()
        for worker in workers:
            worker.start()
        time.sleep(_SECONDS)
        is_over.set()
        for worker in workers:
            worker.join()
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return _Found(sum(counts) / clock, sum(counts) / processor, sum(own) / processor)


def _scraping(times: int) -> Watching:
    return functools.partial(_scraped_so_often, times)


@contextlib.contextmanager
def _scraped_so_often(
    times: int, registry: Any, answers: list[float]
) -> Iterator[Callable[[], Any]]:
    import prometheus_client

    from meshhook.observe.prometheus import PrometheusCollector

    collected = prometheus_client.CollectorRegistry()
    collected.register(PrometheusCollector(registry))
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", collected)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    with _other_process(_SCRAPER) as other:

        def scrape() -> None:
            answers.append(float(_ask(other, url).split()[0]))

        @contextlib.contextmanager
        def watch() -> Iterator[None]:
            is_over = threading.Event()

            def scrape_every_second() -> None:
                next_at = time.perf_counter() + 0.25 / times
                while not is_over.wait(max(0.0, next_at - time.perf_counter())):
                    scrape()
                    next_at += 1.0 / times

            scraper = threading.Thread(target=scrape_every_second)
            scraper.start()
            try:
                yield
            finally:
                is_over.set()
                scraper.join()

        yield watch
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def _streaming(registry: Any, _answers: list[float]) -> Iterator[Callable[[], Any]]:
    import meshhook as mh

    with mh.serve(0, registry=registry) as server:

        @contextlib.contextmanager
        def watch() -> Iterator[None]:
            with _other_process(_READER) as other:
                _ask(other, f"{server.url}/events?stats=1")
                yield
            time.sleep(0.5)  # until the server has noticed that nobody reads any more

        yield watch


@contextlib.contextmanager
def _other_process(program: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            yield other
        finally:
            other.kill()


def _ask(other: subprocess.Popen[str], url: str) -> str:
    assert other.stdin is not None
    assert other.stdout is not None
    print(url, file=other.stdin, flush=True)
    answer = other.stdout.readline()
    assert answer, "whoever watches has ended"
    return answer
