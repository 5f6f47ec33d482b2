"""Log files of Docker and of Kubernetes' runtimes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickbird.sources.logtail import Line
from tickbird.stages import Shaped
from tickbird.stages.containers import MAX_LINE, UNFINISHED, Container, cri, docker, place
from tickbird.stages.multiline import Joiner

WHEN = "2026-01-02T03:04:05.123456789Z"


def in_docker(text: str, stream: str = "stdout", when: str = WHEN) -> str:
    return json.dumps({"log": text, "stream": stream, "time": when})


def in_cri(text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"{WHEN} {stream} {tag} {text}"


def lines_of(*texts: str) -> list[Line]:
    offset, lines = 0, []
    for text in texts:
        data = text.encode()
        lines.append(Line(data, offset, offset + len(data) + 1))
        offset += len(data) + 1
    return lines


def fed(*texts: str, form: str = "auto", join: bool = False) -> list[Line | Shaped]:
    stage = Container(form, "/a.log", Joiner if join else None)
    out = list(stage.feed(lines_of(*texts), 0.0))
    return out + list(stage.flush(0.0, final=True))


def extra(line: Line | Shaped) -> dict[str, object]:
    return dict(line.extra) if isinstance(line, Shaped) else {}


@pytest.mark.parametrize("wrap", [lambda text: in_docker(f"{text}\n"), in_cri])
def test_the_envelope_comes_off_and_tells_time_and_stream(wrap: object) -> None:
    (line,) = fed(wrap('{"msg":"up"}'))  # type: ignore[operator]
    assert line.data == b'{"msg":"up"}'
    assert extra(line) == {"time": WHEN, "log.iostream": "stdout"}


def test_row_12_a_line_that_docker_has_cut_is_put_together() -> None:
    parts = ["x" * 16384, "y" * 16384, "z\n"]
    first, last = fed(*(in_docker(part) for part in parts), in_docker("next\n"))
    assert first.data.decode() == "".join(parts).rstrip()
    assert (first.offset, first.end) == (0, last.offset)
    assert not first.partial


def test_row_12_a_line_that_a_runtime_has_cut_is_put_together() -> None:
    first, last = fed(in_cri("one ", "P"), in_cri("two", "F"), in_cri("three", "F:x"))
    assert (first.data, last.data) == (b"one two", b"three")


def test_row_12_parts_of_two_streams_do_not_mix() -> None:
    out = fed(
        in_cri("a", "P", "stdout"),
        in_cri("1", "P", "stderr"),
        in_cri("b", "F", "stdout"),
        in_cri("2", "F", "stderr"),
    )
    assert [(line.data, extra(line)["log.iostream"]) for line in out] == [
        (b"ab", "stdout"),
        (b"12", "stderr"),
    ]


def test_row_12_what_is_acknowledged_never_lies_beyond_a_line_that_waits() -> None:
    stage = Container("auto", "/a.log", None)
    lines = lines_of(in_cri("a", "P"), in_cri("1", "F", "stderr"), in_cri("b", "F"))
    (early,) = stage.feed(lines[:2], 0.0)
    assert early.offset == lines[1].offset
    assert early.end == lines[0].offset == 0
    (late,) = stage.feed(lines[2:], 0.0)
    assert (late.data, late.offset, late.end) == (b"ab", 0, lines[2].end)


def test_a_line_that_nobody_finishes_is_handed_out_as_such() -> None:
    stage = Container("auto", "/a.log", Joiner)
    assert stage.feed(lines_of(in_docker("half")), 0.0) == []
    assert stage.held
    assert stage.flush(UNFINISHED / 2, final=False) == []
    (line,) = stage.flush(UNFINISHED + 1, final=True)
    assert (line.data, line.partial) == (b"half", True)
    assert not stage.held


def test_row_16_a_line_of_many_parts_is_kept_up_to_the_limit() -> None:
    parts = [in_docker("x" * 16384)] * 100
    first, last = fed(*parts, in_docker("end\n"), in_docker("next\n"))
    assert len(first.data) == MAX_LINE
    assert first.truncated
    assert (last.data, last.truncated) == (b"next", False)


@pytest.mark.parametrize("mark", ["truncated", "partial"])
def test_row_16_what_reading_has_cut_is_marked_so_without_its_envelope(mark: str) -> None:
    (whole,) = lines_of(in_cri("password=hunt"))
    stage = Container("cri", "/a.log", None)
    (line,) = stage.feed([whole._replace(**{mark: True})], 0.0)  # type: ignore[arg-type]
    assert (line.truncated, line.partial) == (mark == "truncated", mark == "partial")


@pytest.mark.parametrize("cut", [0, 1])
def test_row_16_a_part_that_reading_has_cut_marks_its_line_and_ends_it(cut: int) -> None:
    lines = lines_of(in_cri("a tok", "P"), in_cri("rest tok", "F"), in_cri("next"))
    lines[cut] = lines[cut]._replace(truncated=True, partial=True)
    first, last = Container("cri", "/a.log", None).feed(lines, 0.0)
    assert first.data == (b"a tok", b"a tokrest tok")[cut]
    assert (first.truncated, first.partial) == (True, True)
    assert (last.truncated, last.partial) == (False, False)


def test_row_17_traces_of_two_streams_in_one_file_do_not_mix() -> None:
    out = fed(
        in_docker("Error: a\n", "stderr"),
        in_docker("served\n"),
        in_docker("    at f (a.js:1:2)\n", "stderr"),
        in_docker('{"msg":"json"}\n'),
        in_docker("    at g (a.js:3:4)\n", "stderr"),
        join=True,
    )
    assert sorted(line.data for line in out) == [
        b"Error: a\n    at f (a.js:1:2)\n    at g (a.js:3:4)",
        b"served",
        b'{"msg":"json"}',
    ]


def test_a_terminal_s_line_ends_come_off() -> None:
    assert [line.data for line in fed(in_docker("a\r\n"), in_docker("\n"))] == [b"a", b""]


def test_a_line_without_an_envelope_passes_as_it_is() -> None:
    lines = [in_cri("a"), "torn", '{"log":1}', in_cri("b")]
    assert [line.data for line in fed(*lines)] == [b"a", b"torn", b'{"log":1}', b"b"]


@pytest.mark.parametrize(
    "line",
    [
        '{"log":"a\\n","stream":"other","time":"x"}', '{"log":"a\\n"}', '{"msg":"a"}', "text", "",
        f"{WHEN} stdout X text", f"{WHEN} stdin F text", "stdout F", "{" * 5000, '{"log":' * 5000,
    ],
)  # fmt: skip
def test_what_only_looks_like_an_envelope_is_none(line: str) -> None:
    assert docker(line.encode()) is None
    assert cri(line.encode()) is None
    assert [one.data.decode() for one in fed(line)] == [line]


def test_where_no_file_is_a_container_s_lines_are_handed_on_untouched() -> None:
    stage = Container("auto", "/a.log", Joiner)
    lines = lines_of('{"msg":"a"}', '{"msg":"b"}')
    assert stage.feed(lines, 0.0) is lines


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "/var/log/pods/shop_cart-7d9f-x2_0a1b-2c/cart/3.log",
            {
                "k8s.namespace.name": "shop",
                "k8s.pod.name": "cart-7d9f-x2",
                "k8s.pod.uid": "0a1b-2c",
                "k8s.container.name": "cart",
                "k8s.container.restart_count": 3,
            },
        ),
        (
            f"/var/log/containers/cart-7d9f-x2_shop_cart-{'ab' * 32}.log",
            {
                "k8s.namespace.name": "shop",
                "k8s.pod.name": "cart-7d9f-x2",
                "k8s.container.name": "cart",
                "container.id": "ab" * 32,
            },
        ),
        (
            f"/var/lib/docker/containers/{'ab' * 32}/{'ab' * 32}-json.log",
            {"container.id": "ab" * 32},
        ),
        ("/var/log/shop/app.log", {}),
    ],
)
def test_the_path_tells_which_container_it_is(path: str, said: dict[str, object]) -> None:
    assert place(path) == said


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from(["P", "F"]),
        st.sampled_from(["a", "Error: x", "    at f (a.js:1:2)", "{}", "", "  b", "}"]),
    ),
    max_size=25,
)


@settings(max_examples=500)
@given(EVENTS, st.integers(1, 5), st.booleans())
def test_row_12_a_kill_at_any_moment_loses_no_part(
    events: list[tuple[str, str, str]], at_once: int, join: bool
) -> None:
    """Whatever was acknowledged, what lies before it has come out."""
    lines = lines_of(*(in_cri(text, tag, stream) for stream, tag, text in events))
    stage = Container("cri", "/a.log", Joiner if join else None)
    out: list[Line | Shaped] = []
    for start in range(0, len(lines), at_once):
        out += stage.feed(lines[start : start + at_once], 0.0)
        _nothing_before_the_end_is_missing(lines, events, out)
    out += stage.flush(0.0, final=True)
    assert out[-1].end == lines[-1].end if lines else not out
    assert [line.end for line in out] == sorted(line.end for line in out)
    for stream in ("stdout", "stderr"):
        came = b"".join(line.data for line in out if extra(line)["log.iostream"] == stream)
        wrote = "".join(text for name, _, text in events if name == stream)
        assert came.replace(b"\n", b"").split() == wrote.encode().split()


def _nothing_before_the_end_is_missing(
    lines: Sequence[Line], events: list[tuple[str, str, str]], out: Sequence[Line | Shaped]
) -> None:
    acknowledged = out[-1].end if out else 0
    for stream in ("stdout", "stderr"):
        before = [
            text
            for line, (name, _, text) in zip(lines, events, strict=True)
            if name == stream and line.end <= acknowledged
        ]
        came = b"".join(line.data for line in out if extra(line)["log.iostream"] == stream)
        assert came.replace(b"\n", b"").startswith("".join(before).rstrip().encode())


@settings(max_examples=500)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_t11_no_line_makes_a_parser_raise(data: bytes) -> None:
    for head in (b"", b'{"log":"', WHEN.encode() + b" stdout F "):
        docker(head + data)
        cri(head + data)


def test_t11_a_hostile_line_takes_linear_time() -> None:
    for text in ("\\" * 65_000, "{" * 65_000, '{"log":"' * 8_000, " " * 65_000, f"{WHEN} " * 2_000):
        start = time.process_time()
        docker(text.encode())
        cri(text.encode())
        assert time.process_time() - start < 1
