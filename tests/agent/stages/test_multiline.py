"""Row 17 of the fault catalogue: what belongs together becomes one line, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickbird.sources.logtail import Line
from tickbird.stages import Shaped, multiline
from tickbird.stages.multiline import IDLE, LONGEST, MAX_BYTES, MAX_LINES, Joiner

SHOP = "2026-01-02 03:04:05,123"


def lines_of(text: str | bytes) -> list[Line]:
    data = text.encode() if isinstance(text, str) else text
    offset, lines = 0, []
    for piece in data.removesuffix(b"\n").split(b"\n"):
        lines.append(Line(piece, offset, offset + len(piece) + 1))
        offset += len(piece) + 1
    return lines


def whole(
    lines: Sequence[Line | Shaped], at_once: int = 1000, now: float = 0.0
) -> list[Line | Shaped]:
    joiner = Joiner()
    out: list[Line | Shaped] = []
    for start in range(0, len(lines), at_once):
        out += joiner.feed(lines[start : start + at_once], now)
    out += joiner.flush(now, final=True)
    assert not joiner.held
    return out


def joined(text: str) -> list[str]:
    return [line.data.decode() for line in whole(lines_of(text))]


def heads(text: str) -> list[tuple[str, int]]:
    """The first line of each record, and how many lines it has."""
    return [(record.split("\n")[0], record.count("\n") + 1) for record in joined(text)]


def run_node(tmp_path: Path, code: str) -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("not on this host: node")
    script = tmp_path / "app.js"
    script.write_text(code)
    done = subprocess.run(
        [node, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return done.stdout


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return done.stdout


NODE = """
const pay = () => {
  const deep = Object.assign(new Error("deep"), {code: "E1"});
  const e = new Error("declined", {cause: new TypeError("no route", {cause: deep})});
  return Object.assign(e, {code: "EPAY", details: {a: [1, 2], b: {c: {d: 1}}}});
};
console.error("before");
console.error(pay());
console.error(new AggregateError([new Error("one"), pay()], "many"));
console.error({a: 1, list: Array.from({length: 30}, (_, i) => "item" + i), s: "x".repeat(90)});
console.error("payment failed", pay());
console.error(JSON.stringify({level: 30, msg: "whole"}));
console.error(JSON.stringify({level: 30, msg: "pretty"}, null, 2));
console.error("after");
setTimeout(() => { throw pay(); }, 10);
"""


@pytest.mark.node
def test_row_17_every_error_that_node_prints_is_one_record(tmp_path: Path) -> None:
    found = heads(run_node(tmp_path, NODE))
    starts = [head for head, _ in found]
    assert starts[:5] == [
        "before",
        "Error: declined",
        "AggregateError: many",
        "{",
        "payment failed Error: declined",
    ]
    assert starts[5:8] == ['{"level":30,"msg":"whole"}', "{", "after"]
    assert starts[8].endswith("app.js:15")  # the place of the throw, down to the last line
    assert len(found) == 9
    assert all(count > 8 for head, count in found if "declined" in head)


@pytest.mark.node
@pytest.mark.parametrize(
    ("code", "last"),
    [("foo bar", "Node.js"), ("Promise.reject('no reason')", "Node.js"), ("x.y", "Node.js")],
)
def test_row_17_how_node_ends_is_one_record(tmp_path: Path, code: str, last: str) -> None:
    (record,) = joined(run_node(tmp_path, code))
    assert record.split("\n")[-1].startswith(last)


PYTHON = """
import asyncio, gc, logging, sys, threading
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
log = logging.getLogger("shop")
log.info("start")
try:
    try:
        {}["x"]
    except KeyError as error:
        raise RuntimeError("lost\\nsecond line\\n  third") from error
except RuntimeError:
    log.exception("cart lost")
log.info("between")
try:
    try:
        {}["x"]
    except KeyError:
        raise ValueError
except ValueError:
    log.exception("again")
try:
    raise ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [OSError("y")])])
except ExceptionGroup:
    log.exception("group")
log.info("with stack", stack_info=True)
try:
    raise ValueError("noted")
except ValueError as error:
    error.add_note("one\\ntwo")
    log.error("noted", exc_info=True, stack_info=True)
async def main():
    async def bad():
        1 / 0
    task = asyncio.create_task(bad())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
asyncio.run(main())
gc.collect()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
log.info("last")
try:
    {}["x"]
except KeyError:
    raise ExceptionGroup("final", [ValueError("a")])
