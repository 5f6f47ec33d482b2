from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1 import logs_pb2

from tickbird.logrecords import Column, Records
from tickbird.sinks.otlp.logs import (
    CACHED_KEYS,
    CACHED_VALUES,
    LogEncoder,
    any_value,
    encoded_attributes,
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
NAMES = st.lists(TEXT, unique=True, max_size=6)


@st.composite
def groups(draw: st.DrawFn) -> Records:
    """Records of one shape: what any of them has, all of them have."""
    count = draw(st.integers(1, 5))

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    def maybe(values: st.SearchStrategy[Any]) -> list[Any] | None:
        return some(values) if draw(st.booleans()) else None

    kinds = st.sampled_from([TEXT, st.integers(-(2**70), 2**70), st.floats(allow_nan=False), VALUE])
    return Records(
        range(count),
        {name: Column(some(draw(kinds))) for name in draw(NAMES)},
        body=maybe(TEXT),
        time_ns=maybe(st.integers(1, 2**63)),
        severity=maybe(st.tuples(st.integers(1, 24), TEXT)),
        trace_id=maybe(HEX32),
        span_id=maybe(HEX16),
        correlation_id=maybe(TEXT.filter(bool)),
        dropped_attributes=maybe(st.integers(0, 10_000)),
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


def parsed(records: Records, encoder: LogEncoder | None = None) -> list[logs_pb2.LogRecord]:
    encoded = (encoder or LogEncoder()).encode(
        records, 7, encoded_attributes({"log.file.path": "/a"})
    )
    message = ExportLogsServiceRequest.FromString(request(b"", encoded))
    return list(message.resource_logs[0].scope_logs[0].log_records)


def of(values: list[Any]) -> Records:
    return Records(range(len(values)), {"k": Column(values)})


def stored(value: Any) -> Any:
    """Numbers beyond 64 bits become text."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


@settings(max_examples=300, deadline=None)
@given(groups())
def test_the_schema_reads_back_what_was_written(records: Records) -> None:
    found = parsed(records)
    assert len(found) == len(records)
    for index, read in enumerate(found):
        record = records.record(index)
        assert read.body.string_value == record.body
        assert read.time_unix_nano == record.time_ns
        assert read.observed_time_unix_nano == 7
        assert read.severity_number == record.severity_number
        assert read.severity_text == record.severity_text
        assert read.trace_id.hex() == (record.trace_id or "")
        assert read.span_id.hex() == (record.span_id or "")
        assert read.dropped_attributes_count == record.dropped_attributes
        expected = [("log.file.path", "/a"), *record.attributes.items()]
        if record.correlation_id:
            expected.append(("correlation_id", record.correlation_id))
        attributes = [(one.key, exact(python(one.value))) for one in read.attributes]
        assert attributes == [(key, exact(stored(value))) for key, value in expected]


@given(st.lists(st.sampled_from([True, 1, 1.0, "1", False, 0, 0.0, -0.0, ""]), min_size=1))
def test_values_that_are_equal_but_of_another_kind_stay_apart(values: list[Any]) -> None:
    encoder = LogEncoder()
    for found in (values, values[::-1], [*values, *values]):
        read = [exact(python(one.attributes[1].value)) for one in parsed(of(found), encoder)]
        assert read == [exact(value) for value in found]


EDGES = [2**power + more for power in range(63) for more in (-1, 0)]


@given(st.integers(-(2**63), 2**63 - 1) | st.sampled_from(EDGES))
def test_every_whole_number_is_read_back(number: int) -> None:
    assert parsed(of([number]))[0].attributes[1].value.int_value == number


def test_what_is_remembered_is_bounded_and_stays_right() -> None:
    encoder = LogEncoder()
    for number in range(CACHED_VALUES * 4):
        parsed(of([f"id {number}"]), encoder)
    assert len(encoder._keys["k"]) <= CACHED_VALUES
    for number in range(CACHED_KEYS * 3):
        encoder.encode(Records([0], {f"key {number}": Column(["x"])}), 7)
        assert len(encoder._keys) <= CACHED_KEYS + 1
    assert parsed(of(["again"]), encoder)[0].attributes[1].value.string_value == "again"


def test_row_20_numbers_beyond_64_bits_and_lone_surrogates_do_not_spoil_the_request() -> None:
    given = {"big": 2**70, "least": -(2**63), "s": ["\udfff"], "t": "\udfff"}
    records = Records([0], {name: Column([value]) for name, value in given.items()}, ["a\ud800b"])
    encoder = LogEncoder()
    for _ in range(CACHED_VALUES + 2):  # remembered at first, then not
        parsed(of([str(_)]), encoder)
    read = parsed(records, encoder)[0]
    assert read.body.string_value == "a?b"
    values = {one.key: python(one.value) for one in read.attributes[1:]}
    assert values == {"big": str(2**70), "least": -(2**63), "s": ["?"], "t": "?"}
    many = parsed(of(["a\ud800b"] * 3), encoder)
    assert [one.attributes[1].value.string_value for one in many] == ["a?b"] * 3


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
    bodies = Records(range(13), {}, [str(n) for n in range(13)])
    whole = payload(resource_bytes({"service.name": "shop"}), encoder.encode(bodies, 7))
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
