from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs

from tickbird.logrecords import Column, Records
from tickbird.model import LogRecord
from tickbird.sinks.otlp.logs import LogEncoder
from tickbird.stages.correlate import identify, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def correlated(**attributes: object) -> LogRecord:
    columns = {name: Column([value]) for name, value in attributes.items()}
    (records,) = identify(Records([0], columns))
    return records.record(0)


def absent(**attributes: object) -> dict[str, object]:
    """A record has no attributes that are None."""
    return {name: value for name, value in attributes.items() if value is not None}


@pytest.mark.parametrize(
    "attributes",
    [
        {"trace_id": TRACE, "span_id": SPAN},
        {"traceId": TRACE, "spanId": SPAN},
        {"trace.id": TRACE.upper(), "span.id": SPAN},
        {"otelTraceID": TRACE, "otelSpanID": SPAN},
        {"dd.trace_id": TRACE, "dd.span_id": str(int(SPAN, 16))},
        {"logging.googleapis.com/trace": f"projects/p/traces/{TRACE}", "spanId": SPAN},
        {"traceparent": f"00-{TRACE}-{SPAN}-01"},
        {"req.headers.traceparent": f"00-{TRACE}-{SPAN}-01"},
        {"http.request.header.traceparent": [f"00-{TRACE}-{SPAN}-01"]},
        {"TRACE-ID": TRACE, "SPAN_ID": SPAN},
        {"context.traceId": TRACE, "context.spanId": SPAN},
        {"span_context.trace_id": TRACE, "span_context.span_id": SPAN},
    ],
)
def test_trace_and_span_are_known_in_every_spelling(attributes: dict[str, object]) -> None:
    record = correlated(**attributes)
    assert (record.trace_id, record.span_id) == (TRACE, SPAN)
    assert record.attributes == {}


def test_a_decimal_id_of_datadog_is_padded() -> None:
    record = correlated(**{"dd.trace_id": "1234567890123456789", "dd.span_id": 42})
    assert record.trace_id == f"{1234567890123456789:032x}"
    assert record.span_id == f"{42:016x}"


@pytest.mark.parametrize("bad", ["0" * 32, "0", "", TRACE[:-1], TRACE + "0", "g" * 32, None, 7, []])
def test_what_is_no_trace_id_stays_as_it_was(bad: object) -> None:
    record = correlated(trace_id=bad, span_id=SPAN)
    assert record.trace_id is None
    assert record.span_id is None
    assert record.attributes == absent(trace_id=bad, span_id=SPAN)


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"01-{TRACE}-{SPAN}-01-more", True),
        (f"01-{TRACE}-{SPAN}-01more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        ("", False),
        (None, False),
    ],
)
def test_row_73_traceparent_is_held_to_its_specification(header: object, valid: bool) -> None:
    assert traceparent(header) == ((TRACE, SPAN, 1) if valid else None)


@pytest.mark.parametrize(
    "key",
    [
        "correlation_id",
        "correlationId",
        "x-correlation-id",
        "request_id",
        "requestId",
        "reqId",
        "x-request-id",
        "req.id",
        "X-Request-ID",
        "req.headers.x-request-id",
        "http.request.header.x-request-id",
        "ctx.requestId",
        "correlation.id",
    ],
)
def test_a_correlation_id_is_known_in_every_spelling(key: str) -> None:
    record = correlated(**{key: "abc-123"})
    assert record.correlation_id == "abc-123"
    assert record.attributes == {}


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "a\nb", True, None, {"a": 1}, "ünï"])
def test_what_is_no_correlation_id_stays_an_attribute(bad: object) -> None:
    record = correlated(request_id=bad)
    assert record.correlation_id is None
    assert record.attributes == absent(request_id=bad)


def test_an_id_is_never_invented() -> None:
    record = correlated(user="x")
    assert (record.trace_id, record.span_id, record.correlation_id) == (None, None, None)


@given(st.dictionaries(st.sampled_from(["trace_id", "span_id", "dd.trace_id", "traceparent"]),
                       st.text() | st.integers() | st.none()))  # fmt: skip
def test_what_it_takes_is_always_valid(attributes: dict[str, object]) -> None:
    record = correlated(**attributes)
    for value, size in ((record.trace_id, 16), (record.span_id, 8)):
        if value is not None:
            assert len(bytes.fromhex(value)) == size
            assert any(bytes.fromhex(value))


def test_trace_flags_come_with_their_trace() -> None:
    columns = {name: Column([value]) for name, value in
               {"trace_id": TRACE, "span_id": SPAN, "trace_flags": "01"}.items()}  # fmt: skip
    (records,) = identify(Records([0], columns))
    assert records.trace_flags == [1]
    records.body = ["x"]
    message = ScopeLogs.FromString(LogEncoder().encode(records, 1)[0])
    assert message.log_records[0].flags == 1
    (parent,) = identify(Records([0], {"traceparent": Column([f"00-{TRACE}-{SPAN}-00"])}))
    assert parent.trace_flags == (0,)
    (alone,) = identify(Records([0], {"trace_flags": Column(["01"])}))
    assert alone.trace_flags is None
    assert list(alone.columns) == ["trace_flags"]


def test_the_line_s_own_id_goes_before_one_that_is_nested() -> None:
    other = TRACE[::-1]
    record = correlated(**{"ctx.trace_id": other, "trace_id": TRACE, "user.request_id": "x"})
    assert record.trace_id == TRACE
    assert record.attributes == {"ctx.trace_id": other, "user.request_id": "x"}
