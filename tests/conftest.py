"""Settings and fixtures for every test."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import settings

import meshhook as mh
from tests.colours import colour

__all__ = ["colour"]

pytest_plugins = ["meshhook.testing.plugin", "pytester"]

# A busy machine may stall any example, and how long one takes proves nothing here. A change is
# judged by the same examples each time; new ones are looked for with `make soak`.
settings.register_profile("meshhook", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile("meshhook")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so; several tests press Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let no collection of garbage look through thousands of tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def registry(meshhook_registry: mh.Registry) -> mh.Registry:
    """Give a registry that no other test knows, and which is the default one meanwhile."""
    return meshhook_registry


@pytest.fixture
def frozen() -> Iterator[Any]:
    """Freeze the clock; ``frozen.tick(seconds)`` moves it. Event loops keep real time."""
    with freeze_time("2026-01-01", real_asyncio=True) as clock:
        yield clock
