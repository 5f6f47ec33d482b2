"""Stalls as they leave: OTLP log records, read by the protocol's own classes."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from histories import T0, History, target
from tickbird.model import Stall
from tickbird.sinks.otlp.delivery import Payload
from tickbird.stallog import EVENT, StallLog, encode

CULPRIT = {"function": "hash", "file": "/srv/app.js", "line": 4, "stack": ["hash /srv/app.js:4"]}


def decoded(body: bytes):
    request = ExportLogsServiceRequest.FromString(body)
    (resource,) = request.resource_logs
    (scope,) = resource.scope_logs
    return resource.resource, scope.log_records


def values(attributes) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def test_a_stall_is_a_warning_with_cause_and_culprit_of_its_service():
    stall = Stall(T0, 0.394, "trace", False, "cpu", CULPRIT, "measured")
    resource, (record,) = decoded(encode(target(), [stall], T0 + 5))
    assert values(resource.attributes)["service.name"] == "shop"
    assert record.body.string_value == ("the event loop was blocked for 394 ms in hash (app.js:4)")
    assert (record.severity_text, record.event_name) == ("WARN", EVENT)
    assert record.time_unix_nano == pytest.approx(T0 * 1e9)
    found = values(record.attributes)
    assert found["tickbird.eventloop.blocked.duration"] == 0.394
    assert found["tickbird.eventloop.cause"] == "cpu"
    assert found["code.function.name"] == "hash"
    assert found["code.line.number"] == 4


def test_what_is_not_known_is_left_out_and_the_cause_is_unknown():
    _, (record,) = decoded(encode(target(), [Stall(T0, 0.2, "trace")], T0 + 5))
    found = values(record.attributes)
    assert found["tickbird.eventloop.cause"] == "unknown"
    assert not [name for name in found if name.startswith("code.")]
    assert record.body.string_value == "the event loop was blocked for 200 ms"


class Lane:
    """Takes everything, in order."""

    def __init__(self) -> None:
        self.taken: list[Payload] = []

    def offer(self, payload: Payload, wait: float = 0) -> bool:
        self.taken.append(payload)
        return True


def test_every_stall_of_every_target_leaves_once():
    history = History()
    other = History(target("cart"), history.recorder)
    for one in (history, other):
        one.loop(0.3, [Stall(one.now, 0.3, "probe"), Stall(one.now + 0.5, 0.2, "probe")])
    lane = Lane()
    log = StallLog(history.recorder, lane)  # type: ignore[arg-type]
    for later in range(0, 40, 10):
        log.send(history.now + later)
    assert [payload.items for payload in lane.taken] == [2, 2]
    names = {values(decoded(one.body)[0].attributes)["service.name"] for one in lane.taken}
    assert names == {"shop", "cart"}
