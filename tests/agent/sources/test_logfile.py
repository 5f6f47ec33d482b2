from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tailing import Reader, append
from tickbird.sources import logtail
from tickbird.sources.logpaths import LogPaths
from tickbird.sources.logtail import CHUNK


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def test_lines_are_read_once_as_they_come(log: Path) -> None:
    read = Reader(log)
    assert read() == []
    append(log, "a\nb\n")
    assert read() == ["a", "b"]
    append(log, "c\n")
    assert read() == ["c"]
    assert [line.offset for line in read.lines] == [0, 2, 4]


def test_a_renamed_file_is_drained_before_its_successor_is_begun(log: Path) -> None:
    read = Reader(log)
    append(log, "a\n")
    assert read() == ["a"]
    append(log, "b\n")
    log.rename(log.with_name("app.log.1"))
    append(log, "c\n")
    assert read() == ["b", "c"]
    append(log.with_name("app.log.1"), "late\n")
    append(log, "d\n")
    assert read() == ["late", "d"]


def test_a_writer_that_stays_with_the_renamed_file_is_followed(log: Path) -> None:
    read = Reader(log)
    append(log, "a\n")
    read()
    moved = log.rename(log.with_name("app.log.1"))
    log.touch()
    for number in range(5):
        assert read.linger() == []
        append(moved, f"{number}\n")
        assert read() == [f"{number}"]


def test_generations_that_came_and_went_between_two_looks_are_found(log: Path) -> None:
    read = Reader(log)
    append(log, "a1\n")
    assert read() == ["a1"]
    append(log, "a2\n")
    for number, text in enumerate(("b", "c", "d")):
        log.with_name("app.log.2").exists() and log.with_name("app.log.2").rename(
            log.with_name("app.log.3")
        )
        log.with_name("app.log.1").exists() and log.with_name("app.log.1").rename(
            log.with_name("app.log.2")
        )
        log.rename(log.with_name("app.log.1"))
        append(log, f"{text}\n")
        os.utime(log, ns=(0, log.stat().st_mtime_ns + 10**7 * (number + 1)))
    assert read() == ["a2", "b", "c", "d"]


def test_an_older_rotated_file_is_not_taken_for_a_missed_one(log: Path) -> None:
    old = log.with_name("app.log.1")
    append(old, "old\n")
    os.utime(old, (1, 1))
    read = Reader(log)
    append(log, "a\n")
    assert read() == ["a"]
    old.rename(log.with_name("app.log.2"))
    log.rename(old)
    append(log, "b\n")
    assert read() == ["b"]


def test_copytruncate_finishes_the_copy_and_begins_anew(log: Path) -> None:
    read = Reader(log)
    append(log, "first line\n")
    assert read() == ["first line"]
    append(log, "unread\n")
    shutil.copy(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, "x\n")
    assert read() == ["unread", "x"]
    first, second = {tail.generation for tail in read.tailer.tails}
    assert first != second


def test_a_file_that_grew_again_past_the_old_offset_is_read_from_its_beginning(log: Path) -> None:
    read = Reader(log)
    append(log, "one\ntwo\n")
    read()
    os.truncate(log, 0)
    append(log, "another first line\nand more of it\n")
    assert read() == ["another first line", "and more of it"]


def test_truncation_without_a_copy_begins_anew(log: Path) -> None:
    read = Reader(log)
    append(log, "one\ntwo\npart")
    read()
    os.truncate(log, 0)
    append(log, "x\n")
    assert read() == ["part", "x"]
    assert read.lines[2].partial


@pytest.mark.parametrize("age", [0.0, 60.0])
def test_an_overwrite_of_the_same_size_is_noticed(log: Path, age: float) -> None:
    append(log, "one\n")
    before = log.stat().st_mtime - age
    os.utime(log, (before, before))
    reader = Reader(log)
    assert reader() == ["one"]
    assert reader() == []
    with log.open("r+") as file:
        file.write("two\n")
    assert reader() == ["two"]


def test_the_hole_of_a_writer_that_does_not_append_is_skipped(log: Path) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"a" * 100_000 + b"\n")
        read = Reader(log)
        assert len(read()[0]) == 100_000
        os.truncate(log, 0)
        writer.write(b"after the hole\n")
        assert read() == ["after the hole"]
    assert read.lines[-1].end == log.stat().st_size


