"""Guesses: which word was meant."""

from __future__ import annotations

import pytest

from meshhook.guessing import hint, nearest

KNOWN = ("circuit_changed", "call_rejected", "RETRY")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("circuit_chnaged", "circuit_changed"),
        ("rejected", "call_rejected"),
        ("retry", "RETRY"),
        ("payments", None),
        ("", None),
        ("x" * 1_000_000, None),
    ],
    ids=lambda each: str(each)[:20],
)
def test_what_was_meant(word: str, meant: str | None) -> None:
    """A typing error, a part, another case; nothing where nothing is like it."""
    assert nearest(word, KNOWN) == meant


def test_what_an_error_ends_with() -> None:
    """Nothing at all where there is no guess."""
    assert hint("circuit_chnaged", KNOWN) == "; did you mean 'circuit_changed'?"
    assert hint("payments", KNOWN) == hint("payments", ()) == ""
