"""Boards: generated, committed, and following the rules that make a board portable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_metrics import known_metrics, metrics_of
from tickbird.paths import bundle

FOLDER = bundle() / "dashboards"
BOARDS = sorted((FOLDER / "json").glob("*.json"))
UNITS = {"s", "percentunit", "bytes", "reqps", "short"}


def _board(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in _board(path)["panels"] if panel["type"] != "row"]


def _promql(path: Path) -> list[str]:
    return [
        target["expr"]
        for panel in _panels(path)
        for target in panel["targets"]
        if target["datasource"]["type"] == "prometheus"
    ]


def _filled_in(expression: str) -> str:
    for variable, value in {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def test_the_committed_boards_are_what_the_generator_writes() -> None:
    sources = Path(__file__).parents[2] / "dashboards" / "src"
    program = "import json, generate as g; print(json.dumps({n: g.render(n) for n in g.BOARDS}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=sources, capture_output=True, text=True, check=True
    )
    committed = {path.stem: path.read_text() for path in BOARDS}
    assert json.loads(done.stdout) == committed, "run: python dashboards/src/generate.py"


def test_every_board_has_an_address_of_its_own() -> None:
    uids = [_board(path)["uid"] for path in BOARDS]
    assert uids
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("tickbird-") for uid in uids)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_can_be_imported_anywhere(path: Path) -> None:
    board = _board(path)
    assert board["editable"] is False
    assert "id" not in board or board["id"] is None
    assert "__inputs" not in board
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    for kind in ("prometheus", "loki", "jaeger"):
        assert (variables[kind]["type"], variables[kind]["query"]) == ("datasource", kind)
    for name in ("job", "instance"):
        assert variables[name]["multi"] is True
        assert variables[name]["allValue"] == ".+"
        assert variables[name]["refresh"] == 2, "on a change of the time range"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_the_chosen_datasource(
    path: Path,
) -> None:
    for panel in _panels(path):
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["targets"], panel["title"]
        kind = panel["datasource"]["type"]
        assert panel["datasource"]["uid"] == f"${{{kind}}}"
        if panel["type"] != "logs":
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_query_parses_selects_by_the_variables_and_reads_known_metrics(path: Path) -> None:
    for expression in _promql(path):
        assert metrics_of(_filled_in(expression)) <= known_metrics(), expression
        assert expression.count('job=~"$job",instance=~"$instance"') == expression.count("{")
        if "rate(" in expression or "increase(" in expression:
            assert "[$__rate_interval]" in expression


def test_a_counter_is_never_shown_raw() -> None:
    for path in BOARDS:
        for expression in _promql(path):
            for name in metrics_of(_filled_in(expression)):
                if name.endswith(("_total", "_seconds_bucket", "_seconds_count")):
                    assert f"rate({name}" in expression or f"increase({name}" in expression


def test_provisioned_datasources_and_links_name_each_other_by_fixed_uids() -> None:
    file = FOLDER / "provisioning" / "datasources" / "tickbird.yaml"
    sources = {one["uid"]: one for one in yaml.safe_load(file.read_text())["datasources"]}
    assert set(sources) == {"prometheus", "loki", "jaeger"}
    targets = [
        sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"][0]["datasourceUid"],
        sources["loki"]["jsonData"]["derivedFields"][0]["datasourceUid"],
        sources["jaeger"]["jsonData"]["tracesToLogsV2"]["datasourceUid"],
    ]
    assert targets == ["jaeger", "jaeger", "loki"]
    text = "".join(line for line in file.read_text().splitlines() if "#" not in line)
    assert text.count("$") == 2 * text.count("$$"), "Grafana would expand a single $ itself"
