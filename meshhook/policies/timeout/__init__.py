"""timeout: let a call take so long and no longer."""

from meshhook.policies.timeout.decorator import timeout
from meshhook.policies.timeout.policy import Timeout

__all__ = ["Timeout", "timeout"]
