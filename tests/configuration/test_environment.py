"""The environment: how names and values are spelled, and what it lies over."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh
from meshhook.configuration.environment import spelled, value_of


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables that begin with MESHHOOK__."""

    def env(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"MESHHOOK__{name}", value)

    return env


def price() -> int:
    return 1


def test_it_lies_over_everything(registry: mh.Registry, env: Any) -> None:
    """The code, and the table of the policy in a file."""
    env(TIMEOUT__DB__SECONDS="5", TIMEOUT__DB__MODE="thread")
    policy = mh.timeout(2, name="db")
    configuration = mh.configure({"policies": {"timeout": {"db": {"seconds": 4}}}})
    assert (policy.settings.seconds, policy.settings.mode) == (5.0, "thread")
    assert configuration.sources(policy) == {
        "seconds": "environment: MESHHOOK__TIMEOUT__DB__SECONDS",
        "mode": "environment: MESHHOOK__TIMEOUT__DB__MODE",
    }
    mh.configure({}, environment=False)
    assert policy.settings.seconds == 2.0


def test_it_is_enough_by_itself(registry: mh.Registry, env: Any) -> None:
    """A program need not have any other source."""
    env(RETRY__DB__MAX_ATTEMPTS="7", RETRY__DB__ON="OSError")
    configuration = mh.configure()
    assert mh.retry(name="db").settings.max_attempts == 7
    assert configuration.name == "environment"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("payments", "PAYMENTS"),
        ("shop.prices.price", "SHOP_PRICES_PRICE"),
        ("__main__.Shop.price#2", "MAIN_SHOP_PRICE_2"),
        ("a  b", "A_B"),
        ("make.<locals>.fn", "MAKE_LOCALS_FN"),
        ("größe", "GR_SSE"),
        ("日本", ""),
    ],
)
def test_how_names_are_spelled(name: str, expected: str) -> None:
    """In capitals, and with one underscore for whatever is no letter or digit of English."""
    assert spelled(name) == expected
    assert spelled(expected) == expected


def test_names_of_functions(registry: mh.Registry, env: Any) -> None:
    """Are spelled like others, and may be those of policies that are made later."""
    variable = f"TIMEOUT__{spelled(__name__)}_PRICE__SECONDS"
    env(**{variable: "5"})
    mh.configure()
    limited: Any = mh.timeout(2)(price)
    assert limited.policies[0].settings.seconds == 5.0
    assert mh.timeout(2)(price).policies[0].settings.seconds == 2.0  # type: ignore[attr-defined]


def test_a_name_that_stands_for_several_policies(registry: mh.Registry, env: Any) -> None:
    """Is an error that tells them all."""
    first, second = mh.timeout(2, name="a.b"), mh.timeout(2, name="a-b")
    env(TIMEOUT__A_B__SECONDS="5")
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.configure()
    assert str(caught.value) == (
        "environment: MESHHOOK__TIMEOUT__A_B__SECONDS: it is unclear which timeout is meant: "
        "'a-b', 'a.b'"
    )
    assert {first.settings.seconds, second.settings.seconds} == {2.0}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TIMEOUT__DB", "5", "must be MESHHOOK__KIND__NAME__SETTING, such as MESHHOOK__CIRCUIT_B"),
        ("TIMEOUT__DB__SECONDS__MORE", "5", "must be MESHHOOK__KIND__NAME__SETTING"),
        ("TIMEOUT____SECONDS", "5", "must be MESHHOOK__KIND__NAME__SETTING"),
        ("", "5", "environment: MESHHOOK__: must be MESHHOOK__KIND__NAME__SETTING"),
        ("TIMEOTU__DB__SECONDS", "5", "no such kind of policy; did you mean 'timeout'?"),
        ("TIMEOUT__DBB__SECONDS", "5", "no such timeout; did you mean 'DB'?"),
        ("TIMEOUT__db__SECONDS", "5", "names are written in capitals"),
        ("TIMEOUT__DB___SECONDS", "5", "no such setting of timeout; did you mean 'seconds'?"),
        ("TIMEOUT__DB__SECOND", "5", "no such setting of timeout; did you mean 'seconds'?"),
        ("TIMEOUT__DB__SECONDS", "soon", "seconds must be a duration"),
        ("TIMEOUT__DB__SECONDS", "", "seconds must be a duration"),
        ("TIMEOUT__DB__PROFILE", "p", "no such profile; there is none"),
    ],
)
def test_what_is_wrong(
    registry: mh.Registry, env: Any, variable: str, value: str, message: str
) -> None:
    """Is told with the name of the variable."""
    mh.timeout(2, name="db")
    env(**{variable: value})
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.configure()
    assert str(caught.value).startswith(f"environment: MESHHOOK__{variable}: ")
    assert message in str(caught.value)


def test_a_profile_in_the_environment(registry: mh.Registry, env: Any) -> None:
    """For one policy as well."""
    env(TIMEOUT__DB__PROFILE="quick")
    mh.configure({"profiles": {"quick": {"timeout": {"seconds": 1}}}})
    assert mh.timeout(2, name="db").settings.seconds == 1.0


def test_a_profile_that_nobody_has(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told with the variable, or as what the program said."""
    monkeypatch.setenv("MESHHOOK_PROFILE", "prodution")
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.configure({"profiles": {"production": {}}})
    said = "no such profile; did you mean 'production'?"
    assert str(caught.value) == f"environment: MESHHOOK_PROFILE: {said}"
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.configure({"profiles": {"production": {}}}, profile="prodution")
    assert str(caught.value) == f"configure(): profile: {said}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("250ms", "250ms"),
        ('"5"', "5"),
        ("'5'", "5"),
        ("OSError", "OSError"),
        ("shop.errors:Upstream", "shop.errors:Upstream"),
        ('["OSError", "ValueError"]', ["OSError", "ValueError"]),
        ("100/s; 5/h burst 9", "100/s; 5/h burst 9"),
        ("{host}", "{host}"),
        ("2026-01-01", "2026-01-01"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("{a = 1}", "{a = 1}"),
        ("[" * 100_000, "[" * 100_000),
        ("9" * 5_000, "9" * 5_000),
    ],
    ids=lambda each: repr(each)[:30],
)
def test_values_are_read_as_toml_reads_them(text: str, value: Any) -> None:
    """And are text if that is what they are."""
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)
