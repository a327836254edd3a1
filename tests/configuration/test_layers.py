"""Layers: whatever lies over what, one rule tells what comes of it."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

import meshhook as mh
from meshhook.configuration.environment import spelled
from meshhook.configuration.places import line_of
from tests.configuration.conftest import dumped

NAMES = ("db", "shop.prices.price", "a-b#2")
PROFILES = ("calm", "quick")
LIBRARY = {"seconds": 30.0, "max_abandoned": 32, "message": None}

some = st.fixed_dictionaries(
    {},
    optional={
        "seconds": st.integers(1, 9).map(float),
        "max_abandoned": st.integers(33, 40),
        "message": st.sampled_from(["a", "b", "none"]),
    },
)
policies = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(some, st.none() | st.sampled_from(PROFILES)),
)
documents = st.fixed_dictionaries(
    {
        "defaults": some,
        "profiles": st.fixed_dictionaries(dict.fromkeys(PROFILES, some)),
        "policies": policies,
        "profile": st.none() | st.sampled_from(PROFILES),
    }
)


def as_source(document: dict[str, Any]) -> dict[str, Any]:
    """Write a document as a file has it."""
    source: dict[str, Any] = {
        "defaults": {"timeout": document["defaults"]},
        "profiles": {name: {"timeout": each} for name, each in document["profiles"].items()},
        "policies": {
            "timeout": {
                name: own | ({} if profile is None else {"profile": profile})
                for name, (own, profile) in document["policies"].items()
            }
        },
    }
    if document["profile"] is not None:
        source["profile"] = document["profile"]
    return source


def expected(
    name: str, code: dict[str, Any], found: list[dict[str, Any]], env: dict[str, Any]
) -> dict[str, Any]:
    """Tell what comes of it, written down once more in the plainest way."""
    chosen = None
    for document in found:
        chosen = document["profile"] or chosen
    for document in found:
        chosen = document["policies"].get(name, ({}, None))[1] or chosen
    result = dict(LIBRARY)
    for document in found:
        result |= document["defaults"]
    result |= code
    for document in found:
        if chosen is not None:
            result |= document["profiles"][chosen]
    for document in found:
        result |= document["policies"].get(name, ({}, None))[0]
    result |= env
    return {key: None if value == "none" else value for key, value in result.items()}


@settings(max_examples=100)
@given(
    st.lists(documents, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), some),
    st.dictionaries(st.sampled_from(NAMES), some),
    st.booleans(),
)
def test_the_rule_of_layers(
    found: list[dict[str, Any]],
    code: dict[str, dict[str, Any]],
    env: dict[str, dict[str, Any]],
    policies_first: bool,
) -> None:
    """From the bottom: library, defaults, code, profile, named policy, environment."""
    registry = mh.Registry()
    code = {
        name: {key: value for key, value in each.items() if value != "none"}
        for name, each in code.items()
    }
    variables = {
        f"MESHHOOK__TIMEOUT__{spelled(name)}__{key.upper()}": str(value)
        for name, each in env.items()
        for key, value in each.items()
    }

    def make() -> dict[str, mh.Timeout]:
        return {
            name: mh.timeout(name=name, registry=registry, **code.get(name, {})) for name in NAMES
        }

    if policies_first:
        made = make()
    with mock.patch.dict(os.environ, variables):
        mh.configure([as_source(each) for each in found], registry=registry, strict=False)
    if not policies_first:
        made = make()
    for name, policy in made.items():
        wanted = expected(name, code.get(name, {}), found, env.get(name, {}))
        assert {key: getattr(policy.settings, key) for key in wanted} == wanted
    mh.configure({}, environment=False, registry=registry)
    assert all(policy.settings is policy.recipe.settings for policy in made.values())


words = st.text("abcde.- #'é", min_size=1, max_size=6)


@settings(max_examples=30)
@given(
    st.dictionaries(
        words,
        st.dictionaries(words, st.dictionaries(words, st.integers(0, 9), min_size=1)),
        min_size=1,
    ),
    st.sampled_from([".toml", ".json", ".yaml"]),
    st.data(),
)
def test_lines_are_those_of_the_key_or_unknown(
    tables: dict[str, Any], suffix: str, data: st.DataObject
) -> None:
    """A line that is told has the key in it."""
    text = dumped(tables, suffix)
    outer = data.draw(st.sampled_from(sorted(tables)))
    path = (outer,)
    if tables[outer]:
        inner = data.draw(st.sampled_from(sorted(tables[outer])))
        path = (outer, inner, data.draw(st.sampled_from(sorted(tables[outer][inner]))))
    for length in range(1, len(path) + 1):
        line = line_of(text, suffix, path[:length])
        if line is not None:
            said = text.splitlines()[line - 1]
            assert path[length - 1] in said or "\\" in said or "''" in said


def test_lines_of_toml() -> None:
    """Of keys in tables, of tables, and of dotted keys; None for what is elsewhere."""
    text = (
        "profile = 'p'\n"
        "[defaults.retry]\n"
        "factor = 2\n"
        '[ policies . retry . "a.b" ]  # one\n'
        "'factor' = 3\n"
        "[policies.retry]\n"
        "c.factor = 4\n"
        "d = { factor = 5 }\n"
    )
    assert line_of(text, ".toml", ("profile",)) == 1
    assert line_of(text, ".toml", ("defaults", "retry")) == 2
    assert line_of(text, ".toml", ("defaults", "retry", "factor")) == 3
    assert line_of(text, ".TOML", ("policies", "retry", "a.b")) == 4
    assert line_of(text, ".toml", ("policies", "retry", "a.b", "factor")) == 5
    assert line_of(text, ".toml", ("policies", "retry", "c", "factor")) == 7
    assert line_of(text, ".toml", ("policies", "retry", "d")) == 8
    assert line_of(text, ".toml", ("policies", "retry", "e")) is None
    assert line_of(text, ".toml", ("policies", 5)) is None


def test_lines_of_toml_that_begin_a_longer_header() -> None:
    """A table that only headers of others name is where the first of those is."""
    text = (
        "[policies.circuitbreaker.x]\n"
        "factor = 1\n"
        "[policies.retry.a]\n"
        "[policies.retry]\n"
        "b = 1\n"
        "[policy.retry.a]\n"
        "[[policies.timeout.c]]\n"
    )
    assert line_of(text, ".toml", ("policies", "circuitbreaker")) == 1
    assert line_of(text, ".toml", ("policies", "retry")) == 4
    assert line_of(text, ".toml", ("policy",)) == 6
    assert line_of(text, ".toml", ("policies", "timeout", "c")) == 7
    assert line_of(text, ".toml", ("poli",)) is None


def test_lines_of_json_and_yaml() -> None:
    """Each word is looked for behind the one before."""
    json = (
        '{\n "defaults": {"retry": {"factor": 2}},\n'
        ' "policies": {"retry": {\n  "a": {"factor": 3}}}}'
    )
    yaml = "defaults:\n  retry: {factor: 2}\npolicies:\n  retry:\n    'a':\n      factor: 3\n"
    assert line_of(json, ".json", ("policies", "retry", "a", "factor")) == 4
    assert line_of(yaml, ".yml", ("policies", "retry", "a", "factor")) == 6
    assert line_of(json, ".json", ("policies", "retry", "b")) is None
