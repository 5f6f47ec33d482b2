from __future__ import annotations

import io
import logging
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbird.stages.formats import FORMATS, Detector, access, fields_parser, logfmt, plain

ISO = "2026-01-02 03:04:05,123"


@pytest.mark.parametrize(
    ("line", "level", "when"),
    [
        (f"{ISO} ERROR shop.cart cart lost", "ERROR", ISO),
        (f"{ISO} - shop.cart - WARNING - cart lost", "WARNING", ISO),
        (
            "2026-01-02 03:04:05.123 | INFO     | app:main:12 - up",
            "INFO",
            "2026-01-02 03:04:05.123",
        ),
        ("[2026-01-02 03:04:05 +0000] [12] [INFO] Booting", "INFO", "2026-01-02 03:04:05 +0000"),
        ("[2026-01-02T03:04:05.123] [WARN] default - x", "WARN", "2026-01-02T03:04:05.123"),
        ("2026/01/02 03:04:05 [error] 12#12: *1 refused", "error", "2026/01/02 03:04:05"),
        ("2026-01-02T03:04:05.123Z info: up", "info", "2026-01-02T03:04:05.123Z"),
        ("2026-01-02T03:04:05.123Z [warn]: slow", "warn", "2026-01-02T03:04:05.123Z"),
        (f"ERROR {ISO} views 12 140 lost", "ERROR", ISO),
        ("2026-01-02T03:04:05Z the error page was read", None, "2026-01-02T03:04:05Z"),
        ("[03:04:05.123] \x1b[32mINFO\x1b[39m (12): up", "INFO", None),
        ("[Nest] 12  - 01/02/2026, 3:04:05 AM     LOG [App] up", "LOG", None),
        ("[Nest] 12  - 01/02/2026, 3:04:05 AM   ERROR [App] x", "ERROR", None),
        ('INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 200 OK', "INFO", None),
        ("WARNING:shop.cart:slow", "WARNING", None),
        ("(node:12) MaxListenersExceededWarning: Possible leak", "warn", None),
        ("Error: declined", "Error", None),
    ],
)
def test_time_and_level_before_plain_text_are_read(
    line: str, level: str | None, when: str | None
) -> None:
    fields = plain.parse(line)
    assert fields is not None
    assert (fields.get("level"), fields.get("time")) == (level, when)
    assert fields["message"] == line


@pytest.mark.parametrize(
    "line",
    [
        "Server listening on 3000", "error in this text", "info page visited", "level warn",
        "2026-01-02", "12 orders", "", " ", "INFORMATIONS about x", "[object Object]", "30",
    ],
)  # fmt: skip
def test_text_that_only_speaks_of_levels_stays_text(line: str) -> None:
    assert plain.parse(line) is None


@pytest.mark.parametrize(
    "form",
    [
        "%(asctime)s %(levelname)s %(message)s",
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        "[%(asctime)s] %(levelname)s in %(module)s: %(message)s",
        "%(levelname)s %(asctime)s %(module)s %(process)d %(message)s",
        "%(asctime)s [%(levelname)s] %(name)s: %(message)s",
        "%(asctime)s %(name)s[%(process)d] %(levelname)s: %(message)s",
        logging.BASIC_FORMAT,
    ],
)
def test_what_python_logging_prints_is_read(form: str) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(form))
    record = logging.LogRecord("shop", logging.WARNING, "a.py", 3, "cart %d lost", (7,), None)
    handler.emit(record)
    fields = plain.parse(out.getvalue().rstrip())
    assert fields is not None
    assert fields["level"] == "WARNING"
    assert ("time" in fields) == ("asctime" in form)


def test_a_trace_without_a_level_is_an_error_of_its_type() -> None:
    node = "PayError: declined\n    at pay (/srv/pay.js:9:11)"
    assert plain.parse(node) == {
        "level": "error",
        "exception.type": "PayError",
        "message": node,
    }
    code = "try:\n  {}['a']\nexcept KeyError:\n  raise RuntimeError('lost')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    fields = plain.parse(done.stderr)
    assert fields is not None
    assert (fields["level"], fields["exception.type"]) == ("error", "RuntimeError")


def test_a_level_before_a_trace_counts_more_than_the_trace() -> None:
    text = (
        f"{ISO} WARNING shop x\nTraceback (most recent call last):\n  File \"a.py\"\nKeyError: 'x'"
    )
    fields = plain.parse(text)
    assert fields is not None
    assert (fields["level"], fields["exception.type"]) == ("WARNING", "KeyError")


COMBINED = (
    '203.0.113.9 - frank [02/Jan/2026:03:04:05 +0000] "GET /cart?id=7 HTTP/1.1" 502 157 '
    '"https://shop.example/" "curl/8.5 \\"x\\""'
)


