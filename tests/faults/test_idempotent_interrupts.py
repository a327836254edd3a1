"""An interrupt at any moment of an idempotent call: no key, lease or context is left behind."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.policies.idempotent_calls import nothing_left, once, stats_of
from tests.stores.conftest import PATIENT
from tests.waiting import eventually

OURS = str(Path(mh.__file__).parent)
FEWEST = 20


@contextlib.contextmanager
def interrupt_at(moment: int) -> Iterator[Callable[[], bool]]:
    """Raise KeyboardInterrupt as the so manieth function of ours is entered in this thread."""
    entered = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal entered
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            entered += 1
            if entered == moment:
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield lambda: entered >= moment
    finally:
        sys.setprofile(before)


@pytest.fixture(params=["memory", "valkey"])
def store(request: pytest.FixtureRequest) -> Any:
    """Make a store that answers at once, and one that has to be waited for."""
    if request.param == "memory":
        return mh.MemoryStore()
    connect, servers = (request.getfixturevalue(name) for name in ("connect", "servers"))
    return connect(servers("valkey").url, timeout=PATIENT)


# One that comes between making a coroutine of ours and running it leaves the coroutine.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_anywhere_leaves_nothing_held(store: Any, colour: Colour) -> None:
    """Before, in and after the body: the next call of the key is answered or executed at once."""
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        fn = once(store, lambda *_: ["done"], colour, name=f"at {moment}", wait_timeout=0)
        own = Colour(colour.name)  # whose event loop ends with the call, as after asyncio.run()
        with interrupt_at(moment) as was_interrupted, contextlib.suppress(KeyboardInterrupt):
            own.call(fn, 1)
        own.close()
        interrupted = was_interrupted()
        assert eventually(lambda: nothing_left(fn)), moment  # noqa: B023 - asked at once
        assert colour.call(fn, 1) == ["done"], moment
        assert stats_of(fn).running == 0, moment
        with pytest.raises(RuntimeError, match="for the inside of an idempotent function"):
            mh.current()
    assert moment > FEWEST
