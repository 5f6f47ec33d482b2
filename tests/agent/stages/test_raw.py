"""``logs.mode: raw``: the line as it is, redacted, beside what structured mode finds in it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.logs.path import NOW, staged
from tickbird import config
from tickbird.errors import ConfigError
from tickbird.model import LogRecord
from tickbird.sinks.otlp.logs import LogEncoder
from tickbird.sources.logtail import Line
from tickbird.stages import LogStages, Shaped

ROOT = Path(__file__).parents[3]
LOGGERS = (ROOT / "tests/fixtures/logs/loggers.jsonl").read_text().splitlines()
RAW = "logs: {mode: raw}"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)
    yield importlib.import_module("bench.redact")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def raw(*lines: str | bytes | Line | Shaped, more: str = "") -> list[LogRecord | str]:
    return staged(f"{RAW}\n{more}", *lines)


def record(line: str | bytes | Line | Shaped, more: str = "") -> LogRecord:
    (found,) = raw(line, more=more)
    assert isinstance(found, LogRecord), found
    return found


def promoted(one: LogRecord | str) -> object:
    if isinstance(one, str):
        return one
    own = {name: value for name, value in one.attributes.items() if name.startswith("tickbird.")}
    return (
        one.time_ns, one.severity_number, one.severity_text, one.trace_id, one.span_id,
        one.correlation_id, own,
    )  # fmt: skip


VALUES = st.sampled_from(
    [
        TRACE,
        SPAN,
        "req-1",
        "info",
        30,
        "50",
        1767323045,
        "2026-01-02T03:04:05Z",
        None,
        "",
        "x y",
        1.5,
    ]
)
NAMES = st.sampled_from(
    ["time", "ts", "level", "levelno", "msg", "event", "trace_id", "span_id", "reqId", "pid",
     "stack", "x-request-id", "user", "tickbird.log.mode"]
)  # fmt: skip
FIELDS = st.dictionaries(NAMES, VALUES, max_size=6)
LINES = st.one_of(
    st.builds(
        lambda fields, inner: json.dumps({**fields, **({"req": inner} if inner else {})}),
        FIELDS,
        FIELDS,
    ),
    FIELDS.map(lambda fields: " ".join(f"{k}={json.dumps(v)}" for k, v in fields.items())),
    st.sampled_from([*LOGGERS, "2026-01-02 03:04:05 ERROR down", "plain", "  ", '{"a":', "[1]"]),
    st.text(max_size=40),
)


@given(st.lists(LINES, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_time_severity_and_ids_are_those_of_structured_mode(lines: list[str]) -> None:
    found = raw(*lines)
    assert [promoted(one) for one in found] == [promoted(one) for one in staged("", *lines)]
    for line, one in zip(lines, found, strict=True):
        if isinstance(one, LogRecord):
            sent = line.encode(errors="surrogatepass").replace(b"\n", b" ")
            assert one.body == sent.decode(errors="replace")
            assert all(name.startswith("tickbird.") for name in one.attributes)


def test_no_secret_planted_in_the_corpus_is_in_the_encoded_bytes(bench) -> None:
    stages = LogStages(config.parse(RAW, "test"))
    encoder = LogEncoder()
    planted = list(bench.secrets_corpus.planted(11, 2))
    assert len(planted) > 400
    left = []
    for one in planted:
        lines = [Line(text.encode(), 0, 1) for text in one.text.split("\n")]
        groups = list(stages.records(lines, stages.fields_parser(), NOW))
        sent = b"\n".join(b"".join(encoder.encode(g, NOW)) for g in groups if not g.drop)
        bodies = [body for g in groups if not g.drop for body in g.body or ()]
        cleaned = "\n".join(bodies).encode(errors="replace")
        if one.secret.encode() in sent or bench.left_of(one.secret, cleaned):
            left.append((one.kind, one.place))
    assert not left


@pytest.mark.parametrize(
    "line",
    [
        '{"msg":"in","pass_word":"hunter2","n":1}',
        '{"msg":"in","password_":"hunter2"}',
        '{"msg":"in","a":{"Card_Number":"hunter2"}}',
        'level=info msg=in pass_word=hunter2',
        Line(b'{"msg":"in",\n"password":\n"hunter2"}', 0, 40),
    ],
)  # fmt: skip
def test_a_secret_that_only_the_fields_show_keeps_the_record_structured(line: str | Line) -> None:
    found = record(line, "redact: {keys: [cardnumber]}")
    assert "hunter2" not in repr(found)
    assert found.body == "in"
    assert found.attributes["tickbird.log.mode"] == "structured"
    assert "[redacted]" in found.attributes.values()


def test_others_read_together_with_such_a_line_stay_raw() -> None:
    plain = '{"msg":"in","pass_word":"","n":1}'
    marked, other = raw('{"msg":"in","pass_word":"hunter2","n":1}', plain)
    assert isinstance(marked, LogRecord)
    assert isinstance(other, LogRecord)
    assert "tickbird.log.mode" in marked.attributes
    assert (other.body, other.attributes) == (plain, {})


def test_the_body_is_the_redacted_line_and_no_field_is_an_attribute() -> None:
    found = record('{"level":50, "msg":"no","password":"hunter2","k8s.pod.name":"forged","b":[1]}')
    assert (
        found.body
        == '{"level":50, "msg":"no","password":"[redacted]","k8s.pod.name":"forged","b":[1]}'
    )
    assert found.attributes == {}
    assert found.severity_number == 17


def test_what_is_known_beside_a_line_stays() -> None:
    beside = {"k8s.pod.name": "cart-1", "log.iostream": "stderr", "time": "2026-01-02T03:04:05Z"}
    found = record(Shaped(b'{"k8s.pod.name":"forged"}', 0, 9, partial=True, extra=beside))
    assert found.attributes == {
        "k8s.pod.name": "cart-1", "log.iostream": "stderr", "tickbird.log.partial": True,
    }  # fmt: skip
    assert found.time_ns == 1767323045 * 10**9


@pytest.mark.parametrize(
    ("redact", "said"),
    [
        ("patterns: none", "redact.patterns: needs default"),
        ("patterns: [email]", "redact.patterns: needs default"),
        ("keys: [user.ssn]", "write ssn, or set logs.mode: structured"),
        ("keys: [contraseña]", "leave it out, or set logs.mode: structured"),
    ],
)
def test_redaction_that_needs_fields_is_refused_with_raw_mode(redact: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"logs:\n  mode: raw\nredact: {{{redact}}}", "tickbird.yaml")
    assert caught.value.exit_code == 78
    assert said in str(caught.value)
    assert "tickbird.yaml:3" in str(caught.value)
    config.parse(f"redact: {{{redact}}}")
