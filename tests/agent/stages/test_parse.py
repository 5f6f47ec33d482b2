from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.model import LogRecord
from tickbird.stages import parse

SAMPLES = Path(__file__).parents[2] / "fixtures/logs/loggers.jsonl"
WHEN = 1767323045123000000  # 2026-01-02 03:04:05.123 UTC


def parsed(line: str, form: str = "auto") -> LogRecord:
    record = parse.parser(form)(LogRecord(line))
    assert isinstance(record, LogRecord)
    return record


@pytest.mark.parametrize(
    ("number", "body", "severity"),
    [
        (0, "order placed", 9),
        (1, "payment failed\nPayError: declined\n    at pay (/srv/pay.js:9:11)", 17),
        (2, "slow query", 13),
        (3, "user logged in", 9),
        (4, "cart lost\nTraceback (most recent call last):\n", 17),
    ],
)
def test_every_usual_logger_gives_message_level_and_time(
    number: int, body: str, severity: int
) -> None:
    record = parsed(SAMPLES.read_text().splitlines()[number])
    assert record.body.startswith(body)
    assert record.severity_number == severity
    assert record.time_ns == WHEN
    assert not {"msg", "message", "event", "level", "time", "timestamp"} & set(record.attributes)


def test_nested_objects_become_dotted_keys_and_lists_stay() -> None:
    record = parsed(SAMPLES.read_text().splitlines()[0])
    assert record.attributes["order.id"] == 17
    assert record.attributes["order.items"] == [{"sku": "a"}]


def test_what_lies_too_deep_is_kept_as_json_text() -> None:
    deep: object = 1
    for _ in range(10):
        deep = {"a": deep}
    record = parsed(json.dumps(deep))
    ((key, value),) = record.attributes.items()
    assert key == "a.a.a.a.a.a"
    assert json.loads(value) == {"a": {"a": {"a": {"a": 1}}}}


@pytest.mark.parametrize("depth", [65, 1_000, 200_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_a_line_that_nests_without_end_stays_text(depth: int, pair: str) -> None:
    opening = pair[0] if pair == "[]" else '{"a":'
    line = '{"msg":' + opening * depth + "1" + pair[1] * depth + "}"
    start = time.perf_counter()
    assert parsed(line).body == line
    assert time.perf_counter() - start < 5


def test_braces_in_a_message_are_no_nesting() -> None:
    assert parsed(json.dumps({"msg": "{}" * 500})).body == "{}" * 500


@pytest.mark.parametrize(
    "value",
    [
        1767323045.123, 1767323045123, 1767323045123000, 1767323045123000000,
        "1767323045.123", "2026-01-02T03:04:05.123Z", "2026-01-02T05:04:05.123+02:00",
        "2026-01-02 03:04:05,123",
    ],
)  # fmt: skip
def test_times_are_read_in_every_usual_form(value: object) -> None:
    assert abs(parse.time_ns(value) - WHEN) < 1000


@pytest.mark.parametrize(
    "value", ["soon", None, True, -5, 0, [], "nan", "inf", 1e300, "0001-01-01"]
)
def test_what_is_no_time_is_zero(value: object) -> None:
    assert parse.time_ns(value) == 0


def test_a_time_that_cannot_be_read_stays_an_attribute() -> None:
    record = parsed('{"msg":"x","time":"yesterday"}')
    assert record.time_ns == 0
    assert record.attributes == {"time": "yesterday"}


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"level": 20}, 5), ({"levelno": 20}, 9), ({"level": "CRITICAL"}, 21),
        ({"severity": "NOTICE"}, 10), ({"level": "Warning"}, 13), ({"log": {"level": "error"}}, 17),
        ({"levelname": "INFO", "levelno": 20}, 9), ({"level": "loud"}, 0), ({"level": True}, 0),
    ],
)  # fmt: skip
def test_levels_are_known_by_name_and_number(fields: dict[str, object], severity: int) -> None:
    assert parsed(json.dumps({"msg": "x", **fields})).severity_number == severity


def test_logfmt_is_read_when_the_whole_line_is_logfmt() -> None:
    record = parsed(
        'time=2026-01-02T03:04:05.123Z level=warn msg="a \\"slow\\" one" took=3s empty='
    )
    assert (record.body, record.severity_number) == ('a "slow" one', 13)
    assert record.attributes == {"took": "3s", "empty": ""}
    assert parsed("reached x=1 and stopped").body == "reached x=1 and stopped"


@pytest.mark.parametrize("line", ["plain", '{"broken": ', "{}}", "[1,2]", '{"a":1e999}', "{NaN}"])
def test_what_is_no_format_stays_the_body(line: str) -> None:
    assert parsed(line).body == line


def test_the_format_can_be_fixed() -> None:
    assert parsed('{"msg":"x"}', "plain").body == '{"msg":"x"}'
    assert parsed('{"msg":"x"}', "logfmt").body == '{"msg":"x"}'
    assert parsed("a=1", "json").body == "a=1"


def test_a_line_cannot_forge_what_the_reader_knows() -> None:
    record = LogRecord('{"msg":"x","log.file.path":"/forged"}', attributes={"log.file.path": "/a"})
    assert parse.parser("auto")(record).attributes == {"log.file.path": "/a"}  # type: ignore[union-attr]


@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")))
def test_no_line_makes_it_raise(line: str) -> None:
    parsed(line)
    parsed("{" + line)
    parsed("a=" + line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["msg", "level", "time", "stack", "a.b", "a"]), JSON))
def test_no_json_object_makes_it_raise(value: dict[str, object]) -> None:
    parsed(json.dumps(value))


def test_a_hostile_logfmt_line_takes_linear_time() -> None:
    for line in ('a="' + "\\" * 200_000, "a=" * 100_000, "a" * 200_000 + "=", "=" * 200_000):
        start = time.perf_counter()
        parsed(line)
        assert time.perf_counter() - start < 2
