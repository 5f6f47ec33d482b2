"""The fault catalogue's rows on what a log file may hold."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tailing import Reader, append
from tickbird.sources import logfile
from tickbird.sources.lines import MAX_LINE
from tickbird.sources.logtail import CHUNK


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def test_row_10_a_line_that_comes_in_parts_is_one_line(log: Path) -> None:
    read = Reader(log)
    for part in ("be", "gun", ", and", " ended"):
        append(log, part)
        assert read() == []
        assert read.tailer.marks()[0].offset == 0
    append(log, "\n")
    assert read() == ["begun, and ended"]


def test_row_11_a_last_line_without_an_end_is_given_once_when_its_file_is_gone(log: Path) -> None:
    append(log, "whole\nrest")
    read = Reader(log)
    assert read() == ["whole"]
    log.unlink()
    assert read() == []
    assert read.linger() == ["rest"]
    assert read.lines[-1].partial
    assert read.linger() == []


def test_row_11_or_when_nothing_has_come_for_half_a_minute(log: Path) -> None:
    append(log, "whole\nkilled in mid-senten")
    read = Reader(log)
    assert read() == ["whole"]
    read.clock.now += logfile.UNFINISHED - 1
    assert read() == []
    read.clock.now += 2
    assert read() == ["killed in mid-senten"]
    assert read.lines[-1].partial
    assert read.linger() == []
    assert read.restarted()() == []


def test_row_12_a_line_begun_before_a_restart_is_one_line_after_it(log: Path) -> None:
    append(log, "whole\nbe")
    read = Reader(log)
    assert read() == ["whole"]
    marks = read.stop()
    append(log, "gun\n")
    assert read.restarted(marks)() == ["begun"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f\n", [b"a\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f"]),
        (b"1\r\n2\n\n3\r\n4\n", [b"1", b"2", b"", b"3", b"4"]),
        (b"x" * (CHUNK - 1) + b"\r\ny\n", [b"x" * (CHUNK - 1), b"y"]),
    ],
)
def test_row_13_only_a_line_feed_ends_a_line(log: Path, data: bytes, lines: list[bytes]) -> None:
    append(log, data)
    read = Reader(log)
    read()
    assert [line.data for line in read.lines] == lines
    assert read.lines[-1].end == len(data)


def test_row_14_a_nul_byte_does_not_end_a_line(log: Path) -> None:
    append(log, b"one\na\0b\0\nthree\n")
    read = Reader(log)
    read()
    assert [line.data for line in read.lines] == [b"one", b"a\0b\0", b"three"]


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\xfd", b"caf\xe9", b"\xed\xa0\x80", b"\xc3", b"\xf4\x90\x80\x80"]
)
def test_row_15_bytes_that_are_no_utf8_pass_as_they_are(log: Path, data: bytes) -> None:
    append(log, b"first\n" + data + b"\nlast\n")
    read = Reader(log)
    read()
    assert [line.data for line in read.lines] == [b"first", data, b"last"]


def test_row_15_a_byte_order_mark_is_left_out_and_utf16_is_said(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"\xef\xbb\xbfa\nb\n")
    append(tmp_path / "b.log", "wide\n".encode("utf-16"))
    read = Reader(tmp_path / "*.log")
    assert read()[:2] == ["a", "b"]
    read()
    (problem,) = read.tailer.problems
    assert "b.log is UTF-16" in problem
    assert "UTF-8" in problem


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 10_000_000])
def test_row_16_a_giant_line_is_cut_said_to_be_and_the_next_is_whole(log: Path, size: int) -> None:
    append(log, b"x" * size + b"\r\nnext\n")
    read = Reader(log)
    assert [len(line) for line in read()] == [min(size, MAX_LINE), 4]
    assert [line.truncated for line in read.lines] == [size + 1 > MAX_LINE, False]
    assert read.lines[1].offset == size + 2


def test_row_16_a_line_without_end_takes_constant_memory(log: Path) -> None:
    with log.open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    read = Reader(log)
    tracemalloc.start()
    try:
        assert read() == []
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MAX_LINE
    append(log, "end\nnext\n")
    assert [line[-4:] for line in read()] == ["xxxx", "next"]


def test_row_34_a_sparse_file_is_read_where_it_has_data(log: Path) -> None:
    with log.open("wb") as file:
        file.write(b"before\n")
        file.seek(3_000_000_000)
        file.write(b"after\n")
    read = Reader(log)
    assert read() == ["before", "after"]
    assert read.lines[-1].end == log.stat().st_size
