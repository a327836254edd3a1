"""configure: what lies over what, whose policies it is about, and what is refused."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from tests.configuration.conftest import configure


class UpstreamError(Exception):
    """What a file names."""


def judged(error: Exception) -> bool:
    return True


def price() -> int:
    return 1


NAME = f"{__name__}.price"


def limit_of(policy: Any) -> float:
    return policy.settings.seconds


@pytest.mark.parametrize(
    ("written", "tables", "expected"),
    [
        ({}, {}, 30.0),
        ({}, {"defaults": {"timeout": {"seconds": 1}}}, 1.0),
        ({"seconds": 2}, {"defaults": {"timeout": {"seconds": 1}}}, 2.0),
        ({"seconds": 2}, {"profiles": {"p": {"timeout": {"seconds": 3}}}}, 3.0),
        ({"seconds": 2}, {"policies": {"timeout": {"db": {"seconds": 4}}}}, 4.0),
        (
            {"seconds": 2},
            {
                "profiles": {"p": {"timeout": {"seconds": 3}}},
                "policies": {"timeout": {"db": {"seconds": 4}}},
            },
            4.0,
        ),
    ],
)
@pytest.mark.parametrize("order", ["policy first", "configuration first"])
def test_what_lies_over_what(
    registry: mh.Registry, written: Any, tables: Any, expected: float, order: str
) -> None:
    """Defaults lie under the code, the profile and the policy by its name over it."""
    source = {"profiles": {"p": {}}, "profile": "p"} | tables
    if order == "policy first":
        policy = mh.timeout(name="db", **written)
        configure(source)
    else:
        configure(source)
        policy = mh.timeout(name="db", **written)
    assert limit_of(policy) == expected


def test_functions_without_a_name_are_configured_by_their_own(registry: mh.Registry) -> None:
    """Each policy of a pattern by the name that it has got."""
    configure({"policies": {"timeout": {NAME: {"seconds": 4}, f"{NAME}#2": {"seconds": 5}}}})
    pattern = mh.timeout(2)
    first, second = pattern(price), pattern(price)
    assert [limit_of(fn.policies[0]) for fn in (first, second)] == [4.0, 5.0]  # type: ignore[attr-defined]
    assert limit_of(pattern) == 2.0


def test_a_pattern_that_runs_calls_goes_by_the_name_of_its_kind(registry: mh.Registry) -> None:
    """So it is configured as soon as it has that."""
    configure({"policies": {"bulkhead": {"bulkhead": {"max_concurrent": 4}}}})
    pattern = mh.bulkhead(2)
    assert pattern.call(price) == 1
    assert (pattern.name, pattern.settings.max_concurrent) == ("bulkhead", 4)


def test_limits_that_come_and_go_are_not_configured(registry: mh.Registry) -> None:
    """A timeout or a retry without a name that decorates nothing is in no registry."""
    configure({"defaults": {"retry": {"max_attempts": 5}}, "policies": {"retry": {"retry": {}}}})
    pattern = mh.retry(base_delay=0)
    assert pattern.call(price) == 1
    assert pattern.settings.max_attempts == 3


def test_what_the_code_says_is_what_conflicts(registry: mh.Registry) -> None:
    """A configured policy is shared by all who write the same, and by nobody else."""
    configure({"policies": {"timeout": {"db": {"seconds": 4}}}})
    policy = mh.timeout(2, name="db")
    assert mh.timeout(2, name="db") is policy
    with pytest.raises(mh.ConfigurationError, match="it has seconds=2.0, and here it gets"):
        mh.timeout(4, name="db")


def test_a_policy_may_have_a_profile_of_its_own(registry: mh.Registry) -> None:
    """It takes the place of the one that all have, for that policy."""
    configure(
        {
            "profile": "calm",
            "profiles": {"calm": {"timeout": {"seconds": 9}}, "quick": {"timeout": {"seconds": 1}}},
            "policies": {"timeout": {"db": {"profile": "quick"}}},
        },
        strict=False,
    )
    assert limit_of(mh.timeout(2, name="db")) == 1.0
    assert limit_of(mh.timeout(2, name="other")) == 9.0


def test_who_chooses_the_profile(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program before the environment, and that before the file."""
    source = {"profile": "a", "profiles": {name: {} for name in "abc"}}
    assert configure(source).profile == "a"
    monkeypatch.setenv("MESHHOOK_PROFILE", "b")
    assert configure(source, environment=True).profile == "b"
    assert configure(source, environment=True, profile="c").profile == "c"
    assert configure(source).profile == "a"


