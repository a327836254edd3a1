"""A directory that cannot be written to for a while: nothing is used up by trying again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshhook as mh
from meshhook.observe import multiprocess, process_files
from meshhook.observe.multiprocess import Writer, start_multiprocess


@pytest.fixture
def writer(registry: mh.Registry, tmp_path: Path) -> Iterator[Writer]:
    """Make a writer of one policy that has counted, which writes when it is asked to."""
    mh.circuit_breaker("upstream", registry=registry).call(int)
    yield start_multiprocess(registry, tmp_path, interval=3600)
    multiprocess._close_all()
    multiprocess._writers.clear()


def used() -> tuple[int, int]:
    """Return how many files are open, and how many marks there are."""
    return len(list(Path("/proc/self/fd").iterdir())), len(process_files._own)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_a_full_disk_uses_nothing_up(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried, no file stays open or lies around; afterwards it is written."""

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    before = used()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        for _ in range(20):
            with pytest.raises(OSError, match="No space"):
                writer.write()
    assert used()[0] == before[0]
    assert used()[1] <= before[1] + 1
    assert len(list(tmp_path.iterdir())) <= 1
    writer.write()
    names = {path.suffix for path in tmp_path.iterdir()}
    assert names == {".db", ".lock"}
    assert used() == (before[0] + 1, before[1] + 1)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_a_directory_that_is_away(writer: Writer, tmp_path: Path) -> None:
    """Uses nothing up either; once it is there again, so is the lock that shows who lives."""
    writer.write()
    before = used()
    shutil.rmtree(tmp_path)
    for _ in range(20):
        with pytest.raises(FileNotFoundError):
            writer.write()
    assert used()[1] == before[1]
    assert used()[0] < before[0]
    tmp_path.mkdir()
    writer.write()
    (lock,) = tmp_path.glob("*.lock")
    assert used() == before
    # Whoever sweeps in another process finds it held, and leaves its gauges alone.
    child = os.fork()
    if child == 0:
        process_files._own.clear()
        os._exit(int(process_files.is_dead(lock)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
