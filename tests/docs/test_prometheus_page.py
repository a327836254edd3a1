"""The page about Prometheus names every metric and every alert, as they are."""

from __future__ import annotations

from typing import Any

import yaml

from meshhook.observe.catalogue import DEFINITIONS
from meshhook.observe.metrics import prometheus_name
from tests.docs.pages import ROOT, code, section, table

PAGE = (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8")


def test_every_metric_is_in_the_table() -> None:
    """Name, kind, labels, help, and what several processes make together; in order."""
    expected = [
        [
            f"`{prometheus_name(each.name, each.unit)}{'_total' * (each.kind == 'counter')}`",
            each.kind,
            ", ".join(f"`{label}`" for label in each.labels) or "none",
            each.help,
            {"sum": "sum", "max": "highest"}[each.across],
        ]
        for each in DEFINITIONS
    ]
    assert table(section(PAGE, "The metrics")) == expected


def test_every_alert_is_in_the_table() -> None:
    """With its severity, in the order of the file."""
    rules: Any = yaml.safe_load((ROOT / "examples" / "prometheus" / "alerts.yml").read_text())
    alerts = [
        (rule["alert"], rule["labels"]["severity"])
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    rows = table(section(PAGE, "Alerts and a board"))
    assert [(code(name), severity) for name, severity, _ in rows] == alerts
