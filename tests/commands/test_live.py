"""The parts of top without a terminal: rates, rows, the view, the drawing."""

from __future__ import annotations

import dataclasses
import io
import threading
import time
from typing import Any

import pytest
from rich.console import Console

from meshhook.commands import top
from meshhook.commands.live import drawing
from meshhook.commands.live.browsing import ORDERS, View
from meshhook.commands.live.drawing import draw
from meshhook.commands.live.reading import FleetReader, OneReader, Picture, Poller
from meshhook.commands.live.rows import Rates, Row, rows_of_fleet, rows_of_one
from meshhook.commands.words import count, percent, rate, seconds, width
from meshhook.health import Status
from meshhook.observe.fleet.counters import counters
from meshhook.observe.fleet.fleet import Fleet
from meshhook.observe.remote.client import Remote, RemoteError
from meshhook.observe.remote.untrusted import Seen, read_policy
from tests.commands.terminal import columns
from tests.observe.canned import canned, happening, http, policies, policy
from tests.servers import free_port
from tests.waiting import eventually


def seen(*arguments: Any, **stats: Any) -> Seen:
    """Read a policy."""
    return read_policy(policy(*arguments, **stats))


def row(name: str = "payments", status: Status = Status.OK, **fields: Any) -> Row:
    """Make a row."""
    known: dict[str, Any] = {
        "kind": "circuit_breaker",
        "condition": "closed",
        "critical": False,
        "calls": None,
        "rate": None,
        "failures": None,
        "slow": None,
        "p50": None,
        "p99": None,
        "rejected": None,
        "rejecting": None,
        "usage": None,
        "members": "",
        "outliers": (),
    }
    return Row(**{**known, "name": name, "status": status, **fields})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.00025, "250 us"),
        (0.0125, "12.5 ms"),
        (1.5, "1.5 s"),
        (90, "90 s"),
    ],
)
def test_durations_are_short(value: float | None, text: str) -> None:
    """In the unit that fits."""
    assert seconds(value) == text


def test_numbers_are_short() -> None:
    """Shares, counts and rates."""
    assert [percent(each) for each in (None, 0, 0.004, 0.37, 1)] == [
        *("-", "0 %", "0.4 %", "37 %", "100 %")
    ]
    assert [count(each) for each in (None, 7, 1234, 1_234_567, 2 * 10**9, 3 * 10**13)] == [
        *("-", "7", "1,234", "1.2M", "2.0G", "30.0T")
    ]
    assert [rate(each) for each in (None, 0, 0.25, 12.4, 12345)] == [
        "-",
        "0",
        "0.2",
        "12",
        "12,345",
    ]


def test_the_width_of_text() -> None:
    """Wide characters take two columns, those that are put onto another none."""
    assert [width(each) for each in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]


def lately(*readings: tuple[float, dict[str, int]]) -> Any:
    """Return what was counted lately, after these readings of one policy."""
    rates = Rates()
    for moment, numbers in readings:
        rates.add(moment, {("retry", "a"): numbers})
    return rates.lately(("retry", "a"))


def test_rates_are_of_the_last_seconds() -> None:
    """One reading tells nothing; after five seconds, older ones are forgotten."""
    assert Rates().lately(("retry", "a")) is None
    assert lately((0.0, {"calls": 5})) is None
    assert lately((0.0, {"calls": 5}), (2.0, {"calls": 25})) == (2.0, {"calls": 20})
    many = [(float(at), {"calls": at * 10 if at < 20 else 190}) for at in range(30)]
    assert lately(*many) == (5.0, {"calls": 0})
    assert lately((1.0, {"calls": 5}), (1.0, {"calls": 6})) is None


def test_counters_that_begin_anew_tell_nothing() -> None:
    """The process was started again; nor does a policy that was not there before."""
    assert lately((0.0, {"calls": 50}), (1.0, {"calls": 5})) is None
    rates = Rates()
    rates.add(0.0, {})
    rates.add(1.0, {("retry", "a"): {"calls": 5}})
    assert rates.lately(("retry", "a")) is None
    assert lately((0.0, {}), (1.0, {"calls": 5})) == (1.0, {"calls": 5})


