"""What docker compose says of the services, read as the state of the stack. An engine is not at
hand everywhere, so a program in its place prints what the real one does."""

import json
import os
from pathlib import Path

import pytest

from tickbird.stack import compose


def row(service: str, state: str, code: int, health: str = "") -> dict[str, object]:
    image = f"example/{service}:1.2.3@sha256:0"
    return {
        "Service": service, "State": state, "ExitCode": code, "Health": health,
        "Image": image, "Name": f"tickbird-{service}-1",
    }  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docker = tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TICKBIRD_STACK_HOME", str(tmp_path / "stack"))
    docker.write_text(f"#!/bin/sh\ncat {tmp_path}/rows\n")
    docker.chmod(0o700)
    return tmp_path / "rows"


def test_a_service_that_was_stopped_is_down_however_it_ended(engine: Path) -> None:
    rows = [
        row("owners", "exited", 0),
        row("prometheus", "running", 0, "healthy"),
        row("loki", "exited", 0),
        row("jaeger", "running", 0, "unhealthy"),
    ]
    engine.write_text("".join(json.dumps(one) + "\n" for one in rows))
    states = {one.name: one for one in compose.status("default")}
    assert {name: one.up for name, one in states.items()} == {
        "prometheus": True,
        "loki": False,
        "jaeger": False,
    }
    assert states["loki"].problem == "exited"
    assert states["prometheus"].version == "1.2.3"
