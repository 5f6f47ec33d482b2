from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fixtures.logs.path import NOW, record_of, staged
from tickbird.model import LogRecord
from tickbird.stages.describe import LONGEST
from tickbird.stages.limit import (
    MAX_ATTRIBUTES,
    MAX_BODY,
    MAX_METADATA,
    STATED_TIME,
    TRUNCATED,
)

HOUR = 3600 * 10**9


def with_time(*times: int) -> list[LogRecord | str]:
    return staged("", *(json.dumps({"msg": "x", "time": time}) for time in times))


def with_attributes(attributes: dict[str, object]) -> LogRecord:
    return record_of(json.dumps({"msg": "x", **attributes}))


def test_row_77_a_line_of_over_a_week_ago_goes_with_the_time_of_its_reading() -> None:
    old, young = with_time(NOW - 168 * HOUR, NOW - 166 * HOUR)
    assert isinstance(old, LogRecord)
    assert isinstance(young, LogRecord)
    assert (old.time_ns, young.time_ns) == (0, NOW - 166 * HOUR)
    assert old.attributes == {STATED_TIME: "2025-12-26T03:04:05+00:00"}


def test_a_time_that_lies_ahead_is_not_believed_but_kept() -> None:
    ahead, now = with_time(NOW + HOUR, NOW)
    assert isinstance(ahead, LogRecord)
    assert isinstance(now, LogRecord)
    assert (ahead.time_ns, now.time_ns) == (0, NOW)
    assert ahead.attributes == {STATED_TIME: "2026-01-02T04:04:05+00:00"}
    assert now.attributes == {}


def test_a_long_body_is_cut_between_characters_and_marked() -> None:
    long, short = staged("", "☃" * MAX_BODY, "short")
    assert isinstance(long, LogRecord)
    assert isinstance(short, LogRecord)
    assert MAX_BODY - 3 <= len(long.body.encode()) <= MAX_BODY
    assert long.attributes == {TRUNCATED: True}
    assert (short.body, short.attributes) == ("short", {})


def test_attributes_beyond_the_limit_are_dropped_and_counted() -> None:
    record = with_attributes({f"k{n}": n for n in range(10_000)})
    assert len(record.attributes) == MAX_ATTRIBUTES
    assert record.dropped_attributes == 10_000 - MAX_ATTRIBUTES


def test_a_giant_attribute_does_not_take_the_record_with_it() -> None:
    record = with_attributes({"a": 1, "big": "y" * 10**5, "b": 2})
    assert record.attributes == {"a": 1}
    assert record.dropped_attributes == 2


def test_a_long_name_counts_wherever_it_is_repeated() -> None:
    record = with_attributes({"n" * 5000: {f"k{number}": 1 for number in range(50)}})
    assert sum(map(len, record.attributes)) <= MAX_METADATA
    assert len(record.attributes) + record.dropped_attributes == 50


def test_absent_values_are_left_out_without_being_counted() -> None:
    record = with_attributes({"a": None, "b": 1})
    assert (record.attributes, record.dropped_attributes) == ({"b": 1}, 0)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text("abc"), st.text() | st.lists(st.text()) | FINITE, max_size=150))
def test_what_passes_is_within_the_limits(attributes: dict[str, object]) -> None:
    record = with_attributes(attributes)
    assert len(record.attributes) <= MAX_ATTRIBUTES
    assert sum(len(str(item)) for item in record.attributes.items()) < MAX_METADATA * 2


def test_a_record_without_a_message_is_described_by_its_fields() -> None:
    assert record_of('{"method":"GET","status":200,"took":null}').body == "method=GET status=200"
    long = record_of(json.dumps({f"k{n}": "x" * 100 for n in range(100)}))
    assert 0 < len(long.body) <= LONGEST


def test_secrets_do_not_reach_the_description() -> None:
    record = record_of('{"method":"GET","password":"hunter2","reqId":"r1"}')
    assert record.correlation_id == "r1"
    assert "hunter2" not in repr(record)
    assert record.body.startswith("method=GET")


def test_correlation_can_be_switched_off() -> None:
    record = record_of('{"msg":"x","reqId":"r1"}', "logs: {correlate: false}")
    assert record.attributes == {"reqId": "r1"}
