"""throttle: send an overloaded service only a little more than it accepts."""

from meshhook.policies.throttle.decorator import throttle
from meshhook.policies.throttle.policy import Throttle

__all__ = ["Throttle", "throttle"]
