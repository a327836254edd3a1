"""Functions that name the same circuit share it: what one finds out, the other need not try.

Run it: python examples/fail_fast_together.py
"""

from __future__ import annotations

import meshhook as mh

database = mh.circuit_breaker("database", failure_threshold=2, reset_timeout="30s")


@database
def load(user: int) -> str:
    """Read a user from a database that is down."""
    raise ConnectionError(f"no connection to load user {user}")


@database
async def save(user: int) -> None:
    """Write a user to the same database."""


def main() -> None:
    """Fail twice in a sync function, and be refused in all that use the circuit."""
    for user in range(3):
        try:
            load(user)
        except (ConnectionError, mh.CircuitOpenError) as exc:
            print(f"load({user}): {type(exc).__name__}: {exc}")
    try:
        save(7).send(None)
    except mh.CircuitOpenError as exc:
        print(f"save(7): {type(exc).__name__}: {exc}")
    with_block()
    database.reset()
    print(f"after the reset the circuit is {database.state}")


def with_block() -> None:
    """Guard a piece of code that is no function."""
    try:
        with database:
            print("not reached")
    except mh.CircuitOpenError as exc:
        print(f"with database: retry in {exc.retry_after:.0f} s")


if __name__ == "__main__":
    main()
