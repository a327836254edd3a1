"""Guards inside of what others build: mocks, doctest, pytest, Click, FastAPI, tracebacks."""

from __future__ import annotations

import asyncio
import doctest
import inspect
import io
import json
import multiprocessing.reduction
import pydoc
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import meshhook as mh

registry = mh.Registry()
breaker = mh.circuit_breaker(registry=registry)


@breaker
def join(left: str, right: str = "r") -> str:
    """Join two texts.

    >>> join("a", "b")
    'ab'
    """
    return left + right


@breaker
async def join_async(left: str, right: str = "r") -> str:
    """Join two texts."""
    return left + right


class Service:
    @breaker
    def join(self, left: str) -> str:
        """Join with nothing."""
        return left

    @breaker
    async def join_async(self, left: str) -> str:
        return left


def test_doctests_are_found_and_run() -> None:
    """Doctest finds the examples of a guarded function, once, and they pass."""
    found = doctest.DocTestFinder().find(sys.modules[__name__])
    examples = [each for each in found if each.examples]
    assert [each.name.rsplit(".", 1)[-1] for each in examples] == ["join"]
    assert doctest.DocTestRunner(verbose=False).run(examples[0]).failed == 0


def test_help_shows_the_function() -> None:
    """Pydoc shows signature and documentation."""
    out = io.StringIO()
    pydoc.Helper(output=out).help(join)
    assert "join(left: " in out.getvalue()
    assert "Join two texts." in out.getvalue()


def test_autospec_takes_the_signature() -> None:
    """A mock made after a guard checks arguments, as one made after the function does."""
    double = mock.create_autospec(join, return_value="mocked")
    assert double("a") == "mocked"
    with pytest.raises(TypeError, match="missing a required argument: 'left'"):
        double()
    specified = mock.create_autospec(Service)
    specified().join.return_value = "mocked"
    assert specified().join("a") == "mocked"
    with pytest.raises(TypeError, match="too many positional arguments"):
        specified().join("a", "b")


def test_autospec_keeps_the_colour() -> None:
    """A mock made after an async guard is awaited."""
    double = mock.create_autospec(join_async, return_value="mocked")
    assert asyncio.run(double("a")) == "mocked"
    double.assert_awaited_once_with("a")
    service = mock.create_autospec(Service, instance=True)
    service.join_async.return_value = "mocked"
    assert asyncio.run(service.join_async("a")) == "mocked"


@pytest.mark.parametrize("autospec", [False, True])
def test_patching_replaces_and_restores_a_guard(autospec: bool) -> None:
    """mock.patch puts a double in the place of a guard, and the same guard back."""
    settings: Any = {"autospec": True} if autospec else {}
    before = Service.__dict__["join"]
    with mock.patch.object(Service, "join", **settings) as double:
        double.return_value = "mocked"
        assert Service().join("a") == "mocked"
    assert Service.__dict__["join"] is before
    with mock.patch(f"{__name__}.join", **settings) as double:
        double.return_value = "mocked"
        assert join("a") == "mocked"
    assert join("a") == "ar"


def test_patching_attributes_of_a_guard() -> None:
    """mock.patch sets and removes an attribute, seen on methods too."""
    with mock.patch.object(Service.join, "tag", "set", create=True):
        assert Service().join.tag == "set"  # type: ignore[attr-defined]
    assert not hasattr(Service.join, "tag")
    assert not hasattr(Service().join, "tag")


def test_guards_travel_to_other_processes() -> None:
    """What multiprocessing pickles to send work arrives as the same guard."""
    for guard in (join, join_async):
        sent = multiprocessing.reduction.ForkingPickler.dumps(guard)
        assert multiprocessing.reduction.ForkingPickler.loads(sent) is guard


