from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tickbird import config
from tickbird.model import LogRecord
from tickbird.stages import Drop, apply, log_stages
from tickbird.stages.describe import LONGEST, describe
from tickbird.stages.limit import (
    MAX_ATTRIBUTES,
    MAX_BODY,
    MAX_METADATA,
    STATED_TIME,
    TRUNCATED,
    limit,
)

NOW = 1767323045123000000
HOUR = 3600 * 10**9


def limited(record: LogRecord) -> LogRecord:
    result = limit(record)
    assert isinstance(result, LogRecord)
    return result


def test_a_line_of_over_a_week_ago_is_dropped_by_name() -> None:
    assert limit(LogRecord("x", NOW - 168 * HOUR, NOW)) == Drop("too_old")
    assert isinstance(limit(LogRecord("x", NOW - 166 * HOUR, NOW)), LogRecord)


def test_a_time_that_lies_ahead_is_not_believed_but_kept() -> None:
    record = limited(LogRecord("x", NOW + HOUR, NOW))
    assert record.time_ns == 0
    assert record.attributes[STATED_TIME] == "2026-01-02T04:04:05+00:00"


def test_a_line_without_a_time_passes() -> None:
    assert limited(LogRecord("x", 0, NOW)).time_ns == 0


def test_a_long_body_is_cut_between_characters_and_marked() -> None:
    record = limited(LogRecord("☃" * MAX_BODY))
    assert MAX_BODY - 3 <= len(record.body.encode()) <= MAX_BODY
    assert record.attributes == {TRUNCATED: True}


def test_attributes_beyond_the_limit_are_dropped_and_counted() -> None:
    record = limited(LogRecord("x", attributes={f"k{n}": n for n in range(10_000)}))
    assert len(record.attributes) == MAX_ATTRIBUTES
    assert record.dropped_attributes == 10_000 - MAX_ATTRIBUTES


def test_a_giant_attribute_does_not_take_the_record_with_it() -> None:
    record = limited(LogRecord("x", attributes={"a": 1, "big": "y" * 10**6, "b": 2}))
    assert record.attributes == {"a": 1}
    assert record.dropped_attributes == 2


def test_absent_values_are_left_out_without_being_counted() -> None:
    record = limited(LogRecord("x", attributes={"a": None, "b": 1}))
    assert (record.attributes, record.dropped_attributes) == ({"b": 1}, 0)


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.floats(), max_size=200))
def test_what_passes_is_within_the_limits(attributes: dict[str, object]) -> None:
    record = limited(LogRecord("x", attributes=dict(attributes)))
    assert len(record.attributes) + record.dropped_attributes == len(attributes)
    assert sum(len(str(item)) for item in record.attributes.items()) < MAX_METADATA * 2


def test_a_record_without_a_message_is_described_by_its_fields() -> None:
    record = describe(
        LogRecord("", attributes={"log.file.path": "/a", "method": "GET", "status": 200})
    )
    assert record.body == "method=GET status=200"
    long = describe(LogRecord("", attributes={f"k{n}": "x" * 100 for n in range(100)}))
    assert 0 < len(long.body) <= LONGEST


def test_the_stages_run_in_order_and_secrets_do_not_reach_the_description() -> None:
    stages = log_stages(config.default())
    line = '{"method":"GET","password":"hunter2","reqId":"r1","took":null}'
    record = apply(stages, LogRecord(line, observed_ns=NOW))
    assert isinstance(record, LogRecord)
    assert record.correlation_id == "r1"
    assert "hunter2" not in repr(record)
    assert record.body.startswith("method=GET")


def test_correlation_can_be_switched_off() -> None:
    stages = log_stages(config.parse("logs: {correlate: false}", "test"))
    record = apply(stages, LogRecord('{"msg":"x","reqId":"r1"}', observed_ns=NOW))
    assert isinstance(record, LogRecord)
    assert record.attributes == {"reqId": "r1"}


@given(st.text())
def test_no_line_makes_the_stages_raise(line: str) -> None:
    apply(log_stages(config.default()), LogRecord(line, observed_ns=NOW))
