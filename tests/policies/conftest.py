"""Stores to test policies with."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from tests.policies.idempotent_calls import Sides
from tests.servers import ENGINES
from tests.stores.conftest import PATIENT, connect, own_server, proxy, server, servers, store

__all__ = ["connect", "own_server", "proxy", "server", "servers", "store"]


@pytest.fixture(params=["memory", *ENGINES])
def sides(request: pytest.FixtureRequest, servers: Any, connect: Any) -> Sides:
    """Give the stores of two callers, in one process and in two."""
    if request.param == "memory":
        here = mh.MemoryStore()
        return Sides(here, here)
    url = servers(request.param).url
    return Sides(connect(url, timeout=PATIENT), connect(url, timeout=PATIENT))
