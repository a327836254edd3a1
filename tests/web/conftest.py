"""What the tests of the endpoints share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from tests.web.carriers import CARRIERS


@pytest.fixture(params=CARRIERS)
def carry(request: pytest.FixtureRequest, registry: mh.Registry) -> Iterator[Callable[..., Any]]:
    """Make endpoints over the registry of the test, carried by ASGI and by WSGI."""
    with contextlib.ExitStack() as opened:

        def make(*args: Any, **settings: Any) -> Any:
            carrier = CARRIERS[request.param](*args, **settings)
            opened.callback(carrier.app.close)
            return carrier

        yield make
