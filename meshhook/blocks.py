"""Blocks: what ``with`` statements have opened, found again where they end.

Many tasks and threads may enter one policy at once, so what a block holds is kept in the context of
whoever entered it. Blocks need not end in the order in which they began, nor where they began: a
generator keeps one open between its items, and may be closed in another context.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class _Block:
    """One block that was entered."""

    __slots__ = ("held", "owner")

    def __init__(self, owner: object, held: Any) -> None:
        self.owner = owner
        self.held = held


_around: ContextVar[tuple[_Block, ...]] = ContextVar("meshhook_blocks", default=())
"""The blocks that this context has entered, the innermost first; some have ended elsewhere."""

_open: dict[_Block, None] = {}
"""All that have not ended, of whatever context."""


def enter(owner: object, held: Any) -> None:
    """Open a block of ``owner`` that holds ``held``."""
    block = _Block(owner, held)
    _open[block] = None
    _around.set((block, *_around.get()))


def leave(owner: object) -> Any:
    """Close the innermost block of ``owner`` around here, and return what it holds.

    In a context that has entered none, close the only one that is open anywhere. If there are
    several, nothing tells which is meant: RuntimeError.
    """
    here = [block for block in _around.get() if block.owner is owner and block in _open]
    anywhere = here or [block for block in _open.copy() if block.owner is owner]
    if not here and len(anywhere) != 1:
        raise RuntimeError(
            f"a block of {owner!r} was left in another context than it was entered in, so what "
            "became of it is not counted; leave it in the same task or thread"
        )
    block = anywhere[0]
    del _open[block]
    _around.set(tuple(each for each in _around.get() if each in _open))
    return block.held
