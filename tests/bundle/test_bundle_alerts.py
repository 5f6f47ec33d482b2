"""Every rule: parsed, tested both ways by the real promtool, explained in the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from backends import tool
from bundle_metrics import known_metrics, metrics_of
from tickbird.paths import bundle

ALERTS = bundle() / "alerts"
RULE_FILES = sorted((ALERTS / "rules").glob("*.yaml"))
RULES = [
    (file, rule)
    for file in RULE_FILES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
NAMES = sorted({rule["alert"] for _, rule in RULES})
ALWAYS_FIRES = {"Watchdog"}


def _tests_of(file: Path) -> list[dict]:
    return yaml.safe_load((ALERTS / "tests" / file.name).read_text())["tests"]


@pytest.mark.backends
def test_promtool_accepts_every_rule() -> None:
    subprocess.run([tool("promtool"), "check", "rules", *RULE_FILES], check=True)


@pytest.mark.backends
@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_promtool_sees_every_alert_fire_and_stay_silent(file: Path) -> None:
    tests = ALERTS / "tests" / file.name
    done = subprocess.run(
        [tool("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_firing_and_a_silent_case(name: str) -> None:
    file = next(file for file, rule in RULES if rule["alert"] == name)
    cases = [test for test in _tests_of(file) if name in test["name"]]
    fires = [t for t in cases if "promql_expr_test" in t and "fire" in t["name"]]
    silent = [
        t
        for t in cases
        for alert in t.get("alert_rule_test", [])
        if alert["alertname"] == name and alert["exp_alerts"] == [] and "silent" in t["name"]
    ]
    assert fires, f"no test in which {name} fires"
    assert silent or name in ALWAYS_FIRES, f"no test in which {name} stays silent"


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_section_in_the_runbook(name: str) -> None:
    headings = re.findall(r"(?m)^## (\w+)$", (ALERTS / "RUNBOOK.md").read_text())
    assert name in headings
    for _, rule in RULES:
        if rule["alert"] == name:
            url = rule["annotations"]["runbook_url"]
            assert url == f"alerts/RUNBOOK.md#{name.lower()}"


def test_the_runbook_has_no_section_without_an_alert() -> None:
    headings = re.findall(r"(?m)^## (\w+)$", (ALERTS / "RUNBOOK.md").read_text())
    assert sorted(headings) == NAMES


@pytest.mark.parametrize("rule", [rule for _, rule in RULES], ids=lambda rule: rule["alert"])
def test_a_rule_says_how_grave_it_is_what_it_means_and_reads_known_metrics(rule: dict) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    promql_parser.parse(rule["expr"])
    assert metrics_of(rule["expr"]) <= known_metrics(), rule["expr"]


def test_alertmanager_inhibits_only_alerts_that_exist() -> None:
    config = yaml.safe_load((ALERTS / "alertmanager.yaml").read_text())
    matchers = [
        matcher
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
    ]
    named = [re.fullmatch(r'alertname = "(\w+)"', matcher) for matcher in matchers]
    assert named
    assert {found[1] for found in named if found} <= set(NAMES)
