"""Watching: files that change, break, vanish and come back, and what is told of it."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.configuration import watching
from meshhook.configuration.installing import Installation
from tests.configuration.conftest import configure
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, Held, eventually

OFTEN = 0.01


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SETTLED_AFTER", 0.005)


@pytest.fixture
def path(write: Callable[..., Path], registry: mh.Registry) -> Iterator[Path]:
    """Give a file that is being watched."""
    path = write("shop.toml", "[defaults.timeout]\nseconds = 1\n")
    with configure(path, watch=OFTEN):
        yield path


def says(seconds: Any) -> Callable[[], bool]:
    """Tell whether a policy that is made now has so many seconds."""
    return lambda: _limit().settings.seconds == seconds


def _limit() -> mh.Timeout:
    return mh.timeout(name="db")


def nobody_watches() -> bool:
    return "meshhook-configuration" not in [each.name for each in threading.enumerate()]


def replace(path: Path, text: str) -> None:
    """Write a file as editors do: another one, which takes its name."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_a_change_is_seen(path: Path) -> None:
    """Whether the file is written or replaced."""
    assert eventually(says(1))
    path.write_text("[defaults.timeout]\nseconds = 2\n")
    assert eventually(says(2))
    replace(path, "[defaults.timeout]\nseconds = 3\n")
    assert eventually(says(3))


