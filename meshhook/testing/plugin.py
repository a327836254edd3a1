"""The pytest plugin: the testing kit as fixtures. pytest loads it wherever meshhook is installed.

To isolate every test of a project, name the fixture in the settings of pytest:
``usefixtures = ["meshhook_registry"]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshhook.registry import Registry
from meshhook.testing.clock import FakeClock
from meshhook.testing.isolation import isolated_registry
from meshhook.testing.recording import Events, record_events
from meshhook.testing.sleeping import no_wait


@pytest.fixture
def meshhook_registry() -> Iterator[Registry]:
    """Give the test a default registry of its own, and reset the policies made outside of it."""
    with isolated_registry() as registry:
        yield registry


@pytest.fixture
def meshhook_events() -> Iterator[Events]:
    """Record every event of the test."""
    with record_events() as events:
        yield events


@pytest.fixture
def meshhook_no_wait() -> Iterator[list[float]]:
    """Let no policy sleep in the test; list what each would have slept."""
    with no_wait() as waits:
        yield waits


@pytest.fixture
def meshhook_clock() -> Iterator[FakeClock]:
    """Stop the clock for the test; sleeps of policies move it."""
    with FakeClock() as clock:
        yield clock
