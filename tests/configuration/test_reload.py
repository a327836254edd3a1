"""reload: everything or nothing, with the state kept, beside threads that do other things."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from tests.colours import Colour
from tests.configuration.conftest import configure


class UpstreamError(Exception):
    """A failure."""


def fail() -> None:
    raise UpstreamError


def test_reload_reads_the_sources_anew(registry: mh.Registry, write: Callable[..., Path]) -> None:
    """And returns how many policies have other settings."""
    one, two = mh.timeout(2, name="one"), mh.timeout(2, name="two")
    path = write("a.toml", {"policies": {"timeout": {"one": {"seconds": 3}}}})
    configuration = configure(path)
    assert mh.reload() == 0
    write("a.toml", {"defaults": {"timeout": {"max_abandoned": 5}}})
    assert mh.reload() == 2
    assert (one.settings.seconds, two.settings.max_abandoned) == (2.0, 5)
    assert configuration.reload() == 0


def test_state_is_kept(registry: mh.Registry) -> None:
    """An open circuit stays open, and goes by its new rules when it is closed again."""
    breaker = mh.circuit_breaker("db", failure_threshold=1)
    guarded = breaker(fail)
    with pytest.raises(UpstreamError):
        guarded()
    configure({"policies": {"circuit_breaker": {"db": {"failure_threshold": 3}}}})
    assert breaker.state == "open"
    with pytest.raises(mh.CircuitOpenError):
        guarded()
    breaker.reset()
    for _ in range(2):
        with pytest.raises(UpstreamError):
            guarded()
    assert breaker.state == "closed"


def test_functions_that_were_decorated_go_by_what_is_new(registry: mh.Registry) -> None:
    """Without being decorated anew."""
    calls = []

    @mh.retry(max_attempts=2, base_delay=0, name="db")
    def count() -> None:
        calls.append(1)
        raise UpstreamError

    configure({"policies": {"retry": {"db": {"max_attempts": 4}}}})
    with pytest.raises(UpstreamError):
        count()
    assert len(calls) == 4


def test_one_mistake_changes_nothing(registry: mh.Registry) -> None:
    """Neither the policies that it is not about nor the one that it is."""
    data: dict[str, Any] = {"policies": {"timeout": {"one": {"seconds": 3}}}}
    one, two = mh.timeout(2, name="one"), mh.timeout(2, name="two")
    configuration = configure(data)
    data["policies"]["timeout"] = {"one": {"seconds": 9}, "two": {"seconds": "soon"}}
    for reload in (mh.reload, configuration.reload):
        with pytest.raises(mh.ConfigurationError, match=r"policies\.timeout\.two\.seconds"):
            reload()
    assert (one.settings.seconds, two.settings.seconds) == (3.0, 2.0)
    assert mh.timeout(2, name="later").settings.seconds == 2.0


def test_what_cannot_be_changed_changes_nothing_else(registry: mh.Registry) -> None:
    """Such as the arguments that tell the calls of an idempotent function apart."""

    @mh.idempotent(key="{order}", name="charge")
    def charge(order: int, amount: int) -> None: ...

    limit = mh.timeout(2, name="one")
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(
            {
                "policies": {
                    "timeout": {"one": {"seconds": 3}},
                    "idempotent": {"charge": {"version": 5}},
                }
            }
        )
    assert str(caught.value).startswith(
        "dict: policies.idempotent.charge.version: version of idempotent 'charge' cannot be "
        "changed while it is at work: "
    )
    assert limit.settings.seconds == 2.0
    assert registry._layers is None


def test_what_does_not_fit_a_function_changes_nothing_else(registry: mh.Registry) -> None:
    """Although the settings are fine, and would fit another function."""

    @mh.timeout(2, name="one")
    async def one() -> None: ...

    with pytest.raises(mh.ConfigurationError) as caught:
        configure({"defaults": {"timeout": {"mode": "process", "max_abandoned": 3}}})
    assert str(caught.value).startswith("dict: defaults.timeout.mode: mode='process' cannot stop")
    assert one.policies[0].settings.mode == "auto"  # type: ignore[attr-defined]


def test_a_change_that_fails_half_way_is_taken_back(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: all policies have their old settings, and those made later too."""
    one, two = mh.timeout(2, name="one"), mh.timeout(2, name="two")
    adapt = type(two)._adapt

    def broken(self: Any, new: Any) -> Any:
        if self is two and new.seconds == 9:
            raise MemoryError
        return adapt(self, new)

    monkeypatch.setattr(type(two), "_adapt", broken)
    configure({"defaults": {"timeout": {"max_abandoned": 7}}})
    with pytest.raises(MemoryError):
        configure({"profiles": {"p": {"timeout": {"seconds": 9}}}, "profile": "p"})
    assert (one.settings.seconds, two.settings.seconds) == (2.0, 2.0)
    assert mh.timeout(2, name="three").settings.max_abandoned == 7


