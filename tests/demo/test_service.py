"""The flaky service and its ledger: it executes what it is sent, and writes all of it down."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from meshhook.demo.ledger import Ledger
from meshhook.demo.service import Service
from meshhook.demo.transport import Request, ServiceError, decode

ORDER = {"order": "o-1", "cents": 100}


@pytest.fixture
def ledger_file() -> Iterator[int]:
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno()


def ask(service: Service, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    return asyncio.run(service.answer(path, body))


def test_the_same_order_sent_twice_is_charged_twice(ledger_file: int) -> None:
    """The service does not deduplicate: whoever calls it has to."""
    service = Service(ledger_file)
    for attempt in ("a", "b"):
        assert ask(service, "/charge", **ORDER, attempt=attempt)[0] == 200
    ledger = Ledger(ledger_file)
    ledger.read()
    assert ledger.per_order == {"o-1": 2}


def test_settling_an_executed_attempt_tells_its_receipt(ledger_file: int) -> None:
    """An attempt whose answer was lost is found again."""
    service = Service(ledger_file)
    _, charged = ask(service, "/charge", **ORDER, attempt="a")
    assert ask(service, "/settle", attempt="a") == (
        200,
        {"executed": True, "receipt": charged["receipt"]},
    )


def test_an_attempt_settled_before_it_arrives_is_refused(ledger_file: int) -> None:
    """What was said not to be executed will not be executed later, also by the next process."""
    answer = ask(Service(ledger_file), "/settle", attempt="a")
    assert answer == (200, {"executed": False, "receipt": None})
    for service in (Service(ledger_file), Service(ledger_file)):
        assert ask(service, "/charge", **ORDER, attempt="a") == (409, {})
    ledger = Ledger(ledger_file)
    ledger.read()
    assert (ledger.charges, ledger.void) == ([], {"a"})


def test_some_of_the_charges_that_end_in_an_error_have_been_executed(ledger_file: int) -> None:
    """An error proves nothing, as in life."""
    random.seed(7)
    service = Service(ledger_file)
    ask(service, "/admin/faults", delay=0.0, error_rate=1.0)
    answers = [ask(service, "/charge", **ORDER, attempt=str(n)) for n in range(12)]
    ledger = Ledger(ledger_file)
    ledger.read()
    assert {status for status, _ in answers} == {500}
    assert 0 < len(ledger.charges) < 12


def test_faults_reach_quotes_and_settlements_too(ledger_file: int) -> None:
    """With an error rate of 1 nothing is answered, and a settlement that failed settles nothing."""
    service = Service(ledger_file)
    ask(service, "/admin/faults", delay=0.0, error_rate=1.0)
    assert ask(service, "/quote") == (500, {})
    assert ask(service, "/settle", attempt="a") == (500, {})
    ask(service, "/admin/faults", delay=0.0, error_rate=0.0)
    assert ask(service, "/quote")[0] == 200
    assert ask(service, "/charge", **ORDER, attempt="a")[0] == 200


def test_an_unknown_path_is_not_found(ledger_file: int) -> None:
    """The service says so when it does not know what is meant."""
    assert ask(Service(ledger_file), "/nothing") == (404, {})


def test_a_line_that_is_half_written_is_read_when_it_is_whole(ledger_file: int) -> None:
    """The reader never takes a part of a line for the line."""
    ledger = Ledger(ledger_file)
    line = b'{"kind": "started", "pid": 7, "port": 80}\n'
    os.write(ledger_file, line[:9])
    ledger.read()
    assert ledger.starts == {}
    os.write(ledger_file, line[9:])
    ledger.read()
    assert ledger.starts == {7: 80}


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n\r\n", b'HTTP/1.1 200 OK\r\n\r\n{"cents": 1']
)
def test_an_answer_that_breaks_off_is_a_broken_connection(answer: bytes) -> None:
    """A service killed in the middle of an answer has not answered."""
    with pytest.raises(ConnectionResetError):
        decode(answer)


def test_an_error_status_is_an_error_of_the_service() -> None:
    """What the service says about itself is kept apart from what the network does."""
    with pytest.raises(ServiceError) as caught:
        decode(b"HTTP/1.1 500 Internal Server Error\r\n\r\n{}")
    assert caught.value.status == 500


def test_a_request_carries_its_body_and_its_length() -> None:
    """The service reads exactly what was sent."""
    sent = Request("POST", "/settle", {"attempt": "a"}).encode()
    assert sent.endswith(b'\r\n\r\n{"attempt": "a"}')
    assert b"Content-Length: 16\r\n" in sent