def test_a_reused_inode_is_another_file(log: Path) -> None:
    read = Reader(log)
    append(log, "a\nb\n")
    read()
    (mark,) = read.tailer.marks()
    read.tailer.close()
    log.write_text("x\ny\nz\n")  # the same inode, other content
    assert Reader(log, marks=[mark])() == ["x", "y", "z"]


def test_files_with_the_same_beginning_are_each_read_in_full(tmp_path: Path) -> None:
    for number in range(3):
        append(tmp_path / f"{number}.log", "same " * 400 + f"\nown {number}\n")
    lines = Reader(tmp_path / "*.log")()
    assert [line for line in lines if line.startswith("own")] == ["own 0", "own 1", "own 2"]


def test_a_line_that_is_not_finished_waits_for_its_end(log: Path) -> None:
    read = Reader(log)
    append(log, "whole\npar")
    assert read() == ["whole"]
    assert read.tailer.marks()[0].offset == 6
    append(log, "tial\n")
    assert read() == ["partial"]
    assert read.lines[-1].offset == 6


def test_a_file_deleted_while_open_is_drained(log: Path) -> None:
    read = Reader(log)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a\n")
        assert read() == ["a"]
        log.unlink()
        writer.write(b"b\n")
        assert read() == ["b"]
        writer.write(b"c\n")
        append(log, "new\n")
        assert read() == ["c", "new"]


def test_a_resumed_file_goes_on_at_its_mark(log: Path) -> None:
    append(log, "a\nb\n")
    read = Reader(log)
    read()
    marks = read.tailer.marks()
    read.tailer.close()
    append(log, "c\n")
    resumed = Reader(log, marks=marks)
    assert resumed() == ["c"]
    assert resumed.tailer.marks()[0].generation == marks[0].generation


@pytest.mark.parametrize("pattern", ["**/*.log", "/*.log", "**/**/app.log", "./[a-b]pp.?og"])
def test_a_file_that_a_pattern_finds_goes_on_at_its_mark_in_the_next_life(
    log: Path, pattern: str
) -> None:
    append(log, "a\n")
    read = Reader(f"{log.parent}/{pattern}")
    assert read() == ["a"]
    marks = read.stop()
    append(log, "b\n")
    read = read.restarted(marks)
    assert read() == ["b"]
    log.rename(log.with_name("app.old"))
    assert read.linger() == []
    append(log.with_name("app.old"), "its writer has no new file yet\n")
    assert read.linger() == ["its writer has no new file yet"]


