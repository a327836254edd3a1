"""What docs/web.md says of the endpoints is so."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import meshhook as mh
from meshhook.observe.web.exchange import Request
from meshhook.observe.web.routes import ROUTES
from tests.docs.pages import ROOT, code, section, table
from tests.web.carriers import Wsgi

PAGE = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
FORMS = {"asgi_app": mh.asgi_app, "wsgi_app": mh.wsgi_app, "serve": mh.serve}


def test_the_paths_are_those_of_the_code() -> None:
    """In the same order, with their methods."""
    rows = table(section(PAGE, "Paths"))
    assert [(method, code(path)) for path, method, _ in rows] == [
        (route.method, route.path) for route in ROUTES
    ]


def test_a_policy_has_these_fields(registry: mh.Registry) -> None:
    """In the same order."""
    mh.circuit_breaker("payments")
    app = Wsgi()
    policy = app.ask("GET", "/policies/circuit_breaker/payments").json
    app.app.close()
    rows = table(section(PAGE, "Paths").partition("A policy looks like this")[2])
    assert [code(row[0]) for row in rows] == list(policy)


@pytest.mark.parametrize("name", FORMS)
def test_the_arguments_are_those_of_the_code(name: str) -> None:
    """With their defaults, in order, but for what a form of its own says."""
    rows = {
        code(argument): eval(code(default), {})
        for argument, default, _ in table(section(PAGE, "Arguments"))
    }
    parameters = {
        each.name: each.default for each in inspect.signature(FORMS[name]).parameters.values()
    }
    own: dict[str, Any] = {"port": 9464, "host": "127.0.0.1"} if name == "serve" else {}
    if name == "serve":
        del rows["beside"], rows["at"]
    if name == "asgi_app":
        rows["max_streams"] = 100
    assert list(parameters.items()) == list({**own, **rows}.items())


@pytest.mark.parametrize("name", FORMS)
def test_the_docstring_tells_of_every_argument(name: str) -> None:
    """And of errors and threads."""
    doc = inspect.getdoc(FORMS[name]) or ""
    for argument in inspect.signature(FORMS[name]).parameters:
        assert f"{argument}:" in doc, argument
    assert "Raises:" in doc
    assert "Safe to" in doc


def test_the_request_has_these_fields() -> None:
    """Those that the page names are what authorize is given."""
    about = section(PAGE, "Arguments")
    for field in dataclasses.fields(Request):
        assert f"`{field.name}`" in about


def test_the_actions_are_those_of_a_circuit(registry: mh.Registry) -> None:
    """The table names each of them."""
    mh.circuit_breaker("payments")
    app = Wsgi()
    policy = app.ask("GET", "/policies/circuit_breaker/payments").json
    app.app.close()
    acting = section(PAGE, "Acting")
    assert {code(row[0]) for row in table(acting)} == set(policy["actions"])
