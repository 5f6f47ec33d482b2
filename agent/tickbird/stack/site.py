"""Where a stack lives: its folder, its ports, its addresses."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..paths import private_folder, state_home

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port that a native stack listens on; the defaults are those of the projects."""

    otlp_grpc: int = 4317
    otlp_http: int = 4318
    collector_health: int = 13133
    collector_metrics: int = 8888
    prometheus: int = 9090
    alertmanager: int = 9093
    loki: int = 3100
    loki_grpc: int = 9096
    jaeger: int = 16686
    jaeger_grpc: int = 16685
    jaeger_otlp: int = 14317
    jaeger_health: int = 13134
    jaeger_metrics: int = 8887

    @classmethod
    def starting_at(cls, first: int) -> Ports:
        """The same list on consecutive ports; UsageError when it does not fit below 65536."""
        names = [field.name for field in fields(cls)]
        if not 1024 <= first <= 65536 - len(names):
            raise UsageError(
                f"--ports-from {first}: the stack needs {len(names)} ports in a row above 1023",
                "choose a number between 1024 and 65000, for example 20000",
            )
        return cls(**{name: first + offset for offset, name in enumerate(names)})


@dataclass(frozen=True, slots=True)
class Backends:
    """Base URLs of the backends; None where there is none."""

    collector: str | None = "http://127.0.0.1:4318"
    prometheus: str | None = "http://127.0.0.1:9090"
    loki: str | None = "http://127.0.0.1:3100"
    jaeger: str | None = "http://127.0.0.1:16686"
    alertmanager: str | None = "http://127.0.0.1:9093"
    grafana: str | None = None
    collector_metrics: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """One stack on this machine."""

    name: str
    folder: Path
    ports: Ports

    def data(self, backend: str) -> Path:
        return self.folder / backend

    def log(self, backend: str) -> Path:
        return self.folder / f"{backend}.log"

    def config(self, file: str) -> Path:
        return self.folder / "config" / file

    def address(self, port: str) -> str:
        """``127.0.0.1:N`` of a port by its name in ``Ports``."""
        return f"{LOOPBACK}:{getattr(self.ports, port)}"

    def backends(self) -> Backends:
        return Backends(
            collector=f"http://{self.address('otlp_http')}",
            prometheus=f"http://{self.address('prometheus')}",
            loki=f"http://{self.address('loki')}",
            jaeger=f"http://{self.address('jaeger')}",
            alertmanager=f"http://{self.address('alertmanager')}",
            collector_metrics=f"http://{self.address('collector_metrics')}/metrics",
        )

    def environment(self) -> dict[str, str]:
        """The variables that the committed configuration files read."""
        return {
            "STACK_LISTEN": LOOPBACK,
            "STACK_OTLP_GRPC": self.address("otlp_grpc"),
            "STACK_OTLP_HTTP": self.address("otlp_http"),
            "STACK_COLLECTOR_HEALTH": self.address("collector_health"),
            "STACK_COLLECTOR_METRICS_HOST": LOOPBACK,
            "STACK_COLLECTOR_METRICS_PORT": str(self.ports.collector_metrics),
            "STACK_COLLECTOR_DATA": str(self.data("collector")),
            "STACK_PROMETHEUS_URL": f"http://{self.address('prometheus')}",
            "STACK_LOKI_URL": f"http://{self.address('loki')}",
            "STACK_LOKI_PORT": str(self.ports.loki),
            "STACK_LOKI_GRPC_PORT": str(self.ports.loki_grpc),
            "STACK_LOKI_DATA": str(self.data("loki")),
            "STACK_JAEGER_OTLP": self.address("jaeger_otlp"),
            "STACK_JAEGER_QUERY": self.address("jaeger"),
            "STACK_JAEGER_QUERY_GRPC": self.address("jaeger_grpc"),
            "STACK_JAEGER_HEALTH": self.address("jaeger_health"),
            "STACK_JAEGER_METRICS_PORT": str(self.ports.jaeger_metrics),
            "STACK_JAEGER_DATA": str(self.data("jaeger")),
        }


def home() -> Path:
    """Where stacks keep their data: TICKBIRD_STACK_HOME, else ``stack`` in the state folder."""
    chosen = os.environ.get("TICKBIRD_STACK_HOME")
    return Path(chosen) if chosen else state_home() / "stack"


def site(name: str, ports: Ports) -> Site:
    """The stack called ``name``; its folder is not made yet."""
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise UsageError(f"{name!r} is no name for a stack", "use letters, digits, - and _")
    return Site(name, home() / name, ports)


def remember(name: str, backends: Backends) -> None:
    """Make this stack the one that ``verify`` asks when nothing else is said."""
    private_folder(home())
    write_private(
        home() / "current.json", {"schema": 1, "name": name, "backends": asdict(backends)}
    )


def forget(name: str) -> None:
    """Undo ``remember``, unless another stack has taken its place."""
    document = read_json(home() / "current.json")
    if document and document.get("name") == name:
        (home() / "current.json").unlink(missing_ok=True)


def current() -> Backends | None:
    """Addresses of the stack that was started last and is not taken down; None for none."""
    document = read_json(home() / "current.json")
    if document is None or not isinstance(document.get("backends"), dict):
        return None
    known = {field.name for field in fields(Backends)}
    return Backends(**{k: v for k, v in document["backends"].items() if k in known})


def current_name() -> str | None:
    """Name of the stack that ``current`` describes."""
    document = read_json(home() / "current.json")
    return document.get("name") if document else None


def write_private(path: Path, document: Any) -> None:
    """Write JSON with mode 0600, whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when it is missing or is not one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
