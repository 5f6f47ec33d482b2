"""The same stack as services of a container engine, through docker compose."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from ..errors import Unreachable
from ..paths import bundle, private_folder
from . import Progress
from .native import State
from .site import Backends, forget, home, remember

ENDS_AT_ONCE = "owners"
"""The service that prepares the volumes for the others."""

URLS = Backends(grafana="http://127.0.0.1:3000", collector_metrics="http://127.0.0.1:8888/metrics")
"""compose.yaml publishes these on loopback."""


def engine_answers() -> bool:
    """Whether a container engine with the compose plugin can be used by this user."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return all(
        _quiet([docker, *arguments])
        for arguments in (["version", "--format", "{{.Server.Version}}"], ["compose", "version"])
    )


def up(name: str, progress: Progress) -> None:
    """Start every service and wait until those with a health check are healthy."""
    password = _grafana_password(name)
    progress("starting the services of compose.yaml; the first time their images are pulled")
    _compose(name, "up", "--detach", "--wait")
    remember(name, URLS)
    progress(f"Grafana: {URLS.grafana}, user admin, password in {password}")


def down(name: str) -> None:
    """Stop and remove the services; volumes stay."""
    forget(name)
    _compose(name, "down")


def logs(name: str, service: str | None, lines: int) -> None:
    """The last lines of each service's log, on the caller's terminal."""
    _compose(name, "logs", "--tail", str(lines), *([service] if service else []))


def status(name: str) -> list[State]:
    """One state per service; empty when none was started."""
    answer = _run(name, ["ps", "--all", "--format", "json"], capture=True)
    rows = [json.loads(line) for line in answer.splitlines() if line.startswith("{")]
    return [_state(row) for row in rows if row.get("Service") != ENDS_AT_ONCE]


def _state(row: dict[str, str]) -> State:
    running = row.get("State") == "running" and row.get("Health") in ("", "healthy", None)
    return State(
        name=str(row.get("Service")),
        up=running,
        problem=None if running else f"{row.get('State')} {row.get('Health') or ''}".strip(),
        version=str(row.get("Image", "")).partition("@")[0].rpartition(":")[2] or None,
        url=getattr(URLS, str(row.get("Service")), None),
        pid=None,
        memory_bytes=None,
        log=f"docker logs {row.get('Name')}",
    )


def _grafana_password(name: str) -> Path:
    """The file with Grafana's password, drawn at random when it is not there."""
    path = private_folder(home() / name) / "grafana-password"
    if not path.exists():
        path.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        # Mounted as it is, and Grafana is another user; what keeps others out is the folder.
        path.chmod(0o644)
    return path


def _compose(name: str, *arguments: str) -> None:
    _run(name, list(arguments), capture=False)


def _run(name: str, arguments: list[str], *, capture: bool) -> str:
    file = bundle() / "compose" / "compose.yaml"
    command = ["docker", "compose", "--project-name", f"tickbird-{name}", "--file", str(file)]
    environment = {**os.environ, "GRAFANA_PASSWORD_FILE": str(home() / name / "grafana-password")}
    try:
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            text=True,
            check=True,
            stdout=subprocess.PIPE if capture else None,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unreachable(
            f"docker compose {arguments[0]} failed",
            "read what it said above; without an engine: tickbird stack up --native",
        ) from error
    return done.stdout or ""


def _quiet(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
