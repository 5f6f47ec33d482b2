"""compose.yaml: what is pinned, bound, dropped and limited, read from the file itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tickbird.paths import bundle
from tickbird.stack.site import Ports, Site

FOLDER = bundle() / "compose"
FILE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
LASTING = {name: service for name, service in SERVICES.items() if name != "owners"}
PINS = dict(
    line.split("=", 1)
    for line in (FOLDER / ".env").read_text().splitlines()
    if line and not line.startswith("#")
)
CAN_ASK = {
    "prometheus": "promtool",
    "alertmanager": "wget",
    "loki": "/usr/bin/loki",
    "jaeger": "wget",
    "grafana": "wget",
}
"""Programs that the images are known to have; the Collector's has none but itself."""


def test_every_image_is_pinned_by_tag_and_digest() -> None:
    for name, service in SERVICES.items():
        variable = re.fullmatch(r"\$\{(\w+):\?\}", service["image"])
        assert variable, name
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", PINS[variable[1]]), name
    assert len(PINS) == 6


@pytest.mark.parametrize("name", LASTING)
def test_a_service_is_shut_off_from_its_host(name: str) -> None:
    service = LASTING[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith("0"), "runs as root"
    assert "privileged" not in service
    assert not any("docker.sock" in volume for volume in service["volumes"])


@pytest.mark.parametrize("name", LASTING)
def test_a_service_listens_on_loopback_only(name: str) -> None:
    assert LASTING[name]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in LASTING[name]["ports"])


@pytest.mark.parametrize("name", LASTING)
def test_a_service_has_limits_and_its_log_too(name: str) -> None:
    service = LASTING[name]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert service["logging"]["options"]["max-size"]
    assert service["depends_on"] == {"owners": {"condition": "service_completed_successfully"}}


def test_a_health_check_uses_only_what_its_image_has() -> None:
    checks = {n: s["healthcheck"]["test"][1] for n, s in SERVICES.items() if "healthcheck" in s}
    assert checks == CAN_ASK


def test_every_volume_is_declared_used_and_given_to_its_owner() -> None:
    used = {
        volume.partition(":")[0]
        for service in LASTING.values()
        for volume in service["volumes"]
        if not volume.startswith(".")
    }
    assert used == set(FILE["volumes"])
    chown = " ".join(SERVICES["owners"]["command"])
    for name in used:
        owner = LASTING[name]["user"]
        assert re.search(rf"chown {owner}[^&]* /data/{name}\b", chown), name


def test_every_mounted_file_exists() -> None:
    for service in LASTING.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
                assert volume.endswith(":ro"), source


def test_nobody_enters_grafana_without_the_password_file() -> None:
    environment = LASTING["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith("/run/secrets/")
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment
    assert FILE["secrets"]["grafana_password"]["file"].startswith("${GRAFANA_PASSWORD_FILE:?")


def test_published_ports_are_those_of_the_native_stack() -> None:
    published = {int(p.split(":")[1]) for s in LASTING.values() for p in s["ports"]}
    native = Ports()
    known = {native.otlp_grpc, native.otlp_http, native.prometheus, native.loki, native.jaeger}
    assert known | {native.alertmanager, native.collector_health, 3000, 8888} == published


def test_every_variable_that_a_configuration_file_reads_is_known() -> None:
    """A name that is misspelt would silently fall back to its default."""
    native = set(Site("x", FOLDER, Ports()).environment())
    compose = {key for service in LASTING.values() for key in service.get("environment", {})}
    read: set[str] = set()
    for path in (
        bundle() / "collector-config" / "collector.yaml",
        FOLDER / "config" / "loki.yaml",
        FOLDER / "config" / "jaeger.yaml",
    ):
        read |= set(re.findall(r"\$\{(?:env:)?(STACK_\w+)", path.read_text()))
    memory = {"STACK_COLLECTOR_MEMORY_MIB"}  # only compose limits the whole process
    assert read == native | memory
    assert {key for key in compose if key.startswith("STACK_")} <= read