def test_a_combined_access_line_has_its_fields_by_their_http_names() -> None:
    fields = access.parse(COMBINED)
    assert fields == {
        "message": COMBINED,
        "time": "02/Jan/2026:03:04:05 +0000",
        "level": "error",
        "client.address": "203.0.113.9",
        "user.name": "frank",
        "http.request.method": "GET",
        "url.path": "/cart",
        "url.query": "id=7",
        "network.protocol.version": "1.1",
        "http.response.status_code": 502,
        "http.response.body.size": 157,
        "http.request.header.referer": "https://shop.example/",
        "user_agent.original": 'curl/8.5 \\"x\\"',
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('::1 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/2.0" 200 5', {"level": "info"}),
        (f"shop.example:443 {COMBINED}", {"server.address": "shop.example"}),
        (f'{COMBINED} rt=0.120 uct="0.001"', {"rt": "0.120", "uct": "0.001"}),
        (f'{COMBINED} "203.0.113.1" 0.120', {"http.response.status_code": 502}),
        ('h - - [02/Jan/2026:03:04:05 +0000] "\\x16\\x03\\x01" 400 0', {"level": "warn"}),
        ('h - - [02/Jan/2026:03:04:05 +0000] "-" 408 -', {"http.response.status_code": 408}),
    ],
)
def test_variants_of_access_lines_are_read(line: str, expected: dict[str, Any]) -> None:
    fields = access.parse(line)
    assert fields is not None
    assert expected.items() <= fields.items()
    assert fields["message"] == line


def test_an_access_line_cannot_forge_its_status_by_what_is_appended() -> None:
    fields = access.parse(f"{COMBINED} http.response.status_code=200")
    assert fields is not None
    assert fields["http.response.status_code"] == 502


def test_logfmt_is_read_when_the_whole_line_is_logfmt() -> None:
    line = 'time=2026-01-02T03:04:05.123Z level=warn msg="a \\"slow\\"\\none" took=3s empty='
    assert logfmt.parse(line) == {
        "time": "2026-01-02T03:04:05.123Z",
        "level": "warn",
        "msg": 'a "slow"\none',
        "took": "3s",
        "empty": "",
    }
    assert logfmt.parse("reached x=1 and y=2") is None
    assert logfmt.parse('x=1 y="2') is None
    assert logfmt.parse("") is None


def test_one_pair_alone_is_text_unless_logfmt_is_asked_for() -> None:
    assert fields_parser("auto")("PATH=/usr/bin") is None  # type: ignore[misc]
    assert fields_parser("logfmt")("a=1") == {"a": "1"}  # type: ignore[misc]


@pytest.mark.parametrize("form", ["json", "plain"])
def test_no_other_format_is_looked_for_where_one_is_set(form: str) -> None:
    assert fields_parser(form) is None


def test_a_file_of_mixed_formats_comes_out_right_line_by_line() -> None:
    detect = Detector()
    lines = [COMBINED, "level=info msg=up", f"{ISO} ERROR x", "just text", COMBINED, "a=1 b=2"]
    for line in lines * 3:
        alone = next((fields for parse in FORMATS if (fields := parse(line)) is not None), None)
        assert detect(line) == alone


def test_what_fitted_last_is_tried_first_until_it_does_not_fit() -> None:
    detect = Detector()
    for line, parse in [("a=1 b=2", logfmt.parse), (COMBINED, access.parse)]:
        detect(line)
        assert detect._order[0] is parse
        assert sorted(map(repr, detect._order)) == sorted(map(repr, FORMATS))


HOSTILE = [
    'a="' + "\\" * 65_000, "a=" * 32_000, "a" * 65_000 + "=", "=" * 65_000, 'a="' * 22_000,
    'a="\\"' * 13_000, "a=b " * 16_000 + '"', " " * 65_000 + "x", '"' * 65_000, "[" * 65_000,
    COMBINED[:60] + "\\" * 65_000, COMBINED + " a=" * 20_000, COMBINED + '"' * 65_000,
    'h - - [02/Jan/2026:03:04:05 +0000] "' + '\\"' * 32_000, "h" * 65_000 + ' - - ["',
    ISO + " " + "| " * 32_000, ISO + "[" * 65_000, "2" * 65_000, "2026-01-02 " * 6_000,
    "x\n" + "    at f\n" * 7_000, "Traceback (most recent call last):\n" * 1_800,
    "Traceback (most recent call last):\n" + "  |" * 21_000 + "\n  File \"a\"", "\n" * 65_000,
    "\x1b[" * 32_000, "\x1b[32m" * 13_000, "A:" * 32_000, "INFO:" * 13_000, "(node:" * 10_000,
    "x\n" + " |" * 32_000 + "\n at x", "::" * 32_000 + " - - [", "\0" * 65_000, "Uncaught " * 7_000,
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: repr(line[:20]))
def test_t11_a_hostile_line_takes_linear_time(line: str) -> None:
    start = time.process_time()
    for parse in FORMATS:
        parse(line)
    assert time.process_time() - start < 1  # what is quadratic takes minutes


PIECES = st.sampled_from(
    [
        "a=", '"', "\\", "=", " ", "\n", "[", "]", ISO, "ERROR", ":", "    at f", "200", "|", "\0",
        "GET / HTTP/1.1", "02/Jan/2026:03:04:05 +0000", "- - ", '  File "',
        "Traceback (most recent call last):",
    ]
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
def test_t11_no_line_makes_a_parser_raise_or_lose_it(line: str) -> None:
    for parse in (access.parse, plain.parse):
        fields = parse(line)
        assert fields is None or fields["message"] == line
    fields = Detector()(line)
    assert fields is None or all(isinstance(key, str) for key in fields)
