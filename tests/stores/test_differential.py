"""Memory and the servers give the same answers to the same messages, whatever the sequence."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshhook.stores.memory import MemoryStore
from meshhook.stores.protocol import Acquired, Begin, Finish, Force, Get, Renew, Running
from meshhook.stores.redis import RedisStore
from tests.servers import ENGINES, Server

LEASES = st.sampled_from([1e-6, 60.0])  # the short one is over before the next message
OWNERS = st.sampled_from("aaabc")
FINGERPRINTS = st.sampled_from([None, "one", "two"])
OVER = 0.001  # a retention that is over after the pause following it
PAUSE = 0.004

BEGIN = st.builds(Begin, st.just("key"), OWNERS, FINGERPRINTS, LEASES, st.just(3600.0))
MESSAGES = st.one_of(
    *[BEGIN] * 4,
    st.builds(Renew, st.just("key"), OWNERS, LEASES, st.just(3600.0)),
    st.builds(
        Finish,
        st.just("key"),
        OWNERS,
        st.sampled_from(["value", "opaque", "released"]),
        st.sampled_from([None, "p", b"q"]),
        st.sampled_from([3600.0, 3600.0, 3600.0, OVER]),
    ),
    st.just(Get("key")),
    st.sampled_from([None, "right", "wrong"]).map(lambda fence: ("force", fence)),
)


class Player:
    """Plays messages on one store under a fresh key; fences are told by their order."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.key = uuid.uuid4().hex
        self.fences: list[int] = []

    def play(self, message: Any) -> Any:
        if message[0] == "force":
            last = self.fences[-1] if self.fences else 1
            fence = {"right": last, "wrong": last + 1}.get(message[1])
            answer = self.store.perform(Force(self.key, fence))
        else:
            answer = self.store.perform(message._replace(key=self.key))
        if type(answer) is Acquired and answer.fence not in self.fences:
            assert all(answer.fence > earlier for earlier in self.fences)
            self.fences.append(answer.fence)
        return self.plain(answer)

    def plain(self, answer: Any) -> Any:
        """Show an answer with fences by their order, and spans as nothing, short or long."""
        if isinstance(answer, tuple) and hasattr(answer, "_fields"):
            return type(answer).__name__, {
                name: self.field(name, value) for name, value in answer._asdict().items()
            }
        return answer

    def field(self, name: str, value: Any) -> Any:
        if name == "fence":
            return self.fences.index(value)
        if name in ("age", "remaining"):
            return sum(value > limit for limit in (0.0005, 30.0, 600.0)) if name != "age" else None
        return self.plain(value)


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_and_server_agree(
    engine: str, servers: Callable[[str], Server], connect: Callable[..., RedisStore]
) -> None:
    """200 sequences of up to 25 messages: each answer is of one type, with the same content."""
    remote = connect(servers(engine).url, timeout=5.0)
    reached = set()

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(st.lists(MESSAGES, min_size=10, max_size=25))
    def agree(messages: list[Any]) -> None:
        players = [Player(MemoryStore()), Player(remote)]
        for message in messages:
            in_memory, on_server = (player.play(message) for player in players)
            assert in_memory == on_server, message
            reached.add(in_memory[0] if in_memory else None)
            if type(message) is Finish and message.retention == OVER:
                time.sleep(PAUSE)

    agree()
    # Each kind of answer was reached, so that agreeing means something.
    kinds = {"Acquired", "Running", "Done", "Stored", "Lost", "Renewed", "Conflict", "Record", None}
    assert kinds == reached


def test_the_comparison_tells_answers_apart() -> None:
    """The differential test would see another fence, kind or state."""
    player = Player(MemoryStore())
    first = player.play(Begin("key", "a", None, 60.0, 60.0))
    assert first == ("Acquired", {"fence": 0, "attempt": 1, "taken_over": False})
    assert player.play(Begin("key", "b", None, 60.0, 60.0)) == (
        "Running",
        {"fence": 0, "remaining": 2, "fingerprint": None},
    )
    assert player.plain(Running(player.fences[0], 0.0, None))[1]["remaining"] == 0
