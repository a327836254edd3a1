"""The dashboard, in a real Chromium, on a service that runs in a process of its own."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.browser import Tab, chromium, chromium_or_skip, expect
from tests.servers import free_port
from tests.waiting import eventually
from tests.web.shop import OPERATOR, TOKEN

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "meshhook" / "observe" / "web" / "static"
IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000
NOTHING = "\N{EN DASH}"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "'; alert(3); //",
    "płatności 支払い 🙂 مدفوعات",
    "../../static/../x?y#z",
    "100 %/of%2Fit",
    "a name that goes on and on " * 8,
]


class Shop:
    """A service of the tests, in its process, and the line of commands to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.web.shop"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where its dashboard is."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, *command: str) -> Any:
        """Have it do something; return what it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def serve(self, *how: str) -> Shop:
        """Open its dashboard, always on the same port."""
        self.tell("serve", str(self.port), *how)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the shop: there are no more commands."""
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run a browser for the tests of this module."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def shared(browser: Any) -> Iterator[Shop]:
    """Run a shop for tests that leave no trace in it."""
    with Shop() as shop:
        yield shop.serve()


@pytest.fixture
def own(browser: Any) -> Iterator[Shop]:
    """Run a shop for one test, that is not served yet."""
    with Shop() as shop:
        yield shop


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Open pages; at the end of the test nothing has gone wrong in any of them."""
    tabs: list[Tab] = []

    def opened(shop: Shop, path: str = "/", *, ready: str = ".tile", **how: Any) -> Tab:
        tab = Tab(browser, **how)
        tabs.append(tab)
        tab.page.goto(shop.url + path)
        tab.page.wait_for_selector(ready)
        tab.page.wait_for_selector("body[data-link=live]")
        return tab

    yield opened
    for tab in tabs:
        tab.close()
    assert [problem for tab in tabs for problem in tab.problems] == []


def tile(page: Any, name: str) -> Any:
    """Return the tile of the circuit of that name."""
    return page.locator(f'.tile[aria-label^="{name}, circuit breaker"]')


def test_a_circuit_that_opens_is_seen_within_a_second(own: Shop, visit: Callable[..., Tab]) -> None:
    """From the moment when it opened in the service to that when its tile says so."""
    page = visit(own.serve()).page
    payments = tile(page, "payments")
    payments.wait_for()
    page.evaluate(
        """() => {
            const tile = document.querySelector('.tile[aria-label^="payments, circuit breaker"]');
            window.seen = new Promise((resolve) => new MutationObserver(() => {
                if (tile.dataset.status !== "failing") return;
                requestAnimationFrame(() => resolve(Date.now() / 1000));
            }).observe(tile, { attributes: true }));
        }"""
    )
    opened = own.tell("break", "payments")
    seen = page.evaluate("() => window.seen")
    assert seen - opened < 1.0
    expect(payments).to_contain_text("Open")
    expect(payments).to_contain_text("tries again in")
    expect(page.locator("#ready")).to_have_text("not ready")
    entries = page.locator("#entries .entry", has_text="payments")
    expect(entries.filter(has_text="closed → open, 5 failures in a row")).to_have_count(1)
    expect(page).to_have_title(re.compile("^1 failing"))
    expect(page.locator("#announcer")).to_contain_text("open")


def test_an_operator_acts(own: Shop, visit: Callable[..., Tab]) -> None:
    """Who has no token is refused and told so; with it, the circuit does what was asked for."""
    tab = visit(own.serve())
    page = tab.page
    tile(page, "stock").click()
    drawer = page.locator("#drawer")
    drawer.locator("[data-action=force_open]").click()
    expect(drawer).to_contain_text("Every call is refused")
    drawer.locator("#seconds").fill("90")
    drawer.locator(".confirm").click()
    drawer.locator(".result[data-tone=bad]").wait_for()
    expect(drawer.locator(".result")).to_contain_text("Refused")
    assert own.tell("state", "stock") == "closed"

    page.locator("#token").fill(TOKEN)
    drawer.locator(".confirm").click()
    drawer.locator(".result", has_text="Done at").wait_for()
    shown = page.locator("#instance").inner_text()
    expect(drawer.locator(".result")).to_contain_text(f" on {shown}: force open")
    assert own.tell("state", "stock") == "forced_open"
    expect(tile(page, "stock")).to_contain_text("Forced open")
    expect(tile(page, "stock")).to_contain_text(
        re.compile(r"forced open for 1 min (2\d|30) s more")
    )
    page.locator("#entries .entry", has_text=f"force open for 1 min 30 s by {OPERATOR}").wait_for()

    drawer.locator("[data-action=reset]").click()
    drawer.locator(".confirm").click()
    drawer.locator(".result", has_text="Done at").wait_for()
    assert own.tell("state", "stock") == "closed"
    page.locator("#entries .entry", has_text=f"reset by {OPERATOR}").wait_for()
    tab.problems[:] = [each for each in tab.problems if "401" not in each]


def test_a_circuit_is_isolated_for_seconds(own: Shop, visit: Callable[..., Tab]) -> None:
    """The page shows the time that is left, and the end of it."""
    tab = visit(own.serve())
    page = tab.page
    tile(page, "search").click()
    page.locator("#drawer [data-action=isolate]").click()
    page.locator("#seconds").fill("4")
    page.locator("#drawer .confirm").click()
    page.locator("#token").fill(TOKEN)
    page.locator("#drawer .confirm").click()
    page.locator(".tile[data-status=failing]", has_text="search").wait_for()
    page.locator('.tile[data-status=ok][aria-label^="search, circuit breaker"]').wait_for()
    page.locator("#entries .entry", has_text="has ended").wait_for()
    tab.problems[:] = [each for each in tab.problems if "401" not in each]


def test_an_act_of_another_worker_is_told(
    own: Shop, visit: Callable[..., Tab], browser: Any
) -> None:
    """Where workers share an address, the one that acts may not be the one that is shown."""
    tab = visit(own.serve())
    page = tab.page
    told = json.dumps({"policy": "circuit_breaker", "name": "stock"})
    page.route("**/policies/**", lambda route: route.fulfill(status=200, body=told))
    tile(page, "stock").click()
    page.locator("#drawer [data-action=reset]").click()
    page.locator("#drawer .confirm").click()
    page.locator("#drawer .result", has_text="Done at").wait_for()
    page.locator("#drawer .result", has_text="another one has done it").wait_for()
    assert own.tell("state", "stock") == "closed"


def test_where_nobody_may_act_the_page_says_why(own: Shop, visit: Callable[..., Tab]) -> None:
    """Without authorize= the actions are there, cannot be used, and say why."""
    page = visit(own.serve("closed")).page
    tile(page, "stock").click()
    actions = page.locator("#drawer .buttons button")
    expect(actions).to_have_count(5)
    for action in actions.all():
        expect(action).to_be_disabled()
    why = page.locator(f"#{actions.first.get_attribute('aria-describedby')}")
    expect(why).to_contain_text("authorize=")


@pytest.mark.fault
def test_a_lost_link_is_told_and_found_again(own: Shop, visit: Callable[..., Tab]) -> None:
    """How old the numbers are stands there until the service is back on its port."""
    page = visit(own.serve()).page
    expect(page.locator("#lost")).to_be_hidden()
    own.tell("close")
    expect(page.locator("#lost")).to_contain_text("link to the service is lost")
    expect(page.locator("#link")).to_have_text("link lost")
    expect(page.locator("#lost-age")).to_contain_text(re.compile(r"is [3-9] s old"))
    own.serve()
    page.wait_for_selector("body[data-link=live]")
    expect(page.locator("#lost")).to_be_hidden()
    opened = own.tell("break", "payments")
    page.locator(".tile[data-status=failing]", has_text="payments").first.wait_for()
    assert time.time() - opened < 5


@pytest.mark.fault
def test_a_service_that_says_nothing_is_noticed(
    shared: Shop, visit: Callable[..., Tab], browser: Any
) -> None:
    """After three seconds without a word, though the connection stands."""
    tab = Tab(browser)
    page = tab.page
    quiet = {"instance": _instance(), "recent": [], "can_act": False, "fleet": False}
    page.add_init_script(f"window.told = {json.dumps(quiet)}; {_MUTE}")
    page.goto(shared.url)
    page.wait_for_selector("body[data-link=live]")
    page.wait_for_selector("body[data-link=quiet]")
    live, quiet_at = page.evaluate("[window.became.live, window.became.quiet]")
    assert 2500 < quiet_at - live < 6000
    expect(page.locator("#lost")).to_contain_text("No news from the service")
    tab.close()
    assert tab.problems == []


_MUTE = """
window.EventSource = class extends EventTarget {
    constructor() {
        super();
        setTimeout(() => this.dispatchEvent(
            new MessageEvent("hello", { data: JSON.stringify(window.told) })), 50);
    }
    close() {}
};
window.became = {};
new MutationObserver(() => {
    window.became[document.body.dataset.link] ??= performance.now();
}).observe(document, { subtree: true, attributeFilter: ["data-link"] });
"""


def _instance() -> dict[str, Any]:
    return {
        "id": "a:1:1",
        "host": "a",
        "pid": 1,
        "started": 1.0,
        "time": time.time(),
        "version": "0",
    }


def test_a_restarted_service_is_another_one(own: Shop, visit: Callable[..., Tab]) -> None:
    """Its counters begin at 0, and the page does not take that for a rate."""
    page = visit(own.serve()).page
    own.tell("close")
    page.locator("#lost").wait_for()
    with Shop() as other:
        other.port = own.port
        other.serve()
        page.locator("#entries .entry", has_text="started anew").wait_for()
        expect(tile(page, "payments")).to_have_count(1)


def test_policies_are_filtered_and_sorted(shared: Shop, visit: Callable[..., Tab]) -> None:
    """By text, kind and status; by name, rate and trouble."""
    page = visit(shared).page
    names = page.locator(".tile .name")
    everything = names.count()
    assert everything >= 14
    page.keyboard.press("/")
    page.keyboard.type("PAYM")
    assert eventually(
        lambda: (
            names.all_inner_texts() == ["payments", "payments.retry"]
            or names.all_inner_texts() == ["payments.retry", "payments"]
        )
    )
    page.keyboard.press("Escape")
    assert eventually(lambda: names.count() == everything)
    page.locator("#kind").select_option("bulkhead")
    assert eventually(lambda: names.all_inner_texts() == ["images"])
    page.locator("#kind").select_option("all")
    page.locator("#sort").select_option("name")
    assert eventually(
        lambda: len(shown := names.all_inner_texts()) == everything and shown == sorted(shown)
    )
    page.locator("#group").check()
    assert eventually(lambda: page.locator(".group").count() >= 8)
    heads = page.locator(".group").all_inner_texts()
    assert heads == sorted(heads)
    page.locator("#group").uncheck()
    page.locator("[data-status=failing][aria-pressed]").click()
    assert eventually(lambda: page.locator("#empty").is_visible() or names.count() < everything)


def test_trouble_comes_first(own: Shop, visit: Callable[..., Tab]) -> None:
    """What fails is the first tile."""
    page = visit(own.serve()).page
    own.tell("break", "search")
    expect(page.locator(".tile .name").first).to_have_text("search")


def test_everything_is_reached_by_keyboard(own: Shop, visit: Callable[..., Tab]) -> None:
    """Tab leads to the tiles, arrows from one to the next, Enter opens one and Esc goes back."""
    page = visit(own.serve()).page
    focused = "document.activeElement"
    seen: list[str] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(f"{focused}.className || {focused}.id || {focused}.textContent"))
        if "tile" in seen[-1].split():
            break
    assert "tile" in seen[-1].split(), seen
    assert {"text", "kind", "sort", "group", "round"} <= set(seen)
    width = page.evaluate(f"getComputedStyle({focused}).outlineWidth")
    assert width == "2px"
    first = page.evaluate(f"{focused}.key")
    page.keyboard.press("ArrowRight")
    second = page.evaluate(f"{focused}.key")
    page.keyboard.press("ArrowDown")
    below = page.evaluate(f"{focused}.key")
    assert len({first, second, below}) == 3
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawer:not([hidden])")
    assert page.evaluate(f"{focused}.id") == "drawer"
    key = page.evaluate("document.querySelector('#grid .tile[tabindex=\"0\"]').key")
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    assert page.evaluate(f"{focused}.key") == key


def test_names_are_text(own: Shop, visit: Callable[..., Tab]) -> None:
    """Whatever a policy is called, it stands there as it is, and does nothing."""
    for name in HOSTILE:
        own.tell("add", "circuit_breaker", json.dumps(name))
    tab = visit(own.serve())
    page = tab.page
    names = page.locator(".tile .name")
    assert eventually(
        lambda: set(HOSTILE) <= set(names.evaluate_all("all => all.map((e) => e.textContent)"))
    )
    assert page.locator("img[src=x]").count() == 0
    for name in HOSTILE:
        # Opened, acted on and closed: a name is part of an address, too.
        page.locator("#text").fill(name.lower().strip()[:60])
        expect(names).to_have_text([name])
        page.locator(".tile").click()
        expect(page.locator("#drawer-name")).to_have_text(name)
        assert page.locator("#drawer-name").evaluate("(e) => e.textContent") == name
        page.locator("#drawer [data-action=reset]").click()
        if page.locator("#token").is_visible():
            page.locator("#token").fill(TOKEN)
        page.locator("#drawer .confirm").click()
        result = page.locator("#drawer .result")
        if name == HOSTILE[0]:
            result.filter(has_text="Refused").wait_for()
            page.locator("#token").fill(TOKEN)
            page.locator("#drawer .confirm").click()
        result.filter(has_text="Done at").wait_for()
        page.keyboard.press("Escape")
    tab.problems[:] = [each for each in tab.problems if "401" not in each]


def test_a_phone_needs_no_sideways_scrolling(shared: Shop, visit: Callable[..., Tab]) -> None:
    """At 360 pixels each view fits, and what is tapped is large enough."""
    page = visit(shared, width=360, height=740).page
    for view, shown in [
        ("#/timeline", "body[data-view=timeline]"),
        ("#/", "body[data-view=policies]"),
        ("#/policy/circuit_breaker/payments", "#drawer:not([hidden])"),
    ]:
        page.evaluate(f"location.hash = '{view}'")
        page.wait_for_selector(shown)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#drawer").bounding_box()["width"] == pytest.approx(360)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("view", ["#/", "#/policy/circuit_breaker/payments"])
def test_every_text_has_contrast(
    own: Shop, visit: Callable[..., Tab], theme: Any, view: str
) -> None:
    """4.5 to 1 or more, of each text that is seen against what is behind it."""
    own.tell("break", "payments")
    page = visit(own.serve(), f"/{view}", theme=theme, still=True).page
    page.wait_for_selector(".tile[data-status=failing]")
    if "policy" in view:
        page.locator("#drawer [data-action=isolate]").click()
    page.wait_for_timeout(1500)
    found = page.evaluate(_CONTRAST)
    assert len(found) > 40
    poor = {text: round(ratio, 2) for text, ratio in found if ratio < 4.5}
    assert poor == {}


_CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((each) => each / 255);
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((each, i) => each * a + below[i] * (1 - a));
    const behind = (element) => {
        if (!element) return [1, 1, 1];
        const colour = rgba(getComputedStyle(element).backgroundColor);
        return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
    };
    const linear = (each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.nodeValue.trim();
        const seen = { checkVisibilityCSS: true, contentVisibilityAuto: true };
        if (!text || !element.checkVisibility(seen)) continue;
        if (element.closest(".unseen, template, .sheet, noscript, option")) continue;
        const ground = behind(element);
        const ink = over(rgba(getComputedStyle(element).color), ground);
        const [dim, bright] = [light(ink), light(ground)].sort((a, b) => a - b);
        found.push([`${element.className}: ${text}`, (bright + 0.05) / (dim + 0.05)]);
    }
    return found;
}"""


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_status_colours_are_apart_for_every_eye(theme: int) -> None:
    """For normal vision and the three kinds of colour blindness, as they are simulated."""
    style = (STATIC / "dashboard.css").read_text(encoding="utf-8")
    shown = {
        name: re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\)", style)[theme + 1]  # type: ignore[index]
        for name in ("ok", "degraded", "failing")
    }
    for vision, matrix in _VISION.items():
        seen = [_lab(_seen(colour, matrix)) for colour in shown.values()]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
            assert distance > 25, (vision, distance)


