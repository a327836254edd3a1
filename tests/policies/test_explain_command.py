"""``meshhook explain``: the same from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshhook.cli import main

SHOP = """
import meshhook as mh


class Shop:
    @mh.circuit_breaker("stock")
    @mh.timeout(2)
    def stock(self, item): ...


@mh.timeout(1)
@mh.timeout(2)
def price(item): ...


number = 3
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module in the directory where one stands, and return its name."""
    (tmp_path / "shop_to_explain.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop_to_explain", raising=False)
    return "shop_to_explain"


def test_it_explains_a_method(shop: str) -> None:
    """In a process of its own, as from a shell; nothing is wrong, so it exits with 0."""
    command = [sys.executable, "-m", "meshhook", "explain", f"{shop}:Shop.stock"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "shop_to_explain.Shop.stock, from the outside in:\n"
        "  circuit_breaker('stock', opens at 5 failures in a row)  at most 2 s\n"
        "  timeout('shop_to_explain.Shop.stock', 2 s, auto)        at most 2 s\n"
        "worst case: at most 2 s\n"
    )


def test_warnings_are_a_failure(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """So a build can stop at them."""
    assert main(["explain", f"{shop}:price"]) == 1
    assert "warning: timeout-shorter-than-attempt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nowhere_at_all:price", "No module named 'nowhere_at_all'"),
        ("{shop}:cost", "has no attribute 'cost'"),
        ("{shop}:number", "explain takes a decorated function"),
        ("not a name", "invalid format"),
    ],
)
def test_what_cannot_be_explained(
    shop: str, capsys: pytest.CaptureFixture[str], what: str, says: str
) -> None:
    """One line says what was not found, and it exits with 1."""
    what = what.format(shop=shop)
    assert main(["explain", what]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"meshhook explain {what}: ")
    assert says in told.err
    assert told.err.count("\n") == 1
