"""What the pages say is so: links, tables of defaults, and that nothing public is left out."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook.budgets import RetryBudgetStats
from meshhook.composition.lint import RULES
from meshhook.composition.resilient import PLACES
from meshhook.observe.fleet import Fleet, FleetFolder
from meshhook.observe.logging import log_events
from meshhook.observe.opentelemetry import instrument
from meshhook.observe.prometheus import PrometheusCollector, exposition, start_multiprocess
from meshhook.policies.chaos.stats import ChaosStats
from meshhook.policies.circuit_breaker.stats import BreakerStats, Latency, WindowStats
from meshhook.policies.fallback.stats import FallbackStats
from meshhook.policies.hedge.stats import HedgeStats
from meshhook.policies.idempotent.claim import Claim
from meshhook.policies.idempotent.results import Outcome
from meshhook.policies.idempotent.stats import IdempotentStats
from meshhook.policies.retry.stats import RetryStats
from meshhook.policies.throttle.stats import ThrottleStats
from meshhook.policies.timeout.stats import TimeoutStats
from tests.docs.pages import (
    DOCS,
    OTHERS,
    PAGES,
    ROOT,
    anchors,
    blocks,
    code,
    headings,
    links,
    named,
    prose,
    section,
    table,
)

POLICIES = {
    "circuit-breaker": mh.circuit_breaker,
    "timeout": mh.timeout,
    "idempotent": mh.idempotent,
    "hedge": mh.hedge,
    "retry": mh.retry,
    "fallback": mh.fallback,
    "throttle": mh.throttle,
    "chaos": mh.chaos,
}
ORDER = [
    ["About"],
    ["Usage"],
    ["Defaults"],
    ["States", "Sequence"],
    ["Events"],
    ["Do and don't"],
]
EVENTS: list[Any] = [
    kind
    for kind in vars(mh.events).values()
    if isinstance(kind, type) and issubclass(kind, mh.events.Event) and kind is not mh.events.Event
]
ERRORS: list[Any] = [
    kind
    for kind in vars(mh.errors).values()
    if isinstance(kind, type) and issubclass(kind, mh.MeshHookError)
]
LONGEST_LINE = 120


def text_of(name: str) -> str:
    """Return the text of a page in ``docs/``."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def first_column(rows: list[list[str]]) -> list[str]:
    """Return what the rows of a table are about."""
    return [code(row[0]) for row in rows]


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links lead to files that are there, and to headings that are in them."""
    for line, _, target in links(page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{named(page)}:{line}: {target} is not there"
        if anchor:
            known = anchors(found.read_text(encoding="utf-8"))
            assert anchor in known, f"{named(page)}:{line}: {target} is no heading"


def test_every_page_is_linked_from_the_index() -> None:
    """Whoever begins at the index finds every page."""
    targets = {target for _, _, target in links(text_of("index"))}
    assert {page.name for page in DOCS} - {"index.md"} <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_are_wrapped(page: Path) -> None:
    """Prose fits into 120 columns; rows of tables are as long as they are."""
    for line, text in prose(page.read_text(encoding="utf-8")):
        assert text.startswith("|") or len(text) <= LONGEST_LINE, f"{named(page)}:{line} is long"


@pytest.mark.parametrize("name", POLICIES)
def test_the_page_of_a_policy_has_its_order(name: str) -> None:
    """About, usage, defaults, states or sequence, events, do and don't: always in this order."""
    chapters = [title for level, title in headings(text_of(name)) if level == 2]
    assert len(chapters) == len(ORDER)
    assert all(title in allowed for title, allowed in zip(chapters, ORDER, strict=True))


@pytest.mark.parametrize("name", POLICIES)
def test_the_defaults_are_the_real_ones(name: str) -> None:
    """The table names the parameters of the decorator, in order, with their defaults."""
    rows = table(section(text_of(name), "Defaults"))
    parameters = inspect.signature(POLICIES[name]).parameters
    assert first_column(rows) == list(parameters)
    for argument, default, _ in rows:
        real = parameters[code(argument)].default
        shown = eval(code(default), {})
        assert (shown, isinstance(shown, str)) == (real, isinstance(real, str)), argument
        assert isinstance(real, type(shown)), f"{argument} shows {shown!r} for {real!r}"


def test_the_defaults_of_a_store_are_the_real_ones() -> None:
    """The same for RedisStore, whose target has no default."""
    rows = table(section(text_of("stores"), "RedisStore"))
    parameters = inspect.signature(mh.RedisStore).parameters
    assert first_column(rows) == list(parameters)
    shown = [eval(code(default), {}) for _, default, _ in rows if default]
    assert shown == [each.default for each in parameters.values() if each.default is not each.empty]


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_tells_of_its_events(name: str) -> None:
    """What the code of the policy can tell is in the table of its page, and nothing else."""
    folder = ROOT / "meshhook" / "policies" / name.replace("-", "_")
    code_of_it = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    told = {kind.__name__ for kind in EVENTS if f"events.{kind.__name__}(" in code_of_it}
    assert told == set(first_column(table(section(text_of(name), "Events"))))


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_is_explained(kind: Any) -> None:
    """Each class has a heading and a table of the fields that are its own."""
    base = {field.name for field in dataclasses.fields(mh.events.Event)}
    own = [field.name for field in dataclasses.fields(kind) if field.name not in base]
    assert first_column(table(section(text_of("events-and-logging"), kind.__name__))) == own


