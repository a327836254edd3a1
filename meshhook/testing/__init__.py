"""The testing kit: what a test of guarded functions needs, without a wait and without leftovers.

Importing ``meshhook`` does not import it, and its own names are imported when they are first asked
for: pytest loads the plugin, :mod:`meshhook.testing.plugin`, wherever meshhook is installed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshhook.testing.cancelling import Run, Stepped, cancel_everywhere
    from meshhook.testing.clock import FakeClock
    from meshhook.testing.injection import inject
    from meshhook.testing.isolation import isolated_registry
    from meshhook.testing.recording import Events, like, record_events
    from meshhook.testing.sleeping import no_wait
    from meshhook.testing.switches import disabled, force_open

__all__ = [
    "Events",
    "FakeClock",
    "Run",
    "Stepped",
    "cancel_everywhere",
    "disabled",
    "force_open",
    "inject",
    "isolated_registry",
    "like",
    "no_wait",
    "record_events",
]

_HOMES = {
    "cancelling": "Run Stepped cancel_everywhere",
    "clock": "FakeClock",
    "injection": "inject",
    "isolation": "isolated_registry",
    "recording": "Events like record_events",
    "sleeping": "no_wait",
    "switches": "disabled force_open",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