def test_a_row_of_a_circuit_breaker() -> None:
    """What came in the last seconds, the window, the latency, and when it is tried again."""
    before = seen("a", calls=100, failures=10, rejected=0)
    now = seen(
        "a",
        "circuit_breaker",
        "failing",
        "open",
        calls=120,
        failures=15,
        rejected=40,
        retry_after=12.25,
        window={"failure_rate": 0.9, "slow_rate": 0.5},
        latency={"p50": 0.1, "p95": 0.2, "p99": 0.3},
    )
    rates = Rates()
    rates.add(0.0, {before.at: counters(before)})
    rates.add(2.0, {now.at: counters(now)})
    (made,) = rows_of_one([now], rates)
    assert made == row(
        "a",
        Status.FAILING,
        condition="open 12.2 s",
        calls=120,
        rate=10.0,
        failures=0.25,
        slow=0.5,
        p50=0.1,
        p99=0.3,
        rejected=40,
        rejecting=20.0,
    )


@pytest.mark.parametrize(
    ("kind", "stats", "usage"),
    [
        ("bulkhead", {"in_use": 3, "max_concurrent": 4}, 0.75),
        ("bulkhead", {"in_use": 9, "max_concurrent": 4}, 1.0),
        ("bulkhead", {"in_use": 0}, None),
        ("rate_limit", {"limit": "100/s", "remaining": 25}, 0.75),
        ("rate_limit", {"limit": "100/2m burst 10", "remaining": 10}, 0.0),
        ("rate_limit", {"limit": "100/s", "remaining": None}, None),
        ("rate_limit", {"limit": "whatever", "remaining": 1}, None),
        ("rate_limit", {"limit": "0/s", "remaining": 1}, None),
        ("rate_limit", {}, None),
        ("retry_budget", {"usage": 0.5}, 0.5),
        ("throttle", {"chance": 0.125}, 0.125),
        ("timeout", {"seconds": 2}, None),
    ],
)
def test_what_is_used(kind: str, stats: dict[str, Any], usage: float | None) -> None:
    """Of slots, of a rate, of a budget; of a throttle, which share is dropped."""
    assert rows_of_one([seen("a", kind, **stats)], Rates())[0].usage == usage


@pytest.mark.parametrize(
    ("kind", "stats", "expected"),
    [
        ("timeout", {"calls": 10, "failures": 1, "timed_out": 4, "rejected": 2}, (10, 0.5, 2)),
        ("bulkhead", {"admitted": 10, "rejected": 3}, (10, None, 3)),
        ("rate_limit", {"calls": 13, "admitted": 10, "rejected": 3}, (10, None, 3)),
        ("idempotent", {"calls": 10, "released": 2, "rejected": 1}, (10, 0.2, 1)),
        ("retry_budget", {"calls": 10, "refused": 4}, (10, None, 4)),
        ("chaos", {"struck": 7}, (7, None, None)),
        ("new", {"calls": 10, "failures": 5, "rejected": 1}, (10, 0.5, 1)),
        ("new", {}, (None, None, None)),
    ],
)
def test_every_kind_has_its_words_for_calls(
    kind: str, stats: dict[str, int], expected: tuple[Any, ...]
) -> None:
    """What came through, which share failed, and what was refused."""
    made = rows_of_one([seen("a", kind, **stats)], Rates())[0]
    assert (made.calls, made.failures, made.rejected) == expected


def test_a_timed_action_says_how_long_it_lasts() -> None:
    """Whatever the kind."""
    held = read_policy(policy("a", "bulkhead", "failing", "isolated") | {"until": 42.0})
    assert rows_of_one([held], Rates())[0].condition == "isolated 42 s"


