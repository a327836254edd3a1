"""A logger for what goes wrong where telling of it must break neither a call nor a thread."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import MutableMapping
from typing import Any


class Reporter(logging.LoggerAdapter[logging.Logger]):
    """A logger that drops what its handlers raise."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as a logger does, in the name of the caller."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave everything as it is; an adapter would drop ``extra``."""
        return msg, kwargs