def test_the_later_source_lies_over_the_earlier(
    registry: mh.Registry, write: Callable[..., Path]
) -> None:
    """Setting by setting, within each layer."""
    policy = mh.timeout(2, name="db")
    base = write("base.toml", {"policies": {"timeout": {"db": {"seconds": 4, "mode": "thread"}}}})
    configure([base, {"policies": {"timeout": {"db": {"seconds": 5}}}}])
    assert (policy.settings.seconds, policy.settings.mode) == (5.0, "thread")
    configure([{"policies": {"timeout": {"db": {"seconds": 5}}}}, str(base)])
    assert policy.settings.seconds == 4.0


def test_without_a_configuration_all_is_as_it_was_written(registry: mh.Registry) -> None:
    """A configuration that says nothing takes an earlier one back."""
    policy = mh.timeout(2, name="db")
    before = policy.settings
    configure({"policies": {"timeout": {"db": {"seconds": 4}}}})
    configure()
    assert policy.settings is before


def test_registries_are_configured_apart(registry: mh.Registry) -> None:
    """What is said for one is nothing to another."""
    other = mh.Registry()
    here, there = mh.timeout(2, name="db"), mh.timeout(2, name="db", registry=other)
    configure({"policies": {"timeout": {"db": {"seconds": 4}}}}, registry=other)
    assert (limit_of(here), limit_of(there)) == (2.0, 4.0)
    with pytest.raises(mh.ConfigurationError, match="nothing to reload"):
        mh.reload()
    assert mh.reload(other) == 0


def test_objects_of_the_program_are_named(registry: mh.Registry) -> None:
    """Types of errors, predicates and functions, one or several."""
    configure(
        {
            "defaults": {"retry": {"before_sleep": f"{__name__}:judged"}},
            "policies": {
                "retry": {
                    "a": {"on": [f"{__name__}:UpstreamError", "OSError", "CircuitOpenError"]},
                    "b": {"on": f"{__name__}:judged"},
                },
                "circuit_breaker": {"c": {"key": "{host}"}, "d": {"key": f"{__name__}:judged"}},
            },
        },
    )
    a, b = mh.retry(name="a"), mh.retry(name="b")
    assert a.settings.on == (UpstreamError, OSError, mh.CircuitOpenError)
    assert b.settings.on is a.settings.before_sleep is judged
    assert mh.circuit_breaker("c").settings.key == "{host}"
    assert mh.circuit_breaker("d").settings.key is judged


def test_none_is_written_as_text_where_there_is_no_null(registry: mh.Registry) -> None:
    """For what may be None, and for nothing else."""
    configure({"policies": {"bulkhead": {"db": {"max_wait": "none"}}}})
    assert mh.bulkhead(5, max_wait=1, name="db").settings.max_wait == float("inf")
    with pytest.raises(mh.ConfigurationError, match="base_delay must be a duration"):
        configure({"defaults": {"retry": {"base_delay": "none"}}})


