"""The fault catalogue's rows on rotation and identity, each on real files."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from pathlib import Path

import pytest

from tailing import Reader, append, few_descriptors, rename_rotation, shift
from tickbird.sources import generations, logfile, packed
from tickbird.sources.descriptors import Descriptors
from tickbird.sources.generations import Generations
from tickbird.sources.packed import RATIO, open_log

KIB = "the same first KiB of every generation of this log " * 30


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def copy_rotation(path: Path) -> None:
    shift(path)
    shutil.copy(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)


def test_row_01_a_file_that_is_renamed_away_is_read_to_its_end(log: Path) -> None:
    append(log, "a\n")
    read = Reader(log)
    assert read() == ["a"]
    append(log, "b\n")
    rename_rotation(log)
    append(log, "c\n")
    assert read() == ["b", "c"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("down", [False, True])
def test_row_02_several_rotations_between_two_looks(log: Path, pattern: str, down: bool) -> None:
    append(log, "0\n")
    read = Reader(log.with_name(pattern))
    assert read() == ["0"]
    marks = read.stop() if down else None
    for number in range(1, 5):
        append(log, f"{number}\n")
        (rename_rotation if number % 2 else copy_rotation)(log)
    append(log, "5\n")
    read = read.restarted(marks) if down else read
    assert read() == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "name",
    ["app.log-20260131", "app.log.2026-01-31_10-00", "app-2026-01-31.log", "app.log.old"],
)
def test_row_02_a_rotated_file_is_found_by_a_date_too(log: Path, name: str) -> None:
    append(log, "0\n")
    read = Reader(log)
    read()
    marks = read.stop()
    append(log, "1\n")
    log.rename(log.with_name(name))
    append(log, "2\n")
    assert read.restarted(marks)() == ["1", "2"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*", "*"])
def test_row_03_the_copy_of_a_copytruncate_is_read_to_its_end_and_not_again(
    log: Path, pattern: str
) -> None:
    append(log, "a\n")
    read = Reader(log.with_name(pattern))
    assert read() == ["a"]
    append(log, "b\n")
    shutil.copy(log, log.with_name("app.log.1"))
    assert read() == ["b"]
    os.truncate(log, 0)
    append(log, "c\n")
    assert read() == ["c"]
    assert read.linger() == []
    again = read.restarted()
    append(log, "d\n")
    assert again() == ["d"]
    assert again.linger() == []


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("more", [0, 500])
def test_row_04_regrown_past_the_old_place_with_the_same_first_kib(
    log: Path, down: bool, more: int
) -> None:
    append(log, f"{KIB}\nfirst 1\n")
    read = Reader(log)
    assert read() == [KIB, "first 1"]
    marks = read.stop() if down else None
    copy_rotation(log)
    append(log, f"{KIB}\nother 2\n" + "x\n" * more)
    read = read.restarted(marks) if down else read
    assert read() == [KIB, "other 2"] + ["x"] * more


def test_row_05_the_hole_of_a_stale_writer_is_skipped_counted_and_said(log: Path) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"a\n")
        read = Reader(log)
        read()
        os.truncate(log, 0)
        writer.seek(2_000_000_000)
        writer.write(b"behind it\nnext\n")
        assert read() == ["behind it", "next"]
        read()
    assert "2000000000 NUL bytes" in read.tailer.problems[0]
    assert "appending" in read.tailer.problems[0]


@pytest.mark.parametrize("descriptors", [1, 100])
def test_row_06_a_reused_inode_is_another_file(log: Path, descriptors: int) -> None:
    append(log.with_name("other.log"), "quiet\n")
    read = Reader(log, log.with_name("other.log"), descriptors=few_descriptors(descriptors))
    for number in range(40):  # many file systems give a freed inode to the next file
        append(log, f"only line {number}, in a file as long as the others\n")
        assert [line for line in read() if line != "quiet"] == [
            f"only line {number}, in a file as long as the others"
        ]
        log.unlink()
    append(log, "a\n")
    read()
    marks = read.stop()
    log.unlink()
    append(log, "b\nc\n")
    assert read.restarted(marks)() == ["b", "c"]


def test_row_07_files_with_the_same_first_kib_are_each_read_in_full(tmp_path: Path) -> None:
    for number in range(20):
        append(tmp_path / f"{number}.log", f"{KIB}\nown {number:02}\n")
    lines = Reader(tmp_path / "*.log")()
    assert sorted(line for line in lines if line != KIB) == [f"own {n:02}" for n in range(20)]
    assert lines.count(KIB) == 20


@pytest.mark.parametrize("size", [0, 1, 10, 255, 256, 257, 1022, 1023, 1024, 1025])
def test_row_08_a_file_smaller_than_a_fingerprint_is_read_at_once(log: Path, size: int) -> None:
    append(log, "x" * (size - 1) + "\n" if size else "")
    read = Reader(log)
    assert len(read()) == (size > 0)
    for number in range(3):
        append(log, f"{number}\n")
        read = read.restarted()
        assert read() == [f"{number}"]


@pytest.mark.parametrize("regrown", ["", "new\n", "new " * 500 + "\n"])
def test_row_09_a_truncation_while_no_agent_ran(log: Path, regrown: str) -> None:
    append(log, "one\ntwo\n")
    read = Reader(log)
    read()
    marks = read.stop()
    os.truncate(log, 0)
    append(log, regrown)
    assert read.restarted(marks)() == regrown.splitlines()


def test_row_24_a_symlink_that_is_swapped_is_followed_after_its_old_target(tmp_path: Path) -> None:
    link = tmp_path / "current.log"
    old, new = tmp_path / "a" / "1.txt", tmp_path / "b" / "2.txt"
    for target in (old, new):
        target.parent.mkdir()
    append(old, "a\n")
    link.symlink_to(old)
    read = Reader(link)
    assert read() == ["a"]
    append(old, "b\n")
    append(new, "c\n")
    swap = tmp_path / "swap"
    swap.symlink_to(new)
    swap.replace(link)
    assert read() == ["b", "c"]
    marks = read.stop()
    append(new, "d\n")
    rename_rotation(new)
    append(new, "e\n")
    rename_rotation(new)
    append(new, "f\n")
    assert read.restarted(marks)() == ["d", "e", "f"]


def test_row_24_a_symlink_to_itself_is_said_and_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.log").symlink_to(tmp_path / "loop.log")
    append(tmp_path / "real.log", "a\n")
    read = Reader(tmp_path / "*.log")
    assert read() == ["a"]
    assert "loop.log: too many levels of symbolic links" in read.tailer.problems[0]


def test_row_26_a_deleted_file_is_drained_and_what_it_holds_is_said_and_bounded(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, ("x" * 99 + "\n") * 50_000)
    read = Reader(log)
    read.tailer.scan()
    log.unlink()
    read.tailer.scan()
    assert "stays on disk until 4 MiB" in read.tailer.problems[0]
    assert len(read()) == 50_000
    read.linger()
    assert read.tailer.tails == []

    append(log, "x\n" * 1000)
    read.tailer.scan()
    log.unlink()
    monkeypatch.setattr(logfile, "DELETED", 1000)
    read.tailer.scan()
    assert "was deleted while 2000 bytes of it were unread" in read.tailer.problems[-1]


def test_row_27_deleted_and_made_again_in_the_same_second(log: Path) -> None:
    read = Reader(log)
    for number in range(30):
        append(log, f"{number}\n")
        if number % 2:
            assert read() == [f"{number}"]
            log.unlink()
        else:
            assert read() == [f"{number}"]
            log.unlink()
            append(log, f"again {number}\n")
            assert read() == [f"again {number}"]
            log.unlink()


def test_row_35_a_compressed_file_is_left_out_unless_asked_for(log: Path, tmp_path: Path) -> None:
    with gzip.open(log.with_name("app.log.1.gz"), "wt") as packed:
        packed.write("packed\n")
    append(log, "a\n")
    assert Reader(tmp_path / "*")() == ["a"]
    assert Reader(tmp_path / "*", descriptors=Descriptors(tmp_path))() == ["packed", "a"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_row_35_a_generation_that_was_compressed_meanwhile_goes_on_and_is_not_read_again(
    log: Path, pattern: str
) -> None:
    append(log, "a\n")
    read = Reader(log.with_name(pattern), descriptors=Descriptors(log.parent))
    assert read() == ["a"]
    marks = read.stop()
    append(log, "b\n")
    with gzip.open(log.with_name("app.log.1.gz"), "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()
    append(log, "c\n")
    read = read.restarted(marks)
    assert read() == ["b", "c"]
    assert read.linger() == []
    append(log, "d\n")
    assert read.restarted()() == ["d"]


def test_row_35_a_compressed_generation_that_cannot_be_compared_keeps_no_descriptor(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a\n")
    read = Reader(log.with_name("app.log*"), descriptors=Descriptors(log.parent))
    assert read() == ["a"]
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(b"a\n"))

    def of_a_sick_disk(file: int, mark: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr(generations, "same_bytes", of_a_sick_disk)
        patched.setattr(Generations, "_copied", lambda *_: False)
        assert read() == []
        assert "input/output error" in read.tailer.problems[0]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert read() == []


@pytest.mark.parametrize("content", ["bomb", "cut off", "no gzip at all"])
def test_row_35_what_cannot_be_unpacked_is_not_tried_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    broken = tmp_path / "a.log.gz"
    whole = gzip.compress(bytes(3_000_000) if content == "bomb" else b"a\n")
    broken.write_bytes({"bomb": whole, "cut off": whole[:-9]}.get(content, b"no gzip at all"))
    os.utime(broken, (1000, 1000))
    unpack, tried = packed._unpacked, []

    def counted(file: int, folder: Path | None) -> int:
        tried.append(file)
        return unpack(file, folder)

    monkeypatch.setattr(packed, "_unpacked", counted)
    read = Reader(tmp_path / "*.gz", descriptors=Descriptors(tmp_path))
    for _ in range(3):
        assert read() == []
        assert str(broken) in read.tailer.problems[0]
    assert len(tried) == 1
    broken.write_bytes(gzip.compress(b"mended\n"))
    assert read() == ["mended"]
    assert read.tailer.problems == []


def test_row_35_a_compression_bomb_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.log.gz"
    with gzip.open(bomb, "wb") as packed:
        for _ in range(50):
            packed.write(bytes(1_000_000))
    with pytest.raises(OSError, match=f"unpacks to more than {RATIO * bomb.stat().st_size} bytes"):
        open_log(str(bomb), None, tmp_path)
