"""Failures as the log of the endpoints tells of them: what and where, never with their text."""

from __future__ import annotations

import logging
import traceback

log = logging.getLogger("meshhook.web")


def whereabouts(error: BaseException) -> str:
    """Return the type of an error and where it was raised, without its text."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        where = f" at {frame.f_code.co_filename}:{line}"
    return f"{type(error).__qualname__}{where}"


def report(what: str, error: BaseException) -> None:
    """Log what has failed by ``error``."""
    log.error("%s: %s", what, whereabouts(error), stacklevel=2)