PATTERNS = [
    "*",
    "*/*",
    "**",
    "**/*.log",
    "a/**/*.log",
    "a//**/b/*",
    "**/.*",
    ".h/*",
    "[!b]/**",
    "?",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_names_what_it_finds_and_nothing_else(tmp_path: Path, pattern: str) -> None:
    files = {
        tmp_path / folder / name
        for folder in ("", "a", "a/b", "a/.h/b", ".h", "b/a/b")
        for name in ("x.log", ".x.log", "x", ".log")
    }
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        append(file, "a\n")
    paths = LogPaths([f"{tmp_path}/{pattern}"])
    found = {Path(one.path) for one in paths.find().values()}
    assert found
    assert {file for file in files if paths.match(str(file))} == found


def test_files_rotated_while_nobody_looked_are_found_again(log: Path) -> None:
    append(log, "a1\n")
    read = Reader(log)
    read()
    marks = read.tailer.marks()
    read.tailer.close()
    append(log, "a2\n")
    log.rename(log.with_name("app.log.2"))
    append(log.with_name("app.log.1"), "b\n")
    append(log, "c\n")
    now = log.stat().st_mtime_ns
    for age, name in enumerate(("app.log", "app.log.1", "app.log.2")):
        os.utime(log.with_name(name), ns=(0, now - age * 10**7))
    resumed = Reader(log, marks=marks)
    assert resumed() == ["a2", "b", "c"]
    assert resumed.tailer.problems == []


def test_a_rotated_file_is_found_again_in_every_later_life(log: Path) -> None:
    append(log, "a1\n")
    read = Reader(log)
    read()
    for life in range(1, 6):
        marks = read.tailer.marks()
        read.tailer.close()
        for age in range(life - 1, 0, -1):
            log.with_name(f"app.log.{age}").rename(log.with_name(f"app.log.{age + 1}"))
        append(log, f"end {life}\n")
        log.rename(log.with_name("app.log.1"))
        append(log, f"begin {life + 1}\n")
        read = Reader(log, marks=marks)
        assert read() == [f"end {life}", f"begin {life + 1}"]
        assert len(read.tailer.marks()) == life + 1
        assert read.tailer.problems == []


def test_copytruncate_while_nobody_looked_is_found_in_the_copy(log: Path) -> None:
    append(log, "first\n")
    read = Reader(log)
    read()
    marks = read.tailer.marks()
    read.tailer.close()
    append(log, "second\n")
    shutil.copy(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, "3\n")
    assert Reader(log, marks=marks)() == ["second", "3"]


def test_content_that_is_nowhere_any_more_is_said_to_be_lost(log: Path) -> None:
    append(log, "a\n")
    read = Reader(log)
    read()
    marks = read.tailer.marks()
    read.tailer.close()
    log.write_text("quite another file\n")
    resumed = Reader(log, marks=marks)
    assert resumed() == ["quite another file"]
    assert "rotated while no agent ran" in resumed.tailer.problems[0]


def test_start_at_end_skips_only_what_was_there_at_the_beginning(tmp_path: Path) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    append(first, "old\nunfin")
    read = Reader(tmp_path / "*.log", start_at="end")
    assert read() == []
    append(first, "ished\n")
    append(second, "new file\n")
    assert sorted(read()) == ["new file", "unfinished"]


def test_start_at_end_does_not_skip_what_a_mark_remembers(log: Path) -> None:
    append(log, "a\n")
    read = Reader(log)
    read()
    marks = read.tailer.marks()
    read.tailer.close()
    append(log, "b\n")
    log.rename(log.with_name("app.log.1"))
    append(log, "c\n")
    assert Reader(log, marks=marks, start_at="end")() == ["b", "c"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f\n", [b"a\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f"]),
        (b"a\0b\n", [b"a\0b"]),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
        (b"\xef\xbb\xbfa\n", [b"a"]),
        (b"\n\n", [b"", b""]),
        (b"x" * (CHUNK - 1) + b"\ny\n", [b"x" * (CHUNK - 1), b"y"]),
        (b"x" * CHUNK + b"\ny\n", [b"x" * CHUNK, b"y"]),
    ],
)
def test_only_a_line_feed_ends_a_line(log: Path, data: bytes, lines: list[bytes]) -> None:
    append(log, data)
    read = Reader(log)
    read()
    assert [line.data for line in read.lines] == lines
    assert read.lines[-1].end == len(data)


def test_a_missing_folder_is_said_with_a_remedy_and_goes_when_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    read = Reader(folder / "*.log")
    read()
    assert "there is no folder" in read.tailer.problems[0]
    folder.mkdir()
    append(folder / "a.log", "a\n")
    assert read() == ["a"]
    assert read.tailer.problems == []


AS_NOBODY = """
import os, sys, pathlib
sys.path.insert(0, sys.argv[2])
from tailing import Reader
os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = pathlib.Path(sys.argv[1])
read = Reader(folder / "*.log", folder / "closed" / "*.log")
print(read()); print("\\n".join(read.tailer.problems))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_what_may_not_be_read_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    for part in (tmp_path, *tmp_path.parents):
        if part != Path("/") and part.stat().st_uid == os.geteuid() and "pytest" in str(part):
            part.chmod(0o755)
    append(tmp_path / "a.log", "a\n")
    append(tmp_path / "secret.log", "s\n")
    (tmp_path / "secret.log").chmod(0o600)
    (tmp_path / "closed").mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, tmp_path, str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "['a']",
        f"cannot read {tmp_path}/closed/*.log: no permission to list {tmp_path}/closed; "
        "what to do: give this user read permission",
        f"cannot read {tmp_path}/secret.log: permission denied; "
        "what to do: give this user read permission",
    ]


def test_segments_of_the_spool_are_one_source_and_end_when_a_newer_is_there(
    tmp_path: Path,
) -> None:
    read = Reader(tmp_path / "*.log", spool=True)
    append(tmp_path / "stdout-000001.log", "a\nb\n")
    append(tmp_path / "stderr-000001.log", "e\n")
    assert sorted(read()) == ["a", "b", "e"]
    append(tmp_path / "stdout-000001.log", "c\n")
    append(tmp_path / "stdout-000002.log", "d\n")
    assert read() == ["c", "d"]
    read.tailer.scan()
    (over,) = read.tailer.over()
    assert over.path.endswith("stdout-000001.log")
    assert {Path(tail.source).name for tail in read.tailer.tails} == {"stdout", "stderr"}


def test_a_tail_of_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(OSError, match="regular"):
        logtail.open_regular(str(tmp_path / "f"))
