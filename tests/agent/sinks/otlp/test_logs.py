from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1 import logs_pb2

from tickbird.model import LogRecord
from tickbird.sinks.otlp.logs import (
    CACHED_VALUES,
    LogEncoder,
    any_value,
    payload,
    request,
    resource_bytes,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = st.one_of(
    TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.none()
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)
HEX32 = st.binary(min_size=16, max_size=16).map(bytes.hex)
HEX16 = st.binary(min_size=8, max_size=8).map(bytes.hex)
RECORD = st.builds(
    LogRecord,
    body=TEXT,
    time_ns=st.integers(0, 2**63),
    observed_ns=st.integers(0, 2**63),
    severity_number=st.integers(0, 24),
    severity_text=TEXT,
    trace_id=st.none() | HEX32,
    span_id=st.none() | HEX16,
    correlation_id=st.none() | TEXT,
    attributes=st.dictionaries(TEXT, VALUE, max_size=8),
    generation=TEXT,
    offset=st.integers(0, 2**60),
    dropped_attributes=st.integers(0, 10_000),
)


def python(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [python(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: python(one.value) for one in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def exact(value: Any) -> Any:
    """With types, so that True is not 1 and -0.0 is not 0.0."""
    if isinstance(value, list):
        return [exact(one) for one in value]
    if isinstance(value, dict):
        return {key: exact(one) for key, one in value.items()}
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


def parsed(encoder: LogEncoder, *records: LogRecord) -> list[logs_pb2.LogRecord]:
    body = request(b"", [encoder.encode(record) for record in records])
    message = ExportLogsServiceRequest.FromString(body)
    return list(message.resource_logs[0].scope_logs[0].log_records)


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=5))
def test_the_schema_reads_back_what_was_written(records: list[LogRecord]) -> None:
    for record, read in zip(records, parsed(LogEncoder(), *records), strict=True):
        assert read.body.string_value == record.body
        assert read.time_unix_nano == record.time_ns
        assert read.observed_time_unix_nano == record.observed_ns
        assert read.severity_number == record.severity_number
        assert read.severity_text == record.severity_text
        assert read.trace_id.hex() == (record.trace_id or "")
        assert read.span_id.hex() == (record.span_id or "")
        assert read.dropped_attributes_count == record.dropped_attributes
        expected = list(record.attributes.items())
        if record.correlation_id:
            expected.append(("correlation_id", record.correlation_id))
        if record.generation:
            expected.append(("tickbird.log.generation", record.generation))
            expected.append(("tickbird.log.offset", record.offset))
        found = [(one.key, exact(python(one.value))) for one in read.attributes]
        assert found == [(key, exact(value)) for key, value in expected]


@given(st.lists(st.sampled_from([True, 1, 1.0, "1", False, 0, 0.0, -0.0, "", None]), max_size=30))
def test_values_that_are_equal_but_of_another_kind_stay_apart(values: list[Any]) -> None:
    encoder = LogEncoder()
    records = [LogRecord("", attributes={"k": value}) for value in values]
    if records:
        found = [exact(python(r.attributes[0].value)) for r in parsed(encoder, *records)]
        assert found == [exact(value) for value in values]


def test_a_key_with_many_values_is_not_remembered_without_end() -> None:
    encoder = LogEncoder()
    for number in range(CACHED_VALUES * 4):
        encoder.encode(LogRecord("", attributes={"id": number, f"key {number}": "x" * 50}))
    assert encoder._cache["id"] is None
    assert len(encoder._cache) <= 2_000
    read = parsed(encoder, LogRecord("", attributes={"id": 7}))[0]
    assert read.attributes[0].value.int_value == 7


def test_numbers_beyond_64_bits_and_lone_surrogates_do_not_spoil_the_request() -> None:
    record = LogRecord("a\ud800b", attributes={"big": 2**70, "least": -(2**63), "s": ["\udfff"]})
    read = parsed(LogEncoder(), record)[0]
    assert read.body.string_value == "a?b"
    values = {one.key: python(one.value) for one in read.attributes}
    assert values == {"big": str(2**70), "least": -(2**63), "s": ["?"]}


@given(VALUE)
def test_a_single_value_is_an_any_value(value: Any) -> None:
    assert exact(python(AnyValue.FromString(any_value(value)))) == exact(value)


def test_the_resource_and_the_scope_are_named() -> None:
    body = request(resource_bytes({"service.name": "shop", "process.pid": 7}), [])
    logs = ExportLogsServiceRequest.FromString(body).resource_logs[0]
    attributes = {one.key: python(one.value) for one in logs.resource.attributes}
    assert attributes == {"service.name": "shop", "process.pid": 7}
    assert logs.scope_logs[0].scope.name == "tickbird"


def test_a_payload_halves_down_to_single_records_in_order() -> None:
    encoder = LogEncoder()
    whole = payload(
        resource_bytes({"service.name": "shop"}),
        [encoder.encode(LogRecord(str(n))) for n in range(13)],
    )
    left, found = [whole], []
    while left:
        one = left.pop(0)
        assert one.split is not None
        if one.items > 1:
            left = [*one.split(), *left]
            continue
        logs = ExportLogsServiceRequest.FromString(one.body).resource_logs[0]
        assert logs.resource.attributes[0].value.string_value == "shop"
        found += [record.body.string_value for record in logs.scope_logs[0].log_records]
    assert found == [str(n) for n in range(13)]
