"""The whole of meshhook, imported before a test begins.

A policy is imported when its name is first asked for. For some of what a test does that is too
late: a switch has to know all kinds, and a module that keeps the real clock has to find it.
"""

from __future__ import annotations

import functools
import importlib

import meshhook

_KEEPERS = (
    "meshhook.observe.web.listening",
    "meshhook.runtime.alarm",
    "meshhook.runtime.heartbeat",
    "meshhook.runtime.timer",
    "meshhook.runtime.watchdog",
    "meshhook.stores.lane",
    "meshhook.stores.pending",
)
"""Modules that keep the clock which is there when they are imported, beside public ones."""


@functools.cache
def import_everything() -> None:
    """Import whatever would be imported later."""
    for name in meshhook.__all__:
        getattr(meshhook, name)
    for name in _KEEPERS:
        importlib.import_module(name)
