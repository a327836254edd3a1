"""Expired: what is raised inside a call whose time is up.

It is a BaseException, so that an ``except Exception`` of the user's code does not take it for an
error of its own. It never leaves meshhook: the driver that set the limit raises TimeoutError.
"""

from __future__ import annotations

import gc
import types
from typing import Any

SOON = 0.001
"""Seconds after which to try again where an interruption came at a moment when it must not."""

AGAIN = 1.0
"""Seconds after which a call is interrupted again that has swallowed the exception."""

_OWN_CODE = "meshhook."
_USER_CODE = "meshhook.demo."


class Expired(BaseException):
    """The time of a call is up. ``limit`` is whatever its driver knows its own limit by."""

    limit: Any = None

    def __init__(self, limit: Any = None) -> None:
        super().__init__("interrupted: the time of this call is up")
        if limit is not None:
            self.limit = limit


def is_interruptible(frame: types.FrameType | None) -> bool:
    """Tell whether raising in ``frame`` does no harm.

    Between two lines of a policy, state would be left half changed and a result that is already
    there would be lost; inside ``__del__`` and what the garbage collector calls, the exception
    would be printed and forgotten.
    """
    if frame is None or frame.f_code.co_name == "__del__":
        return False
    if any(getattr(each, "__code__", None) is frame.f_code for each in gc.callbacks):
        return False
    module = str(frame.f_globals.get("__name__"))
    return not module.startswith(_OWN_CODE) or module.startswith(_USER_CODE)
