"""A service with policies of most kinds and customers, for a dashboard to look at.

``python -m tests.web.shop`` reads one command a line, and answers each with a line of JSON:

- ``serve PORT [open|closed] [FLEET]`` starts the server, with an operator or for reading only;
- ``close`` closes it; ``break NAME`` lets an upstream fail and tells when its circuit has opened;
- ``heal NAME`` lets it work again; ``state NAME`` tells the state of its circuit;
- ``act NAME ACTION SECONDS`` does what an operator would;
- ``add KIND NAME`` makes a policy of any name; ``storm POLICIES EVENTS`` rejects calls.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import meshhook as mh
from meshhook.observe.control import Control

TOKEN = "let-me-in"
OPERATOR = "ada"
REST = 0.02


class Upstream:
    """Something to call, which fails at times."""

    def __init__(self, seed: int, failing: float, seconds: float = 0.0) -> None:
        self._dice = random.Random(seed)
        self.usual = self.failing = failing
        self.seconds = seconds

    def __call__(self) -> str:
        """Answer, or fail."""
        if self.seconds:
            time.sleep(self.seconds * self._dice.uniform(0.5, 1.5))
        if self._dice.random() < self.failing:
            raise ConnectionError
        return "served"


class Shop:
    """The policies, their upstreams and the customers."""

    def __init__(self) -> None:
        self.server: Any = None
        self.upstreams: dict[str, Upstream] = {}
        self.breakers: dict[str, Any] = {}
        self._calls: list[Callable[[], Any]] = []
        budget = mh.RetryBudget(name="upstreams")
        for seed, (name, failing, critical) in enumerate(
            [("payments", 0.02, True), ("stock", 0.0, False), ("search", 0.005, False)]
        ):
            upstream = self.upstreams[name] = Upstream(seed, failing, 0.004)
            rules: dict[str, Any] = {"failure_threshold": 5}
            if name == "search":
                rules = {"failure_rate_threshold": 0.5, "window": 10, "slow_call_duration": 0.05}
            breaker = self.breakers[name] = mh.circuit_breaker(
                name, reset_timeout=20, critical=critical, **rules
            )
            retry = mh.retry(name=f"{name}.retry", max_attempts=2, base_delay=0.002, budget=budget)
            self._calls.append(retry(breaker(upstream)))
        once = mh.idempotent(key="{order}", store=mh.MemoryStore(), name="orders")(_order)
        orders = iter(range(10**9))
        self._calls += [
            lambda: once(next(orders) // 3),
            mh.rate_limit("40/s", name="mail")(Upstream(11, 0.0)),
            mh.bulkhead(4, name="images")(Upstream(12, 0.0, 0.06)),
            mh.timeout("500ms", name="tax")(Upstream(13, 0.01)),
            mh.throttle(name="geo", k=1.2)(Upstream(14, 0.03)),
            mh.fallback(value="none", name="prices")(Upstream(15, 0.04)),
            mh.hedge(name="users", delay=0.02, idempotent=True)(Upstream(16, 0.0, 0.005)),
        ]

    def open(self) -> None:
        """Let customers come, two for each call."""
        for number, call in enumerate(self._calls * 2):
            threading.Thread(target=self._buy, args=(call, number), daemon=True).start()

    @staticmethod
    def _buy(call: Callable[[], Any], seed: int) -> None:
        dice = random.Random(seed)
        while True:
            with contextlib.suppress(Exception):
                call()
            time.sleep(REST * dice.uniform(0.5, 3))

    def serve(self, port: str, who: str = "open", *fleet: str) -> object:
        """Serve the dashboard; return where it is."""
        authorize = _operator if who == "open" else None
        self.server = mh.serve(int(port), authorize=authorize, fleet=list(fleet))
        return {"url": self.server.url, "port": self.server.port}

    def close(self) -> object:
        """Stop serving; the shop stays open."""
        self.server.close()
        return None

    def break_(self, name: str) -> object:
        """Let an upstream fail until its circuit opens; return when that was."""
        opened = threading.Event()
        when: list[float] = []

        def hear(event: mh.events.CircuitChanged) -> None:
            if event.name == name and event.new == "open" and not when:
                when.append(time.time())
                opened.set()

        with mh.events.subscribe(hear, mh.events.CircuitChanged):
            self.upstreams[name].failing = 1.0
            opened.wait(20)
        return when[0]

    def heal(self, name: str) -> object:
        """Let an upstream work again, and close its circuit."""
        self.upstreams[name].failing = self.upstreams[name].usual
        self.breakers[name].reset()
        return None

    def state(self, name: str) -> object:
        """Return the state of a circuit."""
        return str(self.breakers[name].state)

    def act(self, name: str, action: str, seconds: str) -> object:
        """Do what an operator would do."""
        control = Control(mh.registry)
        control.act("circuit_breaker", name, action, seconds=float(seconds), author=OPERATOR)
        return None

    def add(self, kind: str, name: str) -> object:
        """Make a policy of a name that comes as JSON, and fail a call of it."""
        made = self.breakers[name] = getattr(mh, kind)(json.loads(name))
        with contextlib.suppress(ConnectionError):
            made(Upstream(0, 1.0))()
        return None

    def storm(self, policies: str, events: str) -> object:
        """Have as many circuits, each second one open, and so many events each second."""
        calls = []
        for number in range(int(policies)):
            breaker = mh.circuit_breaker(f"storm.{number:05}")
            if number % 2:
                breaker.force_open()
            calls.append(breaker(Upstream(number, 0.02)))
        threading.Thread(target=_storm, args=(calls, float(events)), daemon=True).start()
        return len(mh.registry)

    def rates(self) -> object:
        """Return how many events there were in a second."""
        heard = 0

        def hear(_: object) -> None:
            nonlocal heard
            heard += 1

        with mh.events.subscribe(hear):
            time.sleep(1)
        return heard


def _order(order: int) -> int:
    return order


def _storm(calls: list[Callable[[], Any]], events: float) -> None:
    """Call all in turn; one of two is rejected, which is an event."""
    dice = random.Random(1)
    began, done = time.monotonic(), 0
    while True:
        due = (time.monotonic() - began) * 2 * events
        while done < due:
            done += 1
            with contextlib.suppress(Exception):
                dice.choice(calls)()
        time.sleep(0.01)


def _operator(request: Any) -> str | None:
    return OPERATOR if request.headers.get("authorization") == f"Bearer {TOKEN}" else None


def main() -> None:
    """Do what is read, line by line, until there is no more."""
    shop = Shop()
    shop.open()
    for line in sys.stdin:
        verb, *arguments = line.rstrip("\n").split("\t")
        answer = getattr(shop, {"break": "break_"}.get(verb, verb))(*arguments)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
