"""Guards in classes: every way in which a class may hold a function."""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import enum
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import pytest
import wrapt

import meshhook as mh

F = TypeVar("F")
registry = mh.Registry()
breaker = mh.circuit_breaker(registry=registry)


def call_through(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def foreign(fn: F) -> F:
    """Decorate as wrapt does, with a descriptor that is no function."""
    return cast("F", wrapt.FunctionWrapper(cast("Any", fn), call_through))


class Service:
    """A class with a guard in each place."""

    def __init__(self, name: str = "service") -> None:
        self.name = name

    @breaker
    def method(self, text: str) -> str:
        """Join."""
        return f"{self.name} {text}"

    @breaker
    async def method_async(self, text: str) -> str:
        """Join."""
        return f"{self.name} {text}"

    @breaker
    @classmethod
    def class_inside(cls, text: str) -> str:
        """Join."""
        return f"{cls.__name__} {text}"

    @classmethod
    @breaker
    def class_outside(cls, text: str) -> str:
        """Join."""
        return f"{cls.__name__} {text}"

    @breaker
    @classmethod
    async def class_async(cls, text: str) -> str:
        """Join."""
        return f"{cls.__name__} {text}"

    @breaker
    @staticmethod
    def static_inside(text: str) -> str:
        """Join."""
        return f"static {text}"

    @staticmethod
    @breaker
    def static_outside(text: str) -> str:
        """Join."""
        return f"static {text}"

    @breaker
    @staticmethod
    async def static_async(text: str) -> str:
        """Join."""
        return f"static {text}"

    @property
    @breaker
    def got(self) -> str:
        """Join."""
        return f"{self.name} got"

    @functools.cached_property
    @breaker
    def got_once(self) -> str:
        """Join."""
        return f"{self.name} got once"

    half = functools.partialmethod(method, "half")

    @breaker
    @foreign
    def foreign_method(self, text: str) -> str:
        """Join."""
        return f"{self.name} {text}"

    @breaker
    @foreign
    async def foreign_async(self, text: str) -> str:
        """Join."""
        return f"{self.name} {text}"

    @breaker
    @foreign
    @classmethod
    def foreign_class(cls, text: str) -> str:
        """Join."""
        return f"{cls.__name__} {text}"

    @breaker
    @foreign
    @classmethod
    async def foreign_class_async(cls, text: str) -> str:
        """Join."""
        return f"{cls.__name__} {text}"

    @breaker
    @foreign
    @staticmethod
    def foreign_static(text: str) -> str:
        """Join."""
        return f"static {text}"

    @breaker
    @functools.lru_cache  # noqa: B019 - the very thing that is tested
    def cached(self, text: str) -> str:
        """Join."""
        return f"{self.name} {text}"


class Derived(Service):
    """Overrides a guarded method, and calls it."""

    @breaker
    def method(self, text: str) -> str:
        return f"derived {super().method(text)}"


METHODS = ["method", "foreign_method", "cached"]
OF_CLASS = ["class_inside", "class_outside", "foreign_class"]
STATIC = ["static_inside", "static_outside", "foreign_static"]
SYNC = [*METHODS, *OF_CLASS, *STATIC]
ASYNC = ["method_async", "class_async", "static_async", "foreign_async", "foreign_class_async"]


@pytest.mark.parametrize("name", SYNC)
def test_bound_to_an_object(name: str) -> None:
    """Called on an object, each gets what a method of its kind gets."""
    start = {"class": "Service", "static": "static"}.get(
        next((kind for kind in ("class", "static") if kind in name), ""), "service"
    )
    assert getattr(Service(), name)("call") == f"{start} call"
    assert getattr(Service(), name)(text="call") == f"{start} call"


@pytest.mark.parametrize("name", ASYNC)
def test_async_bound_to_an_object(name: str) -> None:
    """The same for async ones, which are seen as such."""
    method = getattr(Service(), name)
    assert inspect.iscoroutinefunction(method)
    assert asyncio.run(method("call")).endswith(" call")


@pytest.mark.parametrize("name", [*METHODS, "method_async", "foreign_async"])
def test_called_through_the_class(name: str) -> None:
    """A function got from the class is the guard, and takes the object itself."""
    function = getattr(Service, name)
    assert isinstance(function, mh.Guard)
    result = function(Service("given"), "call")
    assert (asyncio.run(result) if inspect.iscoroutine(result) else result) == "given call"


@pytest.mark.parametrize("name", [*OF_CLASS, "foreign_class_async"])
def test_class_methods_get_the_class_that_was_asked(name: str) -> None:
    """A subclass is handed to a class method, by way of the class or of an object."""
    for asked in (Derived, Derived()):
        result = getattr(asked, name)("call")
        assert (asyncio.run(result) if inspect.iscoroutine(result) else result) == "Derived call"


@pytest.mark.parametrize("name", STATIC)
def test_static_methods_through_the_class(name: str) -> None:
    """A static method gets neither object nor class."""
    assert getattr(Service, name)("call") == "static call"


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
def test_methods_show_what_functions_show(name: str) -> None:
    """Name, documentation, signature and policies are there on what an object gives."""
    method = getattr(Service(), name)
    assert method.__name__ == name
    assert method.__qualname__ == f"Service.{name}"
    assert inspect.getdoc(method) == "Join."
    assert list(inspect.signature(method).parameters) == ["text"]
    assert [policy.kind for policy in method.policies] == ["circuit_breaker"]


@pytest.mark.parametrize("name", [*METHODS, "method_async", "foreign_async"])
def test_methods_are_bound_methods(name: str) -> None:
    """What an object gives is a method with the object as ``__self__``, equal each time."""
    service = Service()
    method = getattr(service, name)
    assert type(method) is types.MethodType
    assert method.__self__ is service
    assert method == getattr(service, name)
    assert hash(method) == hash(getattr(service, name))
    assert weakref.WeakMethod(method)() == method


def test_falsy_objects_are_objects() -> None:
    """An object that is false in itself is bound like any other."""

    class Empty:
        def __len__(self) -> int:
            return 0

        @breaker
        def method(self) -> Any:
            return self

    empty = Empty()
    assert empty.method() is empty


def test_a_subclass_may_override_and_call_its_parent() -> None:
    """``super()`` finds the guard of the parent, and each has its own policy."""
    assert Derived().method("call") == "derived service call"
    parent, child = (kind.__dict__["method"].policies[0] for kind in (Service, Derived))
    assert parent is not child
    assert child.stats().successes == 1


def test_guarded_getters() -> None:
    """A property and a cached property run through the guard of their getter."""
    service = Service()
    assert service.got == "service got"
    assert service.got_once == service.got_once == "service got once"
    getter: Any = Service.__dict__["got"].fget
    assert getter.policies[0].stats().successes == 1
    once: Any = Service.__dict__["got_once"].func
    assert once.policies[0].stats().successes == 1


def test_partial_methods_of_a_guard() -> None:
    """functools.partialmethod binds a guarded function."""
    assert Service().half() == "service half"
    assert Service.half(Service("given")) == "given half"


@pytest.mark.parametrize("name", ["method", "foreign_method"])
def test_attributes_set_later_are_seen_on_methods(name: str) -> None:
    """What is set on the function through its class is there on its bound methods."""
    function: Any = getattr(Service, name)
    function.tag = "set"
    assert getattr(Service(), name).tag == "set"
    function.tag = "changed"
    assert getattr(Service(), name).tag == "changed"
    del function.tag
    assert not hasattr(getattr(Service(), name), "tag")


@pytest.mark.parametrize("name", ["class_outside", "foreign_class"])
def test_binding_by_hand(name: str) -> None:
    """Without an owner, a class method is bound to the type of the object."""
    descriptor = Service.__dict__[name]
    assert descriptor.__get__(Derived())("call") == "Derived call"


def test_names_and_documentation_set_later_are_seen_on_methods() -> None:
    """What is shown of a function may be replaced, as on a plain one."""

    class Owner:
        @breaker
        def method(self) -> None: ...

    function: Any = Owner.method
    for name, value in (("__doc__", "New."), ("__name__", "new"), ("__qualname__", "Owner.new")):
        setattr(function, name, value)
        assert getattr(Owner().method, name) == getattr(function, name) == value
    function.__defaults__ = ()
    assert function(Owner()) is None


def test_abstract_methods_stay_abstract() -> None:
    """A guard on either side of ``abstractmethod`` keeps a class abstract."""

    class Base(abc.ABC):
        @breaker
        @abc.abstractmethod
        def inside(self) -> None: ...

        @abc.abstractmethod
        @breaker
        def outside(self) -> None: ...

        @classmethod
        @breaker
        @abc.abstractmethod
        def of_class(cls) -> None: ...

    assert frozenset({"inside", "outside", "of_class"}) == Base.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]


