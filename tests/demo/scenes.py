"""A scene without a play: real journal, ledger and policies, and no process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import meshhook as mh
from meshhook.demo.calls import Calls
from meshhook.demo.journal import Journal
from meshhook.demo.policies import Policies, demo_policies
from meshhook.demo.processes import ServiceProcess
from meshhook.demo.script import ACTS
from meshhook.demo.stage import Scene


def bypass(fn: Any) -> Any:
    """Decorate with nothing."""
    return fn


def make_policies(limit: float = 0.4) -> Policies:
    """Make the policies of the demo, with records in memory."""
    return demo_policies(mh.MemoryStore(), limit, 1.0)


@contextmanager
def quiet_scene(policies: Policies | None = None) -> Iterator[Scene]:
    """Give a scene whose service has not been started."""
    policies = policies or make_policies()
    service = ServiceProcess()
    try:
        with Journal() as journal:
            yield Scene(
                acts=ACTS,
                seconds=24.0,
                store="memory",
                policies=policies,
                journal=journal,
                service=service,
                calls=Calls(0, policies, journal),
            )
    finally:
        service.stop()
        service.close()


def write_charges(scene: Scene, *orders: str) -> None:
    """Put charges into the ledger, as the service would."""
    for number, order in enumerate(orders):
        line = {"kind": "charged", "order": order, "attempt": str(number), "receipt": f"r{number}"}
        os.write(scene.service.file, json.dumps(line).encode() + b"\n")


@contextmanager
def empty_file() -> Iterator[int]:
    """Give the descriptor of a file without a name."""
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno()
