"""What is put into a service's environment, and what is left as the user has it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tickbird.exec import environment
from tickbird.exec.environment import instrumented


def made(environ: dict[str, str]) -> dict[str, str]:
    return instrumented(
        environ, name="shop", probe="127.0.0.1:1111", token="t", intake="[::1]:2222", stall=0.25
    )


def test_probes_intake_and_name_are_told() -> None:
    env = made({"PATH": "/bin"})
    assert env["PATH"] == "/bin"
    assert env["TICKBIRD_PROBE"] == "127.0.0.1:1111"
    assert env["TICKBIRD_STALL_SECONDS"] == "0.25"
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://[::1]:2222"
    assert env["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert env["OTEL_SERVICE_NAME"] == "shop"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert Path(env["NODE_OPTIONS"].removeprefix("--require=")).is_file()
    assert (Path(env["PYTHONPATH"]) / "sitecustomize.py").is_file()


def test_what_the_user_has_set_stays() -> None:
    env = made(
        {
            "NODE_OPTIONS": "--max-old-space-size=64",
            "PYTHONPATH": "/mine",
            "OTEL_SERVICE_NAME": "other",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
            "PYTHONUNBUFFERED": "",
        }
    )
    assert env["NODE_OPTIONS"].startswith("--max-old-space-size=64 --require=")
    assert env["PYTHONPATH"].endswith(":/mine")
    assert env["OTEL_SERVICE_NAME"] == "other"
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4317"
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" not in env
    assert env["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    "theirs",
    [
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_an_sdk_that_sends_elsewhere_is_left_alone(theirs: dict[str, str]) -> None:
    env = made(theirs)
    assert {key: env[key] for key in env if key.startswith("OTEL_EXPORTER")} == theirs


def test_an_sdk_whose_protocol_the_intake_speaks_is_given_the_intake() -> None:
    env = made({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://[::1]:2222"
    assert env["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/json"


@pytest.mark.node
@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
@pytest.mark.parametrize("folder", ["plain", "with space", 'quo"te', "back\\slash"])
def test_node_finds_a_file_under_any_path(tmp_path: Path, folder: str) -> None:
    probe = tmp_path / folder / "probe.cjs"
    probe.parent.mkdir()
    probe.write_text("globalThis.loaded = __filename")
    options = f"--no-warnings --require={environment._quoted(probe)}"
    shown = subprocess.run(
        ["node", "-p", "JSON.stringify(globalThis.loaded)"],
        env={"PATH": "/usr/bin:/usr/local/bin:/bin", "NODE_OPTIONS": options},
        capture_output=True,
        check=True,
    )
    assert json.loads(shown.stdout) == str(probe)
