"""What comes in the middle of a reload: others that configure, signal handlers, budgets, forks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import guard
from meshhook.configuration.installing import Installation
from tests.configuration.conftest import configure
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, Called, Held

NAMES = ("first", "second", "third")


class Once:
    """Work that is done the first time that it is asked for, once there is any."""

    def __init__(self) -> None:
        self.work: Callable[[], object] | None = None

    def __call__(self) -> None:
        work, self.work = self.work, None
        if work is not None:
            work()


@pytest.fixture
def before_check(monkeypatch: pytest.MonkeyPatch) -> Once:
    """Give what is done when everything has been read, and nothing has been looked at."""
    once, check = Once(), Installation.check

    def checked(self: Any, *args: Any) -> None:
        once()
        check(self, *args)

    monkeypatch.setattr(Installation, "check", checked)
    return once


@pytest.fixture
def before_install(monkeypatch: pytest.MonkeyPatch) -> Once:
    """Give what is done when everything has been looked at, and nothing has changed."""
    once, install = Once(), Installation.install

    def installed(self: Any) -> Any:
        once()
        return install(self)

    monkeypatch.setattr(Installation, "install", installed)
    return once


@pytest.fixture
def before_adapt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Once]:
    """Give what is done when some policies have changed and others have not."""
    once = Once()
    for kind in (mh.Timeout, mh.RetryBudget):

        def adapted(self: Any, new: Any, adapt: Any = kind._adapt) -> Any:
            if self.name != "first":
                once()
            return adapt(self, new)

        monkeypatch.setattr(kind, "_adapt", adapted)
    return once


def timeouts(**seconds: float) -> dict[str, Any]:
    """Return the tables of timeouts."""
    return {"timeout": {name: {"seconds": each} for name, each in seconds.items()}}


@pytest.mark.parametrize("moment", ["before_check", "before_install"])
def test_who_takes_the_place_of_another_stays(
    moment: str, registry: mh.Registry, request: pytest.FixtureRequest
) -> None:
    """Although the other reads once more meanwhile, and changes what both say the same of."""
    one, two = mh.timeout(2, name="one"), mh.timeout(2, name="two")
    data = {"policies": timeouts(one=3, two=3)}
    earlier = configure(data)

    def work() -> None:
        data["policies"] = timeouts(one=4, two=4)
        assert earlier.reload() == 2

    request.getfixturevalue(moment).work = work
    later = configure({"policies": timeouts(one=5, two=3)})
    assert (one.settings.seconds, two.settings.seconds) == (5.0, 3.0)
    assert later.sources(one)["seconds"] == "dict: policies.timeout.one.seconds"


def test_whose_place_was_taken_changes_nothing(registry: mh.Registry) -> None:
    """Whenever it is read again."""
    one = mh.timeout(2, name="one")
    data = {"policies": timeouts(one=3)}
    earlier = configure(data)
    later = configure({"policies": timeouts(one=5)})
    data["policies"] = timeouts(one=4)
    assert earlier.reload() == 0
    assert one.settings.seconds == 5.0
    assert later.reload() == 0


def test_a_reload_in_the_middle_of_another(registry: mh.Registry, before_adapt: Once) -> None:
    """As by a signal handler: all have the settings that were read last, and so have calls."""
    policies = [mh.timeout(1, name=name, mode="cooperative") for name in NAMES]
    fns = [policy(mh.remaining) for policy in policies]
    data: dict[str, Any] = {"profile": "p", "profiles": {"p": {"timeout": {"seconds": 1}}}}
    configure(data)

    def work() -> None:
        data["profiles"]["p"]["timeout"]["seconds"] = 600
        assert mh.reload() == 3

    before_adapt.work = work
    data["profiles"]["p"]["timeout"]["seconds"] = 5
    mh.reload()
    assert [policy.settings.seconds for policy in policies] == [600.0] * 3
    assert [fn() > 5 for fn in fns] == [True] * 3  # type: ignore[union-attr]
    assert mh.reload() == 0


def test_a_reload_that_fails_after_another_in_the_middle_of_it(
    registry: mh.Registry, before_adapt: Once
) -> None:
    """What is in force is what the other one has read, for all."""
    policies = [mh.timeout(1, name=name) for name in NAMES]
    data: dict[str, Any] = {"profile": "p", "profiles": {"p": {"timeout": {"seconds": 1}}}}
    configure(data)

    def work() -> None:
        data["profiles"]["p"]["timeout"]["seconds"] = 6
        mh.reload()
        raise KeyboardInterrupt

    before_adapt.work = work
    data["profiles"]["p"]["timeout"]["seconds"] = 5
    with pytest.raises(KeyboardInterrupt):
        mh.reload()
    assert [policy.settings.seconds for policy in policies] == [6.0] * 3
    assert mh.timeout(1, name="later").settings.seconds == 6.0


@pytest.mark.parametrize("moment", ["before_check", "before_install", "before_adapt"])
def test_the_code_tells_of_a_budget_meanwhile(
    moment: str, registry: mh.Registry, request: pytest.FixtureRequest
) -> None:
    """What it says is stronger than the defaults of the file."""
    retry = mh.retry(name="a")
    data: dict[str, Any] = {
        "policies": {"retry": {"a": {"budget": "b"}}, "retry_budget": {"b": {"ttl": 20}}}
    }
    configure(data)
    request.getfixturevalue(moment).work = lambda: mh.RetryBudget(0.3, name="b")
    data["defaults"] = {"retry_budget": {"ratio": 0.9}}
    mh.reload()
    settings = registry.retry_budgets["b"].settings
    assert (settings.ratio, settings.ttl) == (0.3, 20.0)
    assert retry.settings.budget is registry.retry_budgets["b"]


def test_the_code_makes_a_budget_meanwhile(registry: mh.Registry, before_install: Once) -> None:
    """There is one of that name all the same."""
    retry = mh.retry(name="a")
    made: list[mh.RetryBudget] = []
    before_install.work = lambda: made.append(mh.RetryBudget(0.3, name="b"))
    configure({"policies": {"retry": {"a": {"budget": "b"}}, "retry_budget": {"b": {"ttl": 20}}}})
    assert retry.settings.budget is registry.retry_budgets["b"] is made[0]
    assert (made[0].settings.ratio, made[0].settings.ttl) == (0.3, 20.0)


@pytest.mark.parametrize("told", [False, True])
def test_budgets_of_a_configuration_that_fails(
    told: bool, registry: mh.Registry, before_adapt: Once
) -> None:
    """They are gone, but for those that the code has told of meanwhile."""
    limit, retry = mh.timeout(2, name="one"), mh.retry(name="a")

    def work() -> None:
        if told:
            mh.RetryBudget(0.3, name="b")
        raise MemoryError

    before_adapt.work = work
    with pytest.raises(MemoryError):
        configure(
            {
                "policies": timeouts(one=3)
                | {"retry": {"a": {"budget": "b"}}, "retry_budget": {"b": {}}}
            }
        )
    assert list(registry.retry_budgets) == ["b"] * told
    assert (limit.settings.seconds, retry.settings.budget) == (2.0, None)
    assert registry._layers is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_in_the_middle_of_a_reload(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its functions go by the settings of their policies once it has reloaded itself."""
    limit = mh.timeout(1, name="one", mode="cooperative")
    fn = limit(mh.remaining)
    data = {"policies": timeouts(one=5)}
    configure(data)
    held, rebind, parent = Held(), guard.rebind, os.getpid()

    def rebound(changed: Any) -> None:
        if os.getpid() == parent:
            held()
        rebind(changed)

    def goes_by_it() -> bool:
        assert limit.settings.seconds == 600.0
        assert mh.reload() == 0
        return fn() > 5

    monkeypatch.setattr(guard, "rebind", rebound)
    data["policies"] = timeouts(one=600)
    reload = Called("sync", mh.reload)
    assert held.inside.wait(GIVE_UP)
    assert in_a_fork(goes_by_it) == 0
    held.go.set()
    assert reload.result() == 1