@pytest.mark.parametrize("policies", [1, 3])
def test_tracebacks_are_short_and_end_in_the_function(colour: Any, policies: int) -> None:
    """A failure shows one frame for each policy between the caller and the function."""

    def fail() -> None:
        raise KeyError("here")

    guard: Any = fail
    if colour.name == "async":

        async def fail() -> None:  # type: ignore[misc]
            raise KeyError("here")

        guard = fail
    for _ in range(policies):
        guard = mh.circuit_breaker(registry=mh.Registry())(guard)

    async def main() -> None:
        await guard()

    with pytest.raises(KeyError) as caught:
        asyncio.run(main()) if colour.name == "async" else guard()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "fail"
    assert names[-1 - policies : -1] == ["guarded"] * policies
    assert len(names) - policies <= (8 if colour.name == "async" else 2)


GUARDED_TESTS = """
import pytest
import meshhook as mh

@pytest.fixture
@mh.circuit_breaker
def number():
    return 1

@pytest.fixture
def other(number):
    yield number + 1

@pytest.mark.parametrize("text", ["a", "b"])
@mh.circuit_breaker
def test_function(number, other, text):
    assert (number, other) == (1, 2) and text in "ab"

class TestMethods:
    @mh.circuit_breaker
    @pytest.mark.parametrize("text", ["a", "b"])
    def test_marked_below(self, number, text):
        assert number == 1 and text in "ab"

    @pytest.mark.parametrize("text", ["a", "b"])
    @mh.circuit_breaker
    def test_marked_above(self, number, text):
        assert number == 1 and text in "ab"

    @pytest.mark.skip
    @mh.circuit_breaker
    def test_skipped(self):
        raise AssertionError
"""


def test_pytest_sees_arguments_and_marks(tmp_path: Path) -> None:
    """Fixtures and tests that are guarded take fixtures, parameters and marks."""
    (tmp_path / "test_guarded.py").write_text(GUARDED_TESTS)
    program = f"import sys; sys.path[:] = {sys.path!r}; import pytest; sys.exit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "6 passed, 1 skipped" in done.stdout


def test_click_commands() -> None:
    """A guard is a Click command, above and below Click's own decorators."""
    import click
    from click.testing import CliRunner

    runner = CliRunner()

    def say(times: int, word: str) -> None:
        """Say a word."""
        click.echo(word * times)

    def with_parameters(fn: Any) -> Any:
        return click.option("--times", default=1)(click.argument("word")(fn))

    above = click.command()(breaker(with_parameters(say)))
    below = click.command()(with_parameters(breaker(say)))
    for command in (above, below):
        result = runner.invoke(command, ["--times", "2", "ab"])
        assert (result.output, result.exit_code) == ("abab\n", 0)
        assert command.name == "say"
        assert "Say a word." in runner.invoke(command, ["--help"]).output


FASTAPI = """
import asyncio
import meshhook as mh
from typing import Annotated
from fastapi import Depends, FastAPI, Request

app = FastAPI()
breaker = mh.circuit_breaker()

@breaker
def page(limit: int = 10) -> int:
    return limit

@breaker
async def page_async(limit: int = 10) -> int:
    return limit

class Checker:
    def __init__(self, most: int) -> None:
        self.most = most

    async def __call__(self, limit: int = 10) -> bool:
        return limit <= self.most

    @breaker
    async def method(self, limit: int = 10) -> bool:
        return limit <= self.most

checker = Checker(5)

@app.get("/sync/{number}")
@breaker
def sync_route(number: int, request: Request, size: Annotated[int, Depends(page)]) -> list[int]:
    assert request.url.path.startswith("/sync")
    return [number, size]

@app.get("/async/{number}")
@mh.circuit_breaker("outer", registry=mh.Registry())
@breaker
async def async_route(
    number: int,
    size: Annotated[int, Depends(page_async)],
    small: Annotated[bool, Depends(breaker(checker))],
    again: Annotated[bool, Depends(checker.method)],
) -> list[int]:
    asyncio.get_running_loop()
    return [number, size, small, again]

@app.get("/fails")
@mh.circuit_breaker(failure_threshold=1)
async def fails() -> None:
    raise LookupError

@app.exception_handler(mh.CircuitOpenError)
async def refused(_: Request, error: mh.CircuitOpenError) -> object:
    from fastapi.responses import JSONResponse
    return JSONResponse({"name": error.name}, status_code=503)
"""