def test_rows_of_a_fleet() -> None:
    """Sums, the worst, on how many it is so, and who is different."""
    latency = {"p50": 0.1, "p95": 0.2, "p99": 0.3}
    one = policies(policy("a", calls=10, failures=5, rejected=1, latency=latency), own="a:1")
    two = policies(
        policy("a", "circuit_breaker", "failing", "open", calls=10, failures=0), own="b:1"
    )
    with canned({"/policies": http(one)}) as first, canned({"/policies": http(two)}) as second:
        nobody = f"http://127.0.0.1:{free_port()}"
        document = Fleet([first.url, second.url, nobody]).read()
    (made,) = rows_of_fleet(document, Rates())
    assert made == row(
        "a",
        Status.FAILING,
        condition="open on 1",
        calls=20,
        failures=0.25,
        p99=0.3,
        rejected=1,
        members="2 of 2",
        outliers=(("b:1", "open here, closed on 1"),),
    )


ROWS = [
    row("b", Status.OK, rate=5.0, p99=0.1, rejected=0, failures=0.0),
    row("a", Status.OK, rate=50.0, kind="retry", failures=0.5),
    row("c", Status.DEGRADED, usage=0.5),
    row("d", Status.FAILING, rejecting=1.0, rejected=10),
    row("e", Status.FAILING, critical=True),
    row("f", Status.OK, outliers=(("x", "y"),)),
]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("trouble", "edcfab"),
        ("name", "abcdef"),
        ("policy", "bcdefa"),
        ("rate", "abcdef"),
        ("failures", "abcdef"),
        ("p99", "bacdef"),
        ("rejected", "dbacef"),
        ("usage", "cabdef"),
    ],
)
def test_orders(order: str, names: str) -> None:
    """The largest first; who has no number comes last, by name."""
    assert "".join(each.name for each in View(order).matching(ROWS)) == names


def test_the_orders_are_those_of_the_command() -> None:
    """The command knows them without importing the rest."""
    assert tuple(ORDERS) == top._ORDERS


def press(view: View, *keys: str) -> View:
    """Press keys."""
    for key in keys:
        view.press(key)
    return view


def test_sorting_goes_round() -> None:
    """Forward with s, back with S."""
    view = View()
    orders = [press(view, "s").order for _ in ORDERS]
    assert orders == [*list(ORDERS)[1:], "trouble"]
    assert press(view, "S").order == "usage"


def test_filtering() -> None:
    """All words have to be somewhere in kind, name, condition or status; case does not matter."""
    view = press(View(), "/", *"FAIL", " ", *"r/d", "enter")
    assert [each.name for each in view.matching(ROWS)] == ["d"]
    assert not view.editing
    press(view, "/", "backspace", "backspace", "x", "escape")
    assert (view.filter, view.editing) == ("FAIL r/d", False)
    press(view, "escape")
    assert view.filter == ""
    press(view, "/", *"q" * 100, "up", "page down", "enter")
    assert view.filter == "q" * 60
    assert not view.quitting
    assert press(view, "q").quitting


def test_moving() -> None:
    """By a line, by a page, to either end; never beyond, also when rows go away."""
    view = View()
    rows = [row(str(at)) for at in range(100)]

    def shown(*keys: str, rows: list[Row] = rows) -> tuple[str, str]:
        visible = press(view, *keys).visible(rows, 10)
        return visible[0].name, visible[-1].name

    assert shown() == ("0", "9")
    assert shown("up") == ("0", "9")
    assert shown("down", "j", "k", "down") == ("2", "11")
    assert shown("page down") == ("11", "20")
    assert shown(" ", "page up", "b") == ("2", "11")
    assert shown("end") == ("90", "99")
    assert shown("down") == ("90", "99")
    assert shown(rows=rows[:50]) == ("40", "49")
    assert shown("G", "home") == ("0", "9")
    assert shown("G", "g", "left", "nonsense") == ("0", "9")
    assert view.visible([], 10) == []


def picture(rows: int | list[Row] = 100, happened: int = 20, **fields: Any) -> Picture:
    """Make a picture."""
    made = Picture(
        title="http://127.0.0.1:9464  host:1:1",
        at=1.7e9,
        status=Status.FAILING,
        ready=False,
        rows=rows
        if isinstance(rows, list)
        else [row(f"p{at}", Status.OK, rate=1.0, usage=0.5) for at in range(rows)],
        happened=[(1.7e9 + at, f"event {at}") for at in range(happened)],
    )
    return dataclasses.replace(made, **fields)


