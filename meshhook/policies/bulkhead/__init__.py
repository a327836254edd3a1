"""bulkhead: let so many calls run at the same time and no more."""

from meshhook.policies.bulkhead.decorator import bulkhead
from meshhook.policies.bulkhead.limits import AIMD, Gradient
from meshhook.policies.bulkhead.policy import Bulkhead

__all__ = ["AIMD", "Bulkhead", "Gradient", "bulkhead"]
