"""A process that is told to end while its calls wait for their next attempt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

PROGRAM = """
import signal, sys, threading, time
sys.path[:] = {path!r}
import meshhook as mh

signal.signal(signal.SIGTERM, lambda *_: mh.shutdown())

@mh.retry(base_delay=600, max_delay=600, jitter=None, before_sleep=lambda _: waits.release())
def call():
    raise ConnectionError("refused")

waits, ended = threading.Semaphore(0), []

def work():
    try:
        call()
    except ConnectionError as error:
        ended.append(error.__notes__)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in threads:
    waits.acquire()
print("waiting", flush=True)
work()
for thread in threads:
    thread.join()
print(len(ended), set(map(tuple, ended)))
"""


def test_a_signal_ends_all_pauses() -> None:
    """That of the main thread, where the handler runs, and those of the others; at once."""
    program = [sys.executable, "-W", "error", "-c", PROGRAM.format(path=sys.path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)  # for the main thread to go to sleep, which it cannot tell
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert said == "5 {('meshhook: 1 attempt; the process shuts down',)}\n"
    assert time.perf_counter() - began < 10
    assert process.returncode == 0