def test_protocols_see_guarded_methods() -> None:
    """A class with a guarded method fulfils a runtime protocol."""
    from typing import runtime_checkable

    @runtime_checkable
    class Joins(Protocol):
        def method(self, text: str) -> str: ...

    assert isinstance(Service(), Joins)


def test_dataclasses_hold_guards() -> None:
    """A guard is a method of a dataclass, and may be the default of a field."""

    @breaker
    def double(number: int) -> int:
        return 2 * number

    @dataclasses.dataclass
    class Job:
        number: int
        work: Callable[[int], int] = double

        @breaker
        def run(self) -> int:
            return self.work(self.number)

    assert Job(4).run() == 8
    assert [field.name for field in dataclasses.fields(Job)] == ["number", "work"]
    assert dataclasses.asdict(Job(1))["work"] is double


def test_slotted_dataclasses_hold_guards() -> None:
    """A dataclass that is made anew for its slots keeps its guards working."""

    @dataclasses.dataclass(slots=True, frozen=True)
    class Job:
        number: int

        @breaker
        def run(self) -> int:
            return self.number

    assert Job(4).run() == 4


def test_a_guard_passes_its_name_on() -> None:
    """A wrapped descriptor that wants to know its name in the class is told."""

    class Named:
        def __set_name__(self, owner: type, name: str) -> None:
            self.told = (owner.__name__, name)

        def __call__(self) -> tuple[str, str]:
            return self.told

    class Owner:
        action = breaker(Named())

    assert Owner.action() == ("Owner", "action")


