"""How each backend is started natively and what it is asked to show that it works.

A health endpoint is not believed: Loki's says ready while every query hangs. Each backend answers a
real question instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Unreachable
from . import ask
from .site import Backends, Site

EMPTY_TRACES = b'{"resourceSpans":[]}'


@dataclass(frozen=True, slots=True)
class Backend:
    """``command`` gives the arguments after the program; ``ports`` are names in ``Ports``, the
    first being the one that people know it by."""

    name: str
    recipe: str
    title: str
    ports: tuple[str, ...]
    command: Callable[[Site], list[str]]
    question: Callable[[str, float], None]

    def url(self, backends: Backends) -> str | None:
        value = getattr(backends, self.name)
        return value if isinstance(value, str) else None


def _collector(site: Site) -> list[str]:
    return [f"--config={site.config('collector.yaml')}"]


def _prometheus(site: Site) -> list[str]:
    return [
        f"--config.file={site.config('prometheus.yaml')}",
        f"--storage.tsdb.path={site.data('prometheus')}",
        f"--web.listen-address={site.address('prometheus')}",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
        "--log.format=json",
    ]


def _alertmanager(site: Site) -> list[str]:
    return [
        f"--config.file={site.config('alertmanager.yaml')}",
        f"--storage.path={site.data('alertmanager')}",
        f"--web.listen-address={site.address('alertmanager')}",
        "--cluster.listen-address=",
        "--log.format=json",
    ]


def _loki(site: Site) -> list[str]:
    return [f"-config.file={site.config('loki.yaml')}", "-config.expand-env=true"]


def _jaeger(site: Site) -> list[str]:
    return [f"--config={site.config('jaeger.yaml')}"]


def _ask_collector(url: str, timeout: float) -> None:
    ask.text(f"{url}/v1/traces", body=EMPTY_TRACES, timeout=timeout)


def _ask_prometheus(url: str, timeout: float) -> None:
    answer = ask.document(f"{url}/api/v1/query", {"query": "vector(1)"}, timeout=timeout)
    if answer.get("status") != "success":
        raise Unreachable(f"Prometheus refuses a query: {answer.get('error')}")


def _ask_alertmanager(url: str, timeout: float) -> None:
    ask.document(f"{url}/api/v2/status", timeout=timeout)


def _ask_loki(url: str, timeout: float) -> None:
    now = time.time()
    query = {
        "query": '{service_name="tickbird"}',
        "start": str(int(now - 60)),
        "end": str(int(now)),
        "limit": "1",
    }
    answer = ask.document(f"{url}/loki/api/v1/query_range", query, timeout=timeout)
    if answer.get("status") != "success":
        raise Unreachable(f"Loki refuses a query: {answer}")


def _ask_jaeger(url: str, timeout: float) -> None:
    ask.document(f"{url}/api/services", timeout=timeout)


BACKENDS: tuple[Backend, ...] = (
    Backend("loki", "loki", "Loki", ("loki", "loki_grpc"), _loki, _ask_loki),
    Backend(
        "prometheus", "prometheus", "Prometheus", ("prometheus",), _prometheus, _ask_prometheus
    ),
    Backend(
        "jaeger",
        "jaeger",
        "Jaeger",
        ("jaeger", "jaeger_grpc", "jaeger_otlp", "jaeger_health", "jaeger_metrics"),
        _jaeger,
        _ask_jaeger,
    ),
    Backend(
        "alertmanager",
        "alertmanager",
        "Alertmanager",
        ("alertmanager",),
        _alertmanager,
        _ask_alertmanager,
    ),
    Backend(
        "collector",
        "otelcol",
        "Collector",
        ("otlp_http", "otlp_grpc", "collector_health", "collector_metrics"),
        _collector,
        _ask_collector,
    ),
)
"""In the order in which they are started: Loki takes longest. The Collector is told to stop first,
while those behind it still take what it holds."""


def named(name: str) -> Backend:
    return next(backend for backend in BACKENDS if backend.name == name)


def environment_of(backend: Backend, site: Site) -> dict[str, str]:
    """What the program needs to know, on top of the caller's environment."""
    extra = {"GOMEMLIMIT": "320MiB"} if backend.name == "collector" else {}
    return {**site.environment(), **extra}
