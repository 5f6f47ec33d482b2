"""Where a signal is that was taken and did not arrive: the Collector says what it did with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import Unreachable
from . import ask
from .backends import named
from .canary import Signal
from .site import Backends


@dataclass(frozen=True, slots=True)
class Route:
    """A signal, the backend where it must arrive, and the Collector's exporter on the way."""

    signal: Signal
    backend: str
    exporter: str


ROUTES = (
    Route("metric", "prometheus", "otlp_http/prometheus"),
    Route("log", "loki", "otlp_http/loki"),
    Route("span", "jaeger", "otlp_grpc/jaeger"),
)


def where_it_is(backends: Backends, route: Route, by_agent: bool) -> tuple[str, str]:
    """Problem and remedy for a signal that was sent and is not found in time."""
    title = named(route.backend).title
    problem = f"was taken, and is not in {title}"
    numbers = exporter_numbers(backends.collector_metrics, route.exporter)
    if waiting := numbers.get("queue_size"):
        problem += f"; {waiting:.0f} items wait in the Collector's queue for it"
        return problem, f"is {title} slow or full? its log says"
    if numbers.get("send_failed"):
        return f"{problem}; it refused what the Collector sent", "the Collector's log says why"
    if by_agent:
        return problem, "when the direct canary arrived, look at the agent: tickbird health"
    return problem, "look at the Collector's pipelines and log, or allow a longer --timeout"


def where_to_write(backend: str) -> str:
    key = "collector.endpoint" if backend == "collector" else f"backends.{backend}"
    return f"set {key} in the configuration"


def exporter_numbers(url: str | None, exporter: str) -> dict[str, float]:
    """``queue_size`` and ``send_failed`` of one exporter; empty when the Collector cannot say."""
    if url is None:
        return {}
    try:
        text = ask.text(url)
    except Unreachable:
        return {}
    label = re.escape(f'exporter="{exporter}"')
    pattern = rf"^otelcol_exporter_(queue_size|send_failed)\w*\{{[^}}]*{label}[^}}]*}} (\S+)"
    numbers: dict[str, float] = {}
    for kind, value in re.findall(pattern, text, re.MULTILINE):
        numbers[kind] = numbers.get(kind, 0.0) + float(value)
    return numbers
