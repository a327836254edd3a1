"""A service as its operators run it: FastAPI, an upstream that may fail, and workers that show it.

Each worker shows its own policies on a port of its own, and the endpoints under ``/ops`` show all
of them, whichever worker answers.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
from fastapi import FastAPI, HTTPException

import meshhook as mh
from meshhook.observe.fleet import FleetFolder
from meshhook.observe.logging import log_events
from meshhook.observe.web.exchange import Request

TOKEN = os.environ["SHOP_TOKEN"]
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes down what is asked for
logging.getLogger("httpcore").setLevel(logging.WARNING)
upstream = httpx.AsyncClient(base_url=os.environ["SHOP_UPSTREAM"])
folder = FleetFolder(os.environ["SHOP_FOLDER"])


def operator(request: Request) -> str | None:
    """Let in who has the token."""
    given = request.headers.get("authorization", "")
    return "ann" if hmac.compare_digest(given.encode(), f"Bearer {TOKEN}".encode()) else None


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with upstream:
        with watched():
            yield


@contextmanager
def watched() -> Iterator[None]:
    """Let operators see this worker, by itself and among its neighbours."""
    with (
        log_events(),
        mh.serve(port=0, authorize=operator) as server,
        folder.announce(server.url),
    ):
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/ops", mh.asgi_app(authorize=operator, fleet=folder))


@mh.circuit_breaker(
    "upstream", failure_threshold=5, reset_timeout="5m", slow_call_duration=2, critical=True
)
@mh.timeout(5, name="upstream")
@mh.retry(name="upstream", base_delay="1ms", max_attempts=2)
async def price(item: str) -> str:
    """Ask the upstream; its errors show what was asked for."""
    answer = await upstream.get(f"/{item}")
    if answer.is_server_error:
        raise ConnectionError(f"no price for {item}: {answer.text}")
    return answer.text


@mh.idempotent("{order}", name="charge", store=mh.RedisStore(os.environ["SHOP_STORE"]))
async def charge(order: str, card: str) -> dict[str, str]:
    """Charge once for each order; the receipt shows what was charged."""
    return {"receipt": f"{order} paid with {card}"}


@app.get("/price/{item}")
async def get_price(item: str) -> dict[str, str]:
    try:
        return {"price": await price(item)}
    except (ConnectionError, TimeoutError, mh.RejectedError) as error:
        raise HTTPException(503, type(error).__name__) from error


@app.post("/charge/{order}/{card}")
async def post_charge(order: str, card: str) -> dict[str, str]:
    return await charge(order, card)
