"""Processes that find each other in a folder: real ones, and some of them are really killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshhook as mh
from meshhook.observe.fleet import FleetFolder
from tests.forking import in_a_fork

MEMBER = """
import sys
from meshhook.observe.fleet import FleetFolder
FleetFolder(sys.argv[1]).announce(sys.argv[2])
print("announced", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> FleetFolder:
    """Give a folder that is not there yet."""
    return FleetFolder(tmp_path / "run" / "shop")


@pytest.fixture
def member(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that has announced itself as http://127.0.0.1:7001."""
    path = tmp_path / "run" / "shop"
    with subprocess.Popen(
        [sys.executable, "-c", MEMBER, path, "http://127.0.0.1:7001"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"announced\n"
        yield process
        process.kill()


def files(tmp_path: Path) -> list[Path]:
    """Return what is in the folder."""
    return list((tmp_path / "run" / "shop").iterdir())


def test_an_empty_folder_has_no_members(folder: FleetFolder) -> None:
    """It is made, for this user alone."""
    assert folder.urls() == []
    assert re.fullmatch(r"<FleetFolder '.*shop'>", repr(folder))


def test_processes_are_found_until_they_take_it_back(folder: FleetFolder, tmp_path: Path) -> None:
    """Everybody who looks into the folder finds them, and what is taken back leaves nothing."""
    with folder.announce("http://127.0.0.1:7002"), folder.announce("http://127.0.0.1:7001"):
        same = FleetFolder(tmp_path / "run" / "shop")
        assert same.urls() == ["http://127.0.0.1:7001", "http://127.0.0.1:7002"]
    assert folder.urls() == []
    assert files(tmp_path) == []


def test_what_is_taken_back_twice_is_taken_back(folder: FleetFolder) -> None:
    """Closing again does nothing."""
    announcement = folder.announce("http://127.0.0.1:7001")
    announcement.close()
    announcement.close()
    assert folder.urls() == []


def test_a_process_that_lives_is_found(
    folder: FleetFolder, member: subprocess.Popen[bytes]
) -> None:
    """Also where nobody has kept the announcement."""
    assert folder.urls() == ["http://127.0.0.1:7001"]


def test_a_process_that_was_killed_is_gone(
    folder: FleetFolder, member: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """It could not take back anything, and whoever looks next does it."""
    member.send_signal(signal.SIGKILL)
    member.wait()
    assert len(files(tmp_path)) == 1
    assert folder.urls() == []
    assert files(tmp_path) == []


def test_a_process_that_ends_takes_it_back(
    folder: FleetFolder, member: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """At its end nothing is left."""
    member.communicate()
    assert member.returncode == 0
    assert files(tmp_path) == []


def test_a_forked_child_stands_for_nobody(folder: FleetFolder) -> None:
    """Its end leaves the parent announced, and the parent's end is not held up by it."""
    with folder.announce("http://127.0.0.1:7001"):
        assert in_a_fork(lambda: folder.urls() == ["http://127.0.0.1:7001"]) == 0
        assert folder.urls() == ["http://127.0.0.1:7001"]


def test_a_file_that_nobody_can_read_is_no_member(folder: FleetFolder, tmp_path: Path) -> None:
    """A folder of that name is passed over."""
    (tmp_path / "run" / "shop" / "odd.url").mkdir()
    assert folder.urls() == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "url must be printable text that is not empty, got ''"),
        ("a\nb", "url must be printable text"),
        (7, "url must be printable text"),
        ("http://" + "a" * 2_000, "url must be text of at most 2000 characters"),
    ],
)
def test_a_url_that_is_none_is_refused(folder: FleetFolder, url: str, message: str) -> None:
    """The message names the argument and the value."""
    with pytest.raises(mh.ConfigurationError, match=re.escape(message)):
        folder.announce(url)
    assert folder.urls() == []


@pytest.mark.parametrize("path", ["", None, 3])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    """The message names the argument and the value."""
    with pytest.raises(mh.ConfigurationError, match="path must be the path of a folder, got"):
        FleetFolder(path)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The message says what the system says."""
    (tmp_path / "file").touch()
    with pytest.raises(mh.ConfigurationError, match="must be a folder that can be written to"):
        FleetFolder(tmp_path / "file")


def test_a_folder_of_everybody_is_refused(tmp_path: Path) -> None:
    """Whoever can write to it could name members, and learn what is sent to them."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(mh.ConfigurationError, match="everybody may write to"):
        FleetFolder(tmp_path / "open")