# Machado, Oliveira and Fernandes (2009), severity 1.
_VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritan": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


def _seen(colour: str, matrix: Any) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return [
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in matrix
    ]


def _lab(rgb: list[float]) -> tuple[float, float, float]:
    r, g, b = rgb

    def f(t: float) -> float:
        return t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116

    x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047)
    y = f(0.2126 * r + 0.7152 * g + 0.0722 * b)
    z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_the_theme_is_chosen_and_kept(shared: Shop, visit: Callable[..., Tab]) -> None:
    """The system decides until somebody does; a reload changes nothing."""
    page = visit(shared, theme="light").page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector(".tile")
    assert page.evaluate(ground) == dark


def test_nothing_moves_for_those_who_want_no_motion(
    shared: Shop, visit: Callable[..., Tab]
) -> None:
    """No animation and no transition runs."""
    page = visit(shared, still=True).page
    tile(page, "payments").click()
    page.wait_for_timeout(700)
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_page_has_landmarks(shared: Shop, visit: Callable[..., Tab]) -> None:
    """A reader of screens finds its way, and each control has a name."""
    page = visit(shared).page
    for role, name in [
        ("banner", None), ("navigation", "Views"), ("main", None), ("search", None),
        ("complementary", "Timeline"), ("region", "Policies"),
    ]:  # fmt: skip
        assert page.get_by_role(role, name=name).count() == 1, role
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
            .filter((e) => e.checkVisibility())
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_all_events_are_folded_and_dropped_ones_told(own: Shop, visit: Callable[..., Tab]) -> None:
    """The timeline of a storm can be read, and says what it does not show."""
    own.tell("storm", "50", "3000")
    page = visit(own.serve()).page
    page.locator("[data-mode=all]").click()
    page.locator("#entries .entry", has_text="call rejected").first.wait_for()
    page.locator("#entries .entry", has_text="more events of").first.wait_for()
    page.locator("#dropped").wait_for()
    expect(page.locator("#dropped")).to_contain_text(re.compile(r"[\d.,k]+ events dropped"))
    assert page.locator("#entries .entry").count() <= 200


