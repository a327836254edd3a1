"""The kill switch: ``MESHHOOK_CHAOS=off`` in the environment, and no chaos strikes in the process.

The environment is read once, when chaos is first used, so that a call looks at nothing but a flag.
"""

from __future__ import annotations

import os

VARIABLE = "MESHHOOK_CHAOS"
OFF = frozenset({"off", "0", "no", "false"})

_is_off = False


def is_off() -> bool:
    """Tell whether nothing may strike in this process."""
    return _is_off


def read_environment() -> bool:
    """Read the kill switch anew, for all policies at once; tell whether chaos may strike."""
    global _is_off  # noqa: PLW0603 - one flag for the process, as the environment is
    _is_off = os.environ.get(VARIABLE, "").strip().lower() in OFF
    return not _is_off


read_environment()
