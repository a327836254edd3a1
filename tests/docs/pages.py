"""Pages: the Markdown of the project, taken apart into what the tests look at.

It knows fenced blocks, headings, links and tables, and nothing else of Markdown: a page that uses
more than that is a page that these tests would not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
"""The pages that speak to users; what they show is run."""

OTHERS = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
OTHERS.append(ROOT / "benchmarks" / "README.md")

_FENCE = re.compile(r"^```(\w*)$")
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$")


def named(path: Path) -> str:
    """Return how a page is called in the ids of tests, such as ``docs/timeout.md``."""
    return path.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A fenced block. ``line`` is that of its first line of text, counted from 1."""

    language: str
    line: int
    text: str
    output: str | None
    """What the page says that the block prints: the ``text`` block right below it, if any."""


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, each with the output that the page shows for it."""
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    kept: list[str] = []
    last_closed = -1
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, kept = (fence[1], number + 1), []
        elif opened is not None and line == "```":
            block = Block(*opened, "\n".join(kept) + "\n", None)
            is_adjacent = not any(each.strip() for each in lines[last_closed : opened[1] - 2])
            if found and block.language == "text" and is_adjacent:
                found[-1] = found[-1]._replace(output=block.text)
            found.append(block)
            opened, last_closed = None, number
        elif opened is not None:
            kept.append(line)
    assert opened is None, f"a block that begins in line {opened} has no end"
    return found


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is in no fenced block."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def headings(text: str) -> list[tuple[int, str]]:
    """Return level and text of each heading."""
    matches = (_HEADING.match(line) for _, line in prose(text))
    return [(len(match[1]), match[2].strip()) for match in matches if match]


def anchors(text: str) -> set[str]:
    """Return what a link to a part of the page may name, as GitHub makes it of the headings."""
    found: set[str] = set()
    for _, heading in headings(text):
        plain = _LINK.sub(r"\g<text>", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


def links(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, text and target of each link."""
    for number, line in prose(text):
        for match in _LINK.finditer(line):
            yield number, match["text"], match["target"]


def section(text: str, title: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    kept: list[str] = []
    level = 0
    numbers = {number for number, _ in prose(text)}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _HEADING.match(line) if number in numbers else None
        if level and match and len(match[1]) <= level:
            break
        if level:
            kept.append(line)
        elif match and match[2].strip() == title:
            level = len(match[1])
    assert level, f"there is no heading {title!r}"
    return "\n".join(kept) + "\n"


def table(text: str) -> list[list[str]]:
    """Return the rows of the first table in ``text``, without its head."""
    rows: list[list[str]] = []
    for _, line in prose(text):
        if line.startswith("|"):
            cells = line.strip().strip("|").split("|")
            rows.append([cell.strip() for cell in cells])
        elif rows:
            break
    assert len(rows) > 2, "there is no table"
    assert {len(row) for row in rows} == {len(rows[0])}, "the rows of a table differ in length"
    return rows[2:]


def code(cell: str) -> str:
    """Return the first piece of code in a cell of a table."""
    match = re.search(r"`([^`]+)`", cell)
    assert match, f"there is no code in {cell!r}"
    return match[1]