@pytest.mark.fault
def test_200_policies_and_1000_events_a_second_are_smooth(
    own: Shop, visit: Callable[..., Tab], browser: Any
) -> None:
    """Frames come in time, no task holds the page up, and most of the time it does nothing."""
    assert own.tell("storm", "200", "1000") > 200
    tab = visit(own.serve())
    page = tab.page
    page.locator("[data-mode=all]").click()
    page.wait_for_selector("body[data-link=live]")
    assert eventually(lambda: page.locator(".tile").count() > 200)
    assert own.tell("rates") > 800
    runs = []
    for _ in range(5):
        runs.append(_measure(browser, page))
        if _is_smooth(runs[-1]):
            break
    # What else a machine does makes frames late, too, but costs the page itself nothing.
    assert max(each["longest_cpu"] for each in runs) < 100, runs
    assert min(each["busy"] for each in runs) < 0.4, runs
    if not _is_smooth(runs[-1]):
        # A page with nothing on it tells whether it is the machine.
        page.goto("about:blank")
        empty = _measure(browser, page)
        assert not _is_smooth(empty), (runs, empty)


def _is_smooth(run: dict[str, float]) -> bool:
    return run["p95"] < 34 and run["longest"] < 100


SECONDS = 4.0
_FRAMES = """(seconds) => new Promise((resolve) => {
    const frames = [];
    const tasks = [];
    const observer = new PerformanceObserver((list) =>
        tasks.push(...list.getEntries().map((each) => each.duration)));
    observer.observe({ type: "longtask" });
    let last = performance.now();
    const end = last + seconds * 1000;
    requestAnimationFrame(function next(now) {
        frames.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(next);
        else resolve([frames.slice(1), tasks]);
    });
})"""