def test_callables_that_do_not_bind_are_not_bound() -> None:
    """A builtin, a bound method or a plain object in a class gets no object."""

    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

    class Owner:
        added = breaker(Adder())
        absolute: Any = breaker(abs)
        joined = breaker(Service("other").method)

    owner = Owner()
    assert (owner.added(1), owner.absolute(-1)) == (2, 1)
    assert owner.joined("call") == "other call"


def test_a_partial_binds_where_partials_bind() -> None:
    """Python 3.14 made methods of the partials in a class; a guard around one follows."""

    class Owner:
        power: Any = breaker(functools.partial(lambda *numbers: numbers, 2))

    owner = Owner()
    wanted = (2, owner, 3) if sys.version_info >= (3, 14) else (2, 3)
    assert owner.power(3) == wanted


def test_enums_hold_guarded_methods() -> None:
    """A guarded function in an enum is a method, not a member."""

    class Colour(enum.Enum):
        RED = 1

        @breaker
        def shout(self) -> str:
            return f"{self.name}!"

    assert list(Colour) == [Colour.RED]
    assert Colour.RED.shout() == "RED!"


def test_single_dispatch() -> None:
    """Guards may be the default and the cases of a generic function, and guard one as a whole."""

    @breaker
    @functools.singledispatch
    @breaker
    def kind(_: object) -> str:
        return "object"

    @kind.register
    @breaker
    def _(_: int) -> str:
        return "int"

    @kind.register(str)
    @breaker
    def _(_: str) -> str:
        return "str"

    assert [kind(each) for each in (1.5, 1, "1")] == ["object", "int", "str"]


def test_single_dispatch_methods() -> None:
    """A guard may be a case of a generic method."""

    class Owner:
        @functools.singledispatchmethod
        @breaker
        def kind(self, _: object) -> str:
            return "object"

        @kind.register
        @breaker
        def _(self, _: int) -> str:
            return "int"

    assert [Owner().kind(each) for each in ("1", 1)] == ["object", "int"]


def test_keys_may_name_the_object() -> None:
    """A key over ``self`` works for methods, foreign decorators below the guard included."""
    by_name = mh.circuit_breaker(key="{self.name}", registry=mh.Registry())

    class Keyed:
        def __init__(self, name: str) -> None:
            self.name = name

        @by_name
        def plain(self) -> str:
            return self.name

        @by_name
        @foreign
        def wrapped(self) -> str:
            return self.name

    functions: list[Any] = [Keyed.plain, Keyed.wrapped]
    for function in functions:
        for name in ("a", "b"):
            assert function(Keyed(name)) == name
        policy = function.policies[0]
        assert policy.stats("a").successes == policy.stats("b").successes == 1
    assert Keyed("c").wrapped() == "c"


def test_methods_of_one_class_have_a_policy_each() -> None:
    """Names come from the qualified name, so methods of one name in two classes differ."""

    class Other:
        @breaker
        def method(self) -> None: ...

    theirs: Any = Other.method
    ours: Any = Service.method
    assert theirs.policies[0].name.endswith("<locals>.Other.method")
    assert ours.policies[0].name.endswith("test_guard_methods.Service.method")
