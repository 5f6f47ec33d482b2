from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.logs.path import NOW, record_of, staged
from tickbird.model import LogRecord
from tickbird.sources.logtail import Line
from tickbird.stages import Shaped

SAMPLES = Path(__file__).parents[2] / "fixtures/logs/loggers.jsonl"


def parsed(line: str, form: str = "auto") -> LogRecord:
    return record_of(line, f"logs: {{format: {form}}}")


@pytest.mark.parametrize(
    ("number", "body", "severity"),
    [
        (0, "order placed", 9),
        (1, "payment failed\nPayError: declined\n    at pay (/srv/pay.js:9:11)", 17),
        (2, "slow query", 13),
        (3, "user logged in", 9),
    ],
)
def test_every_usual_logger_gives_message_level_and_time(
    number: int, body: str, severity: int
) -> None:
    record = parsed(SAMPLES.read_text().splitlines()[number])
    assert record.body.startswith(body)
    assert record.severity_number == severity
    assert record.time_ns == NOW
    assert not {"msg", "message", "event", "level", "time", "timestamp"} & set(record.attributes)


def test_nested_objects_become_dotted_keys_and_lists_stay() -> None:
    record = parsed(SAMPLES.read_text().splitlines()[0])
    assert record.attributes["order.id"] == 17
    assert record.attributes["order.items"] == [{"sku": "a"}]


def test_a_key_of_a_line_is_an_attribute_of_that_name() -> None:
    assert parsed('{"seq":7,"msg":"x"}').attributes == {"seq": 7}


def test_what_lies_too_deep_is_kept_as_json_text() -> None:
    deep: object = 1
    for _ in range(10):
        deep = {"a": deep}
    ((key, value),) = parsed(json.dumps(deep)).attributes.items()
    assert key == "a.a.a.a.a.a"
    assert json.loads(value) == {"a": {"a": {"a": {"a": 1}}}}


@pytest.mark.parametrize("pair", ["[]", "{}"])
@pytest.mark.parametrize("depth", [65, 900, 1_000, 20_000])
def test_row_18_a_line_that_nests_without_end_is_text_in_part_or_whole(
    depth: int, pair: str
) -> None:
    opening = pair[0] if pair == "[]" else '{"a":'
    line = '{"x":' + opening * depth + "1" + pair[1] * depth + "}"
    start = time.perf_counter()
    record = parsed(line)
    assert time.perf_counter() - start < 5
    assert record.body == line or len(record.attributes) == 1
    assert "1" in record.body + "".join(map(str, record.attributes.values()))


@pytest.mark.parametrize(
    "number",
    ["9" * 5_000, "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "-0", "-0.0", "1e-999"],
)
def test_row_20_a_number_that_fits_nowhere_costs_no_line(number: str) -> None:
    line = f'{{"msg":"sold","n":{number},"seq":7}}'
    record = parsed(line)
    if "n" not in record.attributes:
        assert record.body == line  # no JSON, so text as it came
    else:
        value = record.attributes["n"]
        assert (record.body, record.attributes["seq"]) == ("sold", 7)
        assert value == number or float(value) == float(number)


def test_braces_in_a_message_are_no_nesting() -> None:
    assert parsed(json.dumps({"msg": "{}" * 500})).body == "{}" * 500


def test_a_time_that_cannot_be_read_stays_an_attribute() -> None:
    record = parsed('{"msg":"x","time":"yesterday"}')
    assert record.time_ns == 0
    assert record.attributes == {"time": "yesterday"}


def test_the_first_key_counts_that_means_something() -> None:
    record = parsed('{"msg":"","message":"said","time":"soon","ts":1767323045.123,"level":"loud"}')
    assert (record.body, record.time_ns // 10**6) == ("said", NOW // 10**6)
    assert record.attributes == {"msg": "", "time": "soon", "level": "loud"}


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
    assert parsed("a=1 b=2", "json").body == "a=1 b=2"


@pytest.mark.parametrize("name", ["log.file.path", "log.iostream", "tickbird.log.offset"])
def test_row_72_a_line_cannot_forge_what_the_reader_knows(name: str) -> None:
    assert parsed(json.dumps({"msg": "x", name: "forged"})).attributes == {}
    inner, _, outer = name[::-1].partition(".")
    nested = {"msg": "x", outer[::-1]: {inner[::-1]: "forged"}}
    assert parsed(json.dumps(nested)).attributes == {}


def test_what_the_reader_knows_of_a_line_stands_on_its_record() -> None:
    cut, last, bad = staged(
        "",
        Line(b'{"msg":"cut","a":"b', 0, 20, truncated=True),
        Line(b'{"msg":"last"}', 20, 34, partial=True),
        b'{"msg":"\xff","a":1}',
    )
    assert isinstance(cut, LogRecord)
    assert isinstance(last, LogRecord)
    assert isinstance(bad, LogRecord)
    assert cut.attributes["tickbird.log.truncated"] is True
    assert (last.body, last.attributes) == ("last", {"tickbird.log.partial": True})
    assert bad.body == "\ufffd"
    assert bad.attributes == {"a": 1, "tickbird.log.invalid_utf8": True}


def test_what_an_envelope_says_holds_where_the_line_says_nothing() -> None:
    extra = {"time": "2026-01-02T03:04:05Z", "log.iostream": "stderr"}
    plain, told = staged(
        "",
        Shaped(b"plain", 0, 6, extra=extra),
        Shaped(b'{"msg":"x","time":1767323045123}', 6, 40, extra=extra),
    )
    assert isinstance(plain, LogRecord)
    assert isinstance(told, LogRecord)
    assert (plain.body, plain.time_ns) == ("plain", NOW // 10**9 * 10**9)
    assert (told.body, told.time_ns) == ("x", NOW)
    assert plain.attributes == told.attributes == {"log.iostream": "stderr"}


def test_empty_lines_are_dropped_by_name() -> None:
    assert staged("", "", "  \t", "x")[:2] == ["empty", "empty"]


@given(st.binary())
def test_no_line_makes_it_raise(line: bytes) -> None:
    staged("", line, b"{" + line, b"a=" + line)


@pytest.mark.parametrize(
    "line", ['a="' + "\\" * 200_000, "a=" * 100_000, "a" * 200_000 + "=", "=" * 200_000]
)
def test_a_hostile_logfmt_line_takes_linear_time(line: str) -> None:
    start = time.perf_counter()
    parsed(line)
    assert time.perf_counter() - start < 3


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "stack"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ["msg", "message", "level", "severity", "time", "ts", "err", "a.b", "a", "b", "stack"]
ROW = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=8))
def test_lines_together_give_the_records_that_each_gives_alone(
    rows: list[dict[str, object]],
) -> None:
    lines = [json.dumps(row) for row in rows]
    assert repr(staged("", *lines)) == repr([staged("", line)[0] for line in lines])
