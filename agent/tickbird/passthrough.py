"""What happens to telemetry that a service's own SDK sent: it gets the target's identity, nothing
arrives twice, and its series end when the target ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .meters import HTTP_DURATION
from .model import HttpSnapshot, Target
from .otlp_requests import (
    adopt,
    count_items,
    drop_metrics,
    http_snapshot,
    owner_of,
    points,
    resources,
)
from .sinks.otlp.client import Signal
from .sinks.otlp.delivery import Lane, Payload
from .sinks.otlp.metrics import NO_RECORDED_VALUE
from .store import Store

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

MAX_SERIES = 5_000
"""Series per target that are remembered in order to be ended."""
LOOKS = 0.5
"""Seconds that a request waits for room in the queue before its sender is told to come again."""

Record = Callable[[Target, HttpSnapshot], None]


class Passthrough:
    """Takes decoded requests from the intake and puts them on the lanes; thread-safe."""

    def __init__(
        self,
        lanes: Mapping[Signal, Lane],
        store: Store,
        targets: Callable[[], Sequence[Target]],
        record: Record,
    ) -> None:
        self._lanes = lanes
        self._store = store
        self._targets = targets
        self._record = record
        self._closed = False
        self.seen = SeenSeries()
        self.dropped_twice = 0

    def close(self) -> None:
        """Take nothing more: who sends is told to come again, which a service's SDK does. What
        came without a target to belong to would be a series of nobody."""
        self._closed = True

    def receive(self, signal: Signal, request: Any) -> bool:
        """Give each resource its target's identity and queue the request; False: no room now."""
        if self._closed:
            return False
        targets = self._targets()
        for resource in resources(signal, request):
            target = owner_of(resource, targets)
            if target is None:
                continue
            adopt(resource, target)
            if signal == "metrics":
                self._take_metrics(resource, target)
        items = count_items(signal, request)
        lane = self._lanes.get(signal)
        if lane is None or items == 0:
            return True
        return lane.offer(Payload(request.SerializeToString(), items), wait=LOOKS)

    def _take_metrics(self, resource: Any, target: Target) -> None:
        owners = self._store.owners(target.key)
        self.dropped_twice += drop_metrics(resource, owners.__contains__)
        if HTTP_DURATION.name not in owners and (snapshot := http_snapshot(resource)) is not None:
            self._record(target, snapshot)
        if self._lanes:
            self.seen.remember(target.key, resource)


class SeenSeries:
    """Remembers the series that passed through, per target, so that they can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[tuple[bytes, ...], ExportMetricsServiceRequest]] = {}
        self.overflowed = 0

    def remember(self, target_key: str, resource: Any) -> None:
        identity = resource.resource.SerializeToString(deterministic=True)
        with self._lock:
            seen = self._seen.setdefault(target_key, {})
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in points(metric):
                        self._remember(seen, identity, resource, scope, metric, point)

    def _remember(self, seen: dict[tuple[bytes, ...], Any], identity: bytes, *path: Any) -> None:
        resource, scope, metric, point = path
        labels = b"".join(sorted(a.SerializeToString(deterministic=True) for a in point.attributes))
        key = (identity, scope.scope.name.encode(), metric.name.encode(), labels)
        if key in seen:
            return
        if len(seen) >= MAX_SERIES:
            self.overflowed += 1
            return
        seen[key] = _ending(resource, scope, metric, point)

    def end(self, target_key: str, now: float) -> Iterator[tuple[bytes, int]]:
        """One request, (bytes, data points), per series that is now over."""
        with self._lock:
            seen = self._seen.pop(target_key, {})
        for request in seen.values():
            metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
            points(metric)[0].time_unix_nano = int(now * 1e9)
            yield request.SerializeToString(), 1


def _ending(resource: Any, scope: Any, metric: Any, point: Any) -> ExportMetricsServiceRequest:
    from opentelemetry.proto.collector.metrics.v1 import (  # noqa: PLC0415 - as in sources.otlp
        metrics_service_pb2,
    )

    request = metrics_service_pb2.ExportMetricsServiceRequest()
    outer = request.resource_metrics.add()
    outer.resource.CopyFrom(resource.resource)
    inner = outer.scope_metrics.add()
    inner.scope.CopyFrom(scope.scope)
    copy = inner.metrics.add(name=metric.name, unit=metric.unit)
    data = getattr(copy, metric.WhichOneof("data"))
    for setting in ("aggregation_temporality", "is_monotonic"):
        if hasattr(data, setting):
            value = getattr(getattr(metric, metric.WhichOneof("data")), setting)
            setattr(data, setting, value)
    ended = data.data_points.add()
    ended.attributes.extend(point.attributes)
    ended.flags = NO_RECORDED_VALUE
    if hasattr(point, "sum"):
        ended.sum = 0  # without one, Prometheus ends all but the sum
    if hasattr(point, "explicit_bounds"):
        ended.explicit_bounds[:] = point.explicit_bounds
        ended.bucket_counts[:] = [0] * len(point.bucket_counts)
    return request
