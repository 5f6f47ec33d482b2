"""The Collector's and the backends' configuration: rules of the house, then the real programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from backends import programs, tool
from tickbird.histogram import HTTP_BOUNDS
from tickbird.paths import bundle
from tickbird.stack import launch
from tickbird.stack.site import Ports, Site

COLLECTOR = yaml.safe_load((bundle() / "collector-config" / "collector.yaml").read_text())
BUILDER = yaml.safe_load((bundle() / "collector-config" / "builder.yaml").read_text())
DEPRECATED = {"otlp", "otlphttp", "spanmetrics", "servicegraph", "resourcedetection", "filelog"}


def _kind(name: str) -> str:
    return name.partition("/")[0]


@pytest.mark.parametrize("signal", ["metrics", "logs", "traces"])
def test_memory_is_limited_first_and_nothing_is_batched_in_between(signal: str) -> None:
    pipeline = COLLECTOR["service"]["pipelines"][signal]
    assert pipeline["processors"][0] == "memory_limiter"
    assert "batch" not in map(_kind, pipeline["processors"])


@pytest.mark.parametrize("name", COLLECTOR["exporters"])
def test_an_exporter_keeps_what_it_cannot_send(name: str) -> None:
    exporter = COLLECTOR["exporters"][name]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
    queue = exporter["sending_queue"]
    assert queue["storage"] == "file_storage"
    assert queue["sizer"] == "items"
    assert queue["batch"]["max_size"] >= queue["batch"]["min_size"] > 0
    assert _kind(name) not in DEPRECATED


def test_everything_that_a_pipeline_names_is_configured_and_the_other_way_round() -> None:
    connectors = set(COLLECTOR["connectors"])
    receivers = {r for p in COLLECTOR["service"]["pipelines"].values() for r in p["receivers"]}
    exporters = {e for p in COLLECTOR["service"]["pipelines"].values() for e in p["exporters"]}
    processors = {e for p in COLLECTOR["service"]["pipelines"].values() for e in p["processors"]}
    assert receivers - connectors == set(COLLECTOR["receivers"])
    assert exporters - connectors == set(COLLECTOR["exporters"])
    assert processors == set(COLLECTOR["processors"])
    assert connectors == receivers & exporters
    assert set(COLLECTOR["service"]["extensions"]) == set(COLLECTOR["extensions"])


def test_span_metrics_use_the_bounds_of_http_server_requests_and_expire() -> None:
    connector = COLLECTOR["connectors"]["span_metrics"]
    buckets = connector["histogram"]["explicit"]["buckets"]
    seconds = tuple(float(b[:-2]) / 1000 if b.endswith("ms") else float(b[:-1]) for b in buckets)
    assert seconds == HTTP_BOUNDS
    assert connector["histogram"]["unit"] == "s"
    assert connector["exemplars"]["enabled"] is True
    assert connector["metrics_expiration"] == "5m"


def test_self_telemetry_is_pulled_and_keeps_the_suffix_of_counters() -> None:
    (reader,) = COLLECTOR["service"]["telemetry"]["metrics"]["readers"]
    assert list(reader) == ["pull"]
    assert reader["pull"]["exporter"]["prometheus"]["without_type_suffix"] is False


def test_the_recipe_takes_every_module_from_one_release() -> None:
    version = BUILDER["dist"]["version"]
    modules = [
        entry["gomod"].split()
        for part in ("extensions", "receivers", "processors", "connectors", "exporters")
        for entry in BUILDER[part]
    ]
    assert {pin for _, pin in modules} == {f"v{version}"}
    pinned = (bundle() / "compose" / "native" / "otelcol" / "go.mod").read_text()
    for module, pin in modules:
        assert f"{module} {pin}" in pinned
    builder = (bundle() / "compose" / "native" / "builder" / "go.mod").read_text()
    assert f"go.opentelemetry.io/collector/cmd/builder v{version}" in builder


def test_loki_indexes_four_labels_and_deletes_what_is_old() -> None:
    loki = yaml.safe_load((bundle() / "compose" / "config" / "loki.yaml").read_text())
    attributes = loki["limits_config"]["otlp_config"]["resource_attributes"]
    assert attributes["ignore_defaults"] is True
    (rule,) = attributes["attributes_config"]
    assert len(rule["attributes"]) == 4
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["compactor"]["delete_request_store"]
    assert loki["frontend"]["address"] == "127.0.0.1"


def test_prometheus_takes_late_samples_and_bounds_time_and_size() -> None:
    prometheus = yaml.safe_load((bundle() / "compose" / "config" / "prometheus.yaml").read_text())
    database = prometheus["storage"]["tsdb"]
    assert database["out_of_order_time_window"] == "30m"
    assert set(database["retention"]) == {"time", "size"}
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    assert {"collector", "loki", "jaeger", "alertmanager", "prometheus"} < set(jobs)
    assert jobs["tickbird-agent"]["metrics_path"] == "/metrics/self"


@pytest.fixture
def rendered(tmp_path: Path) -> Site:
    place = Site("checked", tmp_path, Ports.starting_at(30000))
    launch.write_config(place)
    return place


@pytest.mark.backends
@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        ("otelcol", ["validate", "--config={}/collector.yaml"]),
        ("jaeger", ["validate", "--config={}/jaeger.yaml"]),
        ("loki", ["-config.file={}/loki.yaml", "-config.expand-env=true", "-verify-config"]),
    ],
)
def test_the_real_program_accepts_its_configuration(
    rendered: Site, recipe: str, arguments: list[str]
) -> None:
    folder = str(rendered.folder / "config")
    done = subprocess.run(
        [programs()[recipe].program, *(argument.format(folder) for argument in arguments)],
        env={**os.environ, **rendered.environment()},
        cwd=rendered.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecat" not in (done.stdout + done.stderr).lower()


@pytest.mark.backends
def test_promtool_accepts_the_rendered_prometheus_configuration_and_its_rules(
    rendered: Site,
) -> None:
    file = rendered.config("prometheus.yaml")
    done = subprocess.run(
        [tool("promtool"), "check", "config", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
    addresses = [
        target
        for job in yaml.safe_load(file.read_text())["scrape_configs"]
        for target in job["static_configs"][0]["targets"]
    ]
    assert all(address.startswith("127.0.0.1:") for address in addresses), addresses
