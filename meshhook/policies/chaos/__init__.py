"""chaos: faults, delays and wrong results on purpose, to see what becomes of them."""

from meshhook.policies.chaos.decorator import chaos
from meshhook.policies.chaos.policy import Chaos

__all__ = ["Chaos", "chaos"]