def test_a_change_is_seen_whatever_its_time(path: Path) -> None:
    """What is in the file counts, not when it was written."""
    before = path.stat()
    path.write_text("[defaults.timeout]\nseconds = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert eventually(says(2))


def test_a_link_that_points_elsewhere(
    registry: mh.Registry, write: Callable[..., Path], tmp_path: Path
) -> None:
    """As mounted configurations are exchanged."""
    one = write("one.toml", "[defaults.timeout]\nseconds = 1\n")
    two = write("two.toml", "[defaults.timeout]\nseconds = 2\n")
    link, other = tmp_path / "link.toml", tmp_path / "other.toml"
    link.symlink_to(one)
    with configure(link, watch=OFTEN):
        assert eventually(says(1))
        other.symlink_to(two)
        other.replace(link)
        assert eventually(says(2))


def test_a_broken_file_changes_nothing_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By one record and one event, until it changes again."""
    caplog.set_level("INFO", "meshhook.configuration")
    seen: list[Any] = []
    limit = _limit()
    with mh.subscribe(seen.append, events.ConfigurationRejected, events.ConfigurationReloaded):
        replace(path, "[defaults.timeout]\nseconds = 'soon'\n")
        assert eventually(lambda: bool(seen))
        threading.Event().wait(10 * OFTEN)
        assert [type(each).__name__ for each in seen] == ["ConfigurationRejected"]
        assert limit.settings.seconds == 1.0
        replace(path, "[defaults.timeout]\nseconds = 4\n")
        assert eventually(lambda: len(seen) == 2 and len(caplog.records) == 2)
    assert seen[1] == events.ConfigurationReloaded(
        policy="configuration", name="shop.toml", changed=1
    )
    assert limit.settings.seconds == 4.0
    first, second = caplog.records
    assert first.levelname == "ERROR"
    assert first.getMessage().startswith(
        "shop.toml has changed and is wrong, so the settings stay as they are: "
    )
    assert first.getMessage().endswith("got 'soon'")
    assert first.exc_info is None
    assert second.getMessage() == "shop.toml has changed; policies with other settings: 1"


def test_a_file_that_vanishes_and_comes_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it said holds until it says something else."""
    limit = _limit()
    path.unlink()
    assert eventually(lambda: "it cannot be read: No such file" in caplog.text)
    assert limit.settings.seconds == 1.0
    path.write_text("[defaults.timeout]\nseconds = 2\n")
    assert eventually(lambda: limit.settings.seconds == 2.0)


def test_a_file_that_is_emptied_is_half_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not take all settings back."""
    limit = _limit()
    path.write_text("")
    assert eventually(lambda: "it is empty: half written, perhaps" in caplog.text)
    assert limit.settings.seconds == 1.0


def test_a_file_that_is_being_written_is_read_when_it_is_done(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has to be the same twice in a row; what it was in between is not told."""
    monkeypatch.setattr(watching, "_SETTLED_AFTER", 0.5)
    limit = _limit()
    for end in range(1, 20):
        path.write_text("[defaults.timeout]\nseconds = 2\n# and so on"[: 20 + end])
        threading.Event().wait(0.002)
    assert eventually(lambda: limit.settings.seconds == 2.0)
    assert "wrong" not in caplog.text


def test_closing_ends_it(path: Path) -> None:
    """The settings stay."""
    configuration: Any = mh.configure(path, environment=False, watch=OFTEN)
    assert not nobody_watches()
    configuration.close()
    configuration.close()
    assert eventually(nobody_watches)
    path.write_text("[defaults.timeout]\nseconds = 2\n")
    threading.Event().wait(5 * OFTEN)
    assert _limit().settings.seconds == 1.0


def test_another_configuration_ends_it(path: Path) -> None:
    """What took its place is not watched unless asked for."""
    configure({})
    assert eventually(nobody_watches)


def test_a_registry_that_nobody_has_is_not_watched(write: Callable[..., Path]) -> None:
    """The thread keeps nothing alive, and ends."""
    registry = mh.Registry()
    path = write("shop.toml", "# nothing so far")
    configuration = configure(path, registry=registry, watch=OFTEN)
    gone = weakref.ref(configuration)
    del registry, configuration
    gc.collect()
    assert eventually(lambda: gone() is None)
    assert eventually(nobody_watches)


def test_a_failure_of_the_watch_does_not_end_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and the next change is seen."""
    limit = _limit()
    broken = [RuntimeError("broken")]
    look = watching.Watch._look

    def fail_once(self: Any, closed: Any) -> None:
        if broken:
            raise broken.pop()
        look(self, closed)

    monkeypatch.setattr(watching.Watch, "_look", fail_once)
    assert eventually(lambda: "watching the configuration failed" in caplog.text)
    path.write_text("[defaults.timeout]\nseconds = 2\n")
    assert eventually(lambda: limit.settings.seconds == 2.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_watching(path: Path) -> None:
    """With a thread of its own."""
    limit = _limit()

    def child() -> bool:
        path.write_text("[defaults.timeout]\nseconds = 2\n")
        assert eventually(lambda: limit.settings.seconds == 2.0)
        return True

    assert in_a_fork(child) == 0
    assert eventually(lambda: limit.settings.seconds == 2.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_a_change_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the change itself, for nobody else does so in it."""
    limit, parent = _limit(), os.getpid()
    held, reload = Held(), watching._reload

    def reload_later(configuration: Any) -> None:
        if os.getpid() == parent:
            held()
        reload(configuration)

    def child() -> bool:
        return eventually(lambda: limit.settings.seconds == 2.0)

    monkeypatch.setattr(watching, "_reload", reload_later)
    replace(path, "[defaults.timeout]\nseconds = 2\n")
    assert held.inside.wait(GIVE_UP)
    assert in_a_fork(child) == 0
    held.go.set()
    assert eventually(lambda: limit.settings.seconds == 2.0)


def test_where_no_thread_is_to_be_had_nothing_changes(
    path: Path, write: Callable[..., Path], registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration before it stays in force, and is looked after as ever."""
    limit, before = _limit(), registry._layers

    def fail(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            configure(write("other.toml", "[defaults.timeout]\nseconds = 9\n"), watch=True)
    assert limit.settings.seconds == 1.0
    assert registry._layers is before
    replace(path, "[defaults.timeout]\nseconds = 2\n")
    assert eventually(lambda: limit.settings.seconds == 2.0)


def test_what_is_refused_is_not_watched(registry: mh.Registry, write: Callable[..., Path]) -> None:
    """Nobody has it, so nobody could close it."""
    with pytest.raises(mh.ConfigurationError):
        configure(write("shop.toml", "[defaults.timeout]\nseconds = 'soon'\n"), watch=OFTEN)
    assert eventually(nobody_watches)


def test_a_file_that_changes_while_it_is_read_for_the_first_time(
    registry: mh.Registry, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says now waits until what was read is in force, and is not forgotten."""
    path = write("shop.toml", "[defaults.timeout]\nseconds = 1\n")
    check, look = Installation.check, watching.Watch._look
    looks: list[int] = []

    def checked(self: Any, *args: Any) -> None:
        check(self, *args)
        if not registry._layers:
            replace(path, "[defaults.timeout]\nseconds = 2\n")
            begun = len(looks)
            assert eventually(lambda: len(looks) > begun + 2)
            assert not registry._layers

    def looked(self: Any, closed: Any) -> None:
        look(self, closed)
        looks.append(1)

    monkeypatch.setattr(Installation, "check", checked)
    monkeypatch.setattr(watching.Watch, "_look", looked)
    with configure(path, watch=OFTEN):
        assert eventually(says(2))
