"""``meshhook config``: what a configuration says, and what is wrong with it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshhook.commands import Parsers
    from meshhook.configuration.checking import Report
    from meshhook.configuration.problems import Problem

_PROFILE = "configure(): profile"
_LAYERS = {
    "defaults": "under what the code says",
    "profiles": "over the code, in that profile",
    "policies": "over all profiles",
    "environment": "over everything",
}


def add_to(commands: Parsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "config",
        help="check a configuration, or print the schema of one",
        description="Looks at settings from outside: see docs/configuration.md.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="check|schema", required=True)
    check = verbs.add_parser(
        "check",
        help="say what is wrong with files, and where settings come from",
        description=(
            "Reads files as configure() does, and tells all that is wrong with them: the later "
            "file lies over the earlier. With --import the policies of those modules are known, so "
            "names and what comes of the settings are looked at as well. Nothing is changed. Exits "
            "with 0 if all is well, 1 if anything is wrong or cannot be imported, 2 if the "
            "arguments make no sense."
        ),
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="a file .toml, .json or .yaml")
    check.add_argument("--profile", help="have this profile, whatever else says so")
    check.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that makes policies; may be given several times",
    )
    check.add_argument(
        "--no-environment", action="store_true", help="leave MESHHOOK_ variables aside"
    )
    check.add_argument("--json", action="store_true", help="a report in JSON")
    verbs.add_parser(
        "schema",
        help="print a JSON schema, by which editors complete and check files",
        description="Prints a JSON schema of configurations, for editors and other tools.",
    )


def run(options: argparse.Namespace) -> int:
    """Check files or print the schema; return 1 if anything is wrong."""
    if options.verb == "schema":
        from meshhook.configuration.schema import schema

        print(json.dumps(schema(), indent=2))
        return 0
    return _check(options)


def _check(options: argparse.Namespace) -> int:
    from meshhook.configuration.checking import check
    from meshhook.configuration.kinds import why_not
    from meshhook.errors import ConfigurationError

    # As `python -m` has it: what is imported is found from where one stands.
    sys.path.insert(0, str(Path.cwd()))
    for module in options.modules:
        if module.endswith(".py") or Path(module).name != module:
            print(
                f"meshhook config check: --import must be a module, such as {_module_of(module)}, "
                f"and no file, got {module!r}",
                file=sys.stderr,
            )
            return 2
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            print(
                f"meshhook config check: cannot import {module}: {why_not(error)}", file=sys.stderr
            )
            return 1
    try:
        report = check(
            options.files,
            profile=options.profile,
            environment=not options.no_environment,
            names=bool(options.modules),
        )
    except ConfigurationError as error:
        print(f"meshhook config check: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _tell(report, ", ".join(options.files), knows_policies=bool(options.modules))
    return 1 if report.problems else 0


def _module_of(file: str) -> str:
    """Return the name that a file probably has as a module."""
    name = Path(file).stem
    return name if name.isidentifier() else "shop"


def _in_words(problem: Problem) -> str:
    """Say what is wrong; what is an argument of ``configure`` is an option here."""
    text = str(problem)
    return f"--profile{text.removeprefix(_PROFILE)}" if text.startswith(_PROFILE) else text


def _tell(report: Report, files: str, *, knows_policies: bool) -> None:
    for problem in report.problems:
        print(_in_words(problem))
    if report.problems:
        count = len(report.problems)
        print(f"\n{files}: {count} {'thing is' if count == 1 else 'things are'} wrong")
        return
    profile = "no profile" if report.profile is None else f"the profile {report.profile!r}"
    print(f"{files}: all is well, with {profile}")
    for table, where in _LAYERS.items():
        rows = {at: settings for at, settings in report.tables.items() if at.table == table}
        if rows:
            print(f"\n{table}, {where}")
            _print_rows({" ".join(filter(None, at[1:])): ", ".join(rows[at]) for at in rows})
    if not knows_policies:
        print("\nNames were not looked at, for no policies are known: give --import MODULE")
        return
    for (kind, name), origins in report.policies.items():
        if any(origin != "code" for origin in origins.values()):
            print(f"\n{kind} {name}")
            _print_rows(origins)


def _print_rows(rows: dict[str, Any]) -> None:
    width = max(map(len, rows))
    for left, right in rows.items():
        print(f"  {left:<{width}}  {right}")