def _measure(browser: Any, page: Any) -> dict[str, float]:
    """Watch the frames, and what each task of the main thread of the page costs, in ms."""
    session = browser.new_browser_cdp_session()
    traced: list[Any] = []
    complete: list[Any] = []
    # No method of a list: the library sets an attribute of what it calls.
    session.on("Tracing.dataCollected", lambda told: traced.extend(told["value"]))
    session.on("Tracing.tracingComplete", lambda told: complete.append(told))
    categories = {"includedCategories": ["toplevel"]}
    session.send("Tracing.start", {"traceConfig": categories, "transferMode": "ReportEvents"})
    frames, tasks = page.evaluate(_FRAMES, SECONDS)
    session.send("Tracing.end")
    assert eventually(lambda: page.wait_for_timeout(20) or complete)
    session.detach()
    costs = _costs(traced)
    frames.sort()
    return {
        "frames": len(frames),
        "p50": frames[len(frames) // 2],
        "p95": frames[int(len(frames) * 0.95)],
        "longest": max(tasks, default=0.0),
        "longest_cpu": max(costs),
        "busy": sum(costs) / 1000 / SECONDS,
    }


def _costs(traced: list[Any]) -> list[float]:
    """Return the CPU time of each task of the busiest main thread that draws a page."""
    mains: dict[Any, list[float]] = {
        (each["pid"], each["tid"]): []
        for each in traced
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    for each in traced:
        at = each["pid"], each["tid"]
        if at in mains and each.get("ph") == "X" and each["name"].endswith("RunTask"):
            mains[at].append(each.get("tdur", 0) / 1000)
    return max(mains.values(), key=sum)


def test_10000_policies_do_not_kill_the_page(own: Shop, visit: Callable[..., Tab]) -> None:
    """500 tiles are shown, more when they are asked for, and each policy can be found."""
    own.tell("storm", "10000", "100")
    page = visit(own.serve()).page
    page.locator("#more", has_text="500 of 10.0k").wait_for()
    expect(page.locator(".tile")).to_have_count(500)
    page.locator("#more button").click()
    page.locator("#more", has_text="1,000 of 10.0k").wait_for()
    page.locator("#text").fill("storm.09999")
    assert eventually(lambda: page.locator(".tile .name").all_inner_texts() == ["storm.09999"])


def test_a_fleet_is_one_table(own: Shop, shared: Shop, visit: Callable[..., Tab]) -> None:
    """Members, those who cannot be reached, sums, and who differs from the others."""
    gone = f"http://127.0.0.1:{free_port()}"
    own.serve("open", shared.url, gone)
    own.tell("break", "payments")
    page = visit(own, "/#/fleet", ready="#fleet tbody tr").page
    expect(page.locator("#fleet-link")).to_be_visible()
    page.locator(".member[data-status=gone]", has_text="Not reachable: refused").wait_for()
    expect(page.locator("#fleet .notice")).to_contain_text("cannot be reached")
    row = page.locator("#fleet tbody tr", has_text="payments").filter(has_text="circuit breaker")
    expect(row).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


SHOTS: list[tuple[str, str, dict[str, Any]]] = [
    ("dashboard-dark.png", "#/", {"theme": "dark", "width": 1280, "height": 800}),
    ("dashboard-light.png", "#/policy/circuit_breaker/payments", {"width": 1280, "height": 800}),
    ("dashboard-phone.png", "#/", {"theme": "dark", "width": 360, "height": 740}),
    ("dashboard-fleet.png", "#/fleet", {"width": 1280, "height": 640}),
]


def test_screenshots(own: Shop, shared: Shop, visit: Callable[..., Tab], tmp_path: Path) -> None:
    """``MESHHOOK_SCREENSHOTS=1`` writes those of the documentation anew; it takes two minutes."""
    is_wanted = os.environ.get("MESHHOOK_SCREENSHOTS") == "1"
    own.serve("open", own.url, shared.url, "http://127.0.0.1:9")
    tabs = []
    for image, view, how in SHOTS:
        ready = "#fleet tbody tr" if "fleet" in view else ".tile"
        tabs.append(
            (image, visit(own, f"/{view}", ready=ready, still=True, **({"theme": "light"} | how)))
        )
    wait = tabs[0][1].page.wait_for_timeout
    if is_wanted:
        wait(50_000)
        own.tell("break", "search")
        own.tell("heal", "search")
        wait(35_000)
        own.tell("act", "stock", "metrics_only", "300")
        wait(15_000)
    own.tell("break", "payments")
    wait(9_000 if is_wanted else 600)
    for image, tab in tabs:
        path = (IMAGES if is_wanted else tmp_path) / image
        tab.shoot(path)
        assert 5_000 < path.stat().st_size < LARGEST


def test_without_a_chromium_the_reason_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests are skipped where there is none, and fail in CI."""
    monkeypatch.setenv("MESHHOOK_CHROMIUM", "/nowhere/chromium")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium found: looked for /nowhere"):
        chromium_or_skip()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium found"):
        chromium_or_skip()


def test_numbers_are_short_and_plain(shared: Shop, visit: Callable[..., Tab]) -> None:
    """What little is there is not shown as nothing, and what is unknown not as zero."""
    page = visit(shared).page
    shown = page.evaluate(
        """async () => {
            const { ago, count, duration, left, rate, share } = await import("./static/format.js");
            return {
                count: [0, 9999, 12345, 123456, 1234567, null].map(count),
                rate: [0, 0.01, 0.44, 9.96, 1024, NaN].map(rate),
                share: [null, 0, 0.0004, 0.042, 0.1, 0.9996, 1].map(share),
                duration: [null, 0, 0.00025, 0.0042, 0.12, 1.24, 59.6, 125].map(duration),
                left: [-1, 59, 60, 3725, 90000].map(left),
                ago: [-3, 1, 2, 61, 7200, 200000].map(ago),
            };
        }"""
    )
    assert shown == {
        "count": ["0", "9,999", "12.3k", "123k", "1.2M", NOTHING],
        "rate": ["0", "0", "0.4", "10", "1,024", NOTHING],
        "share": [NOTHING, "0 %", "<0.1 %", "4.2 %", "10 %", ">99.9 %", "100 %"],
        "duration": [NOTHING, "0 s", "250 µs", "4.2 ms", "120 ms", "1.2 s", "1 min", "2 min 5 s"],
        "left": ["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h"],
        "ago": ["now", "now", "2 s ago", "1 min ago", "2 h ago", "2 d ago"],
    }


def test_rates_are_differences_of_counters(shared: Shop, visit: Callable[..., Tab]) -> None:
    """By the clock of the service; a gap is a gap, and a reset is no flood of calls."""
    page = visit(shared).page
    seen = page.evaluate(
        """async () => {
            const { Model, SECONDS } = await import("./static/model.js");
            const model = new Model();
            const instance = (id, started) =>
                ({ instance: { id, started, time: 100 }, recent: [], can_act: true });
            const tell = (time, calls, full = false) => model.stats({
                time, full, total: 1, gone: [],
                policies: [{ policy: "retry", name: "a", status: "ok", condition: "ok",
                    critical: false, actions: [], until: null, stats: { calls, failures: 0 } }],
            });
            const last = (number) => {
                const { total } = model.policies.get("retry/a");
                return [...Array(number).keys()].map((age) =>
                    total[(model.cursor - age + SECONDS) % SECONDS]).reverse();
            };
            model.hello(instance("a:1:1", 1));
            tell(100, 1000, true);
            tell(101, 1010);
            tell(101.5, 1020);
            tell(102, 1030);
            const steady = last(3);
            tell(112, 1530);
            const gap = last(4);
            tell(113, 0);
            tell(114, 7);
            const reset = last(2);
            const { change: switched } = model.hello(instance("a:2:2", 50));
            const { change: restarted } = model.hello(instance("a:3:3", 150));
            const { change: none } = model.hello(instance("a:3:3", 150));
            const left = model.policies.size;
            return { steady, gap, reset, changes: [switched, restarted, none], left };
        }"""
    )
    assert seen["steady"][1:] == [10, 20]
    assert [math.isnan(each) for each in seen["gap"]] == [True, True, True, False]
    assert seen["gap"][-1] == 50
    assert seen["reset"] == [0, 7]
    assert seen["changes"] == ["switched", "restarted", None]
    assert seen["left"] == 0


def test_the_service_says_why_it_gives_no_stream(shared: Shop, browser: Any) -> None:
    """An EventSource hides the answer; the page asks for it."""
    tab = Tab(browser)
    body = json.dumps({"error": "too many clients follow the events"})
    tab.page.route("**/events?*", lambda route: route.fulfill(status=503, body=body))
    tab.page.goto(shared.url)
    tab.page.locator("#lost", has_text="The service says: too many clients").wait_for()
    tab.close()


def test_the_page_works_below_any_path(shared: Shop, browser: Any) -> None:
    """All its addresses are relative, so it may be mounted anywhere."""
    tab = Tab(browser)
    page = tab.page

    def forward(route: Any) -> None:
        route.continue_(url=route.request.url.replace("/ops/", "/"))

    elsewhere: list[str] = []
    page.route("**/ops/**", forward)
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(f"{shared.url}/ops/")
    page.wait_for_selector(".tile")
    assert [url for url in elsewhere if "/ops/" not in url] == []
    tab.close()


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """No address of another host is in any file, and no script or style is inline."""
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", text
        ), path
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|(src|href)=\"/", page)


def test_the_page_asks_for_what_a_feed_keeps(shared: Shop, visit: Callable[..., Tab]) -> None:
    """What the page calls transitions are the events that are kept for it."""
    from meshhook.events import event_name
    from meshhook.observe.notable import NOTABLE

    page = visit(shared).page
    asked = page.evaluate("import('./static/timeline.js').then((module) => module.NOTABLE)")
    assert set(asked) == {event_name(kind) for kind in NOTABLE}


def test_every_kind_of_policy_is_known(shared: Shop, visit: Callable[..., Tab]) -> None:
    """Each has its figures and an icon."""
    page = visit(shared).page
    known = set(page.evaluate("import('./static/kinds.js').then((module) => module.KNOWN)"))
    folders = {
        path.name
        for path in (ROOT / "meshhook" / "policies").iterdir()
        if (path / "policy.py").exists()
    }
    assert folders | {"retry_budget"} == known
    icons = page.evaluate(
        "[...document.querySelectorAll('symbol')].map((each) => each.id.slice(2))"
    )
    assert known <= set(icons)
