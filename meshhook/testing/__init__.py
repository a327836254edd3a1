"""The testing kit: what a test of guarded functions needs, without a wait and without leftovers.

Importing ``meshhook`` does not import it. The fixtures for pytest are in
:mod:`meshhook.testing.plugin`, which pytest finds by itself.
"""

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
