"""Blocks that end elsewhere, or in another order, than they began."""

from __future__ import annotations

import contextvars

import pytest

from meshhook import blocks


def test_the_innermost_block_of_an_owner_ends_first() -> None:
    """Blocks of other owners in between do not matter."""
    one, other = object(), object()
    for owner, held in ((one, 1), (other, 2), (one, 3)):
        blocks.enter(owner, held)
    assert [blocks.leave(owner) for owner in (one, one, other)] == [3, 1, 2]
    assert not any(block.owner in (one, other) for block in blocks._around.get())


def test_each_context_has_its_own_blocks() -> None:
    """Two that have entered one object end their own."""
    owner = object()
    first, second = contextvars.copy_context(), contextvars.copy_context()
    first.run(blocks.enter, owner, "first")
    second.run(blocks.enter, owner, "second")
    assert first.run(blocks.leave, owner) == "first"
    assert second.run(blocks.leave, owner) == "second"


def test_the_only_block_there_is_may_end_anywhere() -> None:
    """And what is left of it in its own context is not found again."""
    owner, home = object(), contextvars.copy_context()
    home.run(blocks.enter, owner, "held")
    assert blocks.leave(owner) == "held"
    home.run(blocks.enter, owner, "again")
    assert home.run(blocks.leave, owner) == "again"


def test_of_several_blocks_none_is_guessed() -> None:
    """Elsewhere nothing tells which is meant; nor is there any before one was entered."""
    owner, homes = object(), [contextvars.copy_context() for _ in range(2)]
    said = "was left in another context than it was entered in"
    with pytest.raises(RuntimeError, match=said):
        blocks.leave(owner)
    for home in homes:
        home.run(blocks.enter, owner, None)
    with pytest.raises(RuntimeError, match=said):
        blocks.leave(owner)
    for home in homes:
        home.run(blocks.leave, owner)
    assert not any(block.owner is owner for block in blocks._open)