def drawn(
    shown: Picture,
    size: tuple[int, int],
    view: View | None = None,
    *,
    keys: bool = True,
    **more: Any,
) -> list[str]:
    """Draw a picture, without colours; return its lines."""
    console = Console(file=io.StringIO(), width=size[0], height=size[1], highlight=False)
    with console.capture() as capture:
        console.print(draw(shown, view or View(), *size, keys=keys, **more))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("height", [5, 6, 8, 11, 24, 60])
@pytest.mark.parametrize("columns_", [20, 45, 80, 140])
@pytest.mark.parametrize("rows", [0, 5, 100])
@pytest.mark.parametrize("notices", [0, 10])
def test_a_picture_fits_every_terminal(rows: int, columns_: int, height: int, notices: int) -> None:
    """No line is longer than the terminal is wide, and there are as many as it has."""
    shown = picture(rows, notices=["n" * 200] * notices, lost="x" * notices)
    lines = drawn(shown, (columns_, height))
    assert len(lines) == height
    assert all(columns(line) <= columns_ for line in lines)
    assert lines[0].startswith("meshhook top")
    assert any(line.startswith("status") for line in lines)


def test_what_there_is_room_for() -> None:
    """Happenings are told below, the latest; a wide terminal has all columns, a narrow one few."""
    lines = drawn(picture(), (140, 24))
    assert lines[1].split() == [
        *("status", "policy", "name", "condition", "rate/s", "fail", "slow", "p50", "p99"),
        *("rejected", "used"),
    ]
    assert "████░░░░ 50 %" in lines[2]
    assert lines[-2].endswith("event 19")
    assert lines[-9].endswith("event 12")
    assert lines[-10] == ""
    assert lines[-1].startswith("1 to 12 of 100, by trouble")
    assert drawn(picture(), (40, 24))[1].split() == ["status", "name", "condition"]
    assert drawn(picture(), (64, 24))[1].split() == [
        *("status", "name", "condition", "rate/s", "fail", "p99")
    ]


def test_notices_and_a_lost_link_are_plain_to_see() -> None:
    """Since when, how long ago and why; of many notices the first, and how many more."""
    now = time.time()
    lost = picture(3, lost="refused", lost_at=now - 7, notices=[f"n{at}" for at in range(10)])
    lines = drawn(lost, (140, 24))
    assert lines[1].startswith("LINK LOST at ")
    assert "7 s ago (refused); trying again, what is below is old" in lines[1]
    assert lines[2:9] == [*(f"! n{at}" for at in range(6)), "! and 4 more"]
    assert any("p0" in line for line in lines)


def test_before_the_first_answer() -> None:
    """There is something to see, too."""
    empty = Picture(title="http://a")
    assert drawn(empty, (80, 10))[0] == "meshhook top  asking http://a"
    assert drawn(picture(0), (80, 10))[2] == "no policies"
    assert drawn(picture(3), (80, 10), View(wanted="x"))[2] == "no policy matches the filter"


def test_the_foot_shows_the_filter_and_where_one_is() -> None:
    """While it is typed, too."""
    view = View(wanted="p1")
    assert drawn(picture(), (140, 12), view)[-1].startswith(
        "1 to 4 of 11, by trouble, with 'p1' of 100   q quit"
    )
    press(view, "/", "0")
    assert drawn(picture(), (80, 12), view)[-1].startswith("filter: p10_")


def test_names_are_no_markup() -> None:
    """Brackets stay brackets, and wide names are cut at a whole character."""
    lines = drawn(picture([row("[red]x[/red]"), row("日本語" * 40)]), (80, 10))
    assert "[red]x[/red]" in lines[2] + lines[3]
    assert columns(lines[2]) <= 80


def test_a_terminal_without_unicode_gets_plain_bars() -> None:
    """Number signs and dots."""
    assert "####.... 50 %" in drawn(picture(1), (140, 10), ascii_only=True)[2]