def test_an_adaptive_limit_is_a_table(registry: mh.Registry) -> None:
    """With its kind, and the arguments that this takes."""
    configure({"policies": {"bulkhead": {"db": {"limit": {"kind": "gradient", "max": 50}}}}})
    assert mh.bulkhead(name="db").settings.limit == mh.Gradient(max=50)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("gradient", "with a kind, such as 'gradient', got 'gradient'"),
        ({"max": 5}, "limit.kind must be one of 'aimd', 'gradient', got None"),
        ({"kind": "x"}, "limit.kind must be one of 'aimd', 'gradient', got 'x'"),
        ({"kind": "gradent"}, "'gradient', got 'gradent'; did you mean 'gradient'?"),
        ({"kind": "aimd", "maximum": 5}, "'maximum' of limit: no such setting; did you mean 'max'"),
        ({"kind": "aimd", "max": 5}, "initial must be from min to max"),
        ({"kind": ["aimd"]}, "limit.kind must be one of 'aimd', 'gradient', got ['aimd']"),
        (5, "limit must be an adaptive limit"),
    ],
)
def test_a_wrong_adaptive_limit(registry: mh.Registry, limit: Any, message: str) -> None:
    """What is wrong with it is told with its place."""
    with pytest.raises(
        mh.ConfigurationError, match=r"^dict: defaults\.bulkhead\.limit: "
    ) as caught:
        configure({"defaults": {"bulkhead": {"limit": limit}}})
    assert message in str(caught.value)


def test_a_dict_may_hold_objects(registry: mh.Registry) -> None:
    """As a decorator takes them."""
    budget = mh.RetryBudget(name="b")
    configure(
        {
            "defaults": {"retry": {"on": UpstreamError, "base_delay": timedelta(seconds=1)}},
            "policies": {"retry": {"db": {"budget": budget}}},
        },
        strict=False,
    )
    settings = mh.retry(name="db").settings
    assert (settings.on, settings.rule.base_delay, settings.budget) == (
        (UpstreamError,),
        1.0,
        budget,
    )


WRONG: list[tuple[Any, str]] = [
    ({"polices": {}}, "dict: polices: no such table or setting; did you mean 'policies'?"),
    ({5: {}}, "dict: 5: no such table or setting: it must be text"),
    ({"defaults": 5}, "dict: defaults: must be a table (a mapping, an object)"),
    ({"defaults": {"retri": {}}}, "dict: defaults.retri: no such kind of policy; did you mean 'r"),
    ({"defaults": {"retry": []}}, "dict: defaults.retry: must be a table"),
    ({"defaults": {"retry": {"on_": 1}}}, "defaults.retry.on_: no such setting of retry; did you"),
    ({"defaults": {"retry": {"profile": "p"}}}, "defaults.retry.profile: no such setting of retry"),
    ({"defaults": {"retry": {"name": "p"}}}, "defaults.retry.name: no such setting of retry"),
    ({"profile": "x"}, "dict: profile: no such profile; there is none"),
    ({"profile": "x", "profiles": {"y": {}}}, "dict: profile: no such profile; there is y"),
    ({"profile": 5}, "dict: profile: must be a name"),
    ({"profiles": {"": {}}}, 'dict: profiles."": must be a name'),
    ({"profiles": {"x": {"retry": {"factor": 0}}}}, "profiles.x.retry.factor: factor must be"),
    ({"policies": {"retry": {"a.b": 5}}}, 'dict: policies.retry."a.b": must be a table (a map'),
    ({"policies": {"retry": {"max_attempts": 5}}}, "there are defaults.retry and profiles"),
    ({"policies": {"retry": {"a\n": {}}}}, r"dict: policies.retry.'a\n': must be a name"),
    (
        {"policies": {"retry": {"a": {"profile": "x"}}}, "profiles": {"xy": {}}},
        "dict: policies.retry.a.profile: no such profile; did you mean 'xy'?",
    ),
    ({"defaults": {"idempotent": {"store": "redis://x"}}}, "give store in the code"),
    ({"defaults": {"retry": {"on": "Valueerror"}}}, "no such error of Python or meshhook"),
    ({"defaults": {"retry": {"on": "a b"}}}, "'a b' is no type of errors: write it as"),
    ({"defaults": {"retry": {"on": "no.such:Thing"}}}, "cannot be imported: No module named 'no'"),
    ({"defaults": {"retry": {"on": "builtins:Thing"}}}, "module 'builtins' has no attribute"),
    ({"defaults": {"retry": {"on": "math:pi"}}}, "defaults.retry.on: on must be"),
    ({"defaults": {"retry": {"on": "builtins:int"}}}, "defaults.retry.on: on must be an exception"),
    ({"defaults": {"retry": {"on": []}}}, "defaults.retry.on: on must be"),
    ({"defaults": {"retry": {"budget": "b"}}}, "no such retry budget; there is none; one that the"),
    ({"defaults": {"retry": {"budget": 5}}}, "budget must be a meshhook.RetryBudget, or None"),
    ({"defaults": {"rate_limit": {"rate": "many"}}}, "defaults.rate_limit.rate: rate must be"),
    ({"defaults": {"timeout": {"mode": ["thread"]}}}, "defaults.timeout.mode: mode must be one of"),
    ({"defaults": {"timeout": {"mode": {"a": 1}}}}, "defaults.timeout.mode: mode must be one of"),
]


