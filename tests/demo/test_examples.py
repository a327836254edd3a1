"""Each example is a program that runs alone, and shows what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = {
    "async_client.py": "slow: CircuitOpenError: circuit 'stock' is open; retry in 60.0 s",
    "fail_fast_together.py": "save(7): CircuitOpenError: circuit 'database' is open",
    "idempotent_charge.py": "asked 11 times, receipts: {1}",
    "sync_client.py": "circuit prices: half_open -> closed, the trial calls succeeded",
}


def test_every_example_is_tested() -> None:
    """An example that nobody runs would rot."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == SHOWN.keys()


@pytest.mark.fault
@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_says(name: str) -> None:
    """It ends by itself within seconds, without a warning."""
    run = subprocess.run(
        [sys.executable, "-W", "error", f"examples/{name}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert SHOWN[name] in run.stdout