"""


def test_row_17_every_traceback_that_python_prints_is_one_record() -> None:
    found = heads(run_python(PYTHON))
    assert [(re.sub(r"^\d\S+ \S+ ", "", head), count > 1) for head, count in found] == [
        ("INFO shop start", False),
        ("ERROR shop cart lost", True),
        ("INFO shop between", False),
        ("ERROR shop again", True),
        ("ERROR shop group", True),
        ("INFO shop with stack", True),
        ("ERROR shop noted", True),
        ("ERROR asyncio Task exception was never retrieved", True),
        ("Exception in thread Thread-1 (<lambda>):", True),
        ("INFO shop last", False),
        ("Traceback (most recent call last):", True),
    ]


def test_row_17_the_cause_of_a_chain_stays_with_it() -> None:
    record = joined(run_python(PYTHON))[1]
    assert record.count("Traceback (most recent call last):") == 2
    assert record.endswith("RuntimeError: lost\nsecond line\n  third")


def test_a_traceback_does_not_join_a_line_that_reports_no_failure() -> None:
    trace = (
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    x()\nKeyError: 'x'"
    )
    assert joined(f"{SHOP} INFO shop listening\n{trace}\nup again") == [
        f"{SHOP} INFO shop listening",
        trace,
        "up again",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\nthree", f"{SHOP} INFO a\n{SHOP} INFO b", '{"a":1}\n{"b":2}\nplain\n{"c":3}',
        "shop started\nconnected\ntime: 5\nNode.js v20 it is\nDuring the night\nfuture: x",
        "}\n]\n)", "a\n\nb", "Caught\nStack\nTrace", "/srv/a.js:9\nup\nsecond", "[1]\n[2]", "\n\nx",
    ],
)  # fmt: skip
def test_lines_that_only_follow_each_other_stay_apart(text: str) -> None:
    assert joined(text) == text.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "order {\n  id: 7,\n  items: [\n    'a'\n  ]\n}", "usage:\n  run\n  stop",
        "[\n  1,\n  2\n]",
        "Error: x\n    at f (a.js:1:2)\nCaused by: Error: y\n    at g (a.js:1:2)\n    ... 7 more",
        "    at f (a.js:1:2)\n    at g (a.js:1:2)", '  File "a.py", line 1\n    x = (\n        ^',
    ],
)  # fmt: skip
def test_what_is_indented_or_closes_a_bracket_is_joined(text: str) -> None:
    assert joined(f"{text}\nnext") == [text, "next"]


def test_lines_that_are_all_indented_alike_stay_apart() -> None:
    assert joined("  1 a\n  2 b\n  3 c") == ["  1 a", "  2 b", "  3 c"]


def test_a_joined_line_reaches_from_its_first_byte_to_its_last() -> None:
    lines = lines_of("first\nErr\n  a\n  b\nlast")
    assert [(line.offset, line.end) for line in whole(lines)] == [(0, 6), (6, 18), (18, 23)]


def test_what_is_held_is_handed_out_once_nothing_followed_for_a_while() -> None:
    joiner = Joiner()
    assert joiner.feed(lines_of("Error: x\n    at f (a.js:1:2)"), 10.0) == []
    assert joiner.held
    assert joiner.flush(10.0 + IDLE / 2, final=False) == []
    (line,) = joiner.flush(10.0 + IDLE, final=False)
    assert line.data == b"Error: x\n    at f (a.js:1:2)"
    assert not joiner.held


def test_row_17_a_trace_without_end_is_cut_by_lines_bytes_and_time() -> None:
    frame = b"    at f (a.js:1:2)"
    many = whole(lines_of(b"Error: x\n" + b"\n".join([frame] * 3 * MAX_LINES)))
    assert [line.data.count(b"\n") + 1 for line in many] == [MAX_LINES] * 3 + [1]
    long = b"    at " + b"f" * 50_000
    large = whole(lines_of(b"Error: x\n" + b"\n".join([long] * 20)))
    assert len(large) > 3
    assert all(len(line.data) <= MAX_BYTES for line in large)
    joiner, slow = Joiner(), []
    for second, line in enumerate(lines_of(b"Error: x\n" + b"\n".join([frame] * 11))):
        slow += joiner.feed([line], second * LONGEST / 5)
    assert [line.data.count(b"\n") + 1 for line in slow] == [5, 5]


def test_row_17_no_byte_of_a_cut_trace_is_missing() -> None:
    text = b"Error: x\n" + b"\n".join([b"    at f (a.js:1:2)"] * 2500)
    assert b"\n".join(line.data for line in whole(lines_of(text))) == text


def test_a_json_line_ends_what_is_held_and_is_handed_on_at_once() -> None:
    joiner = Joiner()
    lines = lines_of('Error: x\n    at f (a.js:1:2)\n{"msg":"a"}')
    assert [line.data[:5] for line in joiner.feed(lines, 0.0)] == [b"Error", b'{"msg']
    assert not joiner.held
    only_json = lines_of('{"msg":"a"}\n{"msg":"b"}')
    assert joiner.feed(only_json, 0.0) is only_json


def test_a_line_that_was_cut_or_not_finished_says_so_in_the_whole() -> None:
    lines = [Line(b"Error: x", 0, 9, truncated=True), Line(b"  at f", 9, 15, partial=True)]
    (line,) = whole(lines)
    assert (line.truncated, line.partial) == (True, True)


PIECES = st.sampled_from(
    [
        b"", b" ", b"{", b"}", b"{}", b"]", b"  x", b"\tx {", b"    at f (a.js:1:2)", b"text",
        b"Error: x", b"Traceback (most recent call last):", b'  File "a.py", line 1, in f',
        b"KeyError: 'x'", b"During handling of the above exception, another exception occurred:",
        b"  + Exception Group Traceback (most recent call last):",
        b"Stack (most recent call last):", b"/srv/a.js:9", b"node:internal:1", b"   ^",
        b"Node.js v20.0.0",
        b"Caused by: x",
        b"future: <Task", b"... 3 more", b"2026-01-02 03:04:05,123 ERROR x", b"\xff\0",
    ]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(PIECES | st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"")), max_size=25))
def test_t11_no_line_is_lost_moved_or_doubled_however_it_comes_in(pieces: list[bytes]) -> None:
    lines = lines_of(b"\n".join(pieces) + b"\n")
    once = whole(lines)
    assert once == whole(lines, at_once=1) == whole(lines, at_once=3)
    ends = [line.end for line in once]
    assert ends == sorted(ends)
    assert once[-1].end == lines[-1].end
    assert once[0].offset == 0
    words = b"\n".join(line.data for line in once).split()
    assert words == b"\n".join(pieces).split()


@given(PIECES | st.binary(max_size=20))
def test_the_quick_look_at_the_first_byte_misses_nothing(data: bytes) -> None:
    if multiline._NOT_ALONE.match(data):
        assert data[:1] in multiline._MAYBE
