"""Text of others as it may be shown: it does nothing to a terminal or a page."""

from __future__ import annotations

_LONGEST = 200
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str, longest: int = _LONGEST) -> str:
    """Return text of which every character has a shape: no controls, no change of direction."""
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return "".join(each if each.isprintable() else _REPLACEMENT for each in text)
