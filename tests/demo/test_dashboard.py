"""The page that shows the demo: it is there while the demo is played, and no longer."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
import webbrowser
from typing import Any

import pytest

from meshhook import cli
from meshhook.demo import script
from meshhook.demo.dashboard import open_dashboard
from meshhook.demo.plain import PlainView
from meshhook.demo.report import make_report
from meshhook.demo.script import Plan, Scene, play
from meshhook.demo.table import draw
from tests.demo.scenes import quiet_scene
from tests.demo.test_views import seen

PAGE = "http://127.0.0.1:9464"


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the addresses that a browser is asked to open, on a machine without a screen."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


class Visitor(PlainView):
    """Looks at the page, as the demo is played."""

    def __init__(self) -> None:
        super().__init__(None)
        self.page: str | None = None
        self.policies: list[dict[str, Any]] = []

    def frame(self, scene: Scene) -> None:
        self.page = scene.dashboard
        with urllib.request.urlopen(f"{self.page}/policies", timeout=5) as answer:
            self.policies = json.load(answer)["policies"]


def test_the_page_shows_the_policies_of_the_demo_while_it_is_played(opened: list[str]) -> None:
    """Its address is that of a real server, which is gone when the demo is."""
    visitor = Visitor()
    assert play(Plan.lasting(2.0), "memory", visitor, dashboard=True).kept
    assert {"circuit_breaker/service", "idempotent/charge", "bulkhead/prices"} <= {
        f"{each['policy']}/{each['name']}" for each in visitor.policies
    }
    assert any(each["stats"].get("calls") for each in visitor.policies)
    assert visitor.page is not None
    host, port = visitor.page.removeprefix("http://").split(":")
    with pytest.raises(OSError), socket.create_connection((host, int(port)), timeout=5):
        pass
    assert opened == []


@pytest.mark.parametrize("screen", ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"])
def test_where_there_is_a_screen_the_page_is_opened(
    screen: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere it is not, for a browser of text would take the terminal over."""
    monkeypatch.setenv(screen, ":0")
    with quiet_scene() as scene, open_dashboard(scene.policies.registry) as page:
        assert opened == [page]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_a_desktop_has_a_screen(
    platform: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the environment says so there."""
    monkeypatch.setattr(sys, "platform", platform)
    with quiet_scene() as scene, open_dashboard(scene.policies.registry) as page:
        assert opened == [page]


def test_whoever_watches_may_act() -> None:
    """The page of the demo is for trying it out."""
    with quiet_scene() as scene, open_dashboard(scene.policies.registry) as page:
        request = urllib.request.Request(
            f"{page}/policies/circuit_breaker/service/force_open",
            data=b"{}",
            headers={"content-type": "application/json", "x-meshhook": "act"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert json.load(answer)["condition"] == "forced_open"


def test_both_views_say_where_the_page_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for it, and still fits."""
    with quiet_scene() as scene:
        without = len(seen(scene, height=30))
        scene.dashboard = PAGE
        assert f"dashboard {PAGE}" in "\n".join(seen(scene))
        assert len(seen(scene, height=30)) == without
        assert draw(scene, 80, 24)
        PlainView(sys.stdout).begin(scene)
    assert f"Dashboard: {PAGE}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "page", "seconds", "to_out", "to_err"),
    [
        (["--dashboard", "--plain"], PAGE, 180, True, False),
        (["--dashboard", "--plain", "--seconds", "2"], PAGE, 2, True, False),
        (["--dashboard", "--json"], PAGE, 180, False, True),
        (["--plain"], None, 24, False, False),
    ],
)
def test_the_demo_lasts_long_enough_to_look_around(
    arguments: list[str],
    page: str | None,
    seconds: float,
    to_out: bool,
    to_err: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three minutes, unless it is told otherwise; the address never gets into the JSON."""
    plans: list[Plan] = []

    def fake(plan: Plan, choice: str, view: Any, *, dashboard: bool) -> Any:
        plans.append(plan)
        with quiet_scene() as scene:
            scene.dashboard = PAGE if dashboard else None
            view.begin(scene)
            return make_report(scene, interrupted=False)

    monkeypatch.setattr(script, "play", fake)
    assert cli.main(["demo", *arguments]) == 0
    out, err = capsys.readouterr()
    assert plans[0].seconds == seconds
    assert (PAGE in out, PAGE in err) == (to_out, to_err)
