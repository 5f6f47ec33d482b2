"""Row 22 of the fault catalogue: times in every form that loggers write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.stages.formats import times
from tickbird.stages.formats.times import time_ns

WHEN = 1767323045123000000  # 2026-01-02 03:04:05.123 UTC
SECOND = 10**9


@pytest.fixture
def five_hours_west() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EST5"
    time.tzset()
    times._minute.cache_clear()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()
    times._minute.cache_clear()


@pytest.mark.parametrize(
    "value",
    [
        1767323045.123, 1767323045123, 1767323045123000, 1767323045123000000, "1767323045.123",
        "1767323045123", "2026-01-02T03:04:05.123Z", "2026-01-02 03:04:05.123 UTC",
        "2026-01-02T05:04:05.123+02:00", "2026-01-01T22:04:05,123 -0500", "20260102T030405.123Z",
        "2026/01/02 03:04:05.123Z", "2026-01-02t03:04:05.123z",
    ],
)  # fmt: skip
def test_row_22_a_time_is_read_in_every_usual_form(value: object) -> None:
    assert abs(time_ns(value) - WHEN) < 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("02/Jan/2026:03:04:05 +0000", 1767323045), ("02/Jan/2026:03:04:05 -0700", 1767348245),
        ("Fri, 02 Jan 2026 03:04:05 GMT", 1767323045), ("2026-01-02T03:04Z", 1767323040),
    ],
)  # fmt: skip
def test_times_of_access_logs_and_mail_are_read(value: str, seconds: int) -> None:
    assert time_ns(value) == seconds * SECOND


def test_row_22_no_nanosecond_is_lost() -> None:
    assert time_ns("2026-01-02T03:04:05.123456789Z") == WHEN + 456789
    assert time_ns("2026-01-02T03:04:05.1234567899999Z") == WHEN + 456789
    assert time_ns(1767323045123456789) == WHEN + 456789


def test_row_22_without_a_zone_it_is_the_time_of_this_machine(five_hours_west: None) -> None:
    assert time_ns("2026-01-01 22:04:05,123") == WHEN
    assert time_ns("2026-01-02T03:04:05.123Z") == WHEN


def test_row_22_a_leap_second_is_the_one_after_it() -> None:
    assert time_ns("2016-12-31T23:59:60Z") == time_ns("2017-01-01T00:00:00Z") > 0


def test_row_22_what_lies_in_1970_is_read_as_such() -> None:
    assert time_ns("1970-01-01T00:00:01Z") == SECOND
    assert time_ns("1970-01-01T00:00:00Z") == 0
    assert time_ns("1969-12-31T23:59:59Z") == 0


@pytest.mark.parametrize(
    "value",
    [
        "soon", None, True, -5, 0, [], {}, "nan", "inf", 1e300, "0001-01-01",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T03:04:61Z", "", " ", "٣٤٥",
        "9" * 5000, "1e999", "02/Foo/2026:03:04:05 +0000", "0000-01-01T00:00:00Z", float("nan"),
    ],
)  # fmt: skip
def test_row_22_what_is_no_time_is_zero(value: object) -> None:
    assert time_ns(value) == 0


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_iso_times_are_those_of_the_standard_library(when: datetime) -> None:
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86400 + since.seconds) * 10**6 + since.microseconds
    assert time_ns(when.isoformat()) == micros * 1000


@given(st.text() | st.floats() | st.integers() | st.text("0123456789-T:.+Z/ ", max_size=40))
def test_t11_no_value_makes_it_raise_or_leave_the_range(value: object) -> None:
    assert 0 <= time_ns(value) < 2**63
