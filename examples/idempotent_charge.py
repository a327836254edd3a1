"""A charge that is executed once, however many ask for it: threads, tasks, or the same one again.

Run it: python examples/idempotent_charge.py
With records on a server, shared by all processes: python examples/idempotent_charge.py redis://localhost
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import meshhook as mh

store = mh.RedisStore(sys.argv[1]) if len(sys.argv) > 1 else mh.MemoryStore()
receipts = itertools.count(1)


@mh.idempotent("charge:{order}", store=store, name="charge")
def charge(order: str, cents: int) -> dict[str, object]:
    """Charge an order; slow, so that others ask meanwhile."""
    time.sleep(0.1)
    return {"receipt": next(receipts), "order": order, "cents": cents}


@mh.idempotent("charge:{order}", store=store, name="charge")
async def charge_in_a_task(order: str, cents: int) -> dict[str, object]:
    """Charge an order from a task. The name is the same, so both know of each other's charges."""
    await asyncio.sleep(0.1)
    return {"receipt": next(receipts), "order": order, "cents": cents}


def main() -> None:
    """Ask for one charge from ten threads and a task, then for the same with another price."""
    order = uuid.uuid4().hex
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: charge(order, 1299), range(10)))
    answers.append(asyncio.run(charge_in_a_task(order, 1299)))
    given = {each["receipt"] for each in answers}
    print(f"asked {len(answers)} times, receipts: {given}")
    try:
        charge(order, 1)
    except mh.KeyReusedError as exc:
        print(f"another price for the same order: {exc}")
    print(mh.registry.idempotents["charge"].stats())
    store.close()


if __name__ == "__main__":
    main()
