"""Every query of every board and rule, run by the real Prometheus and Loki."""

from __future__ import annotations

import json
import time

import pytest

from backends import Stack, until
from tickbird.paths import bundle
from tickbird.stack import ask

pytestmark = pytest.mark.backends

VARIABLES = {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+", "$service": ".+"}
TARGETS = [
    (f"{board.stem}: {panel['title']}", target["datasource"]["type"], target["expr"])
    for board in sorted((bundle() / "dashboards" / "json").glob("*.json"))
    for panel in json.loads(board.read_text())["panels"]
    for target in panel.get("targets", [])
]


def _filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


@pytest.mark.parametrize(("panel", "kind", "expression"), TARGETS)
def test_the_backend_runs_the_query_of_a_panel(
    stack: Stack, panel: str, kind: str, expression: str
) -> None:
    now = time.time()
    url, query = {
        "prometheus": (f"{stack.prometheus}/api/v1/query", {"query": _filled_in(expression)}),
        "loki": (
            f"{stack.loki}/loki/api/v1/query_range",
            {"query": _filled_in(expression), "start": str(int(now - 60)), "end": str(int(now))},
        ),
    }[kind]
    assert ask.document(url, query)["status"] == "success", panel


def test_prometheus_evaluates_every_rule_without_a_fault(stack: Stack) -> None:
    def rules() -> list[dict]:
        groups = ask.document(f"{stack.prometheus}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: rules() and all(rule["health"] != "unknown" for rule in rules()))
    assert [rule["lastError"] for rule in rules() if rule["health"] != "ok"] == []
