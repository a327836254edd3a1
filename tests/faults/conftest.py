"""Stores to test policies with."""

from __future__ import annotations

from tests.stores.conftest import connect, own_server, proxy, server, servers, store

__all__ = ["connect", "own_server", "proxy", "server", "servers", "store"]
