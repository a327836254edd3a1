"""The pytest plugin: found by itself, light, and as good as the kit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import meshhook as mh
from meshhook.testing import Events, FakeClock

USES = """
import time
import meshhook as mh
from meshhook.runtime import pauses

imported = mh.circuit_breaker("imported", failure_threshold=1)

def test_registry(meshhook_registry):
    assert mh.registry is meshhook_registry
    assert len(meshhook_registry) == 0
    assert imported.state == "closed"
    mh.circuit_breaker("db", failure_threshold=1).force_open()
    imported.force_open()

def test_registry_again(meshhook_registry):
    assert imported.state == "closed"
    mh.circuit_breaker("db", failure_threshold=2)

def test_events(meshhook_events):
    imported.force_open()
    meshhook_events.assert_one(mh.events.CircuitChanged, name="imported", new="forced_open")

def test_no_wait(meshhook_no_wait):
    pauses.pause(60)
    assert meshhook_no_wait == [60]

def test_clock(meshhook_clock):
    before = time.monotonic()
    pauses.pause(60)
    assert meshhook_clock.elapsed == 60 == time.monotonic() - before

def test_that_fails(meshhook_events):
    imported.reset()
    meshhook_events.assert_one(mh.events.CallRejected)
"""

LIGHT = """
import sys

def test_light():
    kit = sorted(name for name in sys.modules if name.startswith("meshhook.testing"))
    assert kit == ["meshhook.testing", "meshhook.testing.plugin"]
    assert not [name for name in sys.modules if name.startswith("meshhook.policies")]
"""

EACH = """
import meshhook as mh

outer = mh.registry

def test_isolated():
    assert mh.registry is not outer
    mh.circuit_breaker("db", failure_threshold=1)

def test_isolated_again():
    mh.circuit_breaker("db", failure_threshold=2)
"""


def test_the_fixtures_are_there_without_a_word(pytester: pytest.Pytester) -> None:
    """In a process of its own, where nothing but the entry point names the plugin."""
    pytester.makepyfile(USES)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*meshhook_events.assert_one(mh.events.CallRejected)",
            "E*AssertionError: CallRejected should be told once, and was told never; *were told:",
            "E*1. CircuitChanged(policy='circuit_breaker', name='imported', old='forced_open', *",
        ]
    )
    result.stdout.no_fnmatch_line("*__tracebackhide__*")


def test_the_plugin_loads_nothing_of_the_kit(pytester: pytest.Pytester) -> None:
    """Whoever has meshhook installed and tests something else pays next to nothing."""
    pytester.makepyfile(LIGHT)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_every_test_can_be_isolated_by_a_setting(pytester: pytest.Pytester) -> None:
    """By that of pytest which names fixtures for all tests."""
    pytester.makeini("[pytest]\nusefixtures = meshhook_registry")
    pytester.makepyfile(EACH)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_importing_meshhook_does_not_import_the_kit() -> None:
    """It is imported when it is first asked for, by its name or as an attribute."""
    program = (
        "import sys; import meshhook as mh; kit = 'meshhook.testing';"
        "assert kit not in sys.modules; assert callable(mh.testing.no_wait);"
        "assert kit in sys.modules; assert 'pytest' not in sys.modules;"
        "assert not hasattr(mh, 'tseting')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_all_names_of_the_kit_are_there() -> None:
    """Each is found where it lives, and nothing else is."""
    kit = mh.testing
    assert sorted(kit.__all__) == kit.__all__ == sorted(kit._HOME_OF)
    assert {getattr(kit, name).__name__ for name in kit.__all__} == set(kit.__all__)
    assert set(kit.__all__) <= set(dir(kit))
    assert not hasattr(kit, "no_weight")


def test_the_kit_imports_everything_that_would_come_too_late() -> None:
    """A switch knows kinds that nobody has used; what keeps the clock has found the real one."""
    root = Path(mh.__file__).parent
    keepers = [
        ".".join(("meshhook", *path.relative_to(root).with_suffix("").parts))
        for path in root.rglob("*.py")
        if re.search(r"= time\.monotonic(,|\)|$)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(keepers) > 5
    for use in ("disabled('hedge')", "FakeClock()"):
        program = (
            f"import sys; from meshhook.testing import *; {use}.__enter__();"
            f"missing = set({keepers}) - sys.modules.keys(); assert not missing, missing"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_fixtures_in_this_process(
    meshhook_registry: mh.Registry,
    meshhook_events: Events,
    meshhook_no_wait: list[float],
    meshhook_clock: FakeClock,
) -> None:
    """They go together."""
    assert mh.registry is meshhook_registry
    mh.circuit_breaker("db").force_open()
    meshhook_events.assert_one(mh.events.CircuitChanged, name="db")
    meshhook_clock.tick(5)
    assert (meshhook_no_wait, meshhook_clock.elapsed) == ([], 5)
