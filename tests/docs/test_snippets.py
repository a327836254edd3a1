"""Every snippet of the pages runs, and does what the page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, named
from tests.docs.run_page import Page
from tests.servers import running

SERVER = 'redis://localhost"'
"""How a page names a server that runs. With a port behind it, it is one that is down."""

LANGUAGES = {"python", "text", "sh", "toml", "yaml", "mermaid", "js"}


def run(page: Path, *replacements: str) -> subprocess.CompletedProcess[str]:
    """Run a page in a process of its own, where no other page has left anything."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.run_page", named(page), *replacements],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_snippet_does_what_its_page_says(page: Path) -> None:
    """The blocks of a page run in order, and values and outputs are those that it shows."""
    if SERVER in page.read_text(encoding="utf-8"):
        with running("valkey") as server:
            done = run(page, f'{SERVER}={server.url}"')
    else:
        done = run(page)
    said = done.stdout + done.stderr
    assert not said, said
    assert done.returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block in a language that nobody knows would be run by nobody."""
    languages = {block.language for block in blocks(page.read_text(encoding="utf-8"))}
    assert languages <= LANGUAGES


def problems_of(text: str) -> list[str]:
    """Run a page that is given as text."""
    page = Page("page.md")
    page.run(blocks(text), {})
    return page.problems


@pytest.mark.parametrize(
    "text",
    [
        "```python\nnumber = 1\n```\n\nand\n\n```python\nnumber + 1  # 2\n```\n",
        "```python\n[\n    1,\n]  # [1]\n```\n",
        "```python\nfor _ in range(2):\n    'a'  # 'a'\n```\n",
        "```python\nprint('a')\n```\n\n```text\na\n```\n",
        "```python\nprint(0.123456)\n```\n\n```text\n0.9876\n```\n",
        "```python\nprint(1.5e-05 + 1e-09)\n```\n\n```text\n0.1234\n```\n",
        "```sh\nexit 1\n```\n",
    ],
)
def test_a_page_that_is_right_has_no_problems(text: str) -> None:
    """Names live on from block to block; fractions of seconds may be any."""
    assert problems_of(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```python\n1 + 1  # 3\n```\n", "page.md:2: the page says 3 and the value is 2"),
        ("\n```python\n'a'  # a\n```\n", "page.md:3: the page says a and the value is 'a'"),
        ("```python\nif False:\n    1  # 1\n```\n", "page.md:3: was never reached"),
        ("```python\ntry:\n    1  # 1\nfinally:\n    2  # 3\n```\n", "page.md:5: the page says 3"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nraise SystemExit\n```\n", "page.md:2: the block failed"),
        ("```python\n1 +\n```\n", "SyntaxError"),
        ("```python\nprint('a')\n```\n", "the block printed\na"),
        (
            "```python\nprint('a')\n```\n\n```text\nb\n```\n",
            "shows the output\nb\nand the block pr",
        ),
        ("```python\n0\n```\n\n```text\nb\n```\n", "shows the output\nb"),
        ("```python\nprint(0.5)\n```\n\n```text\n0.6\n```\n", "the block printed\n0.5"),
        (
            "```python\nimport time\ntime.sleep(0.06)\n```\n",
            "page.md:2: the block slept for 0.06 s",
        ),
        (
            "```python\nimport asyncio\nasyncio.run(asyncio.sleep(0.06))\n```\n",
            "page.md:2: the block slept for 0.06 s",
        ),
    ],
)
def test_a_page_that_is_wrong_is_found(text: str, problem: str) -> None:
    """A wrong value or output, an error, what is never reached and a long sleep are problems."""
    (found,) = problems_of(text)
    assert problem in found


def test_a_text_is_the_output_of_the_block_right_above_it() -> None:
    """With words in between it is a text of its own."""
    page = "```python\n1\n```\n\n```text\na\n```\n\nwords\n\n```text\nb\n```\n"
    expected: list[Any] = [
        Block("python", 2, "1\n", "a\n"),
        Block("text", 6, "a\n", None),
        Block("text", 12, "b\n", None),
    ]
    assert expected == blocks(page)
