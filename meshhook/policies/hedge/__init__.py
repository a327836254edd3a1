"""hedge: when an answer takes long, ask a second time and take the first answer that comes."""

from meshhook.policies.hedge.decorator import hedge
from meshhook.policies.hedge.policy import Hedge

__all__ = ["Hedge", "hedge"]
