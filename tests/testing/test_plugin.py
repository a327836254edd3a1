"""The pytest plugin: found by itself, light, and as good as the kit."""

from __future__ import annotations

import subprocess
import sys

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
    assert "meshhook.testing.plugin" in sys.modules
    assert not {"freezegun", "redis", "rich", "meshhook.demo"} & sys.modules.keys()
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


def test_the_plugin_loads_nothing_optional(pytester: pytest.Pytester) -> None:
    """Whoever has meshhook installed and tests something else pays for the kit alone."""
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
