"""Values as JSON can tell them: it knows neither infinity nor what is no number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

_ATOMS: Final = frozenset({int, str, bool, type(None)})


def make_finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace in ``fields`` what JSON cannot tell; return them."""
    for name, value in fields.items():
        kind = type(value)
        if kind not in _ATOMS and (kind is not float or not math.isfinite(value)):
            fields[name] = finite(value)
    return fields


def finite(value: Any) -> Any:
    """Return ``value`` as JSON can tell it: what is no finite number is None."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    if isinstance(value, (str, int)):
        return str(value) if isinstance(value, str) else int(value)
    return f"<{kind.__name__}>"
