"""The command: measures the groups, each in a process of its own, prints tables and writes JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    cases_against,
    cases_breaker,
    cases_flood,
    cases_idempotent,
    cases_limits,
    cases_observed,
    cases_retry,
    cases_setup,
    cases_stack,
    cases_threads,
    cases_timeout,
)
from benchmarks.harness import Options
from benchmarks.table import Missing, Table

GROUPS: dict[str, Callable[[Options], Table]] = {
    "breaker": cases_breaker.closed,
    "breaker-async": cases_breaker.closed_async,
    "open": cases_breaker.opened,
    "open-async": cases_breaker.opened_async,
    "retry": cases_retry.first_attempt,
    "retry-async": cases_retry.first_attempt_async,
    "rate": cases_limits.rate,
    "rate-async": cases_limits.rate_async,
    "bulkhead": cases_limits.slots,
    "bulkhead-async": cases_limits.slots_async,
    "stack": cases_stack.stack,
    "stack-async": cases_stack.stack_async,
    "timeout": cases_timeout.limited,
    "timeout-async": cases_timeout.limited_async,
    "timeout-suspending": cases_timeout.limited_suspending,
    "idempotent": cases_idempotent.full,
    "idempotent-async": cases_idempotent.full_async,
    "idempotent-short": cases_idempotent.short,
    "idempotent-short-async": cases_idempotent.short_async,
    "threads": cases_threads.waiting,
    "threads-busy": cases_threads.busy,
    "flood": cases_flood.flood,
    "scraped": cases_observed.scraped,
    "watched": cases_observed.watched,
    "decoration": cases_setup.decoration,
    "keys": cases_setup.keys,
    "import": cases_setup.imports,
}
AGAINST: dict[str, Callable[[Options], Table]] = {
    "against": cases_against.calls,
    "against-async": cases_against.calls_async,
    "against-decoration": cases_against.setup,
    "against-import": cases_against.imports,
}
"""The groups that compare with another checkout; these alone are measured where one is given."""
_LIBRARIES = (
    *("meshhook", "wrapt", "aiobreaker", "aiolimiter", "aws-lambda-powertools", "backoff"),
    *("circuitbreaker", "hyx", "interlock-cb", "limits", "purgatory", "pybreaker"),
    *("pyrate-limiter", "stamina", "tenacity", "throttled-py", "wrapt-timeout-decorator"),
)
_GROUP_LIMIT = 900.0


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; return the exit status."""
    given = _parser().parse_args(arguments)
    groups = AGAINST if given.against else GROUPS
    names = [name for name in groups if not given.group or _wanted(name, given.group)]
    if not names:
        print(f"no group is named like {given.group}; there are: {', '.join(groups)}")
        return 2
    rounds = given.rounds or (15 if given.quick else Options.rounds)
    against = str(given.against.resolve()) if given.against else ""
    options = Options(rounds, 0.001 if given.quick else Options.slice, given.quick, against)
    found = [_in_its_own_process(name, options) for name in names]
    report = {"machine": _machine(), "options": vars(options), "groups": found}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    failures = [line for table in found for line in table["failures"]]
    print(f"\nwritten to {given.json}; goals missed or not measured: {len(failures)}")
    for line in failures:
        print(f"  {line}")
    return 1 if given.gate and failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--group", action="append", help="a group, or how its name begins")
    parser.add_argument("--rounds", type=int, help=f"rounds of a group (default {Options.rounds})")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: a first look")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="compare with the meshhook in this directory"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), help="where to write"
    )
    return parser


def _wanted(name: str, wanted: list[str]) -> bool:
    return name in wanted or any(name.startswith(f"{each}-") for each in wanted)


def _in_its_own_process(name: str, options: Options) -> dict[str, Any]:
    """Measure a group where nothing that another group left behind can disturb it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "table.json"
        program = (
            "import benchmarks.__main__ as command; "
            f"command.measure_group({name!r}, {tuple(vars(options).values())!r}, {str(out)!r})"
        )
        why = ""
        try:
            status = subprocess.run(
                [sys.executable, "-c", program], check=False, timeout=_GROUP_LIMIT
            ).returncode
            why = f"its process ended with {status}"
        except subprocess.TimeoutExpired:
            why = f"it took longer than {_GROUP_LIMIT:g} s"
        if out.exists():
            return json.loads(out.read_text())  # type: ignore[no-any-return]
        table = Table(name, "not measured", missing=[Missing("the group", why, "any")])
        print(table.text())
        return table.to_dict()


def measure_group(name: str, options: tuple[Any, ...], out: str) -> None:
    """Measure one group in this process, print its table and write it to ``out``."""
    table = (GROUPS | AGAINST)[name](Options(*options))
    print(table.text(), flush=True)
    Path(out).write_text(json.dumps(table.to_dict()))


def _machine() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = None
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": versions,
    }


if __name__ == "__main__":
    sys.exit(main())