def test_states_do_not_rely_on_colours() -> None:
    """The words are there; what is critical and failing has a mark, and so have outliers."""
    bad = row("a", Status.FAILING, critical=True, members="2 of 3", outliers=(("x", "y"),))
    line = drawn(picture([bad]), (140, 10))[2]
    assert "failing!" in line
    assert "2 of 3 *" in line


@pytest.mark.parametrize(
    ("variables", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_only_where_they_are_wanted(
    variables: dict[str, str], colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and a dumb terminal have none."""
    for name in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = io.StringIO()
    console = drawing.console_of(file=file, force_terminal=True, width=80)
    console.print(draw(picture(3), View(), 80, 10, keys=True))
    assert ("\x1b[32m" in file.getvalue()) is colours


class Script:
    """A reader that does as it is told."""

    title = "script"

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.go = threading.Semaphore(0)

    def read(self) -> Picture:
        self.go.acquire()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def test_a_lost_link_keeps_the_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time of the first question that had no answer, until there is one again."""
    one, two = picture(1), picture(2)
    script = Script(one, RemoteError("refused"), ValueError("secret"), two)
    poller = Poller(script, 0.0)
    assert poller.picture == Picture(title="script")
    seen_pictures = []
    for taken in range(1, 5):
        script.go.release()
        assert eventually(lambda taken=taken: poller.taken == taken)
        seen_pictures.append(poller.picture)
    poller.close()
    first, lost, longer, again = seen_pictures
    assert first == one
    assert (lost.rows, lost.lost) == (one.rows, "refused")
    assert abs(lost.lost_at - time.time()) < 60
    assert (longer.lost, longer.lost_at) == ("could not be read: ValueError", lost.lost_at)
    assert again == two
    script.steps.append(two)
    script.go.release()


def test_reading_one_process() -> None:
    """Policies, and what has happened; without the latter, the former are there."""
    with canned({"/policies": http(policies(policy("a", calls=1)))}) as server:
        reader = OneReader(Remote(server.url))
        assert reader.read().happened == []
        server.answers["/events"] = http({"events": [happening()]})
        server.answers["/policies"] = http(policies(policy("a", calls=9), ready=False))
        time.sleep(0.002)
        shown = reader.read()
    assert shown.rows[0].rate
    assert shown.ready is False
    (line,) = [text for _, text in shown.happened]
    assert line.startswith("circuit_breaker/payments  circuit changed: closed -> open")


def test_reading_a_fleet() -> None:
    """What has happened anywhere, in order of time; who is different or missing is a notice."""
    failing = policy("a", "circuit_breaker", "failing", "open")
    nobody = f"http://127.0.0.1:{free_port()}"
    with canned() as one, canned() as two:
        one.answers["/policies"] = http(policies(policy("a"), own="a"))
        one.answers["/events"] = http({"events": [happening(3)]})
        two.answers["/policies"] = http(policies(failing, own="b", status="failing", ready=False))
        two.answers["/events"] = http({"events": [happening(2), happening(4)]})
        urls = [one.url, two.url, nobody]
        reader = FleetReader(Fleet(urls), [Remote(url) for url in urls], 5.0)
        shown = reader.read()
    assert shown.title == "2 of 3 servers"
    assert (shown.status, shown.ready) == (Status.FAILING, False)
    assert [text.rpartition("  on ")[2] for _, text in shown.happened] == [
        two.url,
        one.url,
        two.url,
    ]
    assert shown.notices == [
        f"{nobody}: refused",
        f"circuit_breaker/a: open here, closed on 1, on {two.url}",
    ]


def test_a_fleet_of_which_nobody_answers() -> None:
    """It is no error: they are all told."""
    nobody = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    shown = FleetReader(Fleet(nobody), [Remote(url) for url in nobody], 5.0).read()
    assert (shown.status, shown.ready, shown.rows) == (None, None, [])
    assert len(shown.notices) == 2
    assert "no server answers" in drawn(shown, (80, 10))[0]