def test_reloads_are_told(registry: mh.Registry, write: Callable[..., Path]) -> None:
    """What was changed and what was refused; configuring for the first time is not."""
    mh.timeout(2, name="one")
    path = write("a.json", {})
    seen: list[Any] = []
    with mh.subscribe(seen.append, events.ConfigurationReloaded, events.ConfigurationRejected):
        configure(path)
        assert seen == []
        write("a.json", {"defaults": {"timeout": {"max_abandoned": 5}}})
        mh.reload()
        write("a.json", "{")
        with pytest.raises(mh.ConfigurationError):
            mh.reload()
    about = {"policy": "configuration", "name": "a.json"}
    assert seen == [
        events.ConfigurationReloaded(changed=1, **about),
        events.ConfigurationRejected(problems=1, **about),
    ]


def test_names_that_were_accepted_stay_accepted(registry: mh.Registry) -> None:
    """A reload asks for policies of the names only that come anew."""
    data: dict[str, Any] = {"policies": {"timeout": {"later": {"seconds": 3}}}}
    configure(data)
    limit = mh.timeout(2, name="one")
    data["policies"]["timeout"]["one"] = {"seconds": 4}
    assert mh.reload() == 1
    data["policies"]["timeout"]["onne"] = {"seconds": 5}
    with pytest.raises(mh.ConfigurationError, match=r"no such timeout; did you mean 'one'\?"):
        mh.reload()
    assert limit.settings.seconds == 4.0
    assert mh.timeout(2, name="later").settings.seconds == 3.0


def test_strict_reloads_ask_for_every_name(registry: mh.Registry) -> None:
    """One whose policy has gone included; without strictness none is asked for."""
    data: dict[str, Any] = {"policies": {"timeout": {"one": {}}}}
    limit = mh.timeout(2, name="one")
    configure(data, strict=True)
    data["policies"]["timeout"]["two"] = {}
    with pytest.raises(mh.ConfigurationError, match="no such timeout"):
        mh.reload()
    configure(data, strict=False)
    data["policies"]["timeout"]["three"] = {}
    assert mh.reload() == 0
    del limit


def test_a_budget_that_was_made_by_name_changes_as_well(registry: mh.Registry) -> None:
    """Before the code tells of it, and after."""
    data: dict[str, Any] = {
        "policies": {"retry": {"a": {"budget": "b"}}, "retry_budget": {"b": {"ratio": 0.5}}}
    }
    retry = mh.retry(name="a")
    configure(data)
    budget = registry.retry_budgets["b"]
    data["policies"]["retry_budget"]["b"]["ratio"] = 0.6
    assert mh.reload() == 1
    assert mh.RetryBudget(min_per_second=5, name="b") is budget
    data["policies"]["retry_budget"]["b"]["ratio"] = 0.7
    assert mh.reload() == 1
    assert (budget.settings.ratio, budget.settings.min_per_second) == (0.7, 5.0)
    assert retry.settings.budget is budget