@pytest.mark.parametrize(("source", "message"), WRONG, ids=str)
def test_what_is_wrong_is_told_with_its_place(
    registry: mh.Registry, source: Any, message: str
) -> None:
    """And with what may have been meant. Nothing is configured then."""
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(source, strict=False)
    assert message in str(caught.value)
    assert registry._layers is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("shop.pay", 'line 1: policies.retry.shop.pay: {}: policies.retry."shop.pay"'),
        ("shop.a.b", 'line 1: policies.retry.shop.a.b: {}: policies.retry."shop.a.b"'),
    ],
)
def test_a_name_with_dots_is_quoted(
    registry: mh.Registry, write: Callable[..., Path], table: str, message: str
) -> None:
    """And the error for one that is not says so, once, with its line."""
    mh.retry(name=table)
    source = write("a.toml", f"[policies.retry.{table}]\nmax_attempts = 2\n")
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(source)
    said = message.format("no such setting of retry; a name with dots is quoted")
    assert str(caught.value) == f"{source}, {said}"
    configure(write("b.toml", f'[policies.retry."{table}"]\nmax_attempts = 2\n'))


def test_a_name_with_dots_beside_settings(registry: mh.Registry) -> None:
    """Leaves those what they are, and a misspelled setting with a table is still told as one."""
    limit = {"kind": "aimd"}
    source = {"policies": {"bulkhead": {"a": {"b": {}, "limt": limit, "max_keys": 0}}}}
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(source, strict=False)
    _, *lines = str(caught.value).splitlines()
    assert [line.partition(": policies.bulkhead.")[2][:44] for line in lines] == [
        "a.b: no such setting of bulkhead; a name wit",
        "a.limt: no such setting of bulkhead; did you",
        "a.max_keys: max_keys must be a whole number ",
    ]


def test_a_table_that_has_itself_in_it(registry: mh.Registry) -> None:
    """Is no name without end."""
    table: dict[str, Any] = {}
    table["a"] = table
    with pytest.raises(mh.ConfigurationError, match="a name with dots is quoted"):
        configure({"policies": {"retry": {"a": table}}})


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_what_is_wrong_is_told_without_brackets(
    registry: mh.Registry, write: Callable[..., Path], suffix: str
) -> None:
    """Of tables in words that fit each format."""
    for data in ({"policies": {"retry": {"a": 5}}}, {"defaults": {"retry": {"budget": "b"}}}):
        with pytest.raises(mh.ConfigurationError, match=r"^[^\[\]]*$"):
            configure(write(f"a{suffix}", data))