def test_the_fields_of_all_events_are_explained() -> None:
    """Those of the base are in a table of their own."""
    rows = table(section(text_of("events-and-logging"), "The events"))
    assert first_column(rows) == [field.name for field in dataclasses.fields(mh.events.Event)]


def tree(page: str) -> dict[str, str]:
    """Return the parent of each error in the drawing of a page."""
    drawing = next(block.text for block in blocks(page) if block.language == "text")
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in drawing.splitlines():
        match = re.search(r"\w+", line)
        assert match
        above[match.start() // 4 :] = [match[0]]
        parents[match[0]] = above[-2] if len(above) > 1 else "Exception"
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    """Every class is in it, below its own base."""
    assert tree(text_of("errors")) == {kind.__name__: kind.__bases__[0].__name__ for kind in ERRORS}


def test_every_error_has_a_line() -> None:
    """The table says of each what has happened, and whether the call may be repeated."""
    rows = table(section(text_of("errors"), "What each one says"))
    assert first_column(rows) == list(tree(text_of("errors")))
    assert all(all(row) for row in rows)


def test_every_attribute_of_an_error_is_explained() -> None:
    """What the constructors take beside the message is in the table of attributes."""
    names = {
        name
        for kind in ERRORS
        for name, each in inspect.signature(kind.__init__).parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }
    assert set(first_column(table(section(text_of("errors"), "Attributes")))) == names


@pytest.mark.parametrize(
    "kind",
    [
        BreakerStats,
        FallbackStats,
        ThrottleStats,
        ChaosStats,
        WindowStats,
        Latency,
        TimeoutStats,
        IdempotentStats,
        HedgeStats,
        RetryStats,
        RetryBudgetStats,
    ],
)
def test_every_statistic_is_explained(kind: Any) -> None:
    """The table of a class names its fields, in order."""
    rows = table(section(text_of("registry-and-stats"), kind.__name__))
    assert first_column(rows) == [field.name for field in dataclasses.fields(kind)]


def test_the_diagram_of_the_circuit_has_its_states() -> None:
    """All six states are in it, and no others."""
    diagram = next(
        each for each in blocks(text_of("circuit-breaker")) if each.language == "mermaid"
    )
    shown = set(re.findall(r"\w+(?= -->)|(?<=--> )\w+", diagram.text))
    assert shown == {str(state) for state in mh.CircuitState}


def test_the_two_tables_of_costs_agree() -> None:
    """What the README says of the cost of a call is what the page on performance says."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = table(section(text_of("performance"), "Cost of a call"))
    assert table(section(readme, "How fast")) == [[what, *rest] for what, _, *rest in rows]


ELSEWHERE: dict[str, Any] = {
    "log_events": log_events,
    "instrument": instrument,
    "PrometheusCollector": PrometheusCollector,
    "exposition": exposition,
    "start_multiprocess": start_multiprocess,
    "Fleet": Fleet,
    "FleetFolder": FleetFolder,
}
"""What is public and has its home in a module of its own."""
PUBLIC = [*mh.__all__, *ELSEWHERE]


def public(name: str) -> Any:
    """Return what a name of the reference stands for."""
    if name in mh.testing.__all__:
        return getattr(mh.testing, name)
    return ELSEWHERE[name] if name in ELSEWHERE else getattr(mh, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    """Each has a heading, says since when it is there, and something about it."""
    about = section(text_of("api"), f"`{name}`")
    assert about.strip().startswith(("Since 0.1.", "Since 0.2."))
    assert len(about) > 60


def test_the_reference_has_nothing_else() -> None:
    """A name that is gone leaves the reference."""
    named_there = [title.strip("`") for level, title in headings(text_of("api")) if level == 3]
    assert sorted(named_there) == sorted(PUBLIC)


def stubs() -> list[tuple[str, Any]]:
    """Return name and stub of each signature in the reference."""
    found: list[tuple[str, Any]] = []
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for block in blocks(text_of("api")):
        for node in ast.parse(block.text).body if block.language == "python" else []:
            if isinstance(node, definitions) and not node.decorator_list:
                space: dict[str, Any] = {}
                exec(ast.unparse(node), space)
                found.append((node.name, space[node.name]))
    return found


@pytest.mark.parametrize(
    ("name", "stub"), stubs(), ids=lambda value: getattr(value, "__name__", value)
)
def test_the_signatures_of_the_reference_are_the_real_ones(name: str, stub: Any) -> None:
    """Names, kinds and defaults of all parameters are as in the code."""
    shown, real = inspect.signature(stub), inspect.signature(public(name))
    assert [(each.name, each.kind, each.default) for each in shown.parameters.values()] == [
        (each.name, each.kind, each.default) for each in real.parameters.values()
    ]


def test_every_function_of_the_reference_has_its_signature() -> None:
    """Functions are called by what the reference shows of them."""
    functions = {name for name in PUBLIC if isinstance(public(name), types.FunctionType)}
    assert functions <= {name for name, _ in stubs()}


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Policies", mh.CircuitBreaker),
        ("Policies", mh.Timeout),
        ("Policies", mh.Hedge),
        ("Policies", mh.Idempotent),
        ("`CircuitBreaker`", mh.CircuitBreaker),
        ("`Idempotent`", mh.Idempotent),
        ("`Guard`", mh.timeout(registry=mh.Registry())(len)),
        ("`Registry`", mh.Registry),
        ("`Pipeline`", mh.Pipeline(mh.timeout(1))),
        ("`Explanation`", mh.explain(len)),
        ("`current`", Claim),
        ("`MemoryStore`", mh.MemoryStore()),
        ("`RedisStore`", mh.RedisStore("redis://localhost")),
        ("`events`", mh.events),
    ],
)
def test_members_in_the_reference_are_there(title: str, kind: Any) -> None:
    """What the table of a class names can be used."""
    for member in first_column(table(section(text_of("api"), title))):
        name = member.partition("(")[0]
        if name not in {"policy", "pipeline"}:
            assert hasattr(kind, name), f"{title} has no {name}"


def test_public_names_of_events_are_in_the_reference() -> None:
    """The table of the module names everything in it."""
    own = {
        name
        for name, value in vars(mh.events).items()
        if getattr(value, "__module__", "") == "meshhook.events" and not name.startswith("_")
    }
    listed = first_column(table(section(text_of("api"), "`events`")))
    assert {name.partition("(")[0] for name in listed} == own


def test_what_get_returns_is_explained() -> None:
    """The attributes of an outcome are in the reference, and no others."""
    about = section(text_of("api"), "`idempotent`").partition("What `get` returns")[2]
    listed = [name.removesuffix("()") for name in first_column(table(about))]
    fields = [field.name for field in dataclasses.fields(Outcome) if field.name[0] != "_"]
    assert listed == [*fields, "result"]


def test_the_testing_kit_is_in_the_reference() -> None:
    """A table names everything in it, and its functions and classes have their signatures."""
    about = section(text_of("api"), "Testing kit")
    listed = [name.partition("(")[0] for name in first_column(table(about))]
    kit = [name for name in listed if name in mh.testing.__all__]
    assert sorted(kit) == sorted(mh.testing.__all__)
    for name in listed:
        kind, _, member = name.partition(".")
        assert hasattr(getattr(mh.testing, kind), member or "__call__")
    made_by_others = {"Events", "Run"}
    assert set(mh.testing.__all__) - made_by_others <= {name for name, _ in stubs()}


def promises() -> list[tuple[str, str]]:
    """Return name and file of each test that the guarantees name."""
    return [
        (text, target) for _, text, target in links(text_of("guarantees")) if "/tests/" in target
    ]


def test_every_rule_of_the_lint_is_explained() -> None:
    """The table of what defeats itself names them all, in order."""
    rows = table(section(text_of("composition"), "What defeats itself"))
    assert first_column(rows) == [rule.code for rule in RULES]


def test_the_order_of_policies_is_the_real_one() -> None:
    """The two tables of keywords have the order of ``resilient``, with its defaults."""
    parameters = inspect.signature(mh.resilient).parameters
    placed = first_column(table(section(text_of("composition"), "The order that works")))
    assert placed == [place.keyword for place in PLACES]
    rows = table(section(text_of("composition"), "Keywords"))
    assert [(code(argument), eval(code(default))) for argument, default, _ in rows] == [
        (name, each.default) for name, each in parameters.items()
    ]


@pytest.mark.parametrize(("test", "file"), promises(), ids=lambda value: value)
def test_a_promise_is_held_by_a_test(test: str, file: str) -> None:
    """The test that a guarantee names is in the file that it links to."""
    source = ((ROOT / "docs") / file).read_text(encoding="utf-8")
    found = re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)
    assert found, f"docs/guarantees.md names {test}, which is not in {file} any more"


def test_every_promise_names_a_test() -> None:
    """A promise without a test is a wish."""
    page = text_of("guarantees")
    for level, title in headings(page):
        if level == 2 and title != "What is not promised":
            assert all("](../tests/" in test for _, test in table(section(page, title)))