def test_what_was_read_later_wins(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload that was overtaken by another one while it read changes nothing any more."""
    limit = mh.timeout(2, name="one")
    data: dict[str, Any] = {"policies": {"timeout": {"one": {"seconds": 3}}}}
    configuration = configure(data)
    source = configuration._sources[0]
    read, overtaken = source.read, []

    def slow() -> Any:
        document = read()
        if not overtaken:
            overtaken.append(1)
            document.data = {"policies": {"timeout": {"one": {"seconds": 4}}}}
            data["policies"]["timeout"]["one"]["seconds"] = 5
            assert mh.reload() == 1
        return document

    monkeypatch.setattr(source, "read", slow)
    assert configuration.reload() == 0
    assert limit.settings.seconds == 5.0


def test_policies_that_are_made_meanwhile_get_what_is_new(registry: mh.Registry) -> None:
    """Whichever thread makes them and when: after a reload none has what is old."""
    data: dict[str, Any] = {"profile": "p", "profiles": {"p": {"timeout": {"seconds": 1}}}}
    configure(data)
    made: list[Any] = []
    errors: list[BaseException] = []

    def make(number: int) -> None:
        try:
            for turn in range(100):
                time.sleep(0)
                made.append(mh.timeout(9, name=f"{number}-{turn}"))
                made.append(mh.timeout(9)(lambda: None).policies[0])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    seconds = 1
    while any(thread.is_alive() for thread in threads):
        seconds += 1
        data["profiles"]["p"]["timeout"]["seconds"] = seconds
        mh.reload()
        there = made[:]
        assert {policy.settings.seconds for policy in there} <= {float(seconds)}
    for thread in threads:
        thread.join()
    assert not errors
    assert len(made) == 4 * 100 * 2
    assert seconds > 2
    assert {policy.settings.seconds for policy in made} == {float(seconds)}


def test_a_policy_that_takes_a_name_meanwhile_gets_what_is_new(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it had begun to go by what was there before."""
    data: dict[str, Any] = {"profile": "p", "profiles": {"p": {"bulkhead": {"max_concurrent": 3}}}}
    configure(data)
    pattern = mh.bulkhead(2)
    apply, overtaken = type(pattern).apply, []

    def slow(self: Any, new: Any) -> None:
        if not overtaken:
            overtaken.append(1)
            data["profiles"]["p"]["bulkhead"]["max_concurrent"] = 4
            mh.reload()
        apply(self, new)

    monkeypatch.setattr(type(pattern), "apply", slow)
    pattern.call(int)
    assert pattern.settings.max_concurrent == 4


def test_calls_go_on_while_settings_change(registry: mh.Registry, colour: Any) -> None:
    """Every call is made, counted once and neither refused nor lost."""
    data: dict[str, Any] = {"policies": {}}
    configure(data)

    @mh.circuit_breaker("db")
    @mh.retry(max_attempts=2, base_delay=0, name="db")
    @mh.bulkhead(100, name="db")
    @colour.paint
    def one(number: int) -> int:
        return number

    results: list[int] = []

    def call() -> None:
        own = Colour(colour.name)
        results.extend(own.call(one, number) for number in range(300))
        own.close()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads) or turns < 5:
        turns += 1
        data["policies"] = {
            "circuit_breaker": {"db": {"failure_rate_threshold": 0.5, "window_calls": 10 + turns}},
            "retry": {"db": {"max_attempts": 2 + turns % 3}},
            "bulkhead": {"db": {"max_concurrent": 50 + turns % 7}},
        }
        assert mh.reload() == 3
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(300)) * 4)
    assert registry.circuit_breakers["db"].stats().successes == 1_200
    assert registry.bulkheads["db"].stats().admitted == 1_200
    assert registry.bulkheads["db"].stats().in_use == 0


def test_two_reloads_at_a_time(registry: mh.Registry) -> None:
    """Each policy has the settings of one of them, and all have those of the same."""
    policies = [mh.timeout(2, name=f"db{number}") for number in range(20)]
    data: dict[str, Any] = {"profile": "p", "profiles": {"p": {"timeout": {"seconds": 1}}}}
    configure(data)

    def reload() -> None:
        for seconds in range(1, 30):
            data["profiles"]["p"]["timeout"] = {"seconds": seconds}
            mh.reload()

    threads = [threading.Thread(target=reload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {policy.settings.seconds for policy in policies} == {29.0}
