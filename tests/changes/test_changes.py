"""Other settings for policies at work: what decorated functions do with them, whatever the kind."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import changes, guard
from meshhook.guard import Guard
from meshhook.policy import Policy
from meshhook.testing import disabled
from tests.changes.changing import settings
from tests.colours import Colour


class Told(Policy):
    """A policy whose drivers say what it was set to when they were made."""

    kind = "told"
    fixed = {"start": "it has started"}  # noqa: RUF012 - a mapping that nobody changes

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        text = self._text()

        def guarded(*args: Any, **kwargs: Any) -> Any:
            return f"{text} {call(*args, **kwargs)}"

        guarded.shown = text  # type: ignore[attr-defined]
        return guarded

    def bind_async(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        text = self._text()

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            return f"{text} {await call(*args, **kwargs)}"

        guarded.shown = text  # type: ignore[attr-defined]
        return guarded

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        text = self._text()

        def guarded(*args: Any, **kwargs: Any) -> Any:
            for item in call(*args, **kwargs):
                yield f"{text} {item}"

        return guarded

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        text = self._text()

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            async for item in call(*args, **kwargs):
                yield f"{text} {item}"

        return guarded

    def _text(self) -> str:
        if self.settings["text"] == "wrong":
            raise mh.ConfigurationError("text is wrong")
        return str(self.settings["text"])


class Text(dict[str, Any]):
    """Settings."""

    def __init__(self, text: str, start: int = 0) -> None:
        super().__init__(text=text)
        self.start = start

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self["text"])


class Method:
    """A callable that is no function, and becomes a method where it is in a class."""

    def __init__(self) -> None:
        self.__name__ = self.__qualname__ = "method"

    def __call__(self, *_: Any) -> str:
        return "row"

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        return self if obj is None else functools.partial(self, obj)


@pytest.fixture
def told(registry: mh.Registry) -> Told:
    return Told.shared("one", Text("old"), registry)


def test_functions_go_by_the_new_settings(colour: Colour, told: Told) -> None:
    """Those that are decorated already, wherever they are kept, and those to come."""

    @told
    @colour.paint
    def fn() -> str:
        return "row"

    kept = functools.wraps(fn)(lambda: fn())
    assert colour.call(fn) == "old row"
    told.apply(Text("new"))
    assert colour.call(fn) == colour.call(kept) == "new row"
    assert told(fn) is not fn
    assert told.call(lambda: "row") == "new row"


def test_methods_of_every_form(told: Told) -> None:
    """A method that was looked up before keeps the settings that it had."""

    class Adder:
        def __call__(self, *_: Any) -> str:
            return "object"

    class Service:
        @told
        def load(self) -> str:
            return "row"

        @told
        @classmethod
        def make(cls) -> str:
            return cls.__name__

        @staticmethod
        @told
        def help() -> str:
            return "help"

        bound = told(Method())
        early = told(Method())
        adder = told(Adder())

    service = Service()
    before = service.load
    assert service.early() == "old row"
    told.apply(Text("new"))
    assert before() == "old row"
    assert before.shown == "new"
    assert [service.load(), service.make(), Service.make(), service.help()] == [
        "new row",
        "new Service",
        "new Service",
        "new help",
    ]
    assert [service.bound(), service.early(), service.adder()] == [
        "new row",
        "new row",
        "new object",
    ]


def test_streams(told: Told) -> None:
    """The next stream goes by the new settings, one that runs by those it began with."""

    @told
    def items() -> Iterator[int]:
        yield 1
        yield 2

    @told
    async def items_async() -> AsyncIterator[int]:
        yield 1

    async def collect() -> list[Any]:
        return [item async for item in items_async()]

    running = items()
    assert next(running) == "old 1"
    told.apply(Text("new"))
    assert list(running) == ["old 2"]
    assert list(items()) == ["new 1", "new 2"]
    assert asyncio.run(collect()) == ["new 1"]
    assert inspect.isgeneratorfunction(type(items).__call__)


def test_what_a_function_shows(told: Told) -> None:
    """It shows its policies, what was set on it, and what its drivers show now."""

    @told
    def fn() -> str:
        """Load."""
        return "row"

    fn.mark = 7  # type: ignore[attr-defined]
    assert fn.shown == "old"  # type: ignore[attr-defined]
    told.apply(Text("new"))
    chain: Any = type(fn).__call__
    for each in (fn, chain):
        shown: Any = each
        assert (shown.shown, shown.mark, shown.__name__, shown.__doc__) == ("new", 7, "fn", "Load.")
        assert shown.policies == (told,)
    fn.mark = 8  # type: ignore[attr-defined]
    assert chain.mark == 8
    assert copy.copy(fn) is fn


def test_stacks_and_pipelines(told: Told, registry: mh.Registry) -> None:
    """A policy is changed wherever in the stack it is, and the others are what they were."""
    other = Told.shared("two", Text("other"), registry)
    pipeline = mh.Pipeline(other, told)
    fn = pipeline(lambda: "row")
    alone = other(lambda: "row")
    chain = type(alone).__call__
    told.apply(Text("new"))
    assert fn() == pipeline(lambda: "row")() == pipeline.call(lambda: "row") == "other new row"
    assert type(alone).__call__ is chain
    changes.apply([(told, Text("t")), (other, Text("o"))])
    assert fn() == "o t row"


def test_a_pattern_gives_new_functions_its_new_settings(registry: mh.Registry) -> None:
    """Those that it has decorated have policies of their own."""
    pattern = Told.shared(None, Text("old"), registry)
    first: Any = pattern(lambda: "row")
    pattern.apply(Text("new"))
    assert first() == "old row"
    first.policies[0].apply(Text("own"))
    assert (first(), pattern.call(lambda: "row")) == ("own row", "new row")
    with disabled(pattern):
        assert first() == "row"


def test_all_are_checked_before_any_is_changed(told: Told, registry: mh.Registry) -> None:
    """Also by making the drivers of their functions, with all of the changes together."""
    other = Told.shared("two", Text("other"), registry)
    fn = mh.Pipeline(told, other)(lambda: "row")
    for wrong in (Text("wrong"), Text("new", start=1), "no settings"):
        with pytest.raises((mh.ConfigurationError, TypeError)):
            changes.apply([(told, Text("new")), (other, wrong)])
        with pytest.raises((mh.ConfigurationError, TypeError)):
            other.check_settings(wrong)
        assert fn() == "old other row"
        assert other.settings == Text("other")
    changes.check([(told, Text("new"))])
    assert fn() == "old other row"


def test_an_error_says_what_cannot_be_changed_and_what_to_do(told: Told) -> None:
    """It names the argument and the policy."""
    with pytest.raises(
        mh.ConfigurationError,
        match=r"start of told 'one' cannot be changed while it is at work: it has started; "
        r"leave start as it is, or restart the process",
    ):
        told.apply(Text("new", start=1))


def test_while_policies_are_disabled(told: Told, registry: mh.Registry) -> None:
    """They stay out, and are back with the new settings."""
    other = Told.shared("two", Text("other"), registry)
    fn = mh.Pipeline(told, other)(lambda: "row")

    class Service:
        load = told(Method())

    with disabled("told/two"):
        other.apply(Text("o"))
        assert fn() == "old row"
        told.apply(Text("t"))
        assert fn() == "t row"
    assert fn() == "t o row"
    with disabled("told"):
        assert Service().load() == "row"
        told.apply(Text("new"))
        assert Service().load() == fn() == "row"
    assert (Service().load(), fn()) == ("new row", "new o row")


def test_a_function_that_is_decorated_meanwhile_is_not_forgotten(told: Told) -> None:
    """Whoever makes the drivers finds out that they are old already."""

    class Late(Told):
        kind = "late"

        def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
            driver = super().bind(call, fn)
            thread = threading.Thread(target=told.apply, args=(Text("new"),))
            thread.start()
            thread.join()
            return driver

    late = Late.shared("late", Text("late"), mh.Registry())
    fn = mh.Pipeline(late, told)(lambda: "row")
    assert fn() == "late new row"


def test_a_signal_handler_changes_settings_while_drivers_are_made(
    told: Told, registry: mh.Registry
) -> None:
    """The drivers that it has made are not replaced by older ones."""

    class Interrupted(Told):
        kind = "interrupted"

        def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
            if self is outer and self.settings == Text("new") and signals:
                told.apply(signals.pop())
            return super().bind(call, fn)

    signals = [Text("newer")]
    outer = Interrupted.shared("outer", Text("old"), registry)
    fn = guard.attach(lambda: "row", outer, told)
    outer.apply(Text("new"))
    assert fn() == "new newer row"


def test_a_change_that_was_broken_off_is_finished_by_the_next(
    told: Told, registry: mh.Registry
) -> None:
    """Although the settings are those already, or other ones change."""

    class Interrupted(Told):
        kind = "interrupted"

        def _adapt(self, new: Any) -> Any:
            raise KeyboardInterrupt

    broken = Interrupted.shared("broken", Text("old"), registry)
    other = Told.shared("two", Text("other"), registry)
    fn = mh.Pipeline(told, other)(lambda: "row")
    for finish in (lambda: told.apply(Text("new")), lambda: other.apply(Text("o"))):
        told.apply(Text("old"))
        with pytest.raises(KeyboardInterrupt):
            changes.apply([(told, Text("new")), (broken, Text("new"))])
        assert fn() == "old other row"
        finish()
        assert fn().startswith("new ")
    chain = type(fn).__call__
    told.apply(Text("new"))
    assert type(fn).__call__ is chain


def test_equal_settings_change_nothing(told: Told) -> None:
    """Chains stay as they are."""
    fn = told(len)
    chain = type(fn).__call__
    told.apply(Text("old"))
    assert type(fn).__call__ is chain


def test_a_driver_that_fails_spoils_no_later_change(told: Told, registry: mh.Registry) -> None:
    """Although it could be made when it was tried out."""

    class Failing(Told):
        kind = "failing"

        def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
            if self is failing and self.settings == Text("new"):
                raise MemoryError
            return super().bind(call, fn)

    failing = Failing.shared("failing", Text("old"), registry)
    fn, other = failing(lambda: "row"), told(lambda: "row")
    with pytest.raises(MemoryError):
        failing.apply(Text("new"))
    told.apply(Text("new"))
    assert (fn(), other()) == ("old row", "new row")


def test_a_guard_whose_method_is_made_meanwhile(told: Told) -> None:
    """The chain of a method is made when first asked for, with the settings of that moment."""

    class Service:
        load = told(Method())

    fn = vars(Service)["load"]
    told.apply(Text("new"))
    assert len(fn._self_chains) == 1
    assert Service().load() == "new row"
    assert len(fn._self_chains) == 2
    told.apply(Text("newer"))
    assert Service().load() == "newer row"


def test_nothing_is_kept_for_it_where_functions_are_decorated(told: Told) -> None:
    """A guard that nobody holds is gone."""
    import gc

    before = len(Guard.__subclasses__())
    fn = told(lambda: "row")
    assert len(Guard.__subclasses__()) == before + 1
    told.apply(Text("new"))
    del fn
    gc.collect()
    assert len(Guard.__subclasses__()) <= before


def test_a_forked_child_has_a_lock_of_its_own() -> None:
    """Whoever held it in the parent is not there."""
    before = guard.lock
    guard._make_lock_anew()
    assert guard.lock is not before


def test_signatures_are_those_of_decorators() -> None:
    """Settings for these tests are made by the decorators."""
    assert settings(mh.timeout, 2).seconds == 2
