"""The pytest plugin: the testing kit as fixtures.

pytest loads it wherever meshhook is installed, so it imports nothing of the kit before a test asks
for it. To isolate every test of a project, name the fixture in the settings of pytest:
``usefixtures = ["meshhook_registry"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from meshhook.registry import Registry
    from meshhook.testing import Events, FakeClock


@pytest.fixture
def meshhook_registry() -> Iterator[Registry]:
    """Give the test a default registry of its own, and reset the policies made outside of it."""
    from meshhook.testing import isolated_registry

    with isolated_registry() as registry:
        yield registry


@pytest.fixture
def meshhook_events() -> Iterator[Events]:
    """Record every event of the test."""
    from meshhook.testing import record_events

    with record_events() as events:
        yield events


@pytest.fixture
def meshhook_no_wait() -> Iterator[list[float]]:
    """Let no policy sleep in the test; list what each would have slept."""
    from meshhook.testing import no_wait

    with no_wait() as waits:
        yield waits


@pytest.fixture
def meshhook_clock() -> Iterator[FakeClock]:
    """Stop the clock for the test; sleeps of policies move it."""
    from meshhook.testing import FakeClock

    with FakeClock() as clock:
        yield clock
