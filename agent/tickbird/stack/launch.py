"""Starts single backends: free ports, configuration, process, and the wait for an answer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from ..errors import CannotCreate, Unreachable
from ..paths import bundle, private_folder
from . import Progress, processes
from .backends import BACKENDS, Backend, environment_of
from .build import Found
from .processes import Process
from .site import LOOPBACK, Site

START_WITHIN = 120.0
_PORT_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """One backend that was started: its process, program and version."""

    process: Process
    program: str
    version: str


def check_ports(place: Site, missing: Sequence[Backend]) -> None:
    """CannotCreate, naming port and holder, unless every port of ``missing`` is free. A killed
    process holds its ports until its last thread is gone, hence a little patience."""
    end = time.monotonic() + _PORT_PATIENCE
    while taken := _taken(place, missing):
        if time.monotonic() > end:
            named = ", ".join(f"{port} ({title}{_holder(port)})" for port, title in taken)
            raise CannotCreate(
                f"port {named} on {LOOPBACK} is taken",
                "stop what listens there, or move the stack: tickbird stack up --native "
                "--name other --ports-from 20000",
            )
        time.sleep(0.1)


def _taken(place: Site, missing: Sequence[Backend]) -> list[tuple[int, str]]:
    wanted = [(getattr(place.ports, name), b.title) for b in missing for name in b.ports]
    return [(port, title) for port, title in wanted if not _free(port)]


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """`` held by NAME, pid N`` where this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr
            if (
                at
                and at.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f", held by {psutil.Process(connection.pid).name()} {connection.pid}"
    except psutil.Error:
        return ""
    return ""


def start(backend: Backend, place: Site, found: Found) -> Running:
    """Start the process, its configuration being written; it does not answer yet."""
    private_folder(place.data(backend.name))
    process = processes.start(
        [str(found.program), *backend.command(place)],
        folder=place.data(backend.name),
        log=place.log(backend.name),
        environment={**os.environ, **environment_of(backend, place)},
    )
    return Running(process, str(found.program), found.version)


def write_config(place: Site) -> None:
    """The committed files, copied; Prometheus expands no variables, so its addresses are put in.
    To be done before the first backend starts: none may read a file that is being written."""
    root = bundle()
    private_folder(place.folder / "config")
    for source in (
        root / "collector-config" / "collector.yaml",
        root / "compose" / "config" / "loki.yaml",
        root / "compose" / "config" / "jaeger.yaml",
        root / "alerts" / "alertmanager.yaml",
    ):
        place.config(source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    text = (root / "compose" / "config" / "prometheus.yaml").read_text(encoding="utf-8")
    for named, address in {
        "localhost:9090": place.address("prometheus"),
        "alertmanager:9093": place.address("alertmanager"),
        "collector:8888": place.address("collector_metrics"),
        "loki:3100": place.address("loki"),
        "jaeger:8888": place.address("jaeger_metrics"),
        "host.docker.internal:8425": f"{LOOPBACK}:8425",
        "/etc/prometheus/rules/": f"{root / 'alerts' / 'rules'}{os.sep}",
    }.items():
        text = text.replace(named, address)
    place.config("prometheus.yaml").write_text(text, encoding="utf-8")


def wait_for_answers(place: Site, running: Mapping[str, Running], progress: Progress) -> None:
    began = time.monotonic()
    waiting, spoke = list(BACKENDS), began
    while waiting:
        for backend in list(waiting):
            problem = _problem(backend, place, running[backend.name])
            if problem is None:
                waiting.remove(backend)
                progress(
                    f"{backend.title} {running[backend.name].version} answers on "
                    f"{backend.url(place.backends())} after {time.monotonic() - began:.1f} s"
                )
        if not waiting:
            return
        now = time.monotonic()
        if now - began > START_WITHIN:
            raise _no_start(waiting[0], place, f"did not answer within {START_WITHIN:.0f} s")
        if now - spoke >= 5:
            spoke = now
            progress(f"waiting for {', '.join(b.title for b in waiting)}, {now - began:.0f} s")
        time.sleep(0.2)


def _problem(backend: Backend, place: Site, running: Running) -> str | None:
    """Why ``backend`` cannot be used yet; raises when it never will."""
    if not running.process.alive():
        raise _no_start(backend, place, "ended at once")
    try:
        backend.question(backend.url(place.backends()) or "", 2.0)
    except Unreachable as error:
        return str(error)
    return None


def _no_start(backend: Backend, place: Site, what: str) -> Unreachable:
    log = place.log(backend.name)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-2:]
    return Unreachable(
        f"{backend.title} {what}: {' | '.join(lines)[-600:]}", f"read its log: {log}"
    )
