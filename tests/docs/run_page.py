"""Run the Python of a page as a reader would, block by block, and see whether it does what it says.

``python -m tests.docs.run_page PAGE [OLD=NEW ...]``, with texts to replace beforehand. Rules:

- All blocks of a page share one namespace, which is that of ``__main__``.
- A comment behind an expression statement is the ``repr`` of its value, and has to be reached.
- A ``text`` block right below a Python block is what that prints; without one it prints nothing.
  Numbers with four decimals or more are of the moment: any such number will do.
- Nothing sleeps for longer than 50 ms; on a clock that is not the real one it may.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import io
import re
import sys
import time
import tokenize
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.docs.pages import Block, blocks
from tests.waiting import real_time

LONGEST_SLEEP = 0.05
_CHECK = "__check__"


class Page:
    """One page while it runs. ``problems`` says what is not as the page has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self._unreached: dict[int, str] = {}
        self._line = 0

    def run(self, found: list[Block], space: dict[str, Any]) -> None:
        """Run the Python blocks in ``space``."""
        setattr(builtins, _CHECK, self._check)
        with self._watched_sleeps():
            for block in found:
                if block.language == "python":
                    self._line = block.line
                    self._run_block(block, space)
        for line, comment in self._unreached.items():
            self._problem(line, f"was never reached, so nobody knows whether it is {comment}")

    def _run_block(self, block: Block, space: dict[str, Any]) -> None:
        printed = io.StringIO()
        try:
            program = self._compile(block)
            with contextlib.redirect_stdout(printed):
                exec(program, space)
        except BaseException:
            self._problem(block.line, f"the block failed\n{traceback.format_exc()}")
        if _timeless(printed.getvalue()) != _timeless(block.output or ""):
            self._problem(
                block.line,
                f"the page shows the output\n{block.output or ''}"
                f"and the block printed\n{printed.getvalue()}",
            )

    def _compile(self, block: Block) -> types.CodeType:
        # Empty lines in front, so that every traceback names a line of the page.
        source = "\n" * (block.line - 1) + block.text
        comments = _trailing_comments(source)
        tree = ast.parse(source, self.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and node.end_lineno in comments:
                comment = comments[node.end_lineno]
                self._unreached[node.end_lineno] = comment
                node.value = ast.Call(
                    ast.Name(_CHECK, ast.Load()),
                    [node.value, ast.Constant(comment), ast.Constant(node.end_lineno)],
                    [],
                )
        return compile(ast.fix_missing_locations(tree), self.name, "exec")

    def _check(self, value: object, comment: str, line: int) -> None:
        self._unreached.pop(line, None)
        if repr(value) != comment:
            self._problem(line, f"the page says {comment} and the value is {value!r}")

    def _problem(self, line: int, text: str) -> None:
        self.problems.append(f"{self.name}:{line}: {text}")

    @contextlib.contextmanager
    def _watched_sleeps(self) -> Iterator[None]:
        """Tell of long sleeps that were slept out; one that a timeout ends costs no time."""
        sleep, sleep_async = time.sleep, asyncio.sleep

        def watched(seconds: float) -> None:
            sleep(seconds)
            self._slept(seconds)

        async def watched_async(delay: float, result: Any = None) -> Any:
            began = real_time()
            slept = await sleep_async(delay, result)
            self._slept(min(delay, real_time() - began))
            return slept

        time.sleep, asyncio.sleep = watched, watched_async
        try:
            yield
        finally:
            time.sleep, asyncio.sleep = sleep, sleep_async

    def _slept(self, seconds: float) -> None:
        if seconds > LONGEST_SLEEP:
            self._problem(self._line, f"the block slept for {seconds:g} s")


def _timeless(output: str) -> str:
    """Return ``output`` without what differs from run to run: fractions of seconds."""
    return re.sub(r"\d+\.\d{4,}(e-\d+)?", "0.0...", output)


def _trailing_comments(source: str) -> dict[int | None, str]:
    """Return the comments that stand behind code, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def be_patient() -> None:
    """Give stores more time than users do: a busy machine holds a server up, and proves nothing."""
    from meshhook import RedisStore

    RedisStore.__init__.__kwdefaults__["timeout"] = 5.0


def main(name: str, *replacements: str) -> int:
    """Run a page; return the code to exit with."""
    text = Path(name).read_text(encoding="utf-8")
    for each in replacements:
        text = text.replace(*each.split("=", 1))
    be_patient()
    space = types.ModuleType("__main__")
    sys.modules["__main__"] = space
    page = Page(name)
    page.run(blocks(text), vars(space))
    sys.stdout.write("\n".join(page.problems))
    return 1 if page.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