async def ask(app: Any, path: str, query: str = "") -> tuple[int, Any]:
    """Send one GET request to an ASGI app; return the status and the decoded body."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent))


def test_fastapi_routes_and_dependencies() -> None:
    """Routes and dependencies that are guarded get their parameters, in either colour."""
    # Annotations are evaluated where they are written, so this is a module of its own.
    module: dict[str, Any] = {"__name__": "guarded_app"}
    exec(compile(FASTAPI, "guarded_app.py", "exec"), module)
    app = module["app"]

    async def main() -> None:
        assert await ask(app, "/sync/1", "limit=3") == (200, [1, 3])
        assert await ask(app, "/async/1", "limit=3") == (200, [1, 3, True, True])
        assert await ask(app, "/async/1", "limit=30") == (200, [1, 30, False, False])
        assert (await ask(app, "/sync/word"))[0] == 422
        assert (await ask(app, "/async/1", "limit=word"))[0] == 422
        with pytest.raises(LookupError):
            await ask(app, "/fails")
        status, body = await ask(app, "/fails")
        assert status == 503
        assert body["name"].endswith("guarded_app.fails")
        _, schema = await ask(app, "/openapi.json")
        parameters = schema["paths"]["/sync/{number}"]["get"]["parameters"]
        assert [each["name"] for each in parameters] == ["number", "limit"]

    asyncio.run(main())


def test_inspection_tools_agree() -> None:
    """getfullargspec, getmembers and classify see a function."""
    assert inspect.getfullargspec(join).args == ["left", "right"]
    members = dict(inspect.getmembers(Service, inspect.isfunction))
    assert set(members) == {"join", "join_async"}
    kinds = {each.name: each.kind for each in inspect.classify_class_attrs(Service)}
    assert kinds["join"] == "method"


@pytest.mark.parametrize("flag", ["-O", "-OO", "-I"])
def test_guards_work_however_python_runs(flag: str) -> None:
    """Optimised and isolated interpreters run guarded functions without a warning."""
    program = textwrap.dedent(
        f"""
        import sys
        sys.path[:] = {sys.path!r}
        import asyncio, meshhook as mh
        @mh.circuit_breaker
        def one(): return 1
        @mh.circuit_breaker
        async def two(): return 2
        print(one(), asyncio.run(two()), one.policies[0].stats().successes)
        """
    )
    done = subprocess.run(
        [sys.executable, flag, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1 2 1\n", "")


def test_a_pure_python_wrapt_will_do() -> None:
    """Guards keep their promises where wrapt has no compiled extension."""
    program = textwrap.dedent(
        f"""
        import sys
        sys.path[:] = {sys.path!r}
        import asyncio, copy, inspect, pickle, meshhook as mh
        def one(number: int = 1) -> int:
            "Return one."
            return number
        plain, one = one, mh.circuit_breaker(one)
        class Owner:
            @mh.circuit_breaker
            async def method(self): return 2
        assert one() == 1 and asyncio.run(Owner().method()) == 2
        assert inspect.signature(one) == inspect.signature(plain)
        assert one.__annotations__ == plain.__annotations__
        assert (one.__doc__, one.__name__, one.__module__) == ("Return one.", "one", "__main__")
        assert inspect.iscoroutinefunction(Owner().method)
        assert pickle.loads(pickle.dumps(one)) is one and copy.deepcopy(one) is one
        one.tag = 5
        assert plain.tag == 5
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"WRAPT_DISABLE_EXTENSIONS": "1"},
    )
    assert done.stderr == ""
