"""Places: in which line of a file something stands, as far as that can be told by looking.

The readers of the formats do not tell, so the words of a path are looked for one after the other.
Where they cannot be found there is no line, and the path alone has to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def line_of(text: str, suffix: str, words: Sequence[str]) -> int | None:
    """Return the line, counted from 1, in which the last of ``words`` is a key."""
    if not all(isinstance(each, str) for each in words):
        return None
    return _in_toml(text, words) if suffix.lower() == ".toml" else _in_order(text, words)


def _in_order(text: str, words: Sequence[str]) -> int | None:
    """Find each word as a key behind the one before: what JSON and YAML look like."""
    at = 0
    for word in words:
        match = re.compile(rf"(?<![\w.-])(['\"]?){re.escape(word)}\1\s*:").search(text, at)
        if match is None:
            return None
        at = match.end()
    return text.count("\n", 0, at) + 1


def _in_toml(text: str, words: Sequence[str]) -> int | None:
    """Find the table that has the first words as its header, and the rest as a key of it.

    If there is none, find the first table whose header begins with all of them.
    """
    lines = text.splitlines()
    for length in range(len(words), -1, -1):
        header = re.compile(rf"\s*\[\[?\s*{_dotted(words[:length])}\s*\]") if length else None
        key = re.compile(rf"\s*{_dotted(words[length:])}\s*[=.]") if length < len(words) else None
        inside = header is None
        for number, line in enumerate(lines, start=1):
            if header is not None and header.match(line):
                if key is None:
                    return number
                inside = True
            elif line.lstrip().startswith("["):
                inside = False
            elif inside and key is not None and key.match(line):
                return number
    longer = re.compile(rf"\s*\[\[?\s*{_dotted(words)}\s*\.")
    return next((number for number, line in enumerate(lines, start=1) if longer.match(line)), None)


def _dotted(words: Sequence[str]) -> str:
    return r"\s*\.\s*".join(
        rf"(?:\"{re.escape(each)}\"|'{re.escape(each)}'|{re.escape(each)})" for each in words
    )
