"""The script: which acts there are, and how the evening is played and brought to an end."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from meshhook.demo.calls import Calls
from meshhook.demo.dashboard import open_dashboard
from meshhook.demo.journal import Journal
from meshhook.demo.policies import Policies, demo_policies
from meshhook.demo.processes import DemoError, ServiceProcess
from meshhook.demo.report import Report, make_report
from meshhook.demo.stage import Act, Scene
from meshhook.demo.store import open_store
from meshhook.demo.workload import Workload
from meshhook.stores.protocol import Store

_FRAME = 0.2
_FULL_LENGTH = 24.0
_LIMIT = 0.4
_RESET_TIMEOUT = 1.0

ACTS = (
    Act("healthy", "it answers at once", 0.10),
    Act("hiccups", "a few requests fail, others are slow", 0.16, 1.0, 0.1, slow_share=0.1),
    Act("slow answers", "most answers come too late", 0.16, delay=2.5),
    Act("errors", "two of three requests end in a 500", 0.15, error_rate=0.66),
    Act("recovered", "it answers at once", 0.09),
    Act("kill -9", "killed in the middle of its work", 0.12, killed=True),
    Act("restart", "a new one on the same port", 0.09, restarted=True),
    Act("healthy again", "it answers at once", 0.13),
)
"""``delay`` is in timeouts: that of the calls is the unit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long the demo lasts, and the settings that follow from it. All in seconds."""

    seconds: float
    limit: float
    reset_timeout: float

    @classmethod
    def lasting(cls, seconds: float) -> Plan:
        """Shorten what would not fit into a short demo."""
        scale = min(1.0, seconds / _FULL_LENGTH)
        return cls(
            seconds=seconds,
            limit=max(0.2, _LIMIT * scale),
            reset_timeout=max(0.2, _RESET_TIMEOUT * scale),
        )


class View(Protocol):
    """Whoever watches: the live table, the plain lines, or nobody."""

    def begin(self, scene: Scene) -> None:
        """Look at the empty stage."""

    def frame(self, scene: Scene) -> None:
        """Look at the stage; several times a second."""

    def end(self, scene: Scene) -> None:
        """Look for the last time, also when the demo was interrupted."""

    def report(self, report: Report) -> None:
        """Show what came of it."""


def play(
    plan: Plan,
    choice: str,
    view: View,
    make_policies: Callable[[Store, float, float], Policies] = demo_policies,
    *,
    dashboard: bool = False,
) -> Report:
    """Play all acts against the store of that choice, and report.

    With ``dashboard``, a page shows the policies while it is played.
    Ctrl-C (or SIGTERM) ends the play early; the report covers what there was. Raises DemoError when
    it cannot be played. Whatever was started is ended, however this is left.
    """
    with ExitStack() as stack:
        stack.enter_context(_terminate_like_interrupt())
        store = stack.enter_context(open_store(choice))
        policies = make_policies(store, plan.limit, plan.reset_timeout)
        page = stack.enter_context(open_dashboard(policies.registry)) if dashboard else None
        service = stack.enter_context(ServiceProcess())
        journal = stack.enter_context(Journal())
        calls = Calls(service.port, policies, journal)
        workload = stack.enter_context(Workload(calls, journal))
        scene = Scene(
            acts=ACTS,
            seconds=plan.seconds,
            store=store.name,
            policies=policies,
            journal=journal,
            service=service,
            calls=calls,
            dashboard=page,
        )
        interrupted = False
        try:
            view.begin(scene)
            _play_acts(scene, workload, view)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            view.end(scene)
        workload.stop()
        service.stop()
        return make_report(scene, interrupted=interrupted)


def _play_acts(scene: Scene, workload: Workload, view: View) -> None:
    began = time.monotonic()
    end = began
    for number, act in enumerate(scene.acts):
        scene.at = time.monotonic() - began
        scene.enter(number)
        _set_up(act, scene)
        end += act.share * scene.seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_FRAME, left))
            if workload.crash is not None:
                raise workload.crash
            scene.update(time.monotonic() - began)
            view.frame(scene)


def _set_up(act: Act, scene: Scene) -> None:
    if act.killed:
        scene.note(f"service: process {scene.service.pid} gets SIGKILL")
        scene.service.kill()
    elif act.restarted:
        scene.service.start()
        scene.note(f"service: process {scene.service.pid} starts")
    else:
        scene.service.wait_until_ready()
        scene.service.set_faults(
            delay=act.delay * scene.policies.limit,
            error_rate=act.error_rate,
            slow_share=act.slow_share,
        )


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that it cleans up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: signals are somebody else's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["ACTS", "DemoError", "Plan", "View", "play"]