def test_everything_that_is_wrong_is_told_at_once(registry: mh.Registry) -> None:
    """So that a file is put right in one go; the error can be pickled."""
    mh.timeout(name="db")
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(
            {
                "defaults": {"retri": {}, "timeout": {"seconds": -1}},
                "policies": {"timeout": {"bd": {}}},
            }
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 things are wrong with the configuration:"
    assert [line[:20] for line in lines[1:]] == [
        "- dict: defaults.ret",
        "- dict: defaults.tim",
        "- dict: policies.tim",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_very_many_problems_are_cut_short(registry: mh.Registry) -> None:
    """A flood helps nobody."""
    with pytest.raises(mh.ConfigurationError, match=r"- and 950 more$"):
        configure({f"x{number}": 1 for number in range(1_000)})


def test_settings_that_do_not_fit_together(registry: mh.Registry) -> None:
    """The error names the policy and every setting that has part in it."""
    mh.circuit_breaker("db", window=5)
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(
            {"policies": {"circuit_breaker": {"db": {"window_calls": 9, "ignore": "OSError"}}}}
        )
    assert str(caught.value) == (
        "dict: policies.circuit_breaker.db.window_calls: circuit_breaker 'db': window and "
        "window_calls exclude each other, got 5 and 9; give seconds or a number of calls"
    )


def test_settings_that_do_not_fit_what_is_made_later(registry: mh.Registry) -> None:
    """The decorator raises, and makes nothing."""
    configure({"policies": {"circuit_breaker": {"db": {"window_calls": 9}}}})
    with pytest.raises(mh.ConfigurationError, match=r"^dict: policies.circuit_breaker.db.window"):
        mh.circuit_breaker("db", window=5)
    assert "db" not in registry


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 5}, "source must be the path of a file, a dict, a list of those, or None"),
        ({"source": [None]}, "source must be"),
        ({"source": [[{}]]}, "source must be"),
        ({"source": "settings.ini"}, "source must be the path of a file that ends in .toml, .json"),
        ({"source": "settings"}, "source must be the path of a file that ends in"),
        ({"profile": ""}, "profile must be printable"),
        ({"profile": 5}, "profile must be printable"),
        ({"environment": 1}, "environment must be True or False"),
        ({"strict": "yes"}, "strict must be True or False"),
        ({"registry": "r"}, "registry must be"),
        ({"watch": True}, "watch must be left out, for there is no file among the sources"),
        ({"source": "a.toml", "watch": 0}, "watch must be a duration"),
        ({"source": "a.toml", "watch": "soon"}, "watch must be a duration"),
        ({"source": "no.such.toml"}, "no.such.toml: it cannot be read: No such file"),
    ],
    ids=str,
)
def test_wrong_arguments(registry: mh.Registry, options: Any, message: str) -> None:
    """Are told as those of any decorator."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.configure(**({"environment": False} | options))
    assert message in str(caught.value)


def test_where_settings_come_from(registry: mh.Registry, write: Callable[..., Path]) -> None:
    """Each with its file, path and line; what the library has by default is left out."""
    policy = mh.retry(max_attempts=2, factor=3, name="db")
    path = write(
        "shop.toml",
        "[defaults.retry]\nbase_delay = '1s'\nfactor = 5\n\n"
        "[policies.retry.db]\nmax_attempts = 9\n",
    )
    configuration = configure(path)
    assert configuration.sources(policy) == {
        "base_delay": f"{path}, line 2: defaults.retry.base_delay",
        "factor": "code",
        "max_attempts": f"{path}, line 6: policies.retry.db.max_attempts",
    }
    assert (configuration.name, repr(configuration)) == (
        "shop.toml",
        "<Configuration of shop.toml>",
    )
    configure()
    assert configuration.sources(policy) == {}


def test_a_name_of_no_policy_is_an_error_where_there_are_policies(registry: mh.Registry) -> None:
    """With a suggestion, whatever the table has in it."""
    mh.circuit_breaker("payments")
    with pytest.raises(mh.ConfigurationError) as caught:
        configure({"policies": {"circuit_breaker": {"paymnts": {}}}})
    assert str(caught.value) == (
        "dict: policies.circuit_breaker.paymnts: no such circuit_breaker; did you mean 'payments'?"
    )


def test_names_may_wait_for_policies_that_are_not_made_yet(registry: mh.Registry) -> None:
    """If there are none at all, or if that is what the program says."""
    source = {"policies": {"timeout": {"db": {"seconds": 4}, "later": {}}}}
    configuration = configure(source)
    assert len(configuration.pending()) == 2
    assert limit_of(mh.timeout(2, name="db")) == 4.0
    assert configuration.pending() == (
        "dict: policies.timeout.later: no such timeout; there is db",
    )
    with pytest.raises(mh.ConfigurationError, match=r"policies\.timeout\.later: no such timeout"):
        configure(source)
    assert len(configure(source, strict=False).pending()) == 1
    with pytest.raises(mh.ConfigurationError, match=r"policies\.timeout\.later: no such timeout"):
        configure(source, strict=True)


def test_strict_names_are_strict_from_the_start(registry: mh.Registry) -> None:
    """Even if there is no policy at all."""
    with pytest.raises(mh.ConfigurationError, match="no such timeout; there is none"):
        configure({"policies": {"timeout": {"db": {}}}}, strict=True)


def test_a_budget_goes_by_its_name(registry: mh.Registry) -> None:
    """One that is there, or one that a table tells of and the code may tell of later."""
    there = mh.RetryBudget(name="there")
    configure(
        {
            "policies": {
                "retry": {"a": {"budget": "there"}, "b": {"budget": "made"}},
                "hedge": {"c": {"budget": "made"}},
                "retry_budget": {"made": {"ratio": 0.5}},
            }
        },
        strict=False,
    )
    made = registry.retry_budgets["made"]
    assert mh.retry(name="a").settings.budget is there
    assert mh.retry(name="b").settings.budget is made
    assert mh.hedge(name="c").settings.budget is made
    assert (made.name, made.settings.ratio, made.settings.ttl) == ("made", 0.5, 10.0)
    assert mh.RetryBudget(ratio=0.1, ttl=20, name="made") is made
    assert (made.settings.ratio, made.settings.ttl) == (0.5, 20.0)
    with pytest.raises(mh.ConfigurationError, match="exists with other settings: it has ttl=20"):
        mh.RetryBudget(ratio=0.1, ttl=30, name="made")


def test_a_refused_configuration_makes_no_budget(registry: mh.Registry) -> None:
    """Neither in the registry nor for a policy."""
    mh.retry(name="a")
    with pytest.raises(mh.ConfigurationError):
        configure(
            {"policies": {"retry": {"a": {"budget": "b"}}, "retry_budget": {"b": {"ratio": 2}}}}
        )
    assert registry.retry_budgets == {}


def test_unnamed_budgets_are_configured_by_the_names_they_get(registry: mh.Registry) -> None:
    """As other things without a name."""
    configure({"policies": {"retry_budget": {"retry_budget#2": {"ratio": 0.5}}}})
    first, second = mh.RetryBudget(), mh.RetryBudget()
    assert (first.settings.ratio, second.settings.ratio) == (0.2, 0.5)


def test_policies_of_other_kinds_are_left_alone(registry: mh.Registry) -> None:
    """There is nothing that settings of theirs could be made of."""
    policy = mh.timeout(2, name="db")
    policy.recipe = None
    configure({"defaults": {"timeout": {"seconds": 4}}})
    assert limit_of(policy) == 2.0
    assert configure().sources(policy) == {}


def test_a_module_that_fails_is_told_of(
    registry: mh.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the type of its error, for its text is nobody's business."""
    (tmp_path / "failing_module.py").write_text("raise RuntimeError('s3cret')")
    (tmp_path / "leaving_module.py").write_text("raise SystemExit('s3cret')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, error in (("failing_module", "RuntimeError"), ("leaving_module", "SystemExit")):
        with pytest.raises(
            mh.ConfigurationError, match=f"the module failed with {error}"
        ) as caught:
            configure({"defaults": {"retry": {"on": f"{module}:Error"}}})
        assert "s3cret" not in str(caught.value)


def test_conflicts_and_configurations_know_each_other(registry: mh.Registry) -> None:
    """Threads that make one policy at a time while it is configured get the same object."""
    made = []

    def make() -> None:
        made.append(mh.circuit_breaker("db", failure_threshold=2))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    configure({"defaults": {"circuit_breaker": {"reset_timeout": 5}}})
    for thread in threads:
        thread.join()
    assert len(set(map(id, made))) == 1
    assert made[0].settings.rules.reset_timeout == 5.0
