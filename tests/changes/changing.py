"""Other settings for policies, made as the decorators make them."""

from __future__ import annotations

from typing import Any

import meshhook as mh


def settings(decorator: Any, *args: Any, **arguments: Any) -> Any:
    """Return the settings that ``decorator`` makes of its arguments."""
    if "name" not in arguments and not (args and decorator in (mh.circuit_breaker, mh.chaos)):
        arguments["name"] = "other"
    return decorator(*args, **arguments, registry=mh.Registry()).settings
