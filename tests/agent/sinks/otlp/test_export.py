"""Metrics on a lane that has no room: values are made good, ends wait, memory is bounded."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tickbird.clock import Deadline
from tickbird.config import CollectorConfig
from tickbird.model import Identity, Instrument, Kind, Sample, Target
from tickbird.sinks.otlp.delivery import Lane, Payload
from tickbird.sinks.otlp.export import ENDS_BYTES, REQUEST_BYTES, MetricsExport, joined
from tickbird.store import Store
from tickbird.testing import ManualClock

MEMORY = Instrument("memory", Kind.UPDOWN, "By", "Memory.")
SHOP = Target("shop", "shop", Identity(7, 1, 50.0), "node", None, {"service.name": "shop"})


class Place:
    """An export whose lane is never emptied; what was queued is looked at in the end."""

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.store = Store()
        collector = CollectorConfig("http://127.0.0.1:9")
        self.lane = Lane(collector, "metrics", ManualClock(), capacity)
        self.export = MetricsExport(self.store, self.lane)

    def queued(self) -> list[tuple[float, bool]]:
        return points(self.lane.drain(Deadline(ManualClock(), 0)))


def points(payloads: Iterable[Payload]) -> list[tuple[float, bool]]:
    """Value and whether it is an end, of every point."""
    requests = [ExportMetricsServiceRequest.FromString(one.body) for one in payloads]
    return [
        (point.as_double, bool(point.flags))
        for request in requests
        for resource in request.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.sum.data_points
    ]


def test_the_last_value_of_what_ended_is_sent_and_then_its_end() -> None:
    place = Place()
    place.store.update(SHOP, "process", [Sample(MEMORY, 1)], 100)
    place.export.send(101)
    place.store.update(SHOP, "process", [Sample(MEMORY, 2)], 109)
    place.store.end("shop")
    place.export.send(111)
    place.export.send(121)
    assert place.queued() == [(1, False), (2, False), (0, True)]


def test_an_end_that_finds_no_room_waits_for_it() -> None:
    place = Place(capacity=10)
    place.store.update(SHOP, "process", [Sample(MEMORY, 1)], 100)
    place.export.send(101)
    place.store.end("shop")
    place.export.send(111)
    place.export.send(121)
    assert points(place.export.waiting) == [(0, True)]
    assert place.queued() == [(1, False)]


def test_ends_that_wait_for_long_are_bounded_and_the_newest_stay() -> None:
    place = Place(capacity=1)
    place.lane.offer(Payload(b"in the way", 1))
    for number in range(2 * ENDS_BYTES // 1000):
        place.export.end([(b"%06d" % number + b"x" * 994, 1)])
    waiting = [payload.body for payload in place.export.waiting]
    assert sum(map(len, waiting)) <= ENDS_BYTES
    assert waiting[-1].startswith(b"%06d" % number)


@pytest.mark.parametrize(("size", "payloads"), [(REQUEST_BYTES // 4, 2), (REQUEST_BYTES, 7)])
def test_small_requests_travel_together_and_none_is_lost(size: int, payloads: int) -> None:
    found = list(joined((bytes(size), 3) for _ in range(7)))
    assert len(found) == payloads
    assert sum(len(payload.body) for payload in found) == 7 * size
    assert sum(payload.items for payload in found) == 21
