"""What happens to telemetry that a service's own SDK sent: it gets the target's identity, nothing
arrives twice, and its series end when the target ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from .meters import HTTP_DURATION
from .model import HttpSnapshot, Item, Target
from .otlp_requests import (
    adopt,
    count_items,
    drop_metrics,
    http_snapshot,
    loop_delays,
    owner_of,
    points,
    request_ids,
    resources,
)
from .sinks.otlp.client import Signal
from .sinks.otlp.delivery import Lane, Payload
from .sinks.otlp.metrics import NO_RECORDED_VALUE
from .sources import SourceType
from .sources.looplag import LagScale
from .stages.join import Pairs
from .store import Store

MAX_SERIES = 10_000
"""Series that are remembered in order to be ended, a KiB each; Prometheus lets the others go by
itself after five minutes."""
LOOKS = 0.5
"""Seconds that a request waits for room in the queue before its sender is told to come again."""

Record = Callable[[Target, HttpSnapshot], None]
Tell = Callable[[str, SourceType, list[Item]], None]
"""Takes items of a target (its key) that measure its loop."""

OTLP = SourceType("otlp", (), lambda _target, _context: None)
"""What services tell by OTLP owns its series in the store, as sources do."""
EXPORT_INTERVAL = 60.0
"""Seconds between two exports of an SDK, where nothing else is known."""


class Passthrough:
    """Takes decoded requests from the intake and puts them on the lanes; thread-safe."""

    def __init__(  # noqa: PLR0917 - wires the parts
        self,
        lanes: Mapping[Signal, Lane],
        store: Store,
        targets: Callable[[], Sequence[Target]],
        record: Record,
        tell: Tell,
        pairs: Pairs | None = None,
    ) -> None:
        self._lanes = lanes
        self._store = store
        self._targets = targets
        self._record = record
        self._tell = tell
        self._pairs = pairs
        self._lock = threading.Lock()
        self._scales: dict[tuple[str, str], LagScale] = {}
        self._closed = False
        self.seen = SeenSeries()

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
            elif self._pairs is not None:
                found = request_ids(signal, resource)
                self._pairs.learn(found, repeat((target.name, None)), time.time())
        items = count_items(signal, request)
        lane = self._lanes.get(signal)
        if lane is None or items == 0:
            return True
        return lane.offer(Payload(request.SerializeToString(), items), wait=LOOKS)

    def end(self, target_key: str, now: float) -> Iterator[tuple[bytes, int]]:
        """The target is over: requests, (bytes, data points), that end what came for it."""
        with self._lock:
            for key in [key for key in self._scales if key[0] == target_key]:
                del self._scales[key]
        return self.seen.end(target_key, now)

    def _take_loop(self, resource: Any, target: Target) -> None:
        """The loop's delay, on the scale of all methods, to whoever decides which is believed."""
        told_by, now = loop_delays(resource)
        for runtime, told in told_by.items():
            biased = runtime == "nodejs"
            method = "otlp" if biased else "kit"
            with self._lock:
                scale = self._scales.setdefault(
                    (target.key, runtime), LagScale(method, EXPORT_INTERVAL, biased)
                )
                window = scale.window(told, now)
            if window is not None:
                self._tell(target.key, OTLP, [window])

    def _take_metrics(self, resource: Any, target: Target) -> None:
        self._take_loop(resource, target)
        owners = self._store.owners(target.key)
        drop_metrics(resource, owners.__contains__)
        if HTTP_DURATION.name not in owners and (snapshot := http_snapshot(resource)) is not None:
            self._record(target, snapshot)
        if self._lanes:
            self.seen.remember(target.key, resource)


_Origin = tuple[bytes, bytes]
"""Resource and scope, encoded."""


class SeenSeries:
    """Remembers the series that passed through, per target, so that they can be ended. Encoded,
    and what they have in common once: as messages they would take ten times as much."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[_Origin, dict[tuple[str, bytes], bytes]]] = {}
        self._room = MAX_SERIES

    def remember(self, target_key: str, resource: Any) -> None:
        whose = _encoded(resource.resource)
        with self._lock:
            origins = self._seen.setdefault(target_key, {})
            for scope in resource.scope_metrics:
                seen = origins.setdefault((whose, _encoded(scope.scope)), {})
                for metric in scope.metrics:
                    for point in points(metric):
                        self._remember(seen, metric, point)

    def _remember(self, seen: dict[tuple[str, bytes], bytes], metric: Any, point: Any) -> None:
        key = (metric.name, b"".join(sorted(map(_encoded, point.attributes))))
        if key not in seen and self._room > 0:
            self._room -= 1
            seen[key] = _encoded(_ending(metric, point))

    def end(self, target_key: str, now: float) -> Iterator[tuple[bytes, int]]:
        """Requests, (bytes, data points), that say of each series that it is over."""
        with self._lock:
            origins = self._seen.pop(target_key, {})
            self._room += sum(map(len, origins.values()))
        for (resource, scope), seen in origins.items():
            yield _ended(resource, scope, seen.values(), now), len(seen)


def _encoded(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _ended(resource: bytes, scope: bytes, metrics: Iterable[bytes], now: float) -> bytes:
    from opentelemetry.proto.collector.metrics.v1 import (  # noqa: PLC0415 - as in sources.otlp
        metrics_service_pb2,
    )

    request = metrics_service_pb2.ExportMetricsServiceRequest()
    outer = request.resource_metrics.add()
    outer.resource.ParseFromString(resource)
    inner = outer.scope_metrics.add()
    inner.scope.ParseFromString(scope)
    for encoded in metrics:
        metric = inner.metrics.add()
        metric.ParseFromString(encoded)
        points(metric)[0].time_unix_nano = int(now * 1e9)
    return _encoded(request)


def _ending(metric: Any, point: Any) -> Any:
    """The metric with this point alone, which has no value any more."""
    kind = metric.WhichOneof("data")
    ending = type(metric)(name=metric.name, unit=metric.unit)
    data = getattr(ending, kind)
    for setting in ("aggregation_temporality", "is_monotonic"):
        if hasattr(data, setting):
            setattr(data, setting, getattr(getattr(metric, kind), setting))
    ended = data.data_points.add()
    ended.attributes.extend(point.attributes)
    ended.flags = NO_RECORDED_VALUE
    if hasattr(point, "sum"):
        ended.sum = 0  # without one, Prometheus ends all but the sum
    if hasattr(point, "explicit_bounds"):
        ended.explicit_bounds[:] = point.explicit_bounds
        ended.bucket_counts[:] = [0] * len(point.bucket_counts)
    return ending
