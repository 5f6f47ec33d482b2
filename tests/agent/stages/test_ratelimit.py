from __future__ import annotations

import json

import pytest

from fixtures.logs.path import NOW, line
from tickbird import config
from tickbird.logrecords import Records
from tickbird.stages import LogStages
from tickbird.stages.ratelimit import RATE_LIMITED, Bucket, RateLimit
from tickbird.testing import ManualClock


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock, bucket = ManualClock(), Bucket(rate=10, burst=50)
    assert bucket.take(80, clock.monotonic()) == 50
    assert bucket.take(1, clock.monotonic()) == 0
    clock.advance(0.25)
    assert bucket.take(5, clock.monotonic()) == 2
    clock.advance(0.25)
    assert bucket.take(5, clock.monotonic()) == 3  # the half of before was not lost


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    clock, bucket = ManualClock(), Bucket(rate=10, burst=50)
    clock.advance(3600)
    assert bucket.take(80, clock.monotonic()) == 50


def test_a_bucket_leaves_what_it_is_told_to_leave() -> None:
    clock, bucket = ManualClock(), Bucket(rate=10, burst=50)
    assert bucket.take(80, clock.monotonic(), leave=5) == 45
    assert bucket.take(80, clock.monotonic(), leave=5) == 0
    assert bucket.take(80, clock.monotonic()) == 5
    assert bucket.take(80, clock.monotonic(), leave=5) == 0


def test_over_any_time_a_bucket_gives_its_burst_and_its_rate_at_most() -> None:
    clock, bucket = ManualClock(), Bucket(rate=7, burst=20)
    given = 0
    for _ in range(1000):
        given += bucket.take(3, clock.monotonic())
        clock.advance(0.01)
    assert 20 + 7 * 10 - 1 <= given <= 20 + 7 * 10


class Limited:
    """Lines of services through the stages and then the limit, on a clock of its own."""

    def __init__(self, rate: int, burst: int) -> None:
        self.clock = ManualClock()
        self._stages = LogStages(config.default())
        self._limit = RateLimit(rate, burst)

    def kept(self, *texts: str, service: str = "shop") -> list[int]:
        """Which of ``texts``, read together, go on."""
        given = [line(text) for text in texts]
        found = self._stages.records(given, self._stages.fields_parser(), NOW, service)
        parts = list(self._limit.apply(found, service, self.clock.monotonic()))
        assert sorted(index for part in parts for index in part.lines) == list(range(len(given)))
        assert {part.drop for part in parts} <= {None, RATE_LIMITED, "empty"}
        for part in parts:
            assert consistent(part)
        return sorted(index for part in parts if not part.drop for index in part.lines)


def consistent(records: Records) -> bool:
    columns = records.columns.values()
    return len(records) > 0 and all(len(one.values) == len(records) for one in columns)


def json_line(level: str, **more: object) -> str:
    return json.dumps({"level": level, "msg": "m", **more})


def test_the_first_lines_go_on_whatever_their_shape() -> None:
    limited = Limited(2, 4)
    mixed = ["one", json_line("info", a=1), "two", json_line("info", b=2), json_line("info", a=3)]
    assert limited.kept(*mixed) == [0, 1, 2, 3]
    assert limited.kept(*mixed) == []
    limited.clock.advance(1)
    assert limited.kept(*mixed) == [0, 1]


def test_each_service_has_a_bucket_of_its_own() -> None:
    limited = Limited(1, 2)
    assert limited.kept("a", "b", "c") == [0, 1]
    assert limited.kept("a", "b", "c", service="cart") == [0, 1]


def test_lines_that_go_no_further_anyway_take_nothing() -> None:
    assert Limited(1, 2).kept("", "a", " ", "b", "c") == [1, 3]


@pytest.mark.parametrize("level", ["error", "fatal"])
def test_errors_go_before_other_lines_that_were_read_with_them(level: str) -> None:
    lines = [*[json_line("info")] * 4, json_line(level), json_line("warn"), json_line(level, a=1)]
    assert Limited(1, 3).kept(*lines) == [0, 4, 6]


def test_a_flood_of_other_lines_leaves_a_tenth_of_the_burst_to_errors() -> None:
    limited = Limited(10, 50)
    assert len(limited.kept(*[json_line("info")] * 100)) == 45
    assert limited.kept(*[json_line("error")] * 9) == [0, 1, 2, 3, 4]


def test_errors_are_limited_too() -> None:
    assert len(Limited(10, 50).kept(*[json_line("error")] * 100)) == 50
