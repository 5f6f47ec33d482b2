"""Reading and changing decoded OTLP requests: pure functions over protobuf messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .histogram import index_of, merge
from .meters import HTTP_DURATION
from .model import HttpSeries, HttpSnapshot, Target
from .stages.correlate import correlation_id, names_request

_RESOURCES = {"traces": "resource_spans", "metrics": "resource_metrics", "logs": "resource_logs"}
_IDENTITY = frozenset(
    {"service.name", "service.instance.id", "service.namespace", "deployment.environment.name"}
)
_CUMULATIVE = 2
"""AGGREGATION_TEMPORALITY_CUMULATIVE of the protocol."""
_POINTS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def resources(signal: str, request: Any) -> Sequence[Any]:
    """The request's ResourceSpans, ResourceMetrics or ResourceLogs."""
    found: Sequence[Any] = getattr(request, _RESOURCES[signal])
    return found


def count_items(signal: str, request: Any) -> int:
    """Spans, log records or data points in the request."""
    if signal == "traces":
        return sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
    if signal == "logs":
        return sum(len(s.log_records) for r in request.resource_logs for s in r.scope_logs)
    return sum(len(points(m)) for r in request.resource_metrics for m in metrics_of(r))


def metrics_of(resource: Any) -> Iterator[Any]:
    for scope in resource.scope_metrics:
        yield from scope.metrics


def points(metric: Any) -> Any:
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind in _POINTS else ()


def attribute_values(attributes: Iterable[Any]) -> dict[str, Any]:
    """String and integer attributes as a plain dictionary; others are left out."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        if kind in ("string_value", "int_value"):
            found[attribute.key] = getattr(attribute.value, kind)
    return found


def owner_of(resource: Any, targets: Sequence[Target]) -> Target | None:
    """The target that a resource speaks of: by its pid, then by its name, then as the only one."""
    said = attribute_values(resource.resource.attributes)
    for target in targets:
        if target.pid is not None and said.get("process.pid") == target.pid:
            return target
    named = [target for target in targets if target.name == said.get("service.name")]
    if named or len(targets) == 1:
        return (named or targets)[0]
    return None


def adopt(resource: Any, target: Target) -> None:
    """Give the resource the target's identity, and what else it does not say itself."""
    present = {attribute.key: attribute for attribute in resource.resource.attributes}
    for name, value in target.attributes.items():
        if name in present and name not in _IDENTITY:
            continue
        attribute = present.get(name) or resource.resource.attributes.add(key=name)
        if isinstance(value, int):
            attribute.value.int_value = value
        else:
            attribute.value.string_value = value


def request_ids(signal: str, resource: Any) -> Iterator[tuple[str, str]]:
    """Request and trace id (hex) of every span or log record that bears both."""
    scopes = resource.scope_spans if signal == "traces" else resource.scope_logs
    for scope in scopes:
        for item in scope.spans if signal == "traces" else scope.log_records:
            for attribute in item.attributes if len(item.trace_id) == 16 else ():
                if names_request(attribute.key) and (found := _request_id(attribute.value)):
                    yield found, item.trace_id.hex()


def _request_id(value: Any) -> str | None:
    """Of a text, or of a list of one, as the conventions have it for headers."""
    if value.WhichOneof("value") == "array_value" and len(value.array_value.values) == 1:
        value = value.array_value.values[0]
    return correlation_id(value.string_value)


def drop_metrics(resource: Any, unwanted: Callable[[str], bool]) -> None:
    """Take metrics out that another source of the target owns."""
    for scope in resource.scope_metrics:
        kept = [metric for metric in scope.metrics if not unwanted(metric.name)]
        if len(kept) < len(scope.metrics):
            kept = [_copy(metric) for metric in kept]
            del scope.metrics[:]
            scope.metrics.extend(kept)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def http_snapshot(resource: Any) -> HttpSnapshot | None:
    """Requests as the service's own histogram tells them; its buckets are all that is known, so
    each counts at its middle. None where it tells no running totals."""
    found: dict[tuple[str, str | None, int], HttpSeries] = {}
    for metric in metrics_of(resource):
        if metric.name != HTTP_DURATION.name or metric.WhichOneof("data") != "histogram":
            continue
        if metric.histogram.aggregation_temporality != _CUMULATIVE:
            continue
        for point in metric.histogram.data_points:
            series = _http_series(point)
            key = (series.method, series.route, series.status)
            found[key] = _added(found[key], series) if key in found else series
    return HttpSnapshot("otlp", None, list(found.values())) if found else None


_DELAY = re.compile(r"(nodejs|asyncio)\.eventloop\.delay\.(min|max|mean|p50|p90|p99)")
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def loop_delays(resource: Any) -> tuple[dict[str, dict[str, float]], float]:
    """By runtime (nodejs, asyncio) and statistic, the loop delay that the service tells of itself,
    seconds; and when it was so, Unix seconds. A runtime with several series is left out: their
    quantiles cannot be added up."""
    found: dict[str, dict[str, float]] = {}
    several: set[str] = set()
    at = 0
    for metric in metrics_of(resource):
        name = _DELAY.fullmatch(metric.name)
        if name is None or metric.WhichOneof("data") != "gauge" or metric.unit not in _SECONDS:
            continue
        if len(metric.gauge.data_points) != 1:
            several.add(name[1])
            continue
        point = metric.gauge.data_points[0]
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        found.setdefault(name[1], {})[name[2]] = value * _SECONDS[metric.unit]
        at = max(at, point.time_unix_nano)
    return {runtime: told for runtime, told in found.items() if runtime not in several}, at / 1e9


def _added(one: HttpSeries, other: HttpSeries) -> HttpSeries:
    """Both as one: an SDK may tell apart more than route and status (scheme, protocol)."""
    return HttpSeries(
        one.method,
        one.route,
        one.status,
        one.count + other.count,
        one.sum + other.sum,
        max(one.max, other.max),
        merge((one.histogram, other.histogram)),
    )


def _http_series(point: Any) -> HttpSeries:
    said = attribute_values(point.attributes)
    route, status = said.get("http.route"), said.get("http.response.status_code")
    fine, highest = _fine(point)
    return HttpSeries(
        str(said.get("http.request.method", "_OTHER")),
        None if route is None else str(route),
        status if isinstance(status, int) and 0 <= status < 1000 else 0,
        point.count,
        point.sum,
        point.max if point.HasField("max") else highest,
        fine,
    )


def _fine(point: Any) -> tuple[dict[int, int], float]:
    """The point's counts on the fine scale, and the upper edge of the highest, seconds."""
    bounds = list(point.explicit_bounds)
    if not bounds:
        mean = point.sum / point.count if point.count else 0.0
        return ({index_of(mean): point.count} if point.count else {}), mean
    edges = [0.0, *bounds, bounds[-1] * 1.5]
    fine: dict[int, int] = {}
    highest = 0.0
    for count, low, high in zip(point.bucket_counts, edges, edges[1:], strict=False):
        if count:
            index = index_of((low + high) / 2)
            fine[index] = fine.get(index, 0) + count
            highest = high
    return fine, highest
